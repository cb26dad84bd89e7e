//! The two passes, for every combination of types.

use super::{FeedforwardBlock, Sizes};
use crate::Activation;
use crate::linear::feedforward::products::{Multiply, backward_input, backward_weight, forward};
use ff_graph::{Cx, Kept, OpResult, Slot, Spec};
use ff_kernels::{Float, MatRef, Stored, sum_columns};
use ff_tensor::{Tensor, TensorMut, TensorRef};

impl FeedforwardBlock {
    pub(super) fn run_forward<M, X, W, H>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult
    where
        M: Multiply<X, W, H> + Multiply<H, W, X>,
        X: Stored<Compute = W>,
        W: Float,
        H: Stored<Compute = W>,
    {
        let sizes = self.sizes(|i| Spec { shape: *x[i].shape(), dtype: x[i].dtype() })?;
        let inner = Inner { block: self, cx, sizes, x: x[0].slice::<X>()? };
        let param = |i: usize| x[i].slice::<W>();
        let bias = |i: usize| self.bias.then(|| param(self.weights() + i)).transpose();
        let last = self.weights();
        let (down, down_bias) = (param(last)?, bias(last)?);
        let y = y[0].slice_mut::<X>()?;
        let finish = |h: &[H], y: &mut [X]| {
            let h = MatRef::new(h, sizes.rows, sizes.hidden);
            let down = MatRef::new(down, sizes.output, sizes.hidden);
            forward::<M, H, W, X>(cx.cpu(), Activation::Identity, h, down, down_bias, y, None);
        };
        let hidden = || hidden::<H>(cx, sizes);
        match (saved, self.gated) {
            ([], false) => {
                let mut h = hidden()?;
                let h = h.slice_mut::<H>()?;
                inner.activated::<M, W, H>(param(1)?, bias(1)?, h, None);
                finish(h, y);
            }
            ([a], false) if self.keeps_z() => {
                let mut h = hidden()?;
                let h = h.slice_mut::<H>()?;
                let z = a.slice_mut::<H>()?;
                inner.activated::<M, W, H>(param(1)?, bias(1)?, h, Some(z));
                finish(h, y);
            }
            ([a, ..], false) => {
                let h = a.slice_mut::<H>()?;
                inner.activated::<M, W, H>(param(1)?, bias(1)?, h, None);
                finish(h, y);
            }
            ([a, u], true) => {
                let (a, u) = (a.slice_mut::<H>()?, u.slice_mut::<H>()?);
                inner.first::<M, W, H>(param(1)?, bias(1)?, a);
                inner.linear::<M, W, H>(param(2)?, bias(2)?, u);
                let mut h = hidden()?;
                let h = h.slice_mut::<H>()?;
                self.activation.gate(cx.cpu(), a, Some(u), h);
                finish(h, y);
            }
            (_, true) => {
                let (mut a, mut u) = (hidden()?, hidden()?);
                let (a, u) = (a.slice_mut::<H>()?, u.slice_mut::<H>()?);
                inner.first::<M, W, H>(param(1)?, bias(1)?, a);
                inner.linear::<M, W, H>(param(2)?, bias(2)?, u);
                self.activation.gate(cx.cpu(), a, None, u);
                finish(u, y);
            }
        }
        Ok(())
    }

