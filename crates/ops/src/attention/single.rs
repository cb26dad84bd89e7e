//! Attention of one query per sequence, as in generation: nothing is packed.

use super::Attention;
use super::layout::{Inputs, Sizes};
use super::mask::{Mask, band};
use super::scores::{LANES, join};
use ff_kernels::{Float, MatMut, MatRef, dispatch, for_heads};
use ff_tensor::CpuDevice;

impl Attention {
    /// Whether [`Attention::attend_single`] computes it.
    pub(super) fn is_single(&self, sizes: &Sizes) -> bool {
        sizes.queries == 1 && !self.alibi
    }

    /// y = softmax(c(s q Kᵀ)) V, with c the soft cap, over the keys that the query sees, a head at
    /// a time; zeros if it sees none.
    pub(super) fn attend_single(
        &self,
        cpu: &CpuDevice,
        sizes: &Sizes,
        inputs: &Inputs<'_, f32>,
        (segments, sinks): (Option<&[i32]>, Option<&[f32]>),
        y: &mut [f32],
    ) {
        let &Sizes { batch, keys, heads, dim, .. } = sizes;
        let group = sizes.group();
        let scale = self.scale.unwrap_or(1.0 / (dim as f64).sqrt()) as f32;
        let visible = band(self, 1, keys).columns(0..1, keys);
        let y = MatMut::new(y, batch, heads * dim);
        let work = 2 * visible.len() * dim;
        for_heads(cpu, (batch, heads), work, keys, [Some(y)], [], |(b, head), scores, [y], []| {
            let Some(mut y) = y else { return };
            let segments = segments.map(|s| &s[b * keys..][..keys]);
            let mask = Mask { band: band(self, 1, keys), keys: segments, queries: None };
            let one = Single {
                q: inputs.q.rows(b, head, 0..1),
                k: inputs.k.rows(b, head / group, visible.clone()),
                v: inputs.v.rows(b, head / group, visible.clone()),
                sees: &|j| mask.sees(0, visible.start + j),
                all: segments.is_none(),
                scale,
                cap: self.soft_cap.map(|cap| cap as f32),
                sink: sinks.map(|sinks| sinks[head]),
            };
            let scores = &mut scores[..visible.len()];
            dispatch(
                cpu,
                #[inline(always)]
                || one.run(scores, y.row(0)),
            );
        });
    }
}

/// A head of a sequence.
struct Single<'a> {
    q: MatRef<'a, f32>,
    k: MatRef<'a, f32>,
    v: MatRef<'a, f32>,
    sees: &'a dyn Fn(usize) -> bool,
    /// Whether it sees every key.
    all: bool,
    scale: f32,
    cap: Option<f32>,
    /// The score without a key.
    sink: Option<f32>,
}

impl Single<'_> {
    #[inline(always)]
    fn run(&self, scores: &mut [f32], y: &mut [f32]) {
        let q = self.q.row(0);
        let mut most = self.sink.unwrap_or(f32::NEG_INFINITY);
        for (j, score) in scores.iter_mut().enumerate() {
            *score = if self.all || (self.sees)(j) {
                self.scale * dot(q, self.k.row(j))
            } else {
                f32::NEG_INFINITY
            };
        }
        if let Some(cap) = self.cap {
            for score in scores.iter_mut().filter(|score| **score != f32::NEG_INFINITY) {
                *score = cap * Float::tanh(*score / cap);
            }
        }
        for &mut score in &mut *scores {
            most = most.max(score);
        }
        for score in &mut *scores {
            let weight = Float::exp(*score - most);
            *score = if *score == f32::NEG_INFINITY { 0.0 } else { weight };
        }
        let mut sum = self.sink.map_or(0.0, |sink| Float::exp(sink - most));
        for &mut score in &mut *scores {
            sum += score;
        }
        let wide = self.values::<{ 4 * LANES }>(scores, y, 0);
        let narrow = self.values::<LANES>(scores, y, wide);
        self.values::<1>(scores, y, narrow);
        if sum != 0.0 {
            let factor = 1.0 / sum;
            for y in y.iter_mut() {
                *y *= factor;
            }
        }
    }

    /// y = P V from the value at `start` on, N values at a time, whose sums stay in registers;
    /// returns the first value that is left.
    #[inline(always)]
    fn values<const N: usize>(&self, scores: &[f32], y: &mut [f32], start: usize) -> usize {
        let (whole, rest) = y[start..].as_chunks_mut::<N>();
        for (i, y) in whole.iter_mut().enumerate() {
            let at = start + i * N;
            let mut sums = [0.0; N];
            for (j, &p) in scores.iter().enumerate() {
                // A key that it does not see may hold anything.
                if p != 0.0
                    && let Some(v) = self.v.row(j)[at..].first_chunk::<N>()
                {
                    for n in 0..N {
                        sums[n] += p * v[n];
                    }
                }
            }
            *y = sums;
        }
        let left = rest.len();
        y.len() - left
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            sums[l] += a[l] * b[l];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    join(sums, |a, b| a + b) + rest
}
