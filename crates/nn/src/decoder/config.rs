//! What a decoder is made from: Hugging Face's `config.json`.

use super::families::{Family, parse};
use crate::ConfigError;
use crate::transformer::Rope;
use crate::transformer::fields::{Fields, nearest};
use ff_ops::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A decoder's normalisation.
///
/// ```
/// assert_ne!(ff_nn::models::DecoderNorm::Layer, ff_nn::models::DecoderNorm::Rms);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderNorm {
    /// Layer normalisation with a bias.
    Layer,
    /// Root-mean-square normalisation.
    Rms,
}

/// How one layer differs from the others.
///
/// ```
/// let layer = ff_nn::models::LayerConfig::default();
/// assert!(layer.window.is_none() && !layer.experts);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerConfig {
    /// How far back attention sees; everything where there is none.
    pub window: Option<usize>,
    /// Whether the feedforward block is a mixture of experts.
    pub experts: bool,
    /// What scores are multiplied with; 1/√head_dim where it is not said.
    pub scale: Option<f64>,
}

/// A mixture of experts in place of the feedforward block.
///
/// ```
/// fn active(moe: &ff_nn::models::MoeConfig) -> usize { moe.top_k * moe.intermediate_size }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeConfig {
    /// How many experts there are.
    pub experts: usize,
    /// How many of them see a token.
    pub top_k: usize,
    /// The hidden width of each.
    pub intermediate_size: usize,
    /// Whether the weights of the chosen ones sum to 1.
    pub normalize: bool,
    /// The hidden width of the expert that sees every token, through a gate of its own.
    pub shared: Option<usize>,
    /// What the loss that spreads tokens over experts, of all layers together, is multiplied with; 0 where
    /// `output_router_logits` is false.
    pub balance: f64,
    /// What the loss that keeps the router's logits small is multiplied with.
    pub z_loss: f64,
}

/// What a decoder is made from, read from a `config.json`.
///
/// Supported: `gpt2`, `llama` (SmolLM too), `mistral`, `qwen2`, `qwen3`, `mixtral`, `qwen2_moe`, `qwen3_moe`, with the
/// names, meanings and defaults that `transformers` gives the fields. The fields of this struct are for reading: a change is
/// made with [`DecoderConfig::with`], and what does not matter here is kept and written back. Dropout is not applied.
///
/// ```
/// let json = r#"{"model_type": "gpt2", "vocab_size": 65, "n_positions": 64, "n_embd": 128, "n_layer": 4, "n_head": 4,
///     "mine": true}"#;
/// let config = ff_nn::models::DecoderConfig::parse(json)?;
/// assert_eq!((config.hidden_size, config.intermediate_size, config.tied), (128, 512, true));
/// assert!(config.to_json().contains("\"mine\": true"));
/// assert!(config.with("n_head", 5).unwrap_err().to_string().starts_with("n_head: "));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct DecoderConfig {
    /// The family: which names tensors have and what a missing field means.
    pub family: Family,
    /// How many tokens there are.
    pub vocab_size: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The hidden width of the feedforward blocks.
    pub intermediate_size: usize,
    /// Each layer, in order.
    pub layers: Vec<LayerConfig>,
    /// How many heads ask.
    pub heads: usize,
    /// How many heads of keys and values they share.
    pub kv_heads: usize,
    /// The features of a head.
    pub head_dim: usize,
    /// How many positions there are.
    pub max_positions: usize,
    /// The feedforward blocks' activation.
    pub activation: Activation,
    /// Whether the feedforward blocks are gated.
    pub gated: bool,
    /// The normalisation.
    pub norm: DecoderNorm,
    /// What is added under its square root.
    pub norm_eps: f64,
    /// Rotary positions; learned ones where there are none.
    pub rope: Option<Rope>,
    /// Whether the output layer is the table of embeddings.
    pub tied: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether attention's output has a bias.
    pub out_bias: bool,
    /// Whether the feedforward blocks have biases.
    pub mlp_bias: bool,
    /// Whether biases are trained; of GPT-2 with `"bias": false` they stay at zero, as nanoGPT has it.
    pub trains_biases: bool,
    /// Whether each head's queries and keys are normalised.
    pub qk_norm: bool,
    /// The experts of the layers that have them.
    pub moe: Option<MoeConfig>,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    json: Map<String, Value>,
}

impl DecoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// It is not JSON; the family is not supported; a field is missing, not in its domain or contradicts another one.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let json: Value = serde_json::from_str(text)
            .map_err(|e| ConfigError::new("config.json", format!("is not valid JSON: {e}")))?;
        match json {
            Value::Object(map) => Self::try_from(map),
            _ => Err(ConfigError::new("config.json", "expected an object")),
        }
    }

    /// The same with one field set; `null` takes it away.
    ///
    /// # Errors
    /// As [`DecoderConfig::parse`].
    pub fn with(&self, key: &str, value: impl Into<Value>) -> Result<Self, ConfigError> {
        let mut json = self.json.clone();
        match value.into() {
            // Order is kept, so that a diff of the two files is small.
            Value::Null => drop(json.shift_remove(key)),
            value => drop(json.insert(key.to_owned(), value)),
        }
        Self::try_from(json)
    }

    /// What was read, as the text of a `config.json`.
    pub fn to_json(&self) -> String {
        // A map of JSON values always has a text.
        serde_json::to_string_pretty(&self.json).unwrap_or_default()
    }

    /// A field as it stands in the file.
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.json.get(key)
    }

    /// How many values the parameters have.
    pub fn parameters(&self) -> usize {
        super::shapes(self).iter().map(|(_, shape)| shape.len()).sum()
    }
}

impl TryFrom<Map<String, Value>> for DecoderConfig {
    type Error = ConfigError;

    fn try_from(json: Map<String, Value>) -> Result<Self, ConfigError> {
        let fields = Fields::new(&json, "");
        let names: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
        let supported = names.join(", ");
        let Some(name) = fields.text(&["model_type"])? else {
            let message = format!("is missing; it says which family this is, one of {supported}");
            return Err(fields.error("model_type", message));
        };
        let family = Family::ALL.into_iter().find(|family| family.name() == name);
        let Some(family) = family else {
            let near = nearest(name, &names);
            let near = near.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
            let message = format!("\"{name}\" is not supported; supported: {supported}{near}");
            return Err(fields.error("model_type", message));
        };
        if fields.has("quantization_config") {
            let message = "quantised weights are not supported; use the model in f32, bf16 or f16";
            return Err(fields.error("quantization_config", message));
        }
        let mut config = parse(family, &fields)?;
        config.json = json;
        Ok(config)
    }
}

impl From<DecoderConfig> for Map<String, Value> {
    fn from(config: DecoderConfig) -> Self {
        config.json
    }
}

impl DecoderConfig {
    /// Without the file, which the caller puts in.
    pub(super) fn without_json(family: Family) -> Self {
        Self {
            family,
            vocab_size: 0,
            hidden_size: 0,
            intermediate_size: 0,
            layers: Vec::new(),
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            max_positions: 0,
            activation: Activation::Silu,
            gated: true,
            norm: DecoderNorm::Rms,
            norm_eps: 1e-6,
            rope: None,
            tied: false,
            qkv_bias: false,
            out_bias: false,
            mlp_bias: false,
            trains_biases: true,
            qk_norm: false,
            moe: None,
            initializer_range: 0.02,
            json: Map::new(),
        }
    }
}
