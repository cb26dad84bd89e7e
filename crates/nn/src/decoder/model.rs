use super::cache::ModelCache;
use super::config::DecoderConfig;
use crate::layers::{Embedding, Table};
use crate::transformer::{Block, BlockContext, LanguageOptions, Output, RouterLosses};
use crate::{Builder, Init, Layer, Reach};
use ff_graph::{Error, Graph, Op, ParamKind, RecomputeAll, Result, Value, Values};
use ff_ops::{Add, RouterBalance, Scale};
use ff_tensor::{DType, Tensor};
use std::fmt;
use std::sync::Arc;

/// A batch of token sequences.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// The tokens `[B, T]` (i32).
    pub ids: Value,
    /// The position of each token `[B, T]` (i32).
    pub positions: Value,
    /// The document of each token `[B, T]` (i32), negative for padding: attention stays within a
    /// document. Without it a row is one document. With a cache, `[B, S]` for all of its tokens
    /// after the call, of which negative ones are masked.
    pub segments: Option<Value>,
}

/// A decoder that predicts the next token (Radford et al., 2019; Touvron et al., 2023): embeddings,
/// blocks, a norm, and an output layer, which may be the table of embeddings.
///
/// Parameters have Hugging Face's names; matrices are `[out, in]`, and experts are stacked (for
/// files, see [`file_tensors`](super::file_tensors)).
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
    /// The factor of embeddings, unless it is 1.
    scale: Option<Arc<dyn Op>>,
    positions: Option<Embedding>,
    blocks: Vec<Arc<Block>>,
    /// The blocks as functions, if the backward pass recomputes them.
    again: Option<Again>,
    norm: Box<dyn Layer>,
    output: Output,
    add: Arc<dyn Op>,
    balance: Arc<dyn Op>,
    /// The factors of the routers' losses, where they are not 0.
    router: [Option<Arc<dyn Op>>; 2],
    reach: Reach,
    options: LanguageOptions,
}

/// The losses of a batch, each a sum over tokens.
#[derive(Debug, Clone)]
pub struct CausalLoss {
    /// The cross entropy in nats `[1]`.
    pub sum: Value,
    /// The number of its tokens `[1]`.
    pub count: Value,
    /// The start of the backward pass: the sum, with the losses of routers.
    pub total: Value,
}

