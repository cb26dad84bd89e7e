//! Attention, without the matrix of all scores.

mod backward;
mod cache;
mod cases;
mod distance;
mod dropout;
mod forward;
mod layout;
mod mask;
pub(crate) mod rotary;
mod scores;
mod single;
mod sinks;
#[cfg(test)]
mod tests;

pub use cache::KeyValueCache;
pub(crate) use cases::{cases, dropout_cases};
pub use distance::DistanceBuckets;
pub use dropout::AttentionDropout;

use ff_graph::for_stored;
use ff_graph::{Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec};
use ff_kernels::{BlockFloat, Float};
use ff_tensor::{DType, TensorMut, TensorRef};
use layout::Sizes;
use std::sync::Arc;

const NAME: &str = "attention";

/// Queries and keys per block of scores: two blocks with their factors about fit the L1 cache.
const TILE: usize = 64;

/// Multi-head softmax attention (Vaswani et al., 2017), optionally with fewer key-value heads than
/// query heads (Ainslie et al., 2023), computed in tiles with a running softmax (Dao et al., 2022),
/// so that memory grows with T, not T².
///
/// Forward, for query t of a head: uₛ = qₜ·kₛ scale, then c tanh(uₛ/c) with a soft cap, less
/// slope·|t + S − T − s| with alibi, plus r of the bucket of s − (t + S − T) with `distances`; p =
/// softmax over the keys that t sees; y = Σₛ pₛ vₛ; zeros where it sees none
/// Backward, with δ = dy·y: dv = Σₜ pₜ dyₜ, dpₛ = dy·vₛ, du = p ⊙ (dp − δ) (1 − tanh²) scale, dq =
/// Σₛ duₛ kₛ, dk = Σₜ duₜ qₜ, dr = Σ p ⊙ (dp − δ) over the pairs of a bucket
///
/// Query t sees key s if s ≤ t + S − T (with `causal`), t + S − T − s < w (with a window w), s −
/// (t + S − T) ≤ a (with keys a ahead), and the segments allow it.
///
/// With `sinks`, each head has a score u₀ that no key has and no value belongs to, so that the
/// weights of the keys sum to less than 1; its gradient is du₀ = −Σₜ p₀ δ (OpenAI, "gpt-oss",
/// 2025).
///
/// Inputs: q, k and v, or all in one if `fused`, then the segments of keys and of queries (i32),
/// then r, then the sinks. Kept: the inputs and y; saved: ln Σ eᵘ, one number per query and head.
/// Values of bf16 are multiplied as bf16 and summed in f32.
///
/// # Shapes
/// q `[B, T, heads·head_dim]`, k and v `[B, S, kv_heads·head_dim]`, or
/// `[B, T, (heads + 2·kv_heads)·head_dim]`; segments of keys `[B, S]`, of queries `[B, T]`; r
/// `[buckets, heads]`; sinks `[heads]` → y `[B, T, heads·head_dim]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Attention;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let mut input =
///     |values: &[f32]| graph.input(Tensor::from_slice(&device, values, &[1, 2, 1]).unwrap());
/// let (q, k, v) = (input(&[1.0, 1.0]), input(&[0.0, 0.0]), input(&[2.0, 4.0]));
/// let y =
///     graph.apply(&Attention { causal: true, ..Attention::new(1, 1, 1) }.op(), &[&q, &k, &v])?;
/// assert_eq!(y.slice::<f32>()?, [2.0, 3.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Attention {
    /// The number of query heads.
    pub heads: usize,
    /// The number of key-value heads, each shared by heads/kv_heads consecutive query heads.
    pub kv_heads: usize,
    /// The number of features per head.
    pub head_dim: usize,
    /// The factor of the scores; `None` for 1/√head_dim.
    pub scale: Option<f64>,
    /// Whether queries see only earlier keys and their own.
    pub causal: bool,
    /// The number of keys that a query sees, counted back from its own.
    pub window: Option<usize>,
    /// The number of keys behind its own that a query sees, without `causal`.
    pub ahead: Option<usize>,
    /// c, the bound of scores c·tanh(u/c).
    pub soft_cap: Option<f64>,
    /// Whether scores decrease with distance, with a slope per head (Press et al., 2022).
    pub alibi: bool,
    /// The buckets of distances that have a learned score per head.
    pub distances: Option<DistanceBuckets>,
    /// Whether q, k and v are side by side in one input.
    pub fused: bool,
    /// The segment inputs.
    pub segments: Segments,
    /// Whether each head has a score without a key.
    pub sinks: bool,
}

