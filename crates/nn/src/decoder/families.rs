//! What each family's `config.json` means.

use super::config::{DecoderConfig, DecoderNorm, LayerConfig, MoeConfig};
use crate::transformer::Rope;
use crate::transformer::fields::{Fields, Result, nearest};
use ff_ops::Activation;
use serde_json::Value;

/// A family of decoders.
///
/// ```
/// assert_eq!(ff_nn::models::Family::Qwen3Moe.name(), "qwen3_moe");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Radford et al., 2019.
    Gpt2,
    /// Touvron et al., 2023; SmolLM and many others are of this family.
    Llama,
    /// Jiang et al., 2023.
    Mistral,
    /// Yang et al., 2024; Qwen 2.5 too.
    Qwen2,
    /// Yang et al., 2025.
    Qwen3,
    /// Jiang et al., 2024.
    Mixtral,
    /// Qwen 1.5 and 2 with experts.
    Qwen2Moe,
    /// Qwen 3 with experts.
    Qwen3Moe,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 8] = [
        Self::Gpt2,
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Mixtral,
        Self::Qwen2Moe,
        Self::Qwen3Moe,
    ];

    /// Its `model_type` in a `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Mixtral => "mixtral",
            Self::Qwen2Moe => "qwen2_moe",
            Self::Qwen3Moe => "qwen3_moe",
        }
    }

    /// The class that `transformers` opens it with.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::Gpt2 => "GPT2LMHeadModel",
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Mixtral => "MixtralForCausalLM",
            Self::Qwen2Moe => "Qwen2MoeForCausalLM",
            Self::Qwen3Moe => "Qwen3MoeForCausalLM",
        }
    }
}

// What any published model stays far below, and what keeps the largest product of sizes within a shape's 2⁴⁸ values.
pub(crate) const MOST_TOKENS: usize = 1 << 24;
pub(crate) const MOST_FEATURES: usize = 1 << 18;
pub(crate) const MOST_HIDDEN: usize = 1 << 20;
pub(crate) const MOST_HEADS: usize = 1 << 12;
pub(crate) const MOST_LAYERS: usize = 1 << 11;
pub(crate) const MOST_POSITIONS: usize = 1 << 30;
const MOST_EXPERTS: usize = 1 << 10;

/// The activations by the names that `transformers` has for them.
const ACTIVATIONS: [(&str, Activation); 13] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("relu", Activation::Relu),
    ("relu2", Activation::Relu2),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("mish", Activation::Mish),
    ("linear", Activation::Identity),
];

pub(crate) fn activation<'a>(
    fields: &Fields<'a>,
    key: &'a str,
    default: Activation,
) -> Result<Activation> {
    let Some(name) = fields.text(&[key])? else { return Ok(default) };
    if let Some((_, activation)) = ACTIVATIONS.iter().find(|(known, _)| *known == name) {
        return Ok(*activation);
    }
    let names: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
    let near = nearest(name, &names);
    let near = near.map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    let message = format!("\"{name}\" is not supported; supported: {}{near}", names.join(", "));
    Err(fields.error(key, message))
}

/// The features of a head where the config does not say: the width shared evenly.
pub(crate) fn shared_width(
    fields: &Fields<'_>,
    key: &str,
    hidden: usize,
    heads: usize,
) -> Result<usize> {
    if hidden.is_multiple_of(heads) {
        return Ok(hidden / heads);
    }
    let message = format!("{heads} heads do not share {hidden} features evenly; choose a divisor");
    Err(fields.error(key, message))
}

pub(super) fn parse(family: Family, fields: &Fields<'_>) -> Result<DecoderConfig> {
    match family {
        Family::Gpt2 => gpt2(fields),
        _ => llama_like(family, fields),
    }
}