impl CausalLm {
    /// Makes the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &DecoderConfig, options: &LanguageOptions) -> Self {
        let names = &config.family.names;
        let init = Init::Normal { std: config.initializer_range };
        let (vocab, features) = (config.vocab_size, config.hidden_size);
        let table = |b: &mut Builder, name, rows| {
            b.scope(name, |b| Embedding::with_init(b, rows, features, init))
        };
        let (embedding, positions, blocks, norm) = b.scope(names.body, |b| {
            let embedding = table(b, names.embedding, vocab);
            let own = b.scope(names.embedding, |b| b.own_tokens(features));
            let embedding = embedding.with_rows(own);
            let learned = config.rope.is_none();
            let positions = learned.then(|| table(b, names.positions, config.max_positions));
            let block = |(i, layer)| {
                let block = config.block(layer, options);
                Arc::new(b.scope(&format!("{}.{i}", names.layers), |b| Block::new(b, &block)))
            };
            let blocks: Vec<Arc<Block>> = config.layers.iter().enumerate().map(block).collect();
            (embedding, positions, blocks, config.norms().layer(b, names.norm))
        });
        let output = if config.tied {
            match b.tied("lm_head.weight", embedding.weight()) {
                same if same == embedding.weight() => embedding.table().clone(),
                other => Table::new(other),
            }
        } else {
            b.scope("lm_head", |b| {
                Table::new(b.param("weight", [vocab, features], ParamKind::Embedding, init))
            })
        };
        if !config.trains_biases {
            b.freeze(ParamKind::Bias);
        }
        let reach = b.reach();
        let is_masked = matches!(reach, Reach::From(_));
        let functions = || blocks.iter().cloned().map(|block| again(block, is_masked)).collect();
        let again = options.recompute.then(|| Again(functions()));
        let with_experts = config.layers.iter().any(|layer| layer.experts);
        let scaled = |factor: f64| (factor > 0.0).then(|| Scale::op(factor));
        let router = config.moe.filter(|_| with_experts);
        Self {
            embedding,
            scale: (config.embedding_scale != 1.0).then(|| Scale::op(config.embedding_scale)),
            positions,
            blocks,
            again,
            norm,
            output: Output::new(output, None, config.logit_cap, options),
            add: Add::op(),
            balance: RouterBalance { top_k: config.moe.map_or(1, |moe| moe.top_k) }.op(),
            router: router.map_or([None, None], |moe| [scaled(moe.balance), scaled(moe.z_loss)]),
            reach,
            options: *options,
        }
    }

    /// The tokens that the adapter acts on, if there is one.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The options.
    pub fn options(&self) -> &LanguageOptions {
        &self.options
    }

    /// The loss of predicting `targets` `[B, T]`; −100 does not count.
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
        let [sum, count] = self.output.loss(graph, &x, targets)?;
        drop(x);
        let mut total = sum.clone();
        if let Some(losses) = losses {
            let [balance, z_loss] = &self.router;
            if let Some(factor) = balance {
                let loss = graph.apply(&self.balance, &[&losses.spread, &count])?;
                let loss = graph.apply(factor, &[&loss])?;
                total = graph.apply(&self.add, &[&total, &loss])?;
            }
            if let Some(factor) = z_loss {
                let loss = graph.apply(factor, &[&losses.z_loss])?;
                total = graph.apply(&self.add, &[&total, &loss])?;
            }
        }
        Ok(CausalLoss { sum, count, total })
    }

    /// The loss of each of several sets of targets `[B, T]` of one batch and the number of its
    /// tokens, without the losses of routers; −100 does not count.
    ///
    /// # Errors
    /// As [`CausalLm::loss`].
    pub fn losses(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        targets: &[Value],
    ) -> Result<Vec<[Value; 2]>> {
        let (x, _) = self.hidden(graph, batch, None)?;
        targets.iter().map(|targets| self.output.loss(graph, &x, targets)).collect()
    }

    /// The logits `[B, T, vocabulary]` of the token after each; a cache holds earlier tokens and is
    /// extended by these.
    ///
    /// # Errors
    /// An id is not in the vocabulary, a position is too large, the cache is full, or memory is
    /// short.
    pub fn logits(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        cache: Option<&mut ModelCache>,
    ) -> Result<Value> {
        let (x, _) = self.hidden(graph, batch, cache)?;
        self.output.logits(graph, &x)
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
        self.last_logits(graph, batch, 1, cache)
    }

    /// The logits `[B · count, vocabulary]` of the tokens after each of the last `count` ones of
    /// each sequence.
    ///
    /// # Errors
    /// As [`CausalLm::logits`]; there are fewer tokens.
    pub fn last_logits(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        count: usize,
        cache: Option<&mut ModelCache>,
    ) -> Result<Value> {
        let (x, _) = self.hidden(graph, batch, cache)?;
        let &[sequences, tokens, features] = x.shape().dims() else {
            return Err(Error::shape("causal_lm", "tokens must be [B, T]"));
        };
        if tokens < count.max(1) {
            return Err(Error::shape("causal_lm", "there is no token to go on from"));
        }
        let rows = x.slice::<f32>()?.chunks_exact(tokens * features);
        let shape = [sequences * count, features].into();
        let mut last =
            Tensor::uninit(graph.device(), shape, DType::F32).map_err(Error::of("causal_lm"))?;
        let to = last.slice_mut::<f32>().map_err(Error::of("causal_lm"))?;
        for (from, to) in rows.zip(to.chunks_exact_mut(count * features)) {
            to.copy_from_slice(&from[(tokens - count) * features..]);
        }
        let last = graph.input(last);
        self.output.logits(graph, &last)
    }

    /// The vector of each token behind the last norm `[B, T, features]`.
    ///
    /// # Errors
    /// As [`CausalLm::logits`].
    pub fn vectors(&self, graph: &mut Graph, batch: &TokenBatch) -> Result<Value> {
        Ok(self.hidden(graph, batch, None)?.0)
    }

    /// The input of the output layer `[B, T, features]`, with the losses of all routers.
    ///
    /// # Errors
    /// As [`CausalLm::logits`].
    fn hidden(
        &self,
        graph: &mut Graph,
        batch: &TokenBatch,
        mut cache: Option<&mut ModelCache>,
    ) -> Result<(Value, Option<RouterLosses>)> {
        let mask = self.mask(graph, batch, cache.as_deref())?;
        graph.set_row_mask(mask.clone());
        let mut x = self.embedding.forward(graph, batch.ids.clone())?;
        if let Some(scale) = &self.scale {
            x = graph.apply(scale, &[&x])?;
        }
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
                    let mut inputs: smallvec::SmallVec<[&Value; 4]> =
                        smallvec::smallvec![&x, positions];
                    inputs.extend(segments.into_iter().chain(&mask));
                    outputs(&graph.recompute_all(Arc::clone(&again.0[i]), &inputs)?)?
                }
                _ => {
                    let context = BlockContext {
                        positions: Some(positions),
                        segments,
                        cache: layer_cache,
                        ..BlockContext::default()
                    };
                    block.forward(graph, &x, context)?
                }
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
        graph.set_row_mask(None);
        Ok((self.norm.forward(graph, x)?, losses))
    }

    /// The tokens that an activated adapter acts on `[B, T]`: with a cache those from its starts
    /// on, else those from the last invocation in their document on.
    fn mask(
        &self,
        graph: &Graph,
        batch: &TokenBatch,
        cache: Option<&ModelCache>,
    ) -> Result<Option<Value>> {
        if !matches!(self.reach, Reach::From(_)) {
            return Ok(None);
        }
        let error = Error::of("causal_lm");
        let mut mask = Tensor::uninit(graph.device(), *batch.ids.shape(), DType::I32)
            .map_err(Error::of("causal_lm"))?;
        if !mask.is_planned() {
            let tokens = batch.ids.shape().dims().last().copied().unwrap_or(0).max(1);
            let ids = batch.ids.slice::<i32>()?;
            let documents = batch.segments.as_ref().map(Value::slice::<i32>).transpose()?;
            let rows = mask.slice_mut::<i32>().map_err(error)?.chunks_exact_mut(tokens);
            for (i, row) in rows.enumerate() {
                if let Some(cache) = cache {
                    let start = cache.starts.get(i).copied().unwrap_or(0);
                    let place =
                        |(t, on): (usize, &mut i32)| *on = (cache.len() + t >= start).into();
                    row.iter_mut().enumerate().for_each(place);
                } else {
                    let places = i * tokens..(i + 1) * tokens;
                    let documents = documents.map(|documents| &documents[places.clone()]);
                    self.reach.mark(&ids[places], documents, row);
                }
            }
        }
        Ok(Some(graph.input(mask)))
    }
}

