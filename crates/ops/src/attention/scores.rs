//! Passes over tiles of scores: softmax forward and backward.

use super::{Attention, TILE};
use ff_kernels::{Band, Float};
use std::ops::Range;

/// A register of f32 with AVX-512.
pub(super) const LANES: usize = 16;

/// The step from products q·k to scores, for one head and one tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores<'a, T> {
    scale: T,
    cap: Option<T>,
    /// The slope of alibi.
    slope: T,
    /// The learned scores by distance, and the place of distance 0 among them.
    line: Option<(&'a [T], isize)>,
    /// The key at the position of the tile's first query, relative to the tile's first key.
    at: isize,
    band: Band,
    /// The key segments, if pairs need a check.
    keys: Option<&'a [i32; TILE]>,
    /// The query segments, if keys of other segments are masked.
    queries: Option<&'a [i32]>,
}

/// Every second of 16 consecutive values of a row.
pub(super) type Chunk<T> = [T; LANES];

impl<'a, T: Float> Scores<'a, T> {
    pub(super) fn new(op: &Attention, head: usize) -> Self {
        let scale = op.scale.unwrap_or_else(|| 1.0 / (op.head_dim as f64).sqrt());
        Self {
            scale: T::of(scale),
            cap: op.soft_cap.map(T::of),
            slope: T::of(if op.alibi { slope(head, op.heads) } else { 0.0 }),
            line: None,
            at: 0,
            band: Band::ALL,
            keys: None,
            queries: None,
        }
    }

    /// These scores with a line of learned ones, the first for the first of so many keys seen from
    /// the last one.
    pub(super) fn with_line(self, line: Option<&'a [T]>, keys: usize) -> Self {
        Self { line: line.map(|line| (line, keys as isize - 1)), ..self }
    }

    /// These scores for a tile.
    pub(super) fn tile(
        self,
        band: Band,
        at: isize,
        keys: Option<&'a [i32; TILE]>,
        queries: Option<&'a [i32]>,
    ) -> Self {
        Self { at, band, keys, queries, ..self }
    }

    /// Whether a score is more than a scaled product.
    fn plain(&self) -> bool {
        self.cap.is_none() && self.slope == T::ZERO && self.keys.is_none() && self.line.is_none()
    }

    /// Where the keys from `first` on, seen from query `i`, begin in a line whose distance 0 is at
    /// `own`.
    #[inline(always)]
    fn place(&self, own: isize, i: usize, first: usize) -> usize {
        (own + first as isize - self.at - i as isize) as usize
    }

    /// The chunks of a row with keys visible to query `i`, and the range of those keys.
    #[inline(always)]
    fn chunks(&self, i: usize, width: usize) -> (Range<usize>, (usize, usize)) {
        let seen = self.band.columns(i..i + 1, width);
        let first = seen.start / LANES;
        (first..seen.end.div_ceil(LANES).max(first), (seen.start, seen.end))
    }

    /// Scores of the keys from `first` on, −∞ for keys that query `i` does not see, and the
    /// derivative of the soft cap.
    #[inline(always)]
    fn chunk<const PLAIN: bool>(
        &self,
        x: &Chunk<T>,
        i: usize,
        first: usize,
        (start, end): (usize, usize),
    ) -> (Chunk<T>, Chunk<T>) {
        let mut u = [T::ZERO; LANES];
        let mut slope = [T::ONE; LANES];
        for l in 0..LANES {
            u[l] = x[l] * self.scale;
        }
        if !PLAIN {
            if let Some(cap) = self.cap {
                for l in 0..LANES {
                    let t = (u[l] / cap).tanh();
                    u[l] = cap * t;
                    slope[l] = T::ONE - t * t;
                }
            }
            if self.slope != T::ZERO {
                let at = self.at + i as isize - first as isize;
                for (l, u) in u.iter_mut().enumerate() {
                    *u -= self.slope * T::of((at - l as isize) as f64).abs();
                }
            }
            if let Some((line, own)) = self.line {
                let line = &line[self.place(own, i, first)..][..LANES];
                for l in 0..LANES {
                    u[l] += line[l];
                }
            }
            if let Some(keys) = self.keys {
                let own = self.queries.map_or(0, |queries| queries[i]);
                let any = self.queries.is_none();
                let keys = &keys[first..first + LANES];
                for l in 0..LANES {
                    let seen = keys[l] >= 0 && (any || keys[l] == own);
                    u[l] = if seen { u[l] } else { T::NEG_INFINITY };
                }
            }
        }
        let (start, end) = (start as i32 - first as i32, end as i32 - first as i32);
        for (l, u) in u.iter_mut().enumerate() {
            let l = l as i32;
            *u = if l >= start && l < end { *u } else { T::NEG_INFINITY };
        }
        (u, slope)
    }

    /// Turns products (rows of `width` keys, [`TILE`] apart) into weights eᵘ⁻ᵐ, with m the greatest
    /// score so far; `rows` holds m and the sum of weights of each row. Where m grows, the sum and
    /// the row of y are scaled down.
    #[inline(always)]
    pub(super) fn softmax(
        &self,
        x: &mut [T],
        width: usize,
        greatest: &mut [T],
        sums: &mut [T],
        y: (&mut [T], usize),
    ) {
        if self.plain() {
            self.softmax_of::<true>(x, width, greatest, sums, y);
        } else {
            self.softmax_of::<false>(x, width, greatest, sums, y);
        }
    }

