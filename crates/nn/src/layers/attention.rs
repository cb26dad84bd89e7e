use super::{Feedforward, Layer, RmsNorm};
use crate::{Builder, Init};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::{Activation, AttentionDropout, KeyValueCache, Rotary, Segments, Split};
use ff_tensor::{DType, Tensor};
use std::sync::Arc;

/// The groups of features of queries and keys with a common root mean square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// The features of a head; all heads share the gains.
    Head,
    /// The features of all heads.
    Projection,
}

/// The specification of an attention layer.
///
/// ```
/// use ff_nn::{Builder, layers::{Attention, AttentionConfig}};
/// let mut builder = Builder::new();
/// let heads = ff_ops::Attention { causal: true, ..ff_ops::Attention::new(4, 2, 8) };
/// let layer = Attention::new(&mut builder, &AttentionConfig::new(heads, 24));
/// assert_eq!(builder.plan()?.len(), (32 + 16 + 16) * 24 + 24 * 32);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AttentionConfig {
    /// Heads, masks, and whether one product gives queries, keys and values.
    pub heads: ff_ops::Attention,
    /// The width of the layer's input and output.
    pub features: usize,
    /// The width of the input of keys and values.
    pub memory_features: usize,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output has a bias.
    pub out_bias: bool,
    /// The normalisation of queries and keys.
    pub norm: Option<(QueryKeyNorm, ff_ops::RmsNorm)>,
    /// The rotation of queries and keys by their positions.
    pub rotary: Option<Rotary>,
    /// The learned scores by distance `[buckets, heads]`, where `heads.distances` says which share
    /// one: layers may have a table in common.
    pub distances: Option<ParamId>,
    /// Whether each head has a score without a key, the parameter `sinks`.
    pub sinks: bool,
    /// The names of the parameters of queries, keys, values and the output; the first for all three
    /// inputs if fused.
    pub names: [&'static str; 4],
    /// The initialiser of the weights of queries, keys and values.
    pub init: Init,
    /// The initialiser of the output's weight.
    pub out_init: Init,
    /// The share of the weights of keys that training drops.
    pub dropout: f64,
    /// Whether products are in bf16.
    pub bf16: bool,
}

impl AttentionConfig {
    /// Llama's names, without biases, normalisation or rotation.
    pub fn new(heads: ff_ops::Attention, features: usize) -> Self {
        let init = Init::Normal { std: 0.02 };
        Self {
            heads,
            features,
            memory_features: features,
            qkv_bias: false,
            out_bias: false,
            norm: None,
            rotary: None,
            distances: None,
            sinks: false,
            names: ["q_proj", "k_proj", "v_proj", "o_proj"],
            init,
            out_init: init,
            dropout: 0.0,
            bf16: false,
        }
    }
}

/// The inputs of attention besides x.
#[derive(Debug, Default)]
pub struct AttentionContext<'a> {
    /// The position of each token `[B, T]`, for rotary positions.
    pub positions: Option<&'a Value>,
    /// The segment of each key `[B, S]`, negative for padding. Without `memory`, also the segment
    /// of each query, and attention stays within segments. With `cache`, the segments of all keys
    /// after the call, which only mark padding.
    pub segments: Option<&'a Value>,
    /// The input of keys and values if it is not x itself: `[B, S, memory features]`.
    pub memory: Option<&'a Value>,
    /// Keys and values of earlier tokens, extended by those of x: for generation. With `memory`,
    /// those of the memory, computed once, when it is empty.
    pub cache: Option<&'a mut KeyValueCache>,
}

