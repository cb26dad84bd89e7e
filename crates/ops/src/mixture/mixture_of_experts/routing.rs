//! Routing: the experts of each row, with their weights.

use super::{MixtureOfExperts, Sizes};
use crate::loss::{Total, sum_rows};
use ff_kernels::{Float, for_rows, maximum, sum_columns, sum_of};
use ff_tensor::CpuDevice;
use std::ops::Range;

/// The number of integers in a [`Routing`].
pub(super) fn integers(sizes: Sizes) -> usize {
    3 * sizes.assigned + sizes.experts + 1
}

/// The routing by the router's logits; backward recomputes it.
///
/// Assignment `row · k + j` is a row with one of its experts; its position is its row after sorting
/// by expert.
pub(super) struct Routing<'a, W> {
    /// The expert of each assignment.
    pub(super) chosen: &'a [i32],
    /// The position of each assignment.
    pub(super) positions: &'a [i32],
    /// The assignment at each position.
    pub(super) order: &'a [i32],
    /// The start of each expert's positions, and the end of the last one's.
    starts: &'a [i32],
    /// The weight of each assignment.
    pub(super) weights: &'a [W],
}

impl<W: Float> Routing<'_, W> {
    /// The positions of an expert.
    pub(super) fn of(&self, expert: usize) -> Range<usize> {
        self.starts[expert] as usize..self.starts[expert + 1] as usize
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
        let (positions, rest) = rest.split_at_mut(sizes.assigned);
        let (order, starts) = rest.split_at_mut(sizes.assigned);
        let (k, experts) = (self.top_k, sizes.experts);
        let row = |row: usize| &logits[row * experts..][..experts];
        for_rows(
            cpu,
            sizes.rows,
            4 * k * experts,
            [(&mut *chosen, k)],
            #[inline(always)]
            |i, [chosen]| {
                choose(row(i), chosen);
            },
        );
        let chosen = &*chosen;
        for_rows(
            cpu,
            sizes.rows,
            16 * experts,
            [(&mut *weights, k)],
            #[inline(always)]
            |i, [weights]| {
                self.weigh(row(i), &chosen[i * k..][..k], weights);
            },
        );
        // A counting sort, which keeps rows in order.
        starts.fill(0);
        for &expert in chosen {
            starts[expert as usize + 1] += 1;
        }
        for expert in 0..experts {
            starts[expert + 1] += starts[expert];
        }
        for (assignment, &expert) in chosen.iter().enumerate() {
            let position = starts[expert as usize];
            starts[expert as usize] += 1;
            positions[assignment] = position;
            order[position as usize] = assignment as i32;
        }
        // Each start is now that of the next expert.
        starts.copy_within(..experts, 1);
        starts[0] = 0;
        Routing { chosen, positions, order, starts, weights }
    }

    /// The weights of the chosen experts of a row.
    #[inline(always)]
    fn weigh<W: Float>(&self, r: &[W], chosen: &[i32], weights: &mut [W]) {
        let of = |expert: i32| r[expert as usize];
        if self.adds_up() {
            // Relative to the greatest of them, so that the sum cannot vanish; any NaN in the row
            // gives NaN.
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

    /// Writes Σ p of each expert above its number of rows, and returns the z-loss; `p` has room for
    /// all probabilities.
    pub(super) fn spread<W: Float>(
        cpu: &CpuDevice,
        sizes: Sizes,
        logits: &[W],
        routing: &Routing<'_, W>,
        p: &mut [W],
        spread: &mut [W],
    ) -> f64 {
        let experts = sizes.experts;
        let total = sum_rows::<W>(
            cpu,
            sizes.rows,
            1,
            16 * experts,
            p,
            #[inline(always)]
            |rows, p| {
                let r = &logits[rows.start * experts..][..experts];
                let (m, log) = log_sum_exp(r);
                for (p, &r) in p.iter_mut().zip(r) {
                    *p = (r - m - W::of(log)).exp();
                }
                let log_sum_exp = m.f64() + log;
                Total { loss: log_sum_exp * log_sum_exp, count: 0.0 }
            },
        );
        let (sums, chosen) = spread.split_at_mut(experts);
        sum_columns(cpu, p, sums, false);
        // The choice of a non-finite row is meaningless, unless all experts are chosen.
        let choice = sizes.assigned < sizes.rows * experts;
        let nan = sums.iter().filter(|_| choice).map(|sum| 0.0 * sum.f64()).sum::<f64>();
        for (e, chosen) in chosen.iter_mut().enumerate() {
            *chosen = W::of(routing.of(e).len() as f64 + nan);
        }
        total.loss
    }

    /// dr of every row, from w dw at each position and the gradients of Σ p and of the z-loss.
    ///
    /// Every path from w to r multiplies by w, so dw itself is not needed.
    pub(super) fn router_gradient<W: Float>(
        &self,
        cpu: &CpuDevice,
        sizes: Sizes,
        logits: &[W],
        routing: &Routing<'_, W>,
        (sums, dp, z): (&[W], Option<&[W]>, f64),
        dlogits: &mut [W],
    ) {
        let (k, experts) = (self.top_k, sizes.experts);
        let dp = |e: usize| dp.map_or(0.0, |dp| dp[e].f64());
        for_rows(
            cpu,
            sizes.rows,
            32 * experts,
            [(dlogits, experts)],
            #[inline(always)]
            |i, [dr]| {
                let r = &logits[i * experts..][..experts];
                let assignments = i * k..(i + 1) * k;
                let chosen = &routing.chosen[assignments.clone()];
                let weights = &routing.weights[assignments.clone()];
                let sums =
                    routing.positions[assignments].iter().map(|&position| sums[position as usize]);
                let total: f64 = sums.clone().map(Float::f64).sum();
                let (m, log) = log_sum_exp(r);
                let p = |r: W| (r - m - W::of(log)).exp();
                let mut mean = 0.0;
                for (e, &r) in r.iter().enumerate() {
                    mean += dp(e) * p(r).f64();
                }
                if !self.adds_up() {
                    mean += total;
                }
                let from_z = 2.0 * z * (m.f64() + log);
                for (e, (dr, &r)) in dr.iter_mut().zip(r).enumerate() {
                    *dr = p(r) * W::of(dp(e) + from_z - mean);
                }
                for ((sum, &w), &e) in sums.zip(weights).zip(chosen) {
                    let mean = if self.adds_up() { w * W::of(total) } else { W::ZERO };
                    dr[e as usize] += sum - mean;
                }
            },
        );
    }
}

/// The experts of the largest logits, in descending order; ties go to the first, and no expert is
/// chosen twice, whatever the logits.
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