    #[inline(always)]
    fn softmax_of<const PLAIN: bool>(
        &self,
        x: &mut [T],
        width: usize,
        greatest: &mut [T],
        sums: &mut [T],
        (y, y_row): (&mut [T], usize),
    ) {
        let scores = *self;
        let height = greatest.len();
        let x = &mut x.as_chunks_mut::<TILE>().0[..height];
        // Three loops, in each of which the independent rows overlap; a single loop would wait for
        // the reductions of each row.
        let mut new = [T::NEG_INFINITY; TILE];
        for (i, (row, new)) in x.iter_mut().zip(&mut new).enumerate() {
            let (chunks, seen) = scores.chunks(i, width);
            let row = row.as_chunks_mut::<LANES>().0;
            let mut most = [T::NEG_INFINITY; LANES];
            for c in chunks {
                let (u, _) = scores.chunk::<PLAIN>(&row[c], i, c * LANES, seen);
                for l in 0..LANES {
                    most[l] = if u[l] > most[l] { u[l] } else { most[l] };
                }
                row[c] = u;
            }
            *new = join(most, |a, b| if a > b { a } else { b });
        }
        let mut parts = [T::ZERO; TILE];
        for (i, (row, part)) in x.iter_mut().zip(&mut parts).enumerate() {
            let (chunks, _) = scores.chunks(i, width);
            let row = row.as_chunks_mut::<LANES>().0;
            let most = if new[i] > greatest[i] { new[i] } else { greatest[i] };
            new[i] = most;
            // A row without a score so far: its weights are 0, not e to the power of ∞ − ∞.
            let base = if most == T::NEG_INFINITY { T::ZERO } else { most };
            let mut lanes = [T::ZERO; LANES];
            row[..chunks.start].as_flattened_mut().fill(T::ZERO);
            row[chunks.end..].as_flattened_mut().fill(T::ZERO);
            for c in chunks {
                for l in 0..LANES {
                    let p = (row[c][l] - base).exp_weight();
                    row[c][l] = p;
                    lanes[l] += p;
                }
            }
            *part = join(lanes, |a, b| a + b);
        }
        for (i, (m, sum)) in greatest.iter_mut().zip(sums).enumerate() {
            if *m == new[i] || *m == T::NEG_INFINITY {
                *sum += parts[i];
            } else {
                let factor = (*m - new[i]).exp();
                *sum = *sum * factor + parts[i];
                for y in &mut y[i * y_row..][..y_row] {
                    *y *= factor;
                }
            }
            *m = new[i];
        }
    }

    /// Turns products into weights p = eᵘ⁻ˡ, with l the row's ln Σ eᵘ, and dp into du = p (dp − δ)
    /// times the derivative of the score; adds p (dp − δ) to the sums of a line of learned scores.
    #[inline(always)]
    pub(super) fn gradients(
        &self,
        x: &mut [T],
        dp: &mut [T],
        width: usize,
        (logs, deltas): (&[T], &[T]),
        sums: Option<&mut [T]>,
    ) {
        if self.plain() {
            self.gradients_of::<true>(x, dp, width, (logs, deltas), None);
        } else {
            self.gradients_of::<false>(x, dp, width, (logs, deltas), sums);
        }
    }

    #[inline(always)]
    fn gradients_of<const PLAIN: bool>(
        &self,
        x: &mut [T],
        dp: &mut [T],
        width: usize,
        (logs, deltas): (&[T], &[T]),
        mut sums: Option<&mut [T]>,
    ) {
        let scores = *self;
        let rows = x.as_chunks_mut::<TILE>().0.iter_mut().zip(dp.as_chunks_mut::<TILE>().0);
        for (i, ((row, dp), (&log, &delta))) in rows.zip(logs.iter().zip(deltas)).enumerate() {
            let (chunks, seen) = scores.chunks(i, width);
            let (row, dp) = (row.as_chunks_mut::<LANES>().0, dp.as_chunks_mut::<LANES>().0);
            for c in chunks.clone() {
                let (u, slope) = scores.chunk::<PLAIN>(&row[c], i, c * LANES, seen);
                let mut of_scores = [T::ZERO; LANES];
                for l in 0..LANES {
                    let p = (u[l] - log).exp_weight();
                    let d = p * (dp[c][l] - delta);
                    of_scores[l] = if u[l] == T::NEG_INFINITY { T::ZERO } else { d };
                    let d = d * scores.scale;
                    let d = if PLAIN { d } else { d * slope[l] };
                    // Outside the band, dp may hold anything.
                    let seen = u[l] != T::NEG_INFINITY;
                    row[c][l] = if seen { p } else { T::ZERO };
                    dp[c][l] = if seen { d } else { T::ZERO };
                }
                if !PLAIN && let (Some((_, own)), Some(sums)) = (scores.line, &mut sums) {
                    let sums = &mut sums[scores.place(own, i, c * LANES)..][..LANES];
                    for l in 0..LANES {
                        sums[l] += of_scores[l];
                    }
                }
            }
            for values in [row, dp] {
                values[..chunks.start].as_flattened_mut().fill(T::ZERO);
                values[chunks.end..].as_flattened_mut().fill(T::ZERO);
            }
        }
    }
}

/// Combines lanes pairwise.
#[inline(always)]
pub(super) fn join<T: Float>(mut lanes: Chunk<T>, f: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] = f(lanes[l], lanes[l + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The slope of head h: 2 to the power of −8 (h + 1)/n if the number n of heads is a power of two;
/// otherwise the slopes of the next lower power, followed by every second one of the next higher
/// power (Press et al., 2022).
fn slope(head: usize, heads: usize) -> f64 {
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let exponent = if head < power {
        (head + 1) as f64 / power as f64
    } else {
        (2 * (head - power) + 1) as f64 / (2 * power) as f64
    };
    (-8.0 * exponent).exp2()
}
