//! Translation: an encoder that reads, a decoder that writes.

use crate::decoder::CausalLoss;
use crate::decoder::families::{
    MOST_FEATURES, MOST_HEADS, MOST_HIDDEN, MOST_LAYERS, MOST_TOKENS, activation, shared_width,
};
use crate::layers::Embedding;
use crate::transformer::LanguageOptions;
use crate::transformer::block::{PostNormBlock, PostNormConfig, PostNormContext, PostNormNames};
use crate::transformer::fields::{Fields, Result as ConfigResult};
use crate::{Builder, ConfigError, Init, Layer};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::{Activation, Add, FeedforwardBf16, KeyValueCache, LinearCrossEntropy, Scale};
use ff_tensor::{DType, Device, Tensor};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// What a translation model is made from, read from a `config.json` with `model_type` `marian`.
///
/// ```
/// let json = r#"{"model_type": "marian", "vocab_size": 30, "d_model": 8, "encoder_layers": 1, "decoder_layers": 2,
///     "encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 12,
///     "max_position_embeddings": 20, "pad_token_id": 29, "decoder_start_token_id": 29, "eos_token_id": 0}"#;
/// let config = ff_nn::models::MarianConfig::parse(json)?;
/// assert_eq!((config.start_token, config.end_token), (29, 0));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MarianConfig {
    /// How many tokens there are, of both languages.
    pub vocab_size: usize,
    /// The width of a token's vector.
    pub features: usize,
    /// Layers, heads and hidden width of the encoder.
    pub encoder: [usize; 3],
    /// Layers, heads and hidden width of the decoder.
    pub decoder: [usize; 3],
    /// How many positions there are.
    pub max_positions: usize,
    /// The feedforward blocks' activation.
    pub activation: Activation,
    /// Whether embeddings are multiplied with √features.
    pub scaled: bool,
    /// The token that fills up a batch.
    pub pad_token: u32,
    /// The token that a translation begins with.
    pub start_token: u32,
    /// The token that ends a text.
    pub end_token: u32,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    json: Map<String, Json>,
}

impl MarianConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// It is not JSON or not of this family; a field is missing, not in its domain, or contradicts another one.
    pub fn parse(text: &str) -> ConfigResult<Self> {
        let json: Json = serde_json::from_str(text)
            .map_err(|e| ConfigError::new("config.json", format!("is not valid JSON: {e}")))?;
        let Json::Object(json) = json else {
            return Err(ConfigError::new("config.json", "expected an object"));
        };
        let mut config = read(&Fields::new(&json, ""))?;
        config.json = json;
        Ok(config)
    }

    /// What was read, as the text of a `config.json`.
    pub fn to_json(&self) -> String {
        // A map of JSON values always has a text.
        serde_json::to_string_pretty(&self.json).unwrap_or_default()
    }
}

fn read(fields: &Fields<'_>) -> ConfigResult<MarianConfig> {
    if fields.text(&["model_type"])? != Some("marian") {
        return Err(fields.error("model_type", "expected \"marian\""));
    }
    if !fields.flag("share_encoder_decoder_embeddings", true)? {
        let message = "a vocabulary of its own for each language is not supported";
        return Err(fields.error("share_encoder_decoder_embeddings", message));
    }
    if !fields.flag("tie_word_embeddings", true)? {
        let message = "an output layer of its own is not supported";
        return Err(fields.error("tie_word_embeddings", message));
    }
    let features = fields.required(&["d_model"], MOST_FEATURES)?;
    if !features.is_multiple_of(2) {
        return Err(fields.error("d_model", "sinusoidal positions need an even number"));
    }
    let part = |layers, heads, hidden| {
        let count = fields.required(&[heads], MOST_HEADS)?;
        shared_width(fields, heads, features, count)?;
        let layers = fields.required(&[layers], MOST_LAYERS)?;
        Ok([layers, count, fields.required(&[hidden], MOST_HIDDEN)?])
    };
    let vocab_size = fields.required(&["vocab_size"], MOST_TOKENS)?;
    let token = |key| match fields.count(key)? {
        Some(id) if id < vocab_size => Ok(id as u32),
        Some(id) => {
            let message = format!("{id} is none of the {vocab_size} tokens");
            Err(fields.error(key, message))
        }
        None => Err(fields.missing(key)),
    };
    Ok(MarianConfig {
        vocab_size,
        features,
        encoder: part("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim")?,
        decoder: part("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim")?,
        max_positions: fields.required(&["max_position_embeddings"], MOST_TOKENS)?,
        activation: activation(fields, "activation_function", Activation::Gelu)?,
        scaled: fields.flag("scale_embedding", false)?,
        pad_token: token("pad_token_id")?,
        start_token: token("decoder_start_token_id")?,
        end_token: token("eos_token_id")?,
        initializer_range: fields.positive(&["init_std"])?.unwrap_or(0.02),
        json: Map::new(),
    })
}