/// The segments of a sequence: padding, and documents that do not attend to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Segments {
    /// No segments.
    #[default]
    None,
    /// Keys with a negative segment are padding, invisible to all queries.
    Keys,
    /// The same, and queries see only the keys of their own segment.
    Both,
}

impl Segments {
    /// The number of segment inputs.
    fn count(self) -> usize {
        match self {
            Segments::None => 0,
            Segments::Keys => 1,
            Segments::Both => 2,
        }
    }
}

impl Attention {
    /// Full attention: every query sees every key; three inputs.
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            scale: None,
            causal: false,
            window: None,
            ahead: None,
            soft_cap: None,
            alibi: false,
            distances: None,
            fused: false,
            segments: Segments::None,
            sinks: false,
        }
    }

    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// The number of inputs before the segments.
    fn tensors(&self) -> usize {
        if self.fused { 1 } else { 3 }
    }

    /// The place of the learned scores among the inputs.
    fn table(&self) -> Option<usize> {
        self.distances.map(|_| self.tensors() + self.segments.count())
    }

    /// The number of inputs.
    fn inputs(&self) -> usize {
        let learned = usize::from(self.distances.is_some()) + usize::from(self.sinks);
        self.tensors() + self.segments.count() + learned
    }

    /// Checks the attributes.
    fn validate(&self) -> OpResult {
        let Self { heads, kv_heads, head_dim, .. } = *self;
        let fail = |message: String| Err(OpError::shape(message));
        if heads == 0 || kv_heads == 0 || head_dim == 0 || !heads.is_multiple_of(kv_heads) {
            return fail(format!(
                "{heads} heads of {head_dim} features with {kv_heads} key-value heads; the number \
                 of key-value heads must divide that of query heads, and none can be 0"
            ));
        }
        let number = |v: Option<f64>| v.is_none_or(f64::is_finite);
        if !number(self.scale) || !number(self.soft_cap) || self.soft_cap.is_some_and(|c| c <= 0.0)
        {
            return fail(format!(
                "the scale {:?} must be finite, and the soft cap {:?} finite and positive",
                self.scale, self.soft_cap
            ));
        }
        self.distances.map_or(Ok(()), |distances| distances.validate())?;
        let width = kv_heads.checked_mul(2).and_then(|n| n.checked_add(heads));
        if width.and_then(|n| n.checked_mul(head_dim)).is_none_or(|n| n > 1 << 32) {
            return fail(format!("{heads} heads of {head_dim} features are too many"));
        }
        Ok(())
    }

    /// The sizes, after a check of the shapes.
    fn sizes(&self, spec: impl Fn(usize) -> Spec) -> OpResult<Sizes> {
        let Self { heads, kv_heads, head_dim: dim, .. } = *self;
        let found = |i: usize| spec(i).shape;
        let (q, k, v) = if self.fused {
            (found(0), found(0), found(0))
        } else {
            (found(0), found(1), found(2))
        };
        let (wide, narrow) = (heads * dim, kv_heads * dim);
        let (q_width, k_width) =
            if self.fused { (wide + 2 * narrow, wide + 2 * narrow) } else { (wide, narrow) };
        let sizes = match (q.dims(), k.dims()) {
            (&[batch, queries, width], &[keys_batch, keys, key_width])
                if width == q_width && key_width == k_width && keys_batch == batch && v == k =>
            {
                Sizes { batch, queries, keys, heads, kv_heads, dim }
            }
            _ if self.fused => {
                let message = format!("q, k and v must be [B, T, {q_width}], found {q}");
                return Err(OpError::shape(message));
            }
            _ => {
                let message = format!(
                    "q must be [B, T, {wide}], k and v [B, S, {narrow}]; found {q}, {k} and {v}"
                );
                return Err(OpError::shape(message));
            }
        };
        let lengths = [("keys", sizes.keys), ("queries", sizes.queries)];
        for (i, (what, len)) in lengths.into_iter().enumerate().take(self.segments.count()) {
            let Spec { shape, dtype } = spec(self.tensors() + i);
            if dtype != DType::I32 {
                return Err(OpError::dtype("i32 for segments", dtype));
            }
            if shape.dims() != [sizes.batch, len] {
                let message = format!(
                    "the segments of {what} must be [{}, {len}], found {shape}",
                    sizes.batch
                );
                return Err(OpError::shape(message));
            }
        }
        Ok(sizes)
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        self.validate()?;
        let tensors = self.tensors();
        let expected = self.inputs();
        if x.len() != expected {
            let names = if self.fused { "fused q, k and v" } else { "q, k, v" };
            let message = format!(
                "expected {expected} inputs ({names}, with segments: {:?}, scores by distance: {}, \
                 sinks: {}), found {}",
                self.segments,
                self.distances.is_some(),
                self.sinks,
                x.len()
            );
            return Err(OpError::shape(message));
        }
        let dtype = x[0].dtype;
        if !(dtype.is_float() || dtype == DType::BF16) {
            return Err(OpError::dtype("f32, f64 or bf16", dtype));
        }
        for (name, spec) in ["k", "v"].into_iter().zip(&x[1..tensors]) {
            ff_graph::check::same_dtype(name, spec, &x[0])?;
        }
        let sizes = self.sizes(|i| x[i])?;
        let sums = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        if self.sinks && x[expected - 1] != Spec::new([sizes.heads], sums) {
            let Spec { shape, dtype } = x[expected - 1];
            let message =
                format!("the sinks must be [{}] of {sums}, found {shape} of {dtype}", sizes.heads);
            return Err(OpError::shape(message));
        }
        let table = self.table().zip(self.distances);
        if let Some((at, DistanceBuckets { count, .. })) = table
            && x[at] != Spec::new([count, sizes.heads], sums)
        {
            let Spec { shape, dtype } = x[at];
            let message = format!(
                "the scores by distance must be [{count}, {}] of {sums}, found {shape} of {dtype}",
                sizes.heads
            );
            return Err(OpError::shape(message));
        }
        let pairs = sizes.batch * sizes.heads * mask::pairs(self, &sizes);
        let flops = 4 * sizes.dim * pairs;
        let y = x[0].with_shape([sizes.batch, sizes.queries, sizes.heads * sizes.dim]);
        let mut contract = Contract::new([y]);
        let learned = tensors + self.segments.count()..expected;
        if need[..tensors].contains(&true) || need[learned].contains(&true) {
            let row = Spec::new([sizes.batch, sizes.queries, sizes.heads], sums);
            contract = contract.keep_output(0).save(row).cost(flops, flops / 2 * 5);
            for i in 0..expected {
                contract = contract.keep_input(i);
            }
            if dtype == DType::BF16 && need[0] {
                contract = contract.dscratch(Spec::new(y.shape, DType::F32));
            }
            if let Some((_, DistanceBuckets { count, .. })) = table.filter(|(at, _)| need[*at]) {
                let parts = [sizes.batch, sizes.heads, count];
                contract = contract.dscratch(Spec::new(parts, sums));
            }
        } else {
            contract = contract.cost(flops, 0);
        }
        Ok(contract)
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        for_stored!(x[0].dtype(), S => self.run_forward::<S>(cx, None, x, y, saved))
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_stored!(kept.spec(0).dtype, S => self.run_backward::<S>(cx, None, kept, dy, dx))
    }
}

/// The type of attention's arithmetic.
trait Value: BlockFloat<Compute: Float> {}
impl<S: BlockFloat> Value for S {}