fn gpt2(fields: &Fields<'_>) -> Result<DecoderConfig> {
    let mut config = DecoderConfig::without_json(Family::Gpt2);
    config.vocab_size = fields.required(&["vocab_size"], MOST_TOKENS)?;
    config.hidden_size = fields.required(&["n_embd", "hidden_size"], MOST_FEATURES)?;
    config.heads = fields.required(&["n_head", "num_attention_heads"], MOST_HEADS)?;
    config.kv_heads = config.heads;
    config.head_dim = shared_width(fields, "n_head", config.hidden_size, config.heads)?;
    config.max_positions =
        fields.required(&["n_positions", "max_position_embeddings", "n_ctx"], MOST_TOKENS)?;
    let inner = fields.size(&["n_inner"], MOST_HIDDEN)?;
    config.intermediate_size = inner.unwrap_or(4 * config.hidden_size);
    config.activation = activation(fields, "activation_function", Activation::GeluTanh)?;
    config.gated = false;
    config.norm = DecoderNorm::Layer;
    config.norm_eps = fields.positive(&["layer_norm_epsilon"])?.unwrap_or(1e-5);
    config.tied = fields.flag("tie_word_embeddings", true)?;
    (config.qkv_bias, config.out_bias, config.mlp_bias) = (true, true, true);
    config.trains_biases = fields.flag("bias", true)?;
    config.initializer_range = fields.positive(&["initializer_range"])?.unwrap_or(0.02);
    if fields.flag("add_cross_attention", false)? {
        let message = "a decoder that reads an encoder is not supported for this family";
        return Err(fields.error("add_cross_attention", message));
    }
    let scaled = fields.flag("scale_attn_weights", true)?;
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx", false)?;
    let layers = fields.required(&["n_layer", "num_hidden_layers"], MOST_LAYERS)?;
    let usual = if scaled { (config.head_dim as f64).powf(-0.5) } else { 1.0 };
    let scale = |i: usize| if by_layer { usual / (i + 1) as f64 } else { usual };
    let scale = |i| (!scaled || by_layer).then(|| scale(i));
    config.layers =
        (0..layers).map(|i| LayerConfig { scale: scale(i), ..Default::default() }).collect();
    Ok(config)
}

fn llama_like(family: Family, fields: &Fields<'_>) -> Result<DecoderConfig> {
    let mut config = DecoderConfig::without_json(family);
    config.vocab_size = fields.required(&["vocab_size"], MOST_TOKENS)?;
    config.hidden_size = fields.required(&["hidden_size"], MOST_FEATURES)?;
    config.intermediate_size = fields.required(&["intermediate_size"], MOST_HIDDEN)?;
    config.heads = fields.required(&["num_attention_heads"], MOST_HEADS)?;
    config.kv_heads = fields.size(&["num_key_value_heads"], MOST_HEADS)?.unwrap_or(config.heads);
    if !config.heads.is_multiple_of(config.kv_heads) {
        let message = format!(
            "{} heads of queries cannot share {} heads of keys and values evenly; choose a divisor",
            config.heads, config.kv_heads
        );
        return Err(fields.error("num_key_value_heads", message));
    }
    config.head_dim = match fields.size(&["head_dim"], MOST_HEADS)? {
        Some(dim) => dim,
        None if family == Family::Qwen3 => 128,
        None => shared_width(fields, "num_attention_heads", config.hidden_size, config.heads)?,
    };
    let positions = fields.size(&["max_position_embeddings"], MOST_POSITIONS)?;
    config.max_positions = positions.unwrap_or(match family {
        Family::Llama => 2048,
        Family::Mistral | Family::Mixtral => 131_072,
        _ => 32_768,
    });
    config.activation = activation(fields, "hidden_act", Activation::Silu)?;
    let eps = if family == Family::Mixtral { 1e-5 } else { 1e-6 };
    config.norm_eps = fields.positive(&["rms_norm_eps"])?.unwrap_or(eps);
    let theta = if family == Family::Mixtral { 1e6 } else { 1e4 };
    config.rope = Some(Rope::parse(fields, config.head_dim, config.max_positions, theta)?);
    config.tied = fields.flag("tie_word_embeddings", false)?;
    config.initializer_range = fields.positive(&["initializer_range"])?.unwrap_or(0.02);
    match family {
        Family::Llama | Family::Qwen3 | Family::Qwen3Moe => {
            config.qkv_bias = fields.flag("attention_bias", false)?;
            config.out_bias = config.qkv_bias;
        }
        Family::Qwen2 => config.qkv_bias = true,
        Family::Qwen2Moe => config.qkv_bias = fields.flag("qkv_bias", true)?,
        _ => {}
    }
    config.mlp_bias = family == Family::Llama && fields.flag("mlp_bias", false)?;
    config.qk_norm = matches!(family, Family::Qwen3 | Family::Qwen3Moe);
    config.moe = experts(family, fields)?;
    config.layers = layers(family, fields, config.moe.is_some())?;
    Ok(config)
}