/// Attention with its projections: y = attention(x Wqᵀ, x Wkᵀ, x Wvᵀ) Woᵀ (Vaswani et al., 2017),
/// optionally with shared keys and values (Ainslie et al., 2023), rotary positions (Su et al.,
/// 2021) and normalised queries and keys.
///
/// Parameters: `q_proj.weight`, `k_proj.weight`, `v_proj.weight`, or one for all three, and
/// `o_proj.weight`, under the config's names; `bias` with biases; `q_norm.weight`, `k_norm.weight`;
/// `sinks` `[heads]`.
///
/// # Shapes
/// `[B, T, features] → [B, T, features]`
///
/// ```
/// use ff_nn::{Builder, layers::{Attention, AttentionConfig, AttentionContext}};
/// use ff_graph::Graph;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut builder = Builder::new();
/// let heads = ff_ops::Attention { causal: true, ..ff_ops::Attention::new(2, 1, 4) };
/// let layer = Attention::new(&mut builder, &AttentionConfig::new(heads, 6));
/// let mut graph = Graph::new(&device, builder.build(&device, DType::F32, 0, true)?);
/// let x = graph.input(Tensor::from_slice(&device, &[0.5f32; 18], &[1, 3, 6]).unwrap());
/// let y = layer.forward(&mut graph, &x, AttentionContext::default())?;
/// assert_eq!(y.shape().dims(), [1, 3, 6]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Attention {
    heads: ff_ops::Attention,
    /// Without segments, with those of keys, with those of keys and queries.
    ops: [Arc<dyn Op>; 3],
    /// The same for training, where weights are dropped.
    dropped: Option<[Arc<dyn Op>; 3]>,
    input: Projections,
    norms: Option<[RmsNorm; 2]>,
    rotary: Option<Arc<dyn Op>>,
    distances: Option<ParamId>,
    sinks: Option<ParamId>,
    out: Feedforward,
}

// One for each layer: the size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Projections {
    Fused(Feedforward),
    /// One product, taken apart, since queries and keys are normalised or turned.
    Split(Feedforward, Arc<dyn Op>),
    Separate([Feedforward; 3]),
}

impl Attention {
    /// Builds the layer and registers its parameters.
    pub fn new(builder: &mut Builder, config: &AttentionConfig) -> Self {
        let split = config.norm.is_some() || config.rotary.is_some();
        let fused = config.heads.fused && !split;
        let heads = ff_ops::Attention { fused, sinks: config.sinks, ..config.heads };
        let (q, kv) = (heads.heads * heads.head_dim, heads.kv_heads * heads.head_dim);
        let inner = Self::inner_dtype(config);
        let mut project = |name: &str, from, to, bias, init, output| {
            let f = Activation::Identity;
            let layer = builder.scope(name, |b| Feedforward::with_init(b, from, to, f, bias, init));
            if config.bf16 { layer.in_bf16(output) } else { layer }
        };
        let [q_name, k_name, v_name, out_name] = config.names;
        let (features, memory, bias) = (config.features, config.memory_features, config.qkv_bias);
        let input = if config.heads.fused {
            let layer = project(q_name, features, q + 2 * kv, bias, config.init, inner);
            if split {
                Projections::Split(layer, Split::op(&[q, kv, kv]))
            } else {
                Projections::Fused(layer)
            }
        } else {
            Projections::Separate([
                project(q_name, features, q, bias, config.init, inner),
                project(k_name, memory, kv, bias, config.init, inner),
                project(v_name, memory, kv, bias, config.init, inner),
            ])
        };
        let out = project(out_name, q, features, config.out_bias, config.out_init, DType::F32);
        let norms = config.norm.map(|(over, op)| {
            [("q_norm", q), ("k_norm", kv)].map(|(name, projection)| {
                let features = match over {
                    QueryKeyNorm::Head => heads.head_dim,
                    QueryKeyNorm::Projection => projection,
                };
                builder.scope(name, |b| RmsNorm::with_op(b, features, op))
            })
        });
        let op = |segments| ff_ops::Attention { segments, ..heads }.op();
        let kinds = [Segments::None, Segments::Keys, Segments::Both];
        let ops = kinds.map(op);
        let (p, path) = (config.dropout, builder.path());
        let drop =
            |segments| AttentionDropout::op(ff_ops::Attention { segments, ..heads }, p, path);
        let dropped = (p > 0.0).then(|| kinds.map(drop));
        let rotary = config.rotary.clone().map(Rotary::op);
        let sinks = config
            .sinks
            .then(|| builder.param("sinks", [heads.heads], ParamKind::Bias, config.init));
        let distances = config.distances;
        Self { heads, ops, dropped, input, norms, rotary, distances, sinks, out }
    }

    /// The type of queries, keys and values, and of a cache for them.
    pub fn inner_dtype(config: &AttentionConfig) -> DType {
        // Normalisation computes in f32, without rounding its input or output.
        if config.bf16 && config.norm.is_none() { DType::BF16 } else { DType::F32 }
    }

