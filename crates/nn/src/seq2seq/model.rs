use super::cache::DecoderCache;
use super::config::{EncoderDecoderConfig, EncoderDecoderDropout, OUTPUT};
use super::sinusoids::sinusoids;
use crate::decoder::CausalLoss;
use crate::layers::{Dropout, Embedding, Table};
use crate::transformer::{Block, BlockContext, LanguageOptions, Output};
use crate::{Builder, Init, Layer};
use ff_graph::{Error, Graph, Op, ParamKind, Recompute, Result, Value};
use ff_ops::{Add, Scale};
use ff_tensor::{DType, Device};
use std::fmt;
use std::sync::Arc;

/// A batch of sources and targets.
#[derive(Debug, Clone)]
pub struct EncoderDecoderBatch {
    /// The tokens of the source `[B, S]` (i32).
    pub source: Value,
    /// 0, or a negative number for padding of the source `[B, S]` (i32).
    pub segments: Option<Value>,
    /// The tokens of the target `[B, T]` (i32), the start token first.
    pub target: Value,
}

/// An encoder for the source, and a decoder for the target that attends to what the encoder gives,
/// over one table of embeddings (Vaswani et al., 2017).
///
/// Parameters have the names of Hugging Face; `final_logits_bias` is a state, not trained.
///
/// # Shapes
/// source `[B, S]`, target `[B, T]` → logits `[B, T, vocabulary]`
///
/// ```
/// use ff_nn::{Builder, models::{EncoderDecoder, EncoderDecoderConfig}};
/// let json = r#"{"model_type": "t5", "vocab_size": 30, "d_model": 8, "d_kv": 3, "d_ff": 10,
///     "num_layers": 2, "num_heads": 2, "relative_attention_num_buckets": 8}"#;
/// let config = EncoderDecoderConfig::parse(json).unwrap();
/// let mut builder = Builder::new();
/// let model = EncoderDecoder::new(&mut builder, &config, &Default::default());
/// let name = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
/// assert!(builder.plan()?.id(name).is_some());
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct EncoderDecoder {
    shared: Embedding,
    scale: Option<Arc<dyn Op>>,
    encoder: Stack,
    decoder: Stack,
    output_scale: Option<Arc<dyn Op>>,
    output: Output,
    add: Arc<dyn Op>,
    max_positions: Option<usize>,
    /// The layers of the decoder, and the width of their keys.
    cached: (usize, usize),
    options: LanguageOptions,
}

/// The layers of the encoder, or of the decoder.
#[derive(Debug)]
struct Stack {
    blocks: Vec<Arc<Block>>,
    /// The blocks as functions, if the backward pass recomputes them.
    again: Option<Again>,
    norm: Option<Box<dyn Layer>>,
    /// Dropout of the embeddings, and of what the last norm gives.
    dropout: [Option<Dropout>; 2],
}

/// Blocks as functions of x, of the encoder's output in a decoder, and perhaps of segments.
struct Again(Vec<Recompute>);

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Again({})", self.0.len())
    }
}

/// A block as a function to run again in the backward pass.
fn again(block: Arc<Block>, decoder: bool) -> Recompute {
    Arc::new(move |graph: &mut Graph, inputs: &[Value]| {
        let context = match (inputs, decoder) {
            ([_, memory, segments @ ..], true) => {
                BlockContext { memory: Some((memory, segments.first())), ..BlockContext::default() }
            }
            ([_, segments @ ..], false) => {
                BlockContext { segments: segments.first(), ..BlockContext::default() }
            }
            _ => return Err(Error::shape("encoder_decoder", "a block reads x")),
        };
        Ok(block.forward(graph, &inputs[0], context)?.0)
    })
}

