use super::TokenBatch;
use super::block::{Block, RouterLosses, norm};
use super::cache::ModelCache;
use super::config::DecoderConfig;
use super::families::Family;
use crate::layers::Embedding;
use crate::transformer::LanguageOptions;
use crate::{Builder, Init, Layer};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, RecomputeAll, Result, Value, Values};
use ff_ops::{Activation, Add, FeedforwardBf16, LinearCrossEntropy, RouterBalance, Scale};
use ff_tensor::{DType, Tensor};
use std::fmt;
use std::sync::Arc;

/// A decoder that predicts the next token (Radford et al., 2019; Touvron et al., 2023): embeddings, pre-norm blocks, a
/// norm, and an output layer, which may be the table of embeddings.
///
/// Parameters carry Hugging Face's names; matrices are `[out, in]`, and experts are stacked (see
/// [`file_tensors`](super::file_tensors) for what files have).
///
/// # Shapes
/// tokens `[B, T]` → logits `[B, T, vocabulary]`
///
/// ```
/// use ff_nn::{Builder, models::{CausalLm, DecoderConfig, TokenBatch}};
/// use ff_graph::Graph;
/// use ff_tensor::{DType, Device, Tensor};
/// let config = DecoderConfig::parse(r#"{"model_type": "llama", "vocab_size": 10, "hidden_size": 8,
///     "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}"#).unwrap();
/// let device = Device::default();
/// let mut builder = Builder::new();
/// let model = CausalLm::new(&mut builder, &config, &Default::default());
/// let mut graph = Graph::new(&device, builder.build(&device, DType::F32, 0, true)?);
/// let input = |values: &[i32]| Tensor::from_slice(&device, values, &[1, 3]).unwrap();
/// let batch = TokenBatch {
///     ids: graph.input(input(&[1, 2, 3])),
///     positions: graph.input(input(&[0, 1, 2])),
///     segments: None,
/// };
/// let targets = graph.input(input(&[2, 3, -100]));
/// let loss = model.loss(&mut graph, &batch, &targets)?;
/// assert_eq!(loss.count.item()?, 2.0);
/// graph.backward(loss.total)?;
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct CausalLm {
    embedding: Embedding,
    positions: Option<Embedding>,
    blocks: Vec<Arc<Block>>,
    /// Each block once more, where it is to be computed again for the backward pass.
    again: Option<Again>,
    norm: Box<dyn Layer>,
    output: ParamId,
    loss: Arc<dyn Op>,
    logits: Arc<dyn Op>,
    add: Arc<dyn Op>,
    balance: Arc<dyn Op>,
    /// The factors of the routers' losses, where they are not 0.
    router: [Option<Arc<dyn Op>>; 2],
    options: LanguageOptions,
}

/// The losses of a batch, each a sum over tokens.
///
/// ```
/// fn mean(loss: &ff_nn::models::CausalLoss) -> ff_graph::Result<f64> { Ok(loss.sum.item()? / loss.count.item()?) }
/// ```
#[derive(Debug, Clone)]
pub struct CausalLoss {
    /// The cross entropy in nats `[1]`.
    pub sum: Value,
    /// How many tokens it is summed over `[1]`.
    pub count: Value,
    /// What backward starts from: the sum, with the losses of routers.
    pub total: Value,
}

