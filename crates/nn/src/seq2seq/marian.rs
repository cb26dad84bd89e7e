//! Translation: an encoder for the source, a decoder for the target.

use crate::decoder::CausalLoss;
use crate::layers::Embedding;
use crate::transformer::fields::{
    self, Fields, MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_TOKENS,
    Result as ConfigResult,
};
use crate::transformer::{Block, BlockConfig, BlockContext, BlockNames, LanguageOptions, Output};
use crate::{Builder, Init, Layer};
use ff_graph::{Error, Graph, Op, ParamKind, Result, Value};
use ff_ops::{Activation, Add, KeyValueCache, Scale};
use ff_tensor::{DType, Device, Tensor};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// The specification of a translation model, read from a `config.json` with `model_type` `marian`.
///
/// ```
/// let json = r#"{"model_type": "marian", "vocab_size": 30, "d_model": 8,
///     "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
///     "decoder_attention_heads": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 12,
///     "max_position_embeddings": 20, "pad_token_id": 29, "decoder_start_token_id": 29,
///     "eos_token_id": 0}"#;
/// let config = ff_nn::models::MarianConfig::parse(json)?;
/// assert_eq!((config.start_token, config.end_token), (29, 0));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MarianConfig {
    /// The vocabulary size of both languages together.
    pub vocab_size: usize,
    /// The width of a token's vector.
    pub features: usize,
    /// Layers, heads and hidden width of the encoder.
    pub encoder: [usize; 3],
    /// Layers, heads and hidden width of the decoder.
    pub decoder: [usize; 3],
    /// The number of positions.
    pub max_positions: usize,
    /// The activation of the feedforward blocks.
    pub activation: Activation,
    /// Whether embeddings are multiplied by √features.
    pub scaled: bool,
    /// The padding token.
    pub pad_token: u32,
    /// The start token of translations.
    pub start_token: u32,
    /// The end token of texts.
    pub end_token: u32,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    json: Map<String, Json>,
}

impl MarianConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If the text is not JSON or not of this family, or a field is missing, out of range or
    /// contradicts another one.
    pub fn parse(text: &str) -> ConfigResult<Self> {
        let json = fields::object(text)?;
        let mut config = Fields::read(&json, read)?;
        config.json = json;
        Ok(config)
    }

    /// The text of a `config.json`, with every field that was read.
    pub fn to_json(&self) -> String {
        fields::to_text(&self.json)
    }
}