impl Stack {
    fn new(
        b: &mut Builder,
        config: &EncoderDecoderConfig,
        decoder: bool,
        options: &LanguageOptions,
        dropout: EncoderDecoderDropout,
    ) -> Self {
        let (names, i) = (&config.family.names, usize::from(decoder));
        let (layers, heads) = (config.stack(decoder).layers, config.stack(decoder).heads);
        let init = Init::Normal { std: config.initializer_range };
        let distances = config.distances.map(|[count, _]| {
            b.scope(&format!("{}.0.{}", names.layers[i], names.distances), |b| {
                b.param("weight", [count, heads], ParamKind::Embedding, init)
            })
        });
        let block = config.block(decoder, distances, options, dropout);
        let layer =
            |n| Arc::new(b.scope(&format!("{}.{n}", names.layers[i]), |b| Block::new(b, &block)));
        let blocks: Vec<Arc<Block>> = (0..layers).map(layer).collect();
        let functions = || blocks.iter().cloned().map(|block| again(block, decoder)).collect();
        let again = options.recompute.then(|| Again(functions()));
        let norm = names.final_norms.map(|names| config.norms().layer(b, names[i]));
        let mut drop = |name: &str, p: f64| {
            let path = format!("{}.{name}", names.layers[i]);
            (p > 0.0).then(|| b.scope(&path, |b| Dropout::new(b, p)))
        };
        let last = if norm.is_some() { dropout.hidden } else { 0.0 };
        let dropout = [drop("embeddings", dropout.hidden), drop("output", last)];
        Self { blocks, again, norm, dropout }
    }

    /// Its output for embeddings; `context` makes the inputs of a layer besides x.
    fn forward<'a>(
        &self,
        graph: &mut Graph,
        x: Value,
        mut context: impl FnMut(usize) -> BlockContext<'a>,
    ) -> Result<Value> {
        let drop = |graph: &mut Graph, x: Value, i: usize| match &self.dropout[i] {
            Some(dropout) => dropout.forward(graph, x),
            None => Ok(x),
        };
        let mut x = drop(graph, x, 0)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let context = context(i);
            x = match &self.again {
                Some(again) if graph.training() && context.cache.is_none() => {
                    let mut inputs: smallvec::SmallVec<[&Value; 3]> = smallvec::smallvec![&x];
                    inputs.extend(context.segments);
                    if let Some((memory, segments)) = context.memory {
                        inputs.push(memory);
                        inputs.extend(segments);
                    }
                    graph.recompute(Arc::clone(&again.0[i]), &inputs)?
                }
                _ => block.forward(graph, &x, context)?.0,
            };
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(graph, x)?;
        }
        drop(graph, x, 1)
    }
}

