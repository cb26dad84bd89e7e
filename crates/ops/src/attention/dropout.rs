//! Attention with dropout of its weights.

use super::layout::Sizes;
use super::scores::LANES;
use super::{Attention, TILE};
use ff_graph::for_stored;
use ff_graph::{Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec};
use ff_kernels::Float;
use ff_tensor::{Key, TensorMut, TensorRef};
use std::ops::Range;
use std::sync::Arc;

/// [`Attention`] with dropout of the weights that it gives to values, as `transformers` has it
/// (`attention_dropout`); in evaluation, attention itself.
///
/// Forward, with mₛ = 0 with probability p, else 1 / (1 − p): y = Σₛ pₛ mₛ vₛ
/// Backward, with δ = dy·y: dv = Σₜ pₜ mₜ dyₜ, dpₛ = mₛ (dy·vₛ), the rest as that of attention
///
/// Nothing is kept of the masks: they are a function of (seed, step, micro-batch, path) and of the
/// places of sequence, head, query and key, computed again by the backward pass.
///
/// # Shapes
/// Those of [`Attention`].
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Attention, AttentionDropout};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let mut input = |values: &[f32], n: usize| {
///     graph.input(Tensor::from_slice(&device, values, &[1, n, 1]).unwrap())
/// };
/// let (q, k, v) = (input(&[1.0], 1), input(&[0.0; 40], 40), input(&[1.0; 40], 40));
/// let op = AttentionDropout::op(Attention::new(1, 1, 1), 0.5, "layer");
/// let y = graph.apply(&op, &[&q, &k, &v])?;
/// let kept = y.slice::<f32>()?[0] * 20.0;
/// assert!((kept - kept.round()).abs() < 1e-4 && kept != 20.0);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionDropout {
    /// Heads and masks.
    pub attention: Attention,
    /// The probability of dropping a weight, in [0, 1).
    pub p: f64,
    /// The path of the layer, which distinguishes its masks from those of other layers.
    pub path: String,
}

impl AttentionDropout {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(attention: Attention, p: f64, path: impl Into<String>) -> Arc<dyn Op> {
        Arc::new(Self { attention, p, path: path.into() })
    }

    /// What is dropped in this step, if anything is.
    fn draws(&self, cx: &Cx<'_>) -> Option<Draws> {
        (cx.training && self.p > 0.0)
            .then(|| Draws { key: cx.key.with_name(&self.path), p: self.p })
    }
}

impl Op for AttentionDropout {
    fn name(&self) -> &'static str {
        "attention_dropout"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        if !(0.0..1.0).contains(&self.p) {
            let message = format!(
                "p, the probability of dropping a weight, must lie in [0, 1), found {} in `{}`",
                self.p, self.path
            );
            return Err(OpError::shape(message));
        }
        self.attention.contract(x, need)
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let draws = self.draws(cx);
        for_stored!(x[0].dtype(), S => self.attention.run_forward::<S>(cx, draws, x, y, saved))
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let draws = self.draws(cx);
        let dtype = kept.spec(0).dtype;
        for_stored!(dtype, S => self.attention.run_backward::<S>(cx, draws, kept, dy, dx))
    }
}

/// The masks of all heads of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draws {
    key: Key,
    p: f64,
}

impl Draws {
    /// Those of a head of a sequence.
    pub(super) fn of<T: Float>(self, sizes: &Sizes, (b, head): (usize, usize)) -> Dropped<T> {
        let tiles = sizes.keys.div_ceil(TILE) as u64;
        Dropped {
            key: self.key,
            // The conversion saturates: with p just below 1 the largest number is still kept.
            threshold: (self.p * 4_294_967_296.0).round() as u32,
            factor: T::of(1.0 / (1.0 - self.p)),
            first: ((b * sizes.heads + head) * sizes.queries) as u64 * tiles,
            tiles,
        }
    }
}

/// The masks of a head: key 16w + l of a tile is dropped for a query if word w of block l of the
/// sixteen blocks of both is less than p · 2³².
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped<T> {
    key: Key,
    threshold: u32,
    factor: T,
    /// The tiles of the heads before, and those of a query.
    first: u64,
    tiles: u64,
}

impl<T: Float> Dropped<T> {
    /// m of a query and a key.
    pub(super) fn factor(&self, t: usize, s: usize) -> T {
        let chunk = self.first + t as u64 * self.tiles + (s / TILE) as u64;
        let (word, block) = (s % TILE / LANES, s % LANES);
        let number = self.key.block(chunk * LANES as u64 + block as u64)[word];
        if number < self.threshold { T::ZERO } else { self.factor }
    }

    /// x ⊙ m, for the rows of some queries and the tile of the keys from this one on.
    #[inline(always)]
    pub(super) fn apply(&self, x: &mut [T], queries: &Range<usize>, key: usize) {
        let dropped = *self;
        let tile = dropped.first + (key / TILE) as u64;
        for (row, t) in x.as_chunks_mut::<TILE>().0.iter_mut().zip(queries.clone()) {
            let chunk = tile + t as u64 * dropped.tiles;
            let blocks = dropped.key.blocks::<LANES>(chunk * LANES as u64);
            for (x, numbers) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(&blocks) {
                // A product rather than a selection, so that NaN stays NaN.
                for (x, &number) in x.iter_mut().zip(numbers) {
                    *x *= if number < dropped.threshold { T::ZERO } else { dropped.factor };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};
    use ff_graph::Mode;

    /// Values that are the rows of the identity show the weights themselves.
    fn weights(p: f64, mode: Mode, path: &str) -> Vec<f64> {
        const KEYS: usize = 70;
        let (q, k) = (vec![0.0f64; 200 * KEYS], vec![1.0f64; KEYS * KEYS]);
        let one = |i: usize| f64::from(u8::from(i / KEYS == i % KEYS));
        let v: Vec<f64> = (0..KEYS * KEYS).map(one).collect();
        let inputs = [
            tensor(&q, &[1, 200, KEYS]),
            tensor(&k, &[1, KEYS, KEYS]),
            tensor(&v, &[1, KEYS, KEYS]),
        ];
        let op = AttentionDropout::op(Attention::new(1, 1, KEYS), p, path);
        Run::in_mode(mode, &op, &inputs).unwrap().output::<f64>(0)
    }

    #[test]
    fn the_share_of_dropped_weights_is_p_and_the_others_grow() {
        for p in [0.1, 0.5] {
            let found = weights(p, Mode::Train, "a");
            let dropped = found.iter().filter(|&&w| w == 0.0).count() as f64 / found.len() as f64;
            // Five standard errors of a proportion.
            let bound = 5.0 * (p * (1.0 - p) / found.len() as f64).sqrt();
            assert!((dropped - p).abs() < bound, "{dropped} of {p}");
            let kept = 1.0 / 70.0 / (1.0 - p);
            assert!(found.iter().all(|&w| w == 0.0 || (w - kept).abs() < 1e-12));
        }
    }

    #[test]
    fn paths_and_queries_draw_different_masks_and_evaluation_draws_none() {
        let found = weights(0.5, Mode::Train, "a");
        assert_eq!(found, weights(0.5, Mode::Train, "a"));
        assert_ne!(found, weights(0.5, Mode::Train, "b"));
        assert_ne!(found[..70], found[70..140]);
        let plain = weights(0.5, Mode::Eval, "a");
        assert!(plain.iter().all(|&w| (w - 1.0 / 70.0).abs() < 1e-12));
        assert_eq!(plain, weights(0.0, Mode::Train, "a"));
    }
}
