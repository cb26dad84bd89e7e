//! Which rows go where, with which weights.

use super::{MixtureOfExperts, Sizes};
use crate::loss::{Total, sum_rows};
use ff_kernels::{Float, for_rows, maximum, sum_of};
use ff_tensor::CpuDevice;
use std::ops::Range;

/// How many integers a [`Routing`] needs room for.
pub(super) fn integers(sizes: Sizes) -> usize {
    3 * sizes.assigned + sizes.experts + 1
}

/// What follows from the router's logits; computed anew in backward.
///
/// An assignment is a row with one of its experts, number `row · k + j`; its place is its row after sorting by expert.
pub(super) struct Routing<'a, W> {
    /// The expert of each assignment.
    pub(super) chosen: &'a [i32],
    /// The place of each assignment.
    pub(super) places: &'a [i32],
    /// The assignment at each place.
    pub(super) order: &'a [i32],
    /// Where each expert's places start, and where the last one's end.
    starts: &'a [i32],
    /// The weight of each assignment.
    pub(super) weights: &'a [W],
}

impl<W: Float> Routing<'_, W> {
    /// The places of an expert.
    pub(super) fn of(&self, expert: usize) -> Range<usize> {
        self.starts[expert] as usize..self.starts[expert + 1] as usize
    }

    /// How often an expert is chosen, over the number of rows.
    pub(super) fn share(&self, expert: usize, rows: usize) -> f64 {
        self.of(expert).len() as f64 / rows.max(1) as f64
    }
}

/// max r and ln Σ exp(r − max r) of a row.
#[inline(always)]
pub(super) fn log_sum_exp<W: Float>(r: &[W]) -> (W, f64) {
    let m = maximum(r);
    let sum = sum_of(
        r,
        #[inline(always)]
        |r| (r - m).exp().f64(),
    );
    (m, sum.ln())
}

