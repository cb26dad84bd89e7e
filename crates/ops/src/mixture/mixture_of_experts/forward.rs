//! The forward pass: routing, gather, three products per expert, scatter.

use super::matrices::Matrices;
use super::{MixtureOfExperts, Sizes};
use crate::Activation;
use crate::activation::DerivativeFrom;
use crate::linear::feedforward::products::{Multiply, Weight};
use ff_graph::{Cx, OpError, OpResult, Spec};
use ff_kernels::{Float, MatRef, Stored, for_rows};
use ff_tensor::{CpuDevice, DType, Tensor, TensorMut, TensorRef};
use smallvec::SmallVec;

/// Memory from the pool, returned when dropped.
pub(super) fn scratch(cx: &Cx<'_>, dims: &[usize], dtype: DType) -> OpResult<Tensor> {
    let shape = ff_tensor::Shape::new(dims)?;
    Ok(Tensor::uninit(cx.device, shape, dtype)?)
}

/// to\[position\] = x\[row\] for the assignment at each position.
pub(super) fn gather<X: Stored>(
    cpu: &CpuDevice,
    x: &[X],
    [width, k]: [usize; 2],
    order: &[i32],
    to: &mut [X],
) {
    for_rows(
        cpu,
        order.len(),
        width,
        [(to, width)],
        #[inline(always)]
        |position, [to]| {
            let row = order[position] as usize / k;
            to.copy_from_slice(&x[row * width..][..width]);
        },
    );
}

/// The same, times the weight of the assignment.
pub(super) fn gather_times<X: Stored>(
    cpu: &CpuDevice,
    x: &[X],
    [width, k]: [usize; 2],
    order: &[i32],
    weights: &[X::Compute],
    to: &mut [X],
) {
    for_rows(
        cpu,
        order.len(),
        width,
        [(to, width)],
        #[inline(always)]
        |position, [to]| {
            let assignment = order[position] as usize;
            let weight = weights[assignment];
            for (to, &x) in to.iter_mut().zip(&x[assignment / k * width..][..width]) {
                *to = X::from_compute(weight * x.compute());
            }
        },
    );
}

/// to\[row\] = Σ weight · x\[position\] over the k assignments of a row, or += if `accumulate` is
/// set; sums are of type W.
pub(super) fn scatter<X: Stored>(
    cpu: &CpuDevice,
    x: &[X],
    [width, k]: [usize; 2],
    positions: &[i32],
    weight: impl Fn(usize) -> X::Compute + Sync,
    to: &mut [X],
    accumulate: bool,
) {
    const COLUMNS: usize = 64;
    let rows = positions.len() / k;
    for_rows(
        cpu,
        rows,
        2 * k * width,
        [(to, width)],
        #[inline(always)]
        |row, [to]| {
            for (block, to) in to.chunks_mut(COLUMNS).enumerate() {
                let mut sums = [X::Compute::ZERO; COLUMNS];
                for (&position, j) in positions[row * k..][..k].iter().zip(row * k..) {
                    let start = position as usize * width + block * COLUMNS;
                    let weight = weight(j);
                    for (sum, &x) in sums.iter_mut().zip(&x[start..][..to.len()]) {
                        *sum += weight * x.compute();
                    }
                }
                for (to, &sum) in to.iter_mut().zip(&sums) {
                    let there = if accumulate { to.compute() } else { X::Compute::ZERO };
                    *to = X::from_compute(there + sum);
                }
            }
        },
    );
}