    pub(super) fn run_backward<M, X, W, H>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult
    where
        M: Multiply<X, W, H> + Multiply<X, H, W> + Multiply<H, W, X> + Multiply<H, X, W>,
        X: Stored<Compute = W>,
        W: Float,
        H: Stored<Compute = W>,
    {
        let sizes = self.sizes(|i| *kept.spec(i))?;
        let Sizes { rows, input, hidden: width, output } = sizes;
        let cpu = cx.cpu();
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<X>()?;
        let param = |i: usize| -> OpResult<_> { Ok(kept.input(i)?.slice::<W>()?) };
        let last = self.weights();
        let x = kept.input(0)?.slice::<X>()?;
        let mut again = [None, None];
        if self.recompute {
            let inner = Inner { block: self, cx, sizes, x };
            let bias = |i: usize| self.bias.then(|| param(last + i)).transpose();
            for (i, again) in again.iter_mut().enumerate().take(last - 1) {
                let mut tensor = hidden::<H>(cx, sizes)?;
                let to = tensor.slice_mut::<H>()?;
                if i == 0 {
                    inner.first::<M, W, H>(param(1)?, bias(1)?, to);
                } else {
                    inner.linear::<M, W, H>(param(2)?, bias(2)?, to);
                }
                *again = Some(tensor);
            }
        }
        let saved = |i: usize| -> OpResult<_> {
            Ok(match &again[i] {
                Some(tensor) => tensor.slice::<H>()?,
                None => kept.saved(i)?.slice::<H>()?,
            })
        };
        let a = saved(0)?;
        let u = if self.gated { Some(saved(1)?) } else { None };

        let mut dh = hidden::<H>(cx, sizes)?;
        let dh = dh.slice_mut::<H>()?;
        let dy_matrix = MatRef::new(dy, rows, output);
        if let Some((dweight, accumulate)) = dx[last].take::<W>()? {
            // h uses the memory of dh, which is computed later.
            let h = match u {
                Some(u) => {
                    self.activation.gate(cpu, a, Some(u), dh);
                    &*dh
                }
                None if self.keeps_z() => {
                    self.activation.forward(cpu, a, dh);
                    &*dh
                }
                None => a,
            };
            let h = MatRef::new(h, rows, width);
            backward_weight::<M, H, W, X>(cpu, dy_matrix, h, dweight, accumulate);
        }
        let sum = |i: usize, d: BiasSource<'_, X, H>, dx: &mut [Slot<'_>]| -> OpResult {
            let Some(slot) = dx.get_mut(last + i) else { return Ok(()) };
            if let Some((dbias, accumulate)) = slot.take::<W>()? {
                match d {
                    BiasSource::Output(d) => sum_columns(cpu, d, dbias, accumulate),
                    BiasSource::Hidden(d) => sum_columns(cpu, d, dbias, accumulate),
                }
            }
            Ok(())
        };
        sum(last, BiasSource::Output(dy), dx)?;
        let down = MatRef::new(param(last)?, output, width);
        backward_input::<M, H, W, X>(cpu, dy_matrix, down, dh, false);
        let mut du = None;
        if let Some(u) = u {
            let du = du.insert(hidden::<H>(cx, sizes)?).slice_mut::<H>()?;
            self.activation.gate_backward(cpu, (a, u), dh, du, width);
            sum(1, BiasSource::Hidden(dh), dx)?;
            sum(2, BiasSource::Hidden(du), dx)?;
        } else {
            let dbias = match dx.get_mut(last + 1) {
                Some(slot) => slot.take::<W>()?,
                None => None,
            };
            self.activation.backward_in_place(cpu, a, dh, dbias);
        }
        let du = match &du {
            Some(du) => Some(du.slice::<H>()?),
            None => None,
        };
        let (gradients, x) = ([Some(&*dh), du], MatRef::new(x, rows, input));
        for (i, d) in gradients.into_iter().enumerate().filter_map(|(i, d)| Some((i + 1, d?))) {
            if let Some((dweight, accumulate)) = dx[i].take::<W>()? {
                let d = MatRef::new(d, rows, width);
                backward_weight::<M, X, W, H>(cpu, d, x, dweight, accumulate);
            }
        }
        if let Some((dx, accumulate)) = dx[0].take::<X>()? {
            for (i, d) in gradients.into_iter().enumerate().filter_map(|(i, d)| Some((i, d?))) {
                let weight = MatRef::new(param(i + 1)?, width, input);
                let d = MatRef::new(d, rows, width);
                backward_input::<M, X, W, H>(cpu, d, weight, dx, accumulate || i > 0);
            }
        }
        Ok(())
    }
}

/// The terms of a bias gradient.
enum BiasSource<'a, X, H> {
    Output(&'a [X]),
    Hidden(&'a [H]),
}

/// Memory for `[rows, hidden]`, returned to the pool when dropped.
fn hidden<H: Stored>(cx: &Cx<'_>, sizes: Sizes) -> OpResult<Tensor> {
    let shape = [sizes.rows, sizes.hidden].into();
    Ok(Tensor::uninit(cx.device, shape, H::DTYPE)?)
}

/// The layers before the activation.
struct Inner<'a, X> {
    block: &'a FeedforwardBlock,
    cx: &'a Cx<'a>,
    sizes: Sizes,
    x: &'a [X],
}

impl<X: Stored> Inner<'_, X> {
    /// f(x Wᵀ + b); the argument of f goes to `kept` if given.
    fn activated<M, W, H>(&self, weight: &[W], bias: Option<&[W]>, h: &mut [H], z: Option<&mut [H]>)
    where
        M: Multiply<X, W, H>,
        W: Float,
        H: Stored<Compute = W>,
    {
        self.layer::<M, W, H>(self.block.activation, weight, bias, h, z);
    }

    /// The first layer for backward: z, or f(z) if f′ can be computed from it.
    fn first<M, W, H>(&self, weight: &[W], bias: Option<&[W]>, a: &mut [H])
    where
        M: Multiply<X, W, H>,
        W: Float,
        H: Stored<Compute = W>,
    {
        let identity = self.block.keeps_z();
        let activation = if identity { Activation::Identity } else { self.block.activation };
        self.layer::<M, W, H>(activation, weight, bias, a, None);
    }

    /// x Wᵀ + b.
    fn linear<M, W, H>(&self, weight: &[W], bias: Option<&[W]>, u: &mut [H])
    where
        M: Multiply<X, W, H>,
        W: Float,
        H: Stored<Compute = W>,
    {
        self.layer::<M, W, H>(Activation::Identity, weight, bias, u, None);
    }

    fn layer<M, W, H>(
        &self,
        activation: Activation,
        weight: &[W],
        bias: Option<&[W]>,
        y: &mut [H],
        z: Option<&mut [H]>,
    ) where
        M: Multiply<X, W, H>,
        W: Float,
        H: Stored<Compute = W>,
    {
        let Sizes { rows, input, hidden, .. } = self.sizes;
        let (x, weight) = (MatRef::new(self.x, rows, input), MatRef::new(weight, hidden, input));
        forward::<M, X, W, H>(self.cx.cpu(), activation, x, weight, bias, y, z);
    }
}
