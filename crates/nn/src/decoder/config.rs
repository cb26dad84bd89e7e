//! The specification of a decoder, read from Hugging Face's `config.json`.

use crate::layers::QueryKeyNorm;
use crate::transformer::fields::{self, Fields};
use crate::transformer::{BlockNames, NormPlace, Rope, TransformerNorm};
use ff_ops::{Activation, LongAngles};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// A family of decoders: the meaning of its `config.json` and the tensors of its files.
///
/// ```
/// let family = ff_nn::models::Family::named("qwen3_moe").unwrap();
/// assert_eq!(family.architecture, "Qwen3MoeForCausalLM");
/// assert!(family.keys().contains("num_experts_per_tok"));
/// ```
pub struct Family {
    /// Its `model_type` in a `config.json`.
    pub name: &'static str,
    /// The class that opens it in `transformers`.
    pub architecture: &'static str,
    /// The key of the number of positions.
    pub positions: &'static str,
    pub(super) names: Names,
    /// Reads the specification of a model over the defaults of [`DecoderConfig::of`].
    pub(super) read: fn(&Fields<'_>, &mut DecoderConfig),
}

/// The tensors of a family's files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// The model without its output layer.
    pub(super) body: &'static str,
    pub(super) embedding: &'static str,
    /// The table of learned positions, if the model has one.
    pub(super) positions: &'static str,
    pub(super) layers: &'static str,
    pub(super) block: BlockNames,
    /// The last norm.
    pub(super) norm: &'static str,
    /// The matrices of an expert: gate, up and down.
    pub(super) experts: [&'static str; 3],
    /// The router, if the experts of a layer are one tensor `[experts, in, out]`, in which gate and
    /// up alternate.
    pub(super) stacked_with: Option<&'static str>,
    /// The ends of the names of matrices that are stored as `[in, out]`.
    pub(super) transposed: &'static [&'static str],
    /// The ends of the names of tensors that carry no parameter.
    pub(super) ignored: &'static [&'static str],
}

impl Names {
    /// The names of Llama and of most families after it.
    pub(super) const LLAMA: Self = Self {
        body: "model",
        embedding: "embed_tokens",
        positions: "",
        layers: "layers",
        block: BlockNames {
            attention: "self_attn",
            attention_norm: "input_layernorm",
            projections: ["q_proj", "k_proj", "v_proj", "o_proj"],
            cross: None,
            feedforward: "mlp",
            feedforward_norm: "post_attention_layernorm",
            second_norms: ["", ""],
            layers: ["gate_proj", "up_proj", "down_proj"],
        },
        norm: "norm",
        experts: ["gate_proj", "up_proj", "down_proj"],
        stacked_with: None,
        transposed: &[],
        ignored: &[".rotary_emb.inv_freq"],
    };
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The differences between the layers of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LayerConfig {
    /// The number of tokens that attention sees; all if there is none.
    pub window: Option<usize>,
    /// Whether the feedforward block is a mixture of experts.
    pub experts: bool,
    /// The factor of scores; 1/√head_dim if there is none.
    pub scale: Option<f64>,
    /// The positions that turn queries and keys.
    pub rope: LayerRope,
}

/// The rotary positions of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerRope {
    /// The model's, [`DecoderConfig::rope`].
    #[default]
    Global,
    /// Those of layers that see near tokens alone, [`DecoderConfig::local_rope`].
    Local,
    /// None: order comes from the mask and from other layers (Yang et al., 2025).
    None,
}

/// A mixture of experts in place of the feedforward block.
///
/// ```
/// let config = ff_nn::models::DecoderConfig::parse(
///     r#"{"model_type": "mixtral", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 16,
///     "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
///     "num_local_experts": 4, "num_experts_per_tok": 2}"#,
/// )?;
/// let moe = config.moe.unwrap();
/// assert_eq!((moe.experts, moe.top_k, moe.intermediate_size), (4, 2, 16));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeConfig {
    /// The number of experts.
    pub experts: usize,
    /// The number of experts that see a token.
    pub top_k: usize,
    /// The hidden width of each.
    pub intermediate_size: usize,
    /// Whether the weights of the chosen experts sum to 1.
    pub normalize: bool,
    /// The hidden width of the expert that sees every token, through a gate of its own.
    pub shared: Option<usize>,
    /// The factor of the loss that spreads tokens over experts, of all layers together; 0 if
    /// `output_router_logits` is false.
    pub balance: f64,
    /// The factor of the loss that keeps the router's logits small.
    pub z_loss: f64,
    /// α and the limit of a clamped gate in place of the activation.
    pub clamp: Option<[f64; 2]>,
    /// Whether gate and up are one matrix, and the router and the experts have biases.
    pub stacked: bool,
}