impl MixtureOfExperts {
    pub(super) fn run_forward<M, R, X, W, H>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult
    where
        M: Multiply<X, W, H> + Multiply<H, W, X>,
        R: Multiply<X, W, W>,
        X: Stored<Compute = W>,
        W: Float,
        H: Stored<Compute = W>,
    {
        let cpu = cx.cpu();
        let sizes = self.sizes(|i| Spec { shape: *x[i].shape(), dtype: x[i].dtype() })?;
        let Sizes { rows, width, experts, hidden, assigned } = sizes;
        let mut own = [None, None, None];
        if saved.is_empty() {
            own = [
                Some(scratch(cx, &[rows, experts], W::DTYPE)?),
                Some(scratch(cx, &[assigned, hidden], H::DTYPE)?),
                Some(scratch(cx, &[assigned, hidden], H::DTYPE)?),
            ];
        }
        let mut map = scratch(cx, &[super::routing::integers(sizes)], DType::I32)?;
        let mut weights = scratch(cx, &[assigned], W::DTYPE)?;
        let mut p = scratch(cx, &[rows, experts], W::DTYPE)?;
        let mut gathered = scratch(cx, &[assigned, width], X::DTYPE)?;
        let mut h = scratch(cx, &[assigned, hidden], H::DTYPE)?;
        let mut views: SmallVec<[TensorMut<'_>; 3]> = SmallVec::new();
        views.extend(saved.iter_mut().map(TensorMut::reborrow));
        for tensor in own.iter_mut().flatten() {
            views.push(tensor.view_mut()?);
        }
        let [logits, a, u] = &mut views[..] else {
            return Err(OpError::shape("saves three tensors"));
        };
        let logits = logits.slice_mut::<W>()?;
        let (a, u) = (a.slice_mut::<H>()?, u.slice_mut::<H>()?);

        let input = x[0].slice::<X>()?;
        let param = |i: usize| x[i].slice::<W>();
        let matrices = Matrices::<W>::new(self, sizes, |i| Ok(x[i]))?;
        let bias = if self.biases { Some(param(self.down() + 1)?) } else { None };
        let x_matrix = MatRef::new(input, rows, width);
        let identity = Activation::Identity;
        Weight::of(x[1])?.forward::<R, X, W>(cpu, identity, x_matrix, bias, logits, None)?;
        let map = map.slice_mut::<i32>()?;
        let weights = weights.slice_mut::<W>()?;
        let routing = self.route(cpu, sizes, logits, map, weights);
        let p = p.slice_mut::<W>()?;
        let spread = y[1].slice_mut::<W>()?;
        let z = Self::spread(cpu, sizes, logits, &routing, p, spread);
        y[2].slice_mut::<W>()?.fill(W::of(z));

        let gathered = gathered.slice_mut::<X>()?;
        gather(cpu, input, [width, self.top_k], routing.order, gathered);
        let h = h.slice_mut::<H>()?;
        let from_input = self.activation.derivative_from() == DerivativeFrom::Input;
        let first = if from_input || self.clamp.is_some() { identity } else { self.activation };
        for expert in 0..experts {
            let positions = routing.of(expert);
            let n = positions.len();
            let x = MatRef::new(&gathered[positions.start * width..][..n * width], n, width);
            let part = positions.start * hidden..positions.end * hidden;
            for (i, (f, to)) in [(first, &mut *a), (identity, &mut *u)].into_iter().enumerate() {
                let (weight, bias) = (matrices.inner(expert, i)?, matrices.inner_bias(expert, i));
                weight.forward::<M, X, H>(cpu, f, x, bias, &mut to[part.clone()], None)?;
            }
        }
        self.join(cpu, a, u, h);
        for expert in 0..experts {
            let positions = routing.of(expert);
            let n = positions.len();
            let h = MatRef::new(&h[positions.start * hidden..][..n * hidden], n, hidden);
            let (down, bias) = (matrices.down(expert), matrices.down_bias(expert));
            // The outputs of the experts overwrite their inputs.
            let out = &mut gathered[positions.start * width..][..n * width];
            down.forward::<M, H, X>(cpu, identity, h, bias, out, None)?;
        }
        let to = y[0].slice_mut::<X>()?;
        let weight = |assignment: usize| routing.weights[assignment];
        scatter(cpu, gathered, [width, self.top_k], routing.positions, weight, to, false);
        Ok(())
    }
}