impl DecoderConfig {
    /// The number of values of the parameters.
    pub fn parameters(&self) -> usize {
        let mut builder = Builder::new();
        CausalLm::new(&mut builder, self, &LanguageOptions::default());
        // A model larger than can be counted has no plan.
        let params = builder.plan();
        params.map_or(0, |params| params.infos().iter().map(|i| i.spec.shape.len()).sum())
    }
}

/// Functions, which have no debug output.
struct Again(Vec<RecomputeAll>);

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Again({})", self.0.len())
    }
}

/// A block as a function of x, positions, and perhaps segments and a mask of rows, to run again in
/// the backward pass.
fn again(block: Arc<Block>, is_masked: bool) -> RecomputeAll {
    Arc::new(move |graph: &mut Graph, inputs: &[Value]| {
        let [x, positions, more @ ..] = inputs else {
            return Err(Error::shape("causal_lm", "a block reads x and positions"));
        };
        let (segments, mask) = match more {
            [.., mask] if is_masked => (more.split_last().and_then(|(_, m)| m.first()), Some(mask)),
            _ => (more.first(), None),
        };
        let context =
            BlockContext { positions: Some(positions), segments, ..BlockContext::default() };
        graph.set_row_mask(mask.cloned());
        let (y, losses) = block.forward(graph, x, context)?;
        let mut outputs = Values::new();
        outputs.push(y);
        outputs.extend(losses.into_iter().flat_map(|losses| [losses.spread, losses.z_loss]));
        Ok(outputs)
    })
}

/// The outputs of a block that runs again.
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