/// The specification of a decoder, read from a `config.json`.
///
/// Fields have the names, meanings and defaults of `transformers`. This struct is for reading:
/// [`DecoderConfig::with`] makes a change, and fields without meaning here are kept and written
/// back. Dropout is not applied.
///
/// ```
/// let json = r#"{"model_type": "gpt2", "vocab_size": 65, "n_positions": 64, "n_embd": 128,
///     "n_layer": 4, "n_head": 4, "mine": true}"#;
/// let config = ff_nn::models::DecoderConfig::parse(json)?;
/// assert_eq!((config.hidden_size, config.intermediate_size, config.tied), (128, 512, true));
/// assert!(config.to_json().contains("\"mine\": true"));
/// assert!(config.with("n_head", 5).unwrap_err().to_string().starts_with("n_head: "));
/// # Ok::<(), ff_nn::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct DecoderConfig {
    /// The family.
    pub family: &'static Family,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The hidden width of the feedforward blocks.
    pub intermediate_size: usize,
    /// Each layer, in order.
    pub layers: Vec<LayerConfig>,
    /// The number of heads of queries.
    pub heads: usize,
    /// The number of heads of keys and values, which those of queries share.
    pub kv_heads: usize,
    /// The features of a head.
    pub head_dim: usize,
    /// The number of positions.
    pub max_positions: usize,
    /// The activation of the feedforward blocks.
    pub activation: Activation,
    /// Whether the feedforward blocks are gated.
    pub gated: bool,
    /// The normalisation.
    pub norm: TransformerNorm,
    /// The place of a block's norms.
    pub norm_place: NormPlace,
    /// The ε under the norms' square roots.
    pub norm_eps: f64,
    /// What is added to the weights of root-mean-square norms, which files hold less this.
    pub norm_offset: f64,
    /// The factor of the embeddings.
    pub embedding_scale: f64,
    /// The soft bound of attention's scores.
    pub score_cap: Option<f64>,
    /// The soft bound of the logits.
    pub logit_cap: Option<f64>,
    /// Rotary positions; learned ones if there are none.
    pub rope: Option<Rope>,
    /// The rotary positions of layers with positions of their own.
    pub local_rope: Option<Rope>,
    /// Whether the output layer is the table of embeddings.
    pub tied: bool,
    /// Whether queries, keys and values come from one product.
    pub fused_qkv: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether attention's output has a bias.
    pub out_bias: bool,
    /// Whether the feedforward blocks have biases.
    pub mlp_bias: bool,
    /// Whether biases are trained; they stay at zero otherwise.
    pub trains_biases: bool,
    /// The normalisation of queries and keys.
    pub qk_norm: Option<QueryKeyNorm>,
    /// Whether each head has a score without a key.
    pub sinks: bool,
    /// The experts of the layers that have them.
    pub moe: Option<MoeConfig>,
    /// The standard deviation of new weights.
    pub initializer_range: f64,
    /// Whether new weights of layers that add to the residual stream are smaller by
    /// √(2 · layers), which makes up for the number of terms (Radford et al., 2019).
    pub scaled_init: bool,
    pub(super) json: Map<String, Value>,
}

impl DecoderConfig {
    /// The text of a `config.json`, with every field that was read.
    pub fn to_json(&self) -> String {
        fields::to_text(&self.json)
    }

    /// The number of positions that long sequences leave as they are: later ones change the angles
    /// of all.
    pub fn positions_unchanged(&self) -> usize {
        let above = |rope: &Rope| match rope.long {
            Some(LongAngles::Table { above, .. } | LongAngles::Base { above, .. }) => Some(above),
            None => None,
        };
        let ropes = self.rope.iter().chain(&self.local_rope);
        ropes.filter_map(above).min().unwrap_or(usize::MAX).min(self.max_positions)
    }

    /// Whether all texts with more tokens than [`DecoderConfig::positions_unchanged`] have the same
    /// angles, and not each length its own.
    pub fn has_long_angles(&self) -> bool {
        let table = |rope: &Rope| matches!(rope.long, Some(LongAngles::Table { .. }));
        self.rope.iter().chain(&self.local_rope).any(table)
    }

    /// A field, as in the file.
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.json.get(key)
    }

    /// Llama's structure, without sizes.
    pub(super) fn of(family: &'static Family) -> Self {
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
            norm: TransformerNorm::Rms,
            norm_place: NormPlace::Before,
            norm_eps: 1e-6,
            norm_offset: 0.0,
            embedding_scale: 1.0,
            score_cap: None,
            logit_cap: None,
            rope: None,
            local_rope: None,
            tied: false,
            fused_qkv: false,
            qkv_bias: false,
            out_bias: false,
            mlp_bias: false,
            trains_biases: true,
            qk_norm: None,
            sinks: false,
            moe: None,
            initializer_range: 0.02,
            scaled_init: false,
            json: Map::new(),
        }
    }
}

impl From<DecoderConfig> for Map<String, Value> {
    fn from(config: DecoderConfig) -> Self {
        config.json
    }
}