impl CausalLm {
    /// Makes the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &DecoderConfig, options: &LanguageOptions) -> Self {
        let gpt2 = config.family == Family::Gpt2;
        let init = Init::Normal { std: config.initializer_range };
        let (vocab, features) = (config.vocab_size, config.hidden_size);
        let table = |b: &mut Builder, name, rows| {
            b.scope(name, |b| Embedding::with_init(b, rows, features, init))
        };
        let (embedding, positions, blocks, norm) =
            b.scope(if gpt2 { "transformer" } else { "model" }, |b| {
                let embedding = table(b, if gpt2 { "wte" } else { "embed_tokens" }, vocab);
                let learned = config.rope.is_none();
                let positions = learned.then(|| table(b, "wpe", config.max_positions));
                let list = if gpt2 { "h" } else { "layers" };
                let block = |(i, layer)| {
                    let block =
                        b.scope(&format!("{list}.{i}"), |b| Block::new(b, config, layer, options));
                    Arc::new(block)
                };
                let blocks: Vec<Arc<Block>> = config.layers.iter().enumerate().map(block).collect();
                (embedding, positions, blocks, norm(b, if gpt2 { "ln_f" } else { "norm" }, config))
            });
        let output = if config.tied {
            embedding.weight()
        } else {
            b.scope("lm_head", |b| b.param("weight", [vocab, features], ParamKind::Embedding, init))
        };
        if !config.trains_biases {
            b.freeze(ParamKind::Bias);
        }
        let loss = LinearCrossEntropy {
            z_loss: options.z_loss,
            label_smoothing: options.label_smoothing,
            bf16: options.bf16(),
            ..LinearCrossEntropy::default()
        };
        let logits = if options.bf16() {
            FeedforwardBf16::op(Activation::Identity, false, DType::F32)
        } else {
            ff_ops::Feedforward::op(Activation::Identity, false)
        };
        let again = options.recompute.then(|| Again(blocks.iter().cloned().map(again).collect()));
        let with_experts = config.layers.iter().any(|layer| layer.experts);
        let scaled = |factor: f64| (factor > 0.0).then(|| Scale::op(factor));
        let router = config.moe.filter(|_| with_experts);
        Self {
            embedding,
            positions,
            blocks,
            again,
            norm,
            output,
            loss: loss.op(),
            logits,
            add: Add::op(),
            balance: RouterBalance { top_k: config.moe.map_or(1, |moe| moe.top_k) }.op(),
            router: router.map_or([None, None], |moe| [scaled(moe.balance), scaled(moe.z_loss)]),
            options: *options,
        }
    }

    /// How it computes.
    pub fn options(&self) -> &LanguageOptions {
        &self.options
    }

    /// The loss of predicting `targets` `[B, T]`, of which −100 is not counted.
    ///
    /// # Errors
    /// An id is not in the vocabulary, a position is too large, or memory is short.
    pub fn loss(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        targets: &Value,
    ) -> Result<CausalLoss> {
        let (x, losses) = self.hidden(graph, batch, None)?;
        let weight = graph.param(self.output);
        let outputs = graph.apply_all(&self.loss, &[&x, &weight, targets])?;
        drop(x);
        let [sum, count] = outputs.as_slice() else {
            return Err(Error::shape("causal_lm", "expected a loss and a count"));
        };
        let mut total = sum.clone();
        if let Some(losses) = losses {
            let [balance, z_loss] = &self.router;
            if let Some(factor) = balance {
                let loss = graph.apply(&self.balance, &[&losses.spread, count])?;
                let loss = graph.apply(factor, &[&loss])?;
                total = graph.apply(&self.add, &[&total, &loss])?;
            }
            if let Some(factor) = z_loss {
                let loss = graph.apply(factor, &[&losses.z_loss])?;
                total = graph.apply(&self.add, &[&total, &loss])?;
            }
        }
        Ok(CausalLoss { sum: sum.clone(), count: count.clone(), total })
    }

    /// The logits `[B, T, vocabulary]` of the token after each; with a cache, after those that it holds, to which these are
    /// added.
    ///
    /// # Errors
    /// An id is not in the vocabulary, a position is too large, the cache is full, or memory is short.
    pub fn logits(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        cache: Option<&mut ModelCache>,
    ) -> Result<Value> {
        let (x, _) = self.hidden(graph, batch, cache)?;
        self.head(graph, &x)
    }

    /// The logits `[B, vocabulary]` of the token after the last one of each sequence.
    ///
    /// # Errors
    /// As [`CausalLm::logits`].
    pub fn next_logits(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        cache: Option<&mut ModelCache>,
    ) -> Result<Value> {
        let (x, _) = self.hidden(graph, batch, cache)?;
        let &[sequences, tokens, features] = x.shape().dims() else {
            return Err(Error::shape("causal_lm", "tokens must be [B, T]"));
        };
        if tokens == 0 {
            return Err(Error::shape("causal_lm", "there is no token to go on from"));
        }
        let rows = x.slice::<f32>()?.chunks_exact(tokens * features);
        let mut last = Tensor::uninit(graph.device(), [sequences, features].into(), DType::F32)
            .map_err(Error::of("causal_lm"))?;
        let to = last.slice_mut::<f32>().map_err(Error::of("causal_lm"))?;
        for (from, to) in rows.zip(to.chunks_exact_mut(features)) {
            to.copy_from_slice(&from[(tokens - 1) * features..]);
        }
        let last = graph.input(last);
        self.head(graph, &last)
    }

    fn head(&self, graph: &mut Graph, x: &Value) -> Result<Value> {
        let weight = graph.param(self.output);
        graph.apply(&self.logits, &[x, &weight])
    }

    /// What the output layer reads `[B, T, features]`, with the losses of all routers.
    ///
    /// # Errors
    /// As [`CausalLm::logits`].
    fn hidden(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        mut cache: Option<&mut ModelCache>,
    ) -> Result<(Value, Option<RouterLosses>)> {
        let mut x = self.embedding.forward(graph, batch.ids.clone())?;
        if let Some(positions) = &self.positions {
            let at = positions.forward(graph, batch.positions.clone())?;
            x = graph.apply(&self.add, &[&x, &at])?;
        }
        let recompute = graph.training() && cache.is_none();
        let mut losses: Option<RouterLosses> = None;
        for (i, block) in self.blocks.iter().enumerate() {
            let layer_cache = cache.as_mut().map(|cache| &mut cache.layers[i]);
            let (positions, segments) = (&batch.positions, batch.segments.as_ref());
            let (y, more) = match &self.again {
                Some(again) if recompute => {
                    let mut inputs: smallvec::SmallVec<[&Value; 3]> =
                        smallvec::smallvec![&x, positions];
                    inputs.extend(segments);
                    outputs(&graph.recompute_all(Arc::clone(&again.0[i]), &inputs)?)?
                }
                _ => block.forward(graph, &x, positions, segments, layer_cache)?,
            };
            x = y;
            losses = match (losses, more) {
                (Some(sum), Some(more)) => Some(RouterLosses {
                    spread: graph.apply(&self.add, &[&sum.spread, &more.spread])?,
                    z_loss: graph.apply(&self.add, &[&sum.z_loss, &more.z_loss])?,
                }),
                (sum, more) => more.or(sum),
            };
        }
        Ok((self.norm.forward(graph, x)?, losses))
    }
}

/// Functions, which have nothing to show.
struct Again(Vec<RecomputeAll>);

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Again({})", self.0.len())
    }
}

/// A block as a part that runs again for the backward pass: from x, positions and segments where there are any.
fn again(block: Arc<Block>) -> RecomputeAll {
    Arc::new(move |graph: &mut Graph, inputs: &[Value]| {
        let [x, positions, segments @ ..] = inputs else {
            return Err(Error::shape("causal_lm", "a block reads x and positions"));
        };
        let (y, losses) = block.forward(graph, x, positions, segments.first(), None)?;
        let mut outputs = Values::new();
        outputs.push(y);
        outputs.extend(losses.into_iter().flat_map(|losses| [losses.spread, losses.z_loss]));
        Ok(outputs)
    })
}

/// What a block that runs again gave.
fn outputs(values: &[Value]) -> Result<(Value, Option<RouterLosses>)> {
    match values {
        [y] => Ok((y.clone(), None)),
        [y, spread, z_loss] => {
            let losses = RouterLosses { spread: spread.clone(), z_loss: z_loss.clone() };
            Ok((y.clone(), Some(losses)))
        }
        _ => Err(Error::shape("causal_lm", "a block gives x and the losses of its router")),
    }
}
