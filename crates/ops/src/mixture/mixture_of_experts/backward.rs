//! The backward pass: the experts as feedforward blocks over their rows, then the router.

use super::forward::{gather, gather_times, scatter, scratch};
use super::matrices::Matrices;
use super::routing::{Routing, integers};
use super::{MixtureOfExperts, Sizes};
use crate::linear::feedforward::products::{Multiply, Weight, backward_weight};
use ff_graph::{Cx, Kept, OpError, OpResult, Slot};
use ff_kernels::{Float, MatRef, Stored, for_rows, sum_columns};
use ff_tensor::{CpuDevice, DType, TensorMut};

/// The gradient of a weight, and whether to add to it.
type Gradient<'a, W> = Option<(&'a mut [W], bool)>;

impl MixtureOfExperts {
    pub(super) fn run_backward<M, R, X, W, H>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult
    where
        M: Multiply<X, W, H> + Multiply<X, H, W> + Multiply<H, W, X> + Multiply<H, X, W>,
        R: Multiply<W, W, X> + Multiply<W, X, W>,
        X: Stored<Compute = W>,
        W: Float,
        H: Stored<Compute = W>,
    {
        let cpu = cx.cpu();
        let sizes = self.sizes(|i| *kept.spec(i))?;
        let Sizes { rows, width, experts, hidden, assigned } = sizes;
        let mut map = scratch(cx, &[integers(sizes)], DType::I32)?;
        let mut weights = scratch(cx, &[assigned], W::DTYPE)?;
        let mut sums = scratch(cx, &[assigned], W::DTYPE)?;
        let mut dlogits = scratch(cx, &[rows, experts], W::DTYPE)?;
        let mut x_positions = scratch(cx, &[assigned, width], X::DTYPE)?;
        let mut dy_positions = scratch(cx, &[assigned, width], X::DTYPE)?;
        let mut dz = scratch(cx, &[assigned, hidden], H::DTYPE)?;
        let mut du = scratch(cx, &[assigned, hidden], H::DTYPE)?;
        let x = kept.input(0)?.slice::<X>()?;
        let logits = kept.saved(0)?.slice::<W>()?;
        let map = map.slice_mut::<i32>()?;
        let weights = weights.slice_mut::<W>()?;
        let routing = self.route(cpu, sizes, logits, map, weights);
        let sums = sums.slice_mut::<W>()?;

        let mut taken: [Gradient<'_, W>; 6] = [const { None }; 6];
        for (slot, dx) in taken.iter_mut().zip(&mut dx[2..]) {
            *slot = dx.take::<W>()?;
        }
        let [inner, router_bias, biases] = self.places();
        let mut slots = Slots { taken: &mut taken, inner, biases };
        let mut dx_slot = dx[0].take::<X>()?;
        let [dy, dspread, dz_loss] = dy else {
            return Err(OpError::shape("has three outputs"));
        };
        let dp = match dspread {
            Some(dspread) => Some(&dspread.slice_mut::<W>()?[..experts]),
            None => None,
        };
        let from_z = match dz_loss {
            Some(dz_loss) => dz_loss.slice_mut::<W>()?[0].f64(),
            None => 0.0,
        };
        let by = [width, self.top_k];
        if let Some(dy) = dy {
            let experts = Experts {
                op: self,
                cpu,
                sizes,
                routing: &routing,
                matrices: Matrices::new(self, sizes, |i| kept.input(i))?,
                a: kept.saved(1)?.slice::<H>()?,
                u: kept.saved(2)?.slice::<H>()?,
            };
            let dy = &*dy.slice_mut::<X>()?;
            let x_positions = x_positions.slice_mut::<X>()?;
            let dy_positions = dy_positions.slice_mut::<X>()?;
            gather(cpu, x, by, routing.order, x_positions);
            // Weights applied to dy reach both dD and dh.
            gather_times(cpu, dy, by, routing.order, routing.weights, dy_positions);
            let dz = dz.slice_mut::<H>()?;
            let du = du.slice_mut::<H>()?;
            experts.run::<M, X>(x_positions, dy_positions, (dz, du), sums, &mut slots)?;
            if let Some((dx, accumulate)) = &mut dx_slot {
                experts.input::<M, X>((dz, du), dy_positions)?;
                let one = |_| W::ONE;
                scatter(cpu, dy_positions, by, routing.positions, one, dx, *accumulate);
                *accumulate = true;
            }
        } else {
            sums.fill(W::ZERO);
            let of_experts = |i: &usize| router_bias[0] != *i;
            for i in (0..slots.taken.len()).filter(of_experts) {
                let Some((slot, accumulate)) = &mut slots.taken[i] else { continue };
                let accumulate = *accumulate;
                if !accumulate {
                    slot.fill(W::ZERO);
                }
            }
        }

        let dlogits = dlogits.slice_mut::<W>()?;
        self.router_gradient(cpu, sizes, logits, &routing, (sums, dp, from_z), dlogits);
        if let Some((dbias, accumulate)) = taken.get_mut(router_bias[0]).and_then(Option::take) {
            sum_columns(cpu, &*dlogits, dbias, accumulate);
        }
        let dlogits = MatRef::new(&*dlogits, rows, experts);
        if let Some((drouter, accumulate)) = dx[1].take::<W>()? {
            let x = MatRef::new(x, rows, width);
            backward_weight::<R, X, W, W>(cpu, dlogits, x, drouter, accumulate);
        }
        if let Some((dx, accumulate)) = dx_slot {
            let router = Weight::<W>::of(kept.input(1)?)?;
            router.backward_input::<R, X, W>(cpu, dlogits, dx, accumulate)?;
        }
        Ok(())
    }
}

/// The gradients of the inputs from the third on, and where those of G and U and of the experts'
/// biases are among them.
struct Slots<'a, 'b, W> {
    taken: &'a mut [Gradient<'b, W>; 6],
    inner: [usize; 2],
    /// Of G and U, and of D; beyond the end if there are none.
    biases: [usize; 2],
}