impl MixtureOfExperts {
    pub(super) fn route<'a, W: Float>(
        &self,
        cpu: &CpuDevice,
        sizes: Sizes,
        logits: &[W],
        map: &'a mut [i32],
        weights: &'a mut [W],
    ) -> Routing<'a, W> {
        let (chosen, rest) = map.split_at_mut(sizes.assigned);
        let (places, rest) = rest.split_at_mut(sizes.assigned);
        let (order, starts) = rest.split_at_mut(sizes.assigned);
        let (k, experts) = (self.top_k, sizes.experts);
        let row = |row: usize| &logits[row * experts..][..experts];
        for_rows(cpu, sizes.rows, 4 * k * experts, [(&mut *chosen, k)], |i, [chosen]| {
            choose(row(i), chosen);
        });
        let chosen = &*chosen;
        for_rows(cpu, sizes.rows, 16 * experts, [(&mut *weights, k)], |i, [weights]| {
            self.weigh(row(i), &chosen[i * k..][..k], weights);
        });
        // A counting sort, which keeps rows in order.
        starts.fill(0);
        for &expert in chosen {
            starts[expert as usize + 1] += 1;
        }
        for expert in 0..experts {
            starts[expert + 1] += starts[expert];
        }
        for (assignment, &expert) in chosen.iter().enumerate() {
            let place = starts[expert as usize];
            starts[expert as usize] += 1;
            places[assignment] = place;
            order[place as usize] = assignment as i32;
        }
        // Each start has become the next one's.
        starts.copy_within(..experts, 1);
        starts[0] = 0;
        Routing { chosen, places, order, starts, weights }
    }

    /// The weights of a row's chosen experts.
    #[inline(always)]
    fn weigh<W: Float>(&self, r: &[W], chosen: &[i32], weights: &mut [W]) {
        let of = |expert: i32| r[expert as usize];
        if self.adds_up() {
            // Relative to the greatest of them, so that the sum cannot vanish; NaN anywhere in the row is NaN here.
            let top = of(chosen[0]) + W::ZERO * maximum(r);
            let sum: f64 = chosen.iter().map(|&e| (of(e) - top).exp().f64()).sum();
            for (w, &expert) in weights.iter_mut().zip(chosen) {
                *w = W::of((of(expert) - top).exp().f64() / sum);
            }
        } else {
            let (m, log) = log_sum_exp(r);
            for (w, &expert) in weights.iter_mut().zip(chosen) {
                *w = (of(expert) - m - W::of(log)).exp();
            }
        }
    }

    /// The two losses of the router, as sums over rows.
    pub(super) fn losses<W: Float>(
        cpu: &CpuDevice,
        sizes: Sizes,
        logits: &[W],
        routing: &Routing<'_, W>,
    ) -> [f64; 2] {
        let experts = sizes.experts;
        let total = sum_rows::<W>(cpu, sizes.rows, 1, 16 * experts, &mut [], |rows, _| {
            let r = &logits[rows.start * experts..][..experts];
            let (m, log) = log_sum_exp(r);
            let of = |(e, &r): (usize, &W)| {
                routing.share(e, sizes.rows) * (r - m - W::of(log)).exp().f64()
            };
            let balance: f64 = r.iter().enumerate().map(of).sum();
            let log_sum_exp = m.f64() + log;
            Total { loss: experts as f64 * balance, count: log_sum_exp * log_sum_exp }
        });
        [total.loss, total.count]
    }

    /// dr of every row, from the gradients of the weights, of the balance loss and of the z-loss.
    pub(super) fn router_gradient<W: Float>(
        &self,
        cpu: &CpuDevice,
        sizes: Sizes,
        logits: &[W],
        routing: &Routing<'_, W>,
        (dweights, losses): (&[W], [f64; 2]),
        dlogits: &mut [W],
    ) {
        let (k, experts) = (self.top_k, sizes.experts);
        let [balance, z] = losses;
        for_rows(cpu, sizes.rows, 32 * experts, [(dlogits, experts)], |i, [dr]| {
            let r = &logits[i * experts..][..experts];
            let assignments = i * k..(i + 1) * k;
            let chosen = &routing.chosen[assignments.clone()];
            let w = &routing.weights[assignments.clone()];
            // dwₑ lies at its place.
            let dw = routing.places[assignments].iter().map(|&place| dweights[place as usize]);
            let (m, log) = log_sum_exp(r);
            let p = |r: W| (r - m - W::of(log)).exp();
            // First dp.
            for (e, dr) in dr.iter_mut().enumerate() {
                *dr = W::of(balance * experts as f64 * routing.share(e, sizes.rows));
            }
            if !self.adds_up() {
                dw.clone().zip(chosen).for_each(|(dw, &e)| dr[e as usize] += dw);
            }
            let mean: f64 = dr.iter().zip(r).map(|(dp, &r)| dp.f64() * p(r).f64()).sum();
            let from_z = 2.0 * z * (m.f64() + log);
            for (dr, &r) in dr.iter_mut().zip(r) {
                *dr = p(r) * (*dr + W::of(from_z - mean));
            }
            if self.adds_up() {
                let mean: f64 = dw.clone().zip(w).map(|(dw, w)| dw.f64() * w.f64()).sum();
                for ((dw, &w), &e) in dw.zip(w).zip(chosen) {
                    dr[e as usize] += w * (dw - W::of(mean));
                }
            }
        });
    }
}

/// The experts of the largest logits, from the largest; of equal ones the first, and every expert at most once whatever
/// the logits are.
#[inline(always)]
fn choose<W: Float>(r: &[W], chosen: &mut [i32]) {
    for j in 0..chosen.len() {
        let (before, rest) = chosen.split_at_mut(j);
        let mut best: Option<usize> = None;
        for (e, &value) in r.iter().enumerate() {
            if before.contains(&(e as i32)) {
                continue;
            }
            if best.is_none_or(|best| value > r[best]) {
                best = Some(e);
            }
        }
        rest[0] = best.unwrap_or(0) as i32;
    }
}