impl EncoderDecoder {
    /// Builds the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &EncoderDecoderConfig, options: &LanguageOptions) -> Self {
        Self::with_dropout(b, config, options, EncoderDecoderDropout::default())
    }

    /// The same with dropout in training, where `transformers` has it.
    pub fn with_dropout(
        b: &mut Builder,
        config: &EncoderDecoderConfig,
        options: &LanguageOptions,
        dropout: EncoderDecoderDropout,
    ) -> Self {
        let (init, features) = (Init::Normal { std: config.initializer_range }, config.features);
        let (shared, encoder, decoder) = b.scope(config.family.names.body, |b| {
            let shared = b.scope("shared", |b| {
                let table = Embedding::with_init(b, config.vocab_size, features, init);
                if config.padding_is_fixed {
                    table.with_padding(config.pad_token as usize)
                } else {
                    table
                }
            });
            let encoder = Stack::new(b, config, false, options, dropout);
            (shared, encoder, Stack::new(b, config, true, options, dropout))
        });
        let weight = if config.tied {
            shared.table().clone()
        } else {
            Table::new(b.param(OUTPUT, [config.vocab_size, features], ParamKind::Weight, init))
        };
        let bias = config.output_bias.then(|| {
            b.param("final_logits_bias", [config.vocab_size], ParamKind::Statistic, Init::Zeros)
        });
        let root = (features as f64).sqrt();
        let super::StackConfig { layers, heads, head_dim, .. } = config.decoder;
        Self {
            shared,
            scale: config.scaled.then(|| Scale::op(root)),
            encoder,
            decoder,
            output_scale: config.scaled_output.then(|| Scale::op(1.0 / root)),
            output: Output::new(weight, bias, None, options),
            add: Add::op(),
            max_positions: config.max_positions,
            cached: (layers, heads * head_dim),
            options: *options,
        }
    }

    /// The output of the encoder `[B, S, features]` for a source `[B, S]`.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, there are more tokens than positions, or memory is
    /// exhausted.
    pub fn encode(
        &self,
        graph: &mut Graph,
        source: &Value,
        segments: Option<&Value>,
    ) -> Result<Value> {
        let x = self.embed(graph, source, 0)?;
        self.encoder.forward(graph, x, |_| BlockContext { segments, ..BlockContext::default() })
    }

    /// The logits `[B, T, vocabulary]` of the token after each target token.
    ///
    /// # Errors
    /// As [`EncoderDecoder::encode`].
    pub fn logits(&self, graph: &mut Graph, batch: &EncoderDecoderBatch) -> Result<Value> {
        let memory = self.encode(graph, &batch.source, batch.segments.as_ref())?;
        let memory = (&memory, batch.segments.as_ref());
        self.decode(graph, memory, &batch.target, None)
    }

    /// The logits `[B, T, vocabulary]` of the token after each target token, which follow those in
    /// the cache; of the memory, a cache that is not empty has all that is needed.
    ///
    /// # Errors
    /// As [`EncoderDecoder::encode`], or if the cache is full.
    pub fn decode(
        &self,
        graph: &mut Graph,
        memory: (&Value, Option<&Value>),
        target: &Value,
        cache: Option<&mut DecoderCache>,
    ) -> Result<Value> {
        let x = self.decoded(graph, memory, target, cache)?;
        self.output.logits(graph, &x)
    }

    /// The loss of predicting `targets` `[B, T]`; −100 is ignored.
    ///
    /// # Errors
    /// As [`EncoderDecoder::encode`].
    pub fn loss(
        &self,
        graph: &mut Graph,
        batch: &EncoderDecoderBatch,
        targets: &Value,
    ) -> Result<CausalLoss> {
        let memory = self.encode(graph, &batch.source, batch.segments.as_ref())?;
        let memory = (&memory, batch.segments.as_ref());
        let x = self.decoded(graph, memory, &batch.target, None)?;
        let [sum, count] = self.output.loss(graph, &x, targets)?;
        Ok(CausalLoss { total: sum.clone(), sum, count })
    }

    /// An empty cache for `batch` targets of up to so many tokens, and for their sources.
    ///
    /// # Errors
    /// If memory is exhausted.
    pub fn cache(
        &self,
        device: &Device,
        batch: usize,
        [target, source]: [usize; 2],
    ) -> Result<DecoderCache> {
        let dtype = if self.options.bf16() { DType::BF16 } else { DType::F32 };
        DecoderCache::new(device, dtype, self.cached, batch, [target, source])
    }

    /// The input of the output layer.
    fn decoded(
        &self,
        graph: &mut Graph,
        memory: (&Value, Option<&Value>),
        target: &Value,
        cache: Option<&mut DecoderCache>,
    ) -> Result<Value> {
        let start = cache.as_ref().map_or(0, |cache| cache.len());
        let x = self.embed(graph, target, start)?;
        let (own, of_memory) = match cache {
            Some(cache) => (&mut cache.own[..], &mut cache.memory[..]),
            None => (&mut [][..], &mut [][..]),
        };
        let mut caches = (own.iter_mut(), of_memory.iter_mut());
        let x = self.decoder.forward(graph, x, |_| BlockContext {
            memory: Some(memory),
            cache: caches.0.next(),
            memory_cache: caches.1.next(),
            ..BlockContext::default()
        })?;
        match &self.output_scale {
            Some(scale) => graph.apply(scale, &[&x]),
            None => Ok(x),
        }
    }

    /// Embeddings, with positions from `start` on if there are any.
    fn embed(&self, graph: &mut Graph, ids: &Value, start: usize) -> Result<Value> {
        let &[_, tokens] = ids.shape().dims() else {
            return Err(Error::shape("encoder_decoder", "tokens must be [B, T]"));
        };
        if let Some(most) = self.max_positions.filter(|&most| start + tokens > most) {
            let message =
                format!("{} tokens, but the model has positions for {most}", start + tokens);
            return Err(Error::shape("encoder_decoder", message));
        }
        let mut x = self.shared.forward(graph, ids.clone())?;
        if let Some(scale) = &self.scale {
            x = graph.apply(scale, &[&x])?;
        }
        if self.max_positions.is_none() {
            return Ok(x);
        }
        let positions = sinusoids(graph, &x, start)?;
        graph.apply(&self.add, &[&x, &positions])
    }
}