impl MixtureOfExperts {
    /// The numbers of the gradients of G and U, of the router's bias, and of the experts' biases,
    /// counted from the third input.
    fn places(&self) -> [[usize; 2]; 3] {
        let down = self.down() - 2;
        let bias = |i: usize| if self.biases { down + i } else { usize::MAX };
        [[0, down - 1], [bias(1); 2], [bias(2), bias(3)]]
    }
}

/// All experts, with values kept by forward.
struct Experts<'a, W, H> {
    op: &'a MixtureOfExperts,
    cpu: &'a CpuDevice,
    sizes: Sizes,
    routing: &'a Routing<'a, W>,
    matrices: Matrices<'a, W>,
    a: &'a [H],
    u: &'a [H],
}

impl<W: Float, H: Stored<Compute = W>> Experts<'_, W, H> {
    /// Each expert, its first position and its number of positions.
    fn each(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.sizes.experts).map(|expert| {
            let positions = self.routing.of(expert);
            (expert, positions.start, positions.len())
        })
    }

    /// dz and du from wₑ dy, wₑ dwₑ, and the weights' gradients.
    fn run<M, X>(
        &self,
        x: &[X],
        dy: &[X],
        (dz, du): (&mut [H], &mut [H]),
        sums: &mut [W],
        slots: &mut Slots<'_, '_, W>,
    ) -> OpResult
    where
        M: Multiply<X, W, H> + Multiply<X, H, W> + Multiply<H, X, W>,
        X: Stored<Compute = W>,
    {
        let Sizes { width, hidden, .. } = self.sizes;
        let len = width * hidden;
        for (expert, start, n) in self.each() {
            let dy = MatRef::new(&dy[start * width..][..n * width], n, width);
            let dh = &mut dz[start * hidden..][..n * hidden];
            self.matrices.down(expert).backward_input::<M, H, X>(self.cpu, dy, dh, false)?;
        }
        // h uses the memory of du, which is computed later.
        self.op.join(self.cpu, self.a, self.u, du);
        self.sum(dz, du, sums);
        self.sum_of_biases(dy, sums);
        if let Some(Some((dbias, accumulate))) = slots.taken.get_mut(slots.biases[1]) {
            for (expert, start, n) in self.each() {
                let (dy, to) = (&dy[start * width..][..n * width], expert * width);
                sum_columns(self.cpu, dy, &mut dbias[to..to + width], *accumulate);
            }
        }
        if let Some((ddown, accumulate)) = &mut slots.taken[slots.inner[1] + 1] {
            for (expert, start, n) in self.each() {
                let dy = MatRef::new(&dy[start * width..][..n * width], n, width);
                let h = MatRef::new(&du[start * hidden..][..n * hidden], n, hidden);
                let to = &mut ddown[expert * len..][..len];
                backward_weight::<M, H, W, X>(self.cpu, dy, h, to, *accumulate);
            }
        }
        self.op.join_backward(self.cpu, (self.a, self.u), dz, du, hidden);
        for (part, d) in [&*dz, &*du].into_iter().enumerate() {
            if let Some(Some((dbias, accumulate))) = slots.taken.get_mut(slots.biases[0]) {
                for (expert, start, n) in self.each() {
                    let (d, to) =
                        (&d[start * hidden..][..n * hidden], (2 * expert + part) * hidden);
                    sum_columns(self.cpu, d, &mut dbias[to..to + hidden], *accumulate);
                }
            }
            let Some((to, accumulate)) = &mut slots.taken[slots.inner[part]] else { continue };
            for (expert, start, n) in self.each() {
                let d = MatRef::new(&d[start * hidden..][..n * hidden], n, hidden);
                let x = MatRef::new(&x[start * width..][..n * width], n, width);
                let to = &mut to[self.matrices.start(expert, part)..][..len];
                backward_weight::<M, X, W, H>(self.cpu, d, x, to, *accumulate);
            }
        }
        Ok(())
    }

    /// wₑ dwₑ = dh · h at each position.
    fn sum(&self, dh: &[H], h: &[H], sums: &mut [W]) {
        let hidden = self.sizes.hidden;
        for_rows(
            self.cpu,
            sums.len(),
            2 * hidden,
            [(sums, 1)],
            #[inline(always)]
            |position, [sum]| {
                let row = position * hidden..(position + 1) * hidden;
                sum[0] = W::of(dot(&dh[row.clone()], &h[row]));
            },
        );
    }

    /// Adds the biases of D to wₑ dwₑ: wₑ dy · b at each position.
    fn sum_of_biases<X: Stored<Compute = W>>(&self, dy: &[X], sums: &mut [W]) {
        let width = self.sizes.width;
        for (expert, start, n) in self.each() {
            let Some(bias) = self.matrices.down_bias(expert) else { continue };
            for (sum, dy) in
                sums[start..start + n].iter_mut().zip(dy[start * width..].chunks(width))
            {
                let products = dy.iter().zip(bias).map(|(dy, b)| dy.compute().f64() * b.f64());
                *sum += W::of(products.sum::<f64>());
            }
        }
    }

    /// dz G + du U at each position.
    fn input<M, X>(&self, (dz, du): (&[H], &[H]), dx: &mut [X]) -> OpResult
    where
        M: Multiply<H, W, X>,
        X: Stored,
    {
        let Sizes { width, hidden, .. } = self.sizes;
        for (expert, start, n) in self.each() {
            let to = &mut dx[start * width..][..n * width];
            for (i, d) in [dz, du].into_iter().enumerate() {
                let d = MatRef::new(&d[start * hidden..][..n * hidden], n, hidden);
                let weight = self.matrices.inner(expert, i)?;
                weight.backward_input::<M, X, H>(self.cpu, d, to, i > 0)?;
            }
        }
        Ok(())
    }
}

/// Σ a · b in f64.
#[inline(always)]
fn dot<S: Stored>(a: &[S], b: &[S]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0f64; LANES];
    let (a, b) = (a.chunks(LANES), b.chunks(LANES));
    for (a, b) in a.zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a.compute().f64() * b.compute().f64();
        }
    }
    sums.iter().sum()
}