/// A batch for a translation model.
///
/// ```
/// fn sentences(batch: &ff_nn::models::TranslationBatch) -> usize { batch.source.shape().dims()[0] }
/// ```
#[derive(Debug, Clone)]
pub struct TranslationBatch {
    /// The tokens to read `[B, S]` (i32).
    pub source: Value,
    /// 0, or a negative number for padding of the source `[B, S]` (i32).
    pub segments: Option<Value>,
    /// The tokens written so far `[B, T]` (i32), of which the first is the one that a translation begins with.
    pub target: Value,
}

/// A Marian model (Junczys-Dowmunt et al., 2018): post-norm encoder and decoder over one table of embeddings, with
/// sinusoidal positions.
///
/// Parameters carry Hugging Face's names; `final_logits_bias` is a state, which is not trained.
///
/// # Shapes
/// source `[B, S]`, target `[B, T]` → logits `[B, T, vocabulary]`
///
/// ```
/// use ff_nn::{Builder, models::{Marian, MarianConfig}};
/// # let json = r#"{"model_type": "marian", "vocab_size": 30, "d_model": 8, "encoder_layers": 1, "decoder_layers": 2,
/// #    "encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 12,
/// #    "max_position_embeddings": 20, "pad_token_id": 29, "decoder_start_token_id": 29, "eos_token_id": 0}"#;
/// let config = MarianConfig::parse(json).unwrap();
/// let mut builder = Builder::new();
/// let model = Marian::new(&mut builder, &config, &Default::default());
/// ```
#[derive(Debug)]
pub struct Marian {
    shared: Embedding,
    scale: Option<Arc<dyn Op>>,
    encoder: Vec<PostNormBlock>,
    decoder: Vec<PostNormBlock>,
    bias: ParamId,
    add: Arc<dyn Op>,
    logits: Arc<dyn Op>,
    loss: Arc<dyn Op>,
    features: usize,
    max_positions: usize,
    options: LanguageOptions,
}

/// The keys and values of the decoder's own tokens, layer by layer.
///
/// ```
/// fn written(cache: &ff_nn::models::DecoderCache) -> usize { cache.len() }
/// ```
#[derive(Debug)]
pub struct DecoderCache(Vec<KeyValueCache>);