    /// The output of the layer.
    ///
    /// # Errors
    /// If shapes do not match, the cache is full, or memory is exhausted.
    pub fn forward(
        &self,
        graph: &mut Graph,
        x: &Value,
        context: AttentionContext<'_>,
    ) -> Result<Value> {
        let y = match &self.input {
            Projections::Fused(layer) => {
                let qkv = layer.forward(graph, x.clone())?;
                match context.cache {
                    None => self.apply(graph, &[&qkv], &context)?,
                    Some(cache) => {
                        cache.append_fused(tensor(&qkv)?)?;
                        self.attend(graph, &qkv, cache, context.segments)?
                    }
                }
            }
            Projections::Split(layer, split) => {
                let qkv = layer.forward(graph, x.clone())?;
                let parts = graph.apply_all(split, &[&qkv])?;
                drop(qkv);
                let [q, k, v] = parts.as_slice() else {
                    return Err(Error::shape("attention", "expected queries, keys and values"));
                };
                let qkv = [q.clone(), k.clone(), v.clone()];
                drop(parts);
                self.turned(graph, qkv, context)?
            }
            Projections::Separate([q, k, v]) => {
                let memory = context.memory.unwrap_or(x);
                let q = q.forward(graph, x.clone())?;
                if let (Some(_), Some(cache)) = (context.memory, &context.cache)
                    && !cache.is_empty()
                {
                    let y = self.attend(graph, &q, cache, context.segments)?;
                    return self.out.forward(graph, y);
                }
                let k = k.forward(graph, memory.clone())?;
                let v = v.forward(graph, memory.clone())?;
                self.turned(graph, [q, k, v], context)?
            }
        };
        self.out.forward(graph, y)
    }

    /// Attention of queries and keys that are normalised and turned first.
    fn turned(
        &self,
        graph: &mut Graph,
        [mut q, mut k, v]: [Value; 3],
        context: AttentionContext<'_>,
    ) -> Result<Value> {
        if let Some([q_norm, k_norm]) = &self.norms {
            (q, k) = (q_norm.forward(graph, q)?, k_norm.forward(graph, k)?);
        }
        if let Some(rotary) = &self.rotary {
            let positions = context.positions.ok_or_else(|| {
                Error::shape("attention", "rotary positions need the position of each token")
            })?;
            q = graph.apply(rotary, &[&q, positions])?;
            k = graph.apply(rotary, &[&k, positions])?;
        }
        match context.cache {
            None => self.apply(graph, &[&q, &k, &v], &context),
            Some(cache) => {
                cache.append(tensor(&k)?, tensor(&v)?)?;
                self.attend(graph, &q, cache, context.segments)
            }
        }
    }

    fn apply(
        &self,
        graph: &mut Graph,
        qkv: &[&Value],
        context: &AttentionContext<'_>,
    ) -> Result<Value> {
        let learned = [self.distances, self.sinks].map(|id| id.map(|id| graph.param(id)));
        let mut inputs: smallvec::SmallVec<[&Value; 6]> = qkv.iter().copied().collect();
        let ops = self.dropped.as_ref().filter(|_| graph.training()).unwrap_or(&self.ops);
        let op = match (context.segments, context.memory) {
            (None, _) => &ops[0],
            (Some(keys), Some(_)) => {
                inputs.push(keys);
                &ops[1]
            }
            (Some(both), None) => {
                inputs.extend([both, both]);
                &ops[2]
            }
        };
        inputs.extend(learned.iter().flatten());
        graph.apply(op, &inputs)
    }

    /// Attention over the cached tokens, outside the tape.
    fn attend(
        &self,
        graph: &Graph,
        q: &Value,
        cache: &KeyValueCache,
        segments: Option<&Value>,
    ) -> Result<Value> {
        let known = if segments.is_some() { Segments::Keys } else { Segments::None };
        let heads = ff_ops::Attention { segments: known, ..self.heads };
        let segments = segments.map(tensor).transpose()?.map(Tensor::view);
        let [distances, sinks] =
            [self.distances, self.sinks].map(|id| id.map(|id| graph.params().view(id)));
        let others = [segments, distances, sinks];
        Ok(graph.input(heads.attend(graph.device(), tensor(q)?, cache, others)?))
    }
}

fn tensor(value: &Value) -> Result<&Tensor> {
    value.tensor().ok_or_else(|| Error::shape("attention", "expected a tensor, found a parameter"))
}
