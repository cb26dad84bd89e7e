//! Rotary positions.
use crate::{Contract, Cx, Error, Kept, Op, Result, Slot, Spec, for_float};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;
const NAME: &str = "rotary";
/// Rotary positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Features of a head.
    pub head_dim: usize,
    /// Rotated ones.
    pub rotary_dim: usize,
    /// Pairs side by side.
    pub interleaved: bool,
    /// Frequencies.
    pub inv_freq: Arc<[f64]>,
    /// Factor.
    pub scaling: f64,
}
impl Rotary {
    /// The operation.
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
    fn turn<T: Float>(&self, x: &[T], pos: &[i32], sign: f64, y: &mut [T], add: bool) {
        let width = x.len() / pos.len().max(1);
        let half = self.rotary_dim / 2;
        for (r, &p) in pos.iter().enumerate() {
            for h in 0..width / self.head_dim {
                let at = r * width + h * self.head_dim;
                let mut out = x[at..at + self.head_dim].to_vec();
                for (i, f) in self.inv_freq.iter().enumerate() {
                    let (s, c) = (f * f64::from(p)).sin_cos();
                    let (s, c) = (T::of(sign * s * self.scaling), T::of(c * self.scaling));
                    let (i, j) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                    (out[i], out[j]) = (x[at + i] * c - x[at + j] * s, x[at + j] * c + x[at + i] * s);
                }
                for (y, o) in y[at..at + self.head_dim].iter_mut().zip(out) {
                    *y = if add { *y + o } else { o };
                }
            }
        }
    }
}
impl Op for Rotary {
    fn name(&self) -> &'static str {
        NAME
    }
    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        let c = Contract::new([x[0]]).cost(3 * x[0].shape.len(), 3 * x[0].shape.len());
        Ok(if need.contains(&true) { c.keep_input(1) } else { c })
    }
    fn forward(&self, _: &Cx<'_>, x: &[TensorRef<'_>], y: &mut [TensorMut<'_>], _: &mut [TensorMut<'_>]) -> Result<()> {
        for_float!(NAME, x[0].dtype(), T => {
            let (p, f) = (x[1].slice::<i32>().map_err(Error::of(NAME))?, x[0].slice::<T>().map_err(Error::of(NAME))?);
            self.turn(f, p, 1.0, y[0].slice_mut::<T>().map_err(Error::of(NAME))?, false);
            Ok(())
        })
    }
    fn backward(&self, _: &Cx<'_>, kept: &Kept<'_>, dy: &mut [Option<TensorMut<'_>>], dx: &mut [Slot<'_>]) -> Result<()> {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        for_float!(NAME, kept.spec(0).dtype, T => {
            let p = kept.input(1)?.slice::<i32>().map_err(Error::of(NAME))?;
            if let Some((dx, add)) = dx[0].take::<T>().map_err(Error::of(NAME))? {
                self.turn(dy.slice_mut::<T>().map_err(Error::of(NAME))?, p, -1.0, dx, add);
            }
            Ok(())
        })
    }
}