impl DecoderCache {
    /// How many tokens of each sequence it holds.
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, KeyValueCache::len)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Marian {
    /// Makes the layers and registers their parameters.
    pub fn new(b: &mut Builder, config: &MarianConfig, options: &LanguageOptions) -> Self {
        let init = Init::Normal { std: config.initializer_range };
        let names = PostNormNames {
            attention: "self_attn",
            projections: ["q_proj", "k_proj", "v_proj", "out_proj"],
            attention_norm: "self_attn_layer_norm",
            layers: ["fc1", "fc2"],
            feedforward_norm: "final_layer_norm",
        };
        let (shared, encoder, decoder) = b.scope("model", |b| {
            let shared = b.scope("shared", |b| {
                let table = Embedding::with_init(b, config.vocab_size, config.features, init);
                // As in `transformers`, where the padding token begins a translation too.
                table.with_padding(config.pad_token as usize)
            });
            let mut stack = |name: &str, [layers, heads, hidden]: [usize; 3], decoder| {
                let block = PostNormConfig {
                    features: config.features,
                    hidden,
                    heads,
                    causal: decoder,
                    cross: decoder,
                    activation: config.activation,
                    eps: 1e-5,
                    init,
                    bf16: options.bf16(),
                    names,
                };
                let layer =
                    |i| b.scope(&format!("{name}.layers.{i}"), |b| PostNormBlock::new(b, &block));
                (0..layers).map(layer).collect::<Vec<_>>()
            };
            let encoder = stack("encoder", config.encoder, false);
            let decoder = stack("decoder", config.decoder, true);
            (shared, encoder, decoder)
        });
        let bias =
            b.param("final_logits_bias", [config.vocab_size], ParamKind::Statistic, Init::Zeros);
        let loss = LinearCrossEntropy {
            bias: true,
            z_loss: options.z_loss,
            label_smoothing: options.label_smoothing,
            bf16: options.bf16(),
            ..LinearCrossEntropy::default()
        };
        let logits = if options.bf16() {
            FeedforwardBf16::op(Activation::Identity, true, DType::F32)
        } else {
            ff_ops::Feedforward::op(Activation::Identity, true)
        };
        Self {
            shared,
            scale: config.scaled.then(|| Scale::op((config.features as f64).sqrt())),
            encoder,
            decoder,
            bias,
            add: Add::op(),
            logits,
            loss: loss.op(),
            features: config.features,
            max_positions: config.max_positions,
            options: *options,
        }
    }

    /// What the decoder reads of a source `[B, S, features]`.
    ///
    /// # Errors
    /// An id is not in the vocabulary, there are more tokens than positions, or memory is short.
    pub fn encode(
        &self,
        graph: &mut Graph,
        source: &Value,
        segments: Option<&Value>,
    ) -> Result<Value> {
        let mut x = self.embed(graph, source, 0)?;
        for block in &self.encoder {
            let context = PostNormContext { segments, ..PostNormContext::default() };
            x = block.forward(graph, &x, context)?;
        }
        Ok(x)
    }

    /// The logits `[B, T, vocabulary]` of what follows each token of the target.
    ///
    /// # Errors
    /// As [`Marian::encode`].
    pub fn logits(&self, graph: &mut Graph, batch: &TranslationBatch) -> Result<Value> {
        let memory = self.encode(graph, &batch.source, batch.segments.as_ref())?;
        let memory = (&memory, batch.segments.as_ref());
        self.decode(graph, memory, &batch.target, None)
    }

    /// The logits `[B, T, vocabulary]` of what follows tokens of the target, behind those in the cache.
    ///
    /// # Errors
    /// As [`Marian::encode`]; the cache is full.
    pub fn decode(
        &self,
        graph: &mut Graph,
        memory: (&Value, Option<&Value>),
        target: &Value,
        cache: Option<&mut DecoderCache>,
    ) -> Result<Value> {
        let x = self.decoded(graph, memory, target, cache)?;
        let (weight, bias) = (graph.param(self.shared.weight()), graph.param(self.bias));
        graph.apply(&self.logits, &[&x, &weight, &bias])
    }

    /// The loss of predicting `targets` `[B, T]`, of which −100 is not counted.
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
        let (weight, bias) = (graph.param(self.shared.weight()), graph.param(self.bias));
        let outputs = graph.apply_all(&self.loss, &[&x, &weight, &bias, targets])?;
        match outputs.as_slice() {
            [sum, count] => {
                Ok(CausalLoss { sum: sum.clone(), count: count.clone(), total: sum.clone() })
            }
            _ => Err(Error::shape("marian", "expected a loss and a count")),
        }
    }

    /// An empty cache for `batch` translations of up to `capacity` tokens.
    ///
    /// # Errors
    /// Memory is short.
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
            let context = PostNormContext { segments: None, memory: Some(memory), cache };
            x = block.forward(graph, &x, context)?;
        }
        Ok(x)
    }

    /// Embeddings with positions from `start` on.
    fn embed(&self, graph: &mut Graph, ids: &Value, start: usize) -> Result<Value> {
        let &[_, tokens] = ids.shape().dims() else {
            return Err(Error::shape("marian", "tokens must be [B, T]"));
        };
        if start + tokens > self.max_positions {
            let message = format!(
                "{} tokens, the model has positions for {}",
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