fn read(fields: &Fields<'_>) -> MarianConfig {
    if fields.text(&["model_type"]) != Some("marian") {
        fields.fail("model_type", "expected \"marian\"");
    }
    if !fields.flag("share_encoder_decoder_embeddings", true) {
        let message = "separate vocabularies per language are not supported";
        fields.fail("share_encoder_decoder_embeddings", message);
    }
    if !fields.flag("tie_word_embeddings", true) {
        let message = "a separate output layer is not supported";
        fields.fail("tie_word_embeddings", message);
    }
    let features = fields.required(&["d_model"], MOST_FEATURES);
    if !features.is_multiple_of(2) {
        fields.fail("d_model", "must be even for sinusoidal positions");
    }
    let part = |layers, heads, hidden| {
        let count = fields.required(&[heads], MOST_HEADS);
        fields.head_width(heads, features, count);
        let layers = fields.required(&[layers], MOST_LAYERS);
        [layers, count, fields.required(&[hidden], MOST_HIDDEN)]
    };
    let vocab_size = fields.required(&["vocab_size"], MOST_TOKENS);
    let token = |key| {
        match fields.count(key) {
            None if !fields.has(key) => fields.missing(key),
            Some(id) if id >= vocab_size => {
                fields.fail(key, format!("{id} is outside the vocabulary of {vocab_size} tokens"));
            }
            id => return id.unwrap_or(0) as u32,
        }
        0
    };
    MarianConfig {
        vocab_size,
        features,
        encoder: part("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
        decoder: part("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"),
        max_positions: fields.required(&["max_position_embeddings"], MOST_TOKENS),
        activation: fields.activation("activation_function", Activation::Gelu),
        scaled: fields.flag("scale_embedding", false),
        pad_token: token("pad_token_id"),
        start_token: token("decoder_start_token_id"),
        end_token: token("eos_token_id"),
        initializer_range: fields.positive(&["init_std"]).unwrap_or(0.02),
        json: Map::new(),
    }
}

/// A batch for a translation model.
#[derive(Debug, Clone)]
pub struct TranslationBatch {
    /// The tokens of the source `[B, S]` (i32).
    pub source: Value,
    /// 0, or a negative number for padding of the source `[B, S]` (i32).
    pub segments: Option<Value>,
    /// The tokens of the target `[B, T]` (i32), the start token first.
    pub target: Value,
}

/// A Marian model (Junczys-Dowmunt et al., 2018): post-norm encoder and decoder over one table of
/// embeddings, with sinusoidal positions.
///
/// Parameters have the names of Hugging Face; `final_logits_bias` is a state, not trained.
///
/// # Shapes
/// source `[B, S]`, target `[B, T]` → logits `[B, T, vocabulary]`
///
/// ```
/// use ff_nn::{Builder, models::{Marian, MarianConfig}};
/// # let json = r#"{"model_type": "marian", "vocab_size": 30, "d_model": 8,
/// #    "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
/// #    "decoder_attention_heads": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 12,
/// #    "max_position_embeddings": 20, "pad_token_id": 29, "decoder_start_token_id": 29,
/// #    "eos_token_id": 0}"#;
/// let config = MarianConfig::parse(json).unwrap();
/// let mut builder = Builder::new();
/// let model = Marian::new(&mut builder, &config, &Default::default());
/// assert!(builder.plan()?.id("model.shared.weight").is_some());
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct Marian {
    shared: Embedding,
    scale: Option<Arc<dyn Op>>,
    encoder: Vec<Block>,
    decoder: Vec<Block>,
    output: Output,
    add: Arc<dyn Op>,
    features: usize,
    max_positions: usize,
    options: LanguageOptions,
}

/// The cached keys and values of the decoder's own tokens, per layer.
#[derive(Debug)]
pub struct DecoderCache(Vec<KeyValueCache>);

impl DecoderCache {
    /// The number of cached tokens of each sequence.
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, KeyValueCache::len)
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The specification of a layer of the encoder or the decoder, from `[layers, heads, hidden]`.
fn block(
    config: &MarianConfig,
    [_, heads, hidden]: [usize; 3],
    decoder: bool,
    bf16: bool,
) -> BlockConfig {
    let (features, init) = (config.features, Init::Normal { std: config.initializer_range });
    let names = BlockNames {
        attention: "self_attn",
        attention_norm: "self_attn_layer_norm",
        projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
        cross: decoder.then_some(["encoder_attn", "encoder_attn_layer_norm"]),
        feedforward: "",
        feedforward_norm: "final_layer_norm",
        second_norms: ["", ""],
        layers: ["", "fc1", "fc2"],
    };
    let heads = ff_ops::Attention {
        causal: decoder,
        ..ff_ops::Attention::new(heads, heads, features / heads)
    };
    BlockConfig::post_norm(heads, 1e-5, (config.activation, hidden), names, init, bf16)
}

impl Marian {
    /// Builds the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &MarianConfig, options: &LanguageOptions) -> Self {
        let init = Init::Normal { std: config.initializer_range };
        let (shared, encoder, decoder) = b.scope("model", |b| {
            let shared = b.scope("shared", |b| {
                let table = Embedding::with_init(b, config.vocab_size, config.features, init);
                // As in `transformers`, although the padding token also starts translations.
                table.with_padding(config.pad_token as usize)
            });
            let mut stack = |name: &str, part: [usize; 3], decoder| {
                let block = block(config, part, decoder, options.bf16());
                let layer = |i| b.scope(&format!("{name}.layers.{i}"), |b| Block::new(b, &block));
                (0..part[0]).map(layer).collect::<Vec<_>>()
            };
            let encoder = stack("encoder", config.encoder, false);
            let decoder = stack("decoder", config.decoder, true);
            (shared, encoder, decoder)
        });
        let bias =
            b.param("final_logits_bias", [config.vocab_size], ParamKind::Statistic, Init::Zeros);
        let output = Output::new(shared.table().clone(), Some(bias), None, options);
        Self {
            shared,
            scale: config.scaled.then(|| Scale::op((config.features as f64).sqrt())),
            encoder,
            decoder,
            output,
            add: Add::op(),
            features: config.features,
            max_positions: config.max_positions,
            options: *options,
        }
    }

    /// The output of the encoder for a source `[B, S, features]`.
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
        let mut x = self.embed(graph, source, 0)?;
        for block in &self.encoder {
            let context = BlockContext { segments, ..BlockContext::default() };
            x = block.forward(graph, &x, context)?.0;
        }
        Ok(x)
    }

    /// The logits `[B, T, vocabulary]` of the token after each target token.
    ///
    /// # Errors
    /// As [`Marian::encode`].
    pub fn logits(&self, graph: &mut Graph, batch: &TranslationBatch) -> Result<Value> {
        let memory = self.encode(graph, &batch.source, batch.segments.as_ref())?;
        let memory = (&memory, batch.segments.as_ref());
        self.decode(graph, memory, &batch.target, None)
    }

    /// The logits `[B, T, vocabulary]` of the token after each target token, which follow those in
    /// the cache.
    ///
    /// # Errors
    /// As [`Marian::encode`], or if the cache is full.
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
    /// As [`Marian::encode`].
    pub fn loss(
        &self,
        graph: &mut Graph,
        batch: &TranslationBatch,
        targets: &Value,
    ) -> Result<CausalLoss> {
        let memory = self.encode(graph, &batch.source, batch.segments.as_ref())?;
        let memory = (&memory, batch.segments.as_ref());
        let x = self.decoded(graph, memory, &batch.target, None)?;
        let [sum, count] = self.output.loss(graph, &x, targets)?;
        Ok(CausalLoss { total: sum.clone(), sum, count })
    }

    /// An empty cache for `batch` translations of up to `capacity` tokens.
    ///
    /// # Errors
    /// If memory is exhausted.
    pub fn cache(&self, device: &Device, batch: usize, capacity: usize) -> Result<DecoderCache> {
        let dtype = if self.options.bf16() { DType::BF16 } else { DType::F32 };
        let layer = |_| KeyValueCache::new(device, dtype, batch, self.features, capacity);
        Ok(DecoderCache(self.decoder.iter().map(layer).collect::<Result<_>>()?))
    }

    fn decoded(
        &self,
        graph: &mut Graph,
        memory: (&Value, Option<&Value>),
        target: &Value,
        mut cache: Option<&mut DecoderCache>,
    ) -> Result<Value> {
        let start = cache.as_ref().map_or(0, |cache| cache.len());
        let mut x = self.embed(graph, target, start)?;
        for (i, block) in self.decoder.iter().enumerate() {
            let cache = cache.as_mut().map(|cache| &mut cache.0[i]);
            let context = BlockContext { memory: Some(memory), cache, ..BlockContext::default() };
            x = block.forward(graph, &x, context)?.0;
        }
        Ok(x)
    }

    /// Embeddings plus positions from `start`.
    fn embed(&self, graph: &mut Graph, ids: &Value, start: usize) -> Result<Value> {
        let &[_, tokens] = ids.shape().dims() else {
            return Err(Error::shape("marian", "tokens must be [B, T]"));
        };
        if start + tokens > self.max_positions {
            let message = format!(
                "{} tokens, but the model has positions for {}",
                start + tokens,
                self.max_positions
            );
            return Err(Error::shape("marian", message));
        }
        let mut x = self.shared.forward(graph, ids.clone())?;
        if let Some(scale) = &self.scale {
            x = graph.apply(scale, &[&x])?;
        }
        let positions = self.positions(graph, &x, start)?;
        graph.apply(&self.add, &[&x, &positions])
    }

    /// Sines in the first half of the features, cosines in the second (Vaswani et al., 2017).
    fn positions(&self, graph: &Graph, x: &Value, start: usize) -> Result<Value> {
        let spec = x.spec();
        let error = Error::of("marian");
        let mut table = Tensor::uninit(graph.device(), spec.shape, spec.dtype).map_err(&error)?;
        if !table.is_planned() {
            let tokens = spec.shape.dims()[1];
            let (features, half) = (self.features, self.features / 2);
            let rows = table.slice_mut::<f32>().map_err(&error)?.chunks_exact_mut(features);
            for (n, row) in rows.enumerate() {
                let position = (start + n % tokens) as f64;
                for i in 0..half {
                    let angle = position / 10000f64.powf(2.0 * i as f64 / features as f64);
                    (row[i], row[half + i]) = (angle.sin() as f32, angle.cos() as f32);
                }
            }
        }
        Ok(graph.input(table))
    }
}
