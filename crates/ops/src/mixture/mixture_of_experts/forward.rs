//! Forward: route, gather, three products for each expert, scatter.

use super::{MixtureOfExperts, NAME, Sizes};
use crate::Activation;
use crate::activation::From;
use crate::linear::feedforward::products::{Multiply, forward};
use ff_graph::{Cx, Error, Result, Spec};
use ff_kernels::{Float, MatRef, Stored, for_rows};
use ff_tensor::{CpuDevice, DType, Tensor, TensorMut, TensorRef};
use smallvec::SmallVec;

/// Memory from the pool, given back when dropped.
pub(super) fn scratch(cx: &Cx<'_>, dims: &[usize], dtype: DType) -> Result<Tensor> {
    let error = Error::of(NAME);
    let shape = ff_tensor::Shape::new(dims).map_err(&error)?;
    Tensor::uninit(cx.device, shape, dtype).map_err(&error)
}

/// to\[place\] = x\[row\] of the assignment at each place.
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
        |place, [to]| {
            let row = order[place] as usize / k;
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
        |place, [to]| {
            let assignment = order[place] as usize;
            let weight = weights[assignment];
            for (to, &x) in to.iter_mut().zip(&x[assignment / k * width..][..width]) {
                *to = X::from_compute(weight * x.compute());
            }
        },
    );
}

/// to\[row\] = Σ weight · x\[place\] over the row's k assignments, or to += where `accumulate` is set; summed in W.
pub(super) fn scatter<X: Stored>(
    cpu: &CpuDevice,
    x: &[X],
    [width, k]: [usize; 2],
    places: &[i32],
    weight: impl Fn(usize) -> X::Compute + Sync,
    to: &mut [X],
    accumulate: bool,
) {
    const COLUMNS: usize = 64;
    let rows = places.len() / k;
    for_rows(
        cpu,
        rows,
        2 * k * width,
        [(to, width)],
        #[inline(always)]
        |row, [to]| {
            for (block, to) in to.chunks_mut(COLUMNS).enumerate() {
                let mut sums = [X::Compute::ZERO; COLUMNS];
                for (&place, j) in places[row * k..][..k].iter().zip(row * k..) {
                    let start = place as usize * width + block * COLUMNS;
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
    ) -> Result<()>
    where
        M: Multiply<X, W, H> + Multiply<H, W, X>,
        R: Multiply<X, W, W>,
        X: Stored<Compute = W>,
        W: Float,
        H: Stored<Compute = W>,
    {
        let error = Error::of(NAME);
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
            views.push(tensor.view_mut().map_err(&error)?);
        }
        let [logits, a, u] = &mut views[..] else {
            return Err(Error::shape(NAME, "saves three tensors"));
        };
        let logits = logits.slice_mut::<W>().map_err(&error)?;
        let (a, u) = (a.slice_mut::<H>().map_err(&error)?, u.slice_mut::<H>().map_err(&error)?);

        let input = x[0].slice::<X>().map_err(&error)?;
        let param = |i: usize| x[i].slice::<W>().map_err(&error);
        let (router, gate, up, down) = (param(1)?, param(2)?, param(3)?, param(4)?);
        let (x_matrix, router) =
            (MatRef::new(input, rows, width), MatRef::new(router, experts, width));
        let identity = Activation::Identity;
        forward::<R, X, W, W>(cpu, identity, x_matrix, router, None, logits, None);
        let map = map.slice_mut::<i32>().map_err(&error)?;
        let weights = weights.slice_mut::<W>().map_err(&error)?;
        let routing = self.route(cpu, sizes, logits, map, weights);
        let p = p.slice_mut::<W>().map_err(&error)?;
        let spread = y[1].slice_mut::<W>().map_err(&error)?;
        let z = Self::spread(cpu, sizes, logits, &routing, p, spread);
        y[2].slice_mut::<W>().map_err(&error)?.fill(W::of(z));

        let gathered = gathered.slice_mut::<X>().map_err(&error)?;
        gather(cpu, input, [width, self.top_k], routing.order, gathered);
        let h = h.slice_mut::<H>().map_err(&error)?;
        let first = if self.activation.derivative_from() == From::Input {
            identity
        } else {
            self.activation
        };
        for expert in 0..experts {
            let places = routing.of(expert);
            let n = places.len();
            let x = MatRef::new(&gathered[places.start * width..][..n * width], n, width);
            let part = places.start * hidden..places.end * hidden;
            let weight = |all| MatRef::new(matrix(all, expert, hidden * width), hidden, width);
            forward::<M, X, W, H>(cpu, first, x, weight(gate), None, &mut a[part.clone()], None);
            forward::<M, X, W, H>(cpu, identity, x, weight(up), None, &mut u[part], None);
        }
        self.activation.gate(cpu, a, Some(u), h);
        for expert in 0..experts {
            let places = routing.of(expert);
            let n = places.len();
            let h = MatRef::new(&h[places.start * hidden..][..n * hidden], n, hidden);
            let down = MatRef::new(matrix(down, expert, hidden * width), width, hidden);
            // The experts' outputs take the place of what they started from.
            let out = &mut gathered[places.start * width..][..n * width];
            forward::<M, H, W, X>(cpu, identity, h, down, None, out, None);
        }
        let to = y[0].slice_mut::<X>().map_err(&error)?;
        let weight = |assignment: usize| routing.weights[assignment];
        scatter(cpu, gathered, [width, self.top_k], routing.places, weight, to, false);
        Ok(())
    }
}

/// An expert's matrix.
pub(super) fn matrix<W>(all: &[W], expert: usize, len: usize) -> &[W] {
    &all[expert * len..][..len]
}
