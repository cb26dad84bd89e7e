use super::cache::DecoderCache;
use super::config::{EncoderDecoderConfig, OUTPUT};
use super::sinusoids::sinusoids;
use crate::decoder::CausalLoss;
use crate::layers::{Embedding, Table};
use crate::transformer::{Block, BlockContext, LanguageOptions, Output};
use crate::{Builder, Init, Layer};
use ff_graph::{Error, Graph, Op, ParamKind, Result, Value};
use ff_ops::{Add, Scale};
use ff_tensor::{DType, Device};
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
    blocks: Vec<Block>,
    norm: Option<Box<dyn Layer>>,
}

impl Stack {
    fn new(
        b: &mut Builder,
        config: &EncoderDecoderConfig,
        decoder: bool,
        options: &LanguageOptions,
    ) -> Self {
        let (names, i) = (&config.family.names, usize::from(decoder));
        let (layers, heads) = (config.stack(decoder).layers, config.stack(decoder).heads);
        let init = Init::Normal { std: config.initializer_range };
        let distances = config.distances.map(|[count, _]| {
            b.scope(&format!("{}.0.{}", names.layers[i], names.distances), |b| {
                b.param("weight", [count, heads], ParamKind::Embedding, init)
            })
        });
        let block = config.block(decoder, distances, options);
        let layer = |n| b.scope(&format!("{}.{n}", names.layers[i]), |b| Block::new(b, &block));
        let blocks = (0..layers).map(layer).collect();
        let norm = names.final_norms.map(|names| config.norms().layer(b, names[i]));
        Self { blocks, norm }
    }

    /// Its output for embeddings; `context` makes the inputs of a layer besides x.
    fn forward<'a>(
        &self,
        graph: &mut Graph,
        mut x: Value,
        mut context: impl FnMut(usize) -> BlockContext<'a>,
    ) -> Result<Value> {
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(graph, &x, context(i))?.0;
        }
        match &self.norm {
            Some(norm) => norm.forward(graph, x),
            None => Ok(x),
        }
    }
}

impl EncoderDecoder {
    /// Builds the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &EncoderDecoderConfig, options: &LanguageOptions) -> Self {
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
            let encoder = Stack::new(b, config, false, options);
            (shared, encoder, Stack::new(b, config, true, options))
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