fn experts(family: Family, fields: &Fields<'_>) -> Result<Option<MoeConfig>> {
    let mixtral = match family {
        Family::Mixtral => true,
        Family::Qwen2Moe | Family::Qwen3Moe => false,
        _ => return Ok(None),
    };
    let experts = fields.required(&["num_local_experts", "num_experts"], MOST_EXPERTS)?;
    let top_k = fields.required(&["num_experts_per_tok"], MOST_EXPERTS)?;
    if top_k > experts {
        let message = format!("a token cannot go to {top_k} of {experts} experts");
        return Err(fields.error("num_experts_per_tok", message));
    }
    let width = if mixtral { "intermediate_size" } else { "moe_intermediate_size" };
    let shared = match family {
        Family::Qwen2Moe => {
            Some(fields.required(&["shared_expert_intermediate_size"], MOST_HIDDEN)?)
        }
        _ => None,
    };
    let coefficient = |key| match fields.number(&[key])? {
        Some(negative) if negative < 0.0 => Err(fields.error(key, "expected a number from 0 up")),
        number => Ok(number),
    };
    Ok(Some(MoeConfig {
        experts,
        top_k,
        intermediate_size: fields.required(&[width], MOST_HIDDEN)?,
        normalize: mixtral || fields.flag("norm_topk_prob", false)?,
        shared,
        // As in `transformers` a model that says no has none; where nothing is said, one is made from nothing.
        balance: if fields.flag("output_router_logits", true)? {
            coefficient("router_aux_loss_coef")?.unwrap_or(0.001)
        } else {
            0.0
        },
        z_loss: coefficient("router_z_loss_coef")?.unwrap_or(0.0),
    }))
}

/// Which layers see through a window, and which have experts.
fn layers(family: Family, fields: &Fields<'_>, moe: bool) -> Result<Vec<LayerConfig>> {
    let count = fields.required(&["num_hidden_layers"], MOST_LAYERS)?;
    let qwen =
        matches!(family, Family::Qwen2 | Family::Qwen3 | Family::Qwen2Moe | Family::Qwen3Moe);
    let windowed = match family {
        Family::Llama | Family::Gpt2 => false,
        _ => !qwen || fields.flag("use_sliding_window", false)?,
    };
    // Mistral's first configs left the window out and meant 4096.
    let said = fields.field("sliding_window").is_some();
    let unsaid = (family == Family::Mistral && !said).then_some(4096);
    let window = match fields.count("sliding_window")?.filter(|&window| window > 0) {
        Some(window) => Some(window),
        None => unsaid,
    };
    let window = window.filter(|_| windowed);
    let from = fields.count("max_window_layers")?.unwrap_or(28);
    let types = layer_types(family, fields, count)?;
    let step = fields.size(&["decoder_sparse_step"], MOST_LAYERS)?.unwrap_or(1);
    let dense: Vec<u64> = match fields.list("mlp_only_layers")? {
        Some(list) => list.iter().filter_map(Value::as_u64).collect(),
        None => Vec::new(),
    };
    let sees = |i: usize| match (&types, family) {
        (Some(types), _) => types[i],
        (None, Family::Qwen2 | Family::Qwen3) => i >= from,
        (None, Family::Qwen2Moe) => i.is_multiple_of(2) && i < from,
        _ => true,
    };
    let has_experts = |i: usize| {
        moe && (family == Family::Mixtral
            || !dense.contains(&(i as u64)) && (i + 1).is_multiple_of(step))
    };
    Ok((0..count)
        .map(|i| LayerConfig {
            window: window.filter(|_| sees(i)),
            experts: has_experts(i),
            scale: None,
        })
        .collect())
}

/// For each layer whether it sees through a window, where the config lists them.
fn layer_types(family: Family, fields: &Fields<'_>, count: usize) -> Result<Option<Vec<bool>>> {
    const KEY: &str = "layer_types";
    if !matches!(family, Family::Qwen2 | Family::Qwen3 | Family::Qwen2Moe) {
        return Ok(None);
    }
    let Some(list) = fields.list(KEY)? else { return Ok(None) };
    if list.len() != count {
        let message = format!("lists {} layers, num_hidden_layers says {count}", list.len());
        return Err(fields.error(KEY, message));
    }
    let window = |value: &Value| match value.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => {
            let message = format!(
                "{value} is not supported; supported: \"full_attention\", \"sliding_attention\""
            );
            Err(fields.error(KEY, message))
        }
    };
    list.iter().map(window).collect::<Result<_>>().map(Some)
}
