//! Attention.

mod cache;
mod naive;

pub use cache::KeyValueCache;

use crate::{Contract, Cx, Error, Kept, Op, Result, Slot, Spec, for_float};
use ff_tensor::{DType, Device, Shape, Tensor, TensorMut, TensorRef};
use std::sync::Arc;

pub(crate) const NAME: &str = "attention";

/// Which segments an attention is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Segments {
    /// None.
    #[default]
    None,
    /// Those of the keys.
    Keys,
    /// Those of the keys and of the queries.
    Both,
}

/// Attention.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// What scores are multiplied with.
    pub scale: Option<f64>,
    /// Causal.
    pub causal: bool,
    /// Window.
    pub window: Option<usize>,
    /// Soft cap.
    pub soft_cap: Option<f64>,
    /// ALiBi.
    pub alibi: bool,
    /// Fused.
    pub fused: bool,
    /// Segments.
    pub segments: Segments,
}

impl Attention {
    /// Bidirectional attention.
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            scale: None,
            causal: false,
            window: None,
            soft_cap: None,
            alibi: false,
            fused: false,
            segments: Segments::None,
        }
    }

    /// The operation.
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    fn scale(&self) -> f64 {
        self.scale.unwrap_or(1.0 / (self.head_dim as f64).sqrt())
    }

    fn slope(&self, head: usize) -> f64 {
        if self.alibi { 2f64.powf(-8.0 * (head + 1) as f64 / self.heads as f64) } else { 0.0 }
    }

    /// Forward over a cache.
    ///
    /// # Errors
    /// Shapes.
    pub fn attend(&self, device: &Device, q: &Tensor, cache: &KeyValueCache) -> Result<Tensor> {
        let dims = q.shape().dims().to_vec();
        let mut y = Tensor::uninit(device, *q.shape(), DType::F32).map_err(Error::of(NAME))?;
        let (s, width) = (cache.len(), self.kv_heads * self.head_dim);
        let plan = naive::Plan { op: self, b: dims[0], t: dims[1], s, kv_rows: cache.capacity() };
        let q = q.slice::<f32>().map_err(Error::of(NAME))?;
        let out = y.slice_mut::<f32>().map_err(Error::of(NAME))?;
        plan.forward(
            device.cpu(),
            (q, self.heads * self.head_dim, 0),
            (cache.keys(), width, 0),
            (cache.values(), width, 0),
            None,
            None,
            out,
            &mut [],
        );
        Ok(y)
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        let n = if self.fused { 1 } else { 3 };
        let dims = x[0].shape.dims();
        if dims.len() != 3 {
            return Err(Error::shape(NAME, format!("expected [B, T, features], found {}", x[0].shape)));
        }
        let out = Shape::from([dims[0], dims[1], self.heads * self.head_dim]);
        let s = if self.fused { dims[1] } else { x[1].shape.dims()[1] };
        let flops = 4 * dims[0] * dims[1] * s * self.heads * self.head_dim / if self.causal { 2 } else { 1 };
        let mut contract = Contract::new([x[0].with_shape(out)]).cost(flops, flops * 5 / 2);
        if need.contains(&true) {
            for i in 0..x.len() {
                contract = contract.keep_input(i);
            }
            contract = contract.keep_output(0).save(x[0].with_shape(Shape::from([dims[0], dims[1], self.heads])));
        }
        let _ = n;
        Ok(contract)
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> Result<()> {
        for_float!(NAME, x[0].dtype(), T => {
            let plan = naive::Plan::of(self, |i| *x[i].shape());
            let v = |i: usize| x[i].slice::<T>().map_err(Error::of(NAME));
            let (q, k, w) = plan.strides(v)?;
            let n = if self.fused { 1 } else { 3 };
            let seg = |i: usize| x.get(n + i).map(|x| x.slice::<i32>()).transpose().map_err(Error::of(NAME));
            let (ks, qs) = (seg(0)?, seg(1)?);
            let y = y[0].slice_mut::<T>().map_err(Error::of(NAME))?;
            let lse: &mut [T] = match saved.first_mut() { Some(s) => s.slice_mut().map_err(Error::of(NAME))?, None => &mut [] };
            plan.forward(cx.cpu(), q, k, w, ks, qs, y, lse);
            Ok(())
        })
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()> {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        for_float!(NAME, kept.spec(0).dtype, T => {
            let plan = naive::Plan::of(self, |i| kept.spec(i).shape);
            let n = if self.fused { 1 } else { 3 };
            let v = |i: usize| kept.input(i)?.slice::<T>().map_err(Error::of(NAME));
            let (q, k, w) = plan.strides(v)?;
            let seg = |i: usize| -> Result<Option<&[i32]>> {
                if kept.inputs.len() > n + i { Ok(Some(kept.input(n + i)?.slice::<i32>().map_err(Error::of(NAME))?)) } else { Ok(None) }
            };
            let (ks, qs) = (seg(0)?, seg(1)?);
            let y = kept.output(0)?.slice::<T>().map_err(Error::of(NAME))?;
            let lse = kept.saved(0)?.slice::<T>().map_err(Error::of(NAME))?;
            let dy = dy.slice_mut::<T>().map_err(Error::of(NAME))?;
            let (gq, gk, gv) = plan.backward::<T>(cx.cpu(), q, k, w, ks, qs, y, lse, dy);
            let mut put = |i: usize, parts: &[(&[T], usize)]| -> Result<()> {
                let Some((to, add)) = dx[i].take::<T>().map_err(Error::of(NAME))? else { return Ok(()) };
                let width: usize = parts.iter().map(|p| p.1).sum();
                for (r, row) in to.chunks_exact_mut(width).enumerate() {
                    let mut at = 0;
                    for (g, w) in parts {
                        for (to, from) in row[at..at + w].iter_mut().zip(&g[r * w..(r + 1) * w]) {
                            *to = if add { *to + *from } else { *from };
                        }
                        at += w;
                    }
                }
                Ok(())
            };
            let (qw, kw) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
            if self.fused {
                put(0, &[(&gq, qw), (&gk, kw), (&gv, kw)])?;
            } else {
                put(0, &[(&gq, qw)])?;
                put(1, &[(&gk, kw)])?;
                put(2, &[(&gv, kw)])?;
            }
            Ok(())
        })
    }
}
