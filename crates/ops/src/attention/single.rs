//! Attention of one query per sequence, as in generation: nothing is packed.

use super::forward::Others;
use super::layout::{Inputs, Sizes};
use super::mask::{Mask, band};
use super::{Attention, DistanceBuckets};
use ff_kernels::{Float, MatMut, dispatch, dot_rows, for_heads, sum_rows};
use ff_tensor::CpuDevice;

impl Attention {
    /// Whether [`Attention::attend_single`] computes it.
    pub(super) fn is_single(&self, sizes: &Sizes) -> bool {
        sizes.queries == 1 && !self.alibi
    }

    /// y = softmax(c(s q Kᵀ) + r) V, with c the soft cap and r by distance, over the keys that the
    /// query sees, a head at a time; zeros if it sees none.
    pub(super) fn attend_single(
        &self,
        cpu: &CpuDevice,
        sizes: &Sizes,
        inputs: &Inputs<'_, f32>,
        Others { segments: [segments, _], table, sinks, .. }: Others<'_, f32>,
        y: &mut [f32],
    ) {
        let &Sizes { batch, keys, heads, kv_heads, dim, .. } = sizes;
        let group = sizes.group();
        let scale = self.scale.unwrap_or(1.0 / (dim as f64).sqrt()) as f32;
        let visible = band(self, 1, keys).columns(0..1, keys);
        let y = MatMut::new(y, batch, heads * dim);
        let work = 2 * group * visible.len() * dim;
        let (own, learned) = (group * keys, self.distances.zip(table));
        let len = own + if learned.is_some() { DistanceBuckets::line_len(sizes) } else { 0 };
        // The heads of a group read the same keys and values, once.
        for_heads(cpu, (batch, kv_heads), work, len, [Some(y)], [], |(b, kv), scores, [y], []| {
            let Some(mut y) = y else { return };
            let segments = segments.map(|s| &s[b * keys..][..keys]);
            let mask = Mask { band: band(self, 1, keys), keys: segments, queries: None };
            let (scores, line) = scores.split_at_mut(own);
            let scores = &mut scores[..group * visible.len()];
            let q = inputs.q.first_row(b, kv * group..(kv + 1) * group);
            dot_rows(cpu, q, inputs.k.rows(b, kv, visible.clone()), scores);
            let cap = self.soft_cap.map(|cap| cap as f32);
            for (g, scores) in scores.chunks_exact_mut(visible.len().max(1)).enumerate() {
                if segments.is_some() {
                    for (score, j) in scores.iter_mut().zip(visible.clone()) {
                        if !mask.sees(0, j) {
                            *score = f32::NEG_INFINITY;
                        }
                    }
                }
                let sink = sinks.map(|sinks| sinks[kv * group + g]);
                if let Some((distances, table)) = learned {
                    distances.line(table, kv * group + g, sizes, line);
                }
                let line = learned.map(|_| &line[visible.clone()]);
                dispatch(
                    cpu,
                    #[inline(always)]
                    || softmax(scores, scale, cap, line, sink),
                );
            }
            sum_rows(cpu, scores, inputs.v.rows(b, kv, visible.clone()), y.row(0));
        });
    }
}

/// p = softmax(c(s x) + r), in place, with a sink as one more score; zeros if no key is seen.
#[inline(always)]
fn softmax(x: &mut [f32], scale: f32, cap: Option<f32>, line: Option<&[f32]>, sink: Option<f32>) {
    let mut most = sink.unwrap_or(f32::NEG_INFINITY);
    for x in &mut *x {
        *x *= scale;
    }
    if let Some(cap) = cap {
        for x in x.iter_mut().filter(|x| **x != f32::NEG_INFINITY) {
            *x = cap * Float::tanh(*x / cap);
        }
    }
    for (x, more) in x.iter_mut().zip(line.unwrap_or_default()) {
        *x += more;
    }
    for &mut x in &mut *x {
        most = most.max(x);
    }
    for x in &mut *x {
        let weight = Float::exp(*x - most);
        *x = if *x == f32::NEG_INFINITY { 0.0 } else { weight };
    }
    let mut sum = sink.map_or(0.0, |sink| Float::exp(sink - most));
    for &mut x in &mut *x {
        sum += x;
    }
    let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
    for x in x {
        *x *= factor;
    }
}
