//! The architectures of llama.cpp, as GGUF files name them.

use super::metadata::Metadata;
use crate::error::Result;
use ff_formats::GgufValue;
use ff_nn::models::{DecoderConfig, LayerConfig, LayerRope};
use serde_json::{Value, json};

/// An architecture of llama.cpp, and what it is here.
#[derive(Debug)]
pub(super) struct Architecture {
    /// Its name in llama.cpp.
    pub(super) name: &'static str,
    /// The families that are written as it; the first is what a file is read as.
    pub(super) families: &'static [&'static str],
    /// The class in `transformers`.
    pub(super) class: &'static str,
    /// The parts of a layer beside those of all: llama.cpp's names and `transformers`'.
    parts: &'static [(&'static str, &'static str)],
    /// Whether the rows of queries and keys are in the order of neighbouring pairs.
    pub(super) pairs: bool,
    /// Whether a part of each head may be turned.
    pub(super) partial: bool,
    /// What is added to the weights of norms.
    pub(super) gain: f32,
    /// The keys of biases, and the tensor whose bias tells.
    pub(super) biases: &'static [(&'static str, &'static str)],
    /// Reads what the metadata has beside the fields of all.
    pub(super) read: fn(Metadata<'_>, &mut Value) -> Result<()>,
    /// The metadata beside the fields of all, or what llama.cpp has no form for.
    pub(super) write: fn(&DecoderConfig) -> Written,
}

type Written = std::result::Result<Vec<(&'static str, GgufValue)>, String>;

/// The parts of a layer that most architectures have.
const PARTS: [(&str, &str); 10] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "block_sparse_moe.gate"),
];
const LLAMA_NORMS: &[(&str, &str)] =
    &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];
const GEMMA_NORMS: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

const LLAMA: Architecture = Architecture {
    name: "llama",
    families: &["llama", "mistral"],
    class: "LlamaForCausalLM",
    parts: LLAMA_NORMS,
    pairs: true,
    partial: false,
    gain: 0.0,
    biases: &[("attention_bias", "attn_q"), ("mlp_bias", "ffn_gate")],
    read: |_, _| Ok(()),
    write: whole,
};

pub(super) const ALL: [Architecture; 9] = [
    LLAMA,
    Architecture {
        name: "qwen2",
        families: &["qwen2"],
        class: "Qwen2ForCausalLM",
        pairs: false,
        biases: &[],
        ..LLAMA
    },
    Architecture {
        name: "qwen3",
        families: &["qwen3"],
        class: "Qwen3ForCausalLM",
        pairs: false,
        biases: &[("attention_bias", "attn_q")],
        ..LLAMA
    },
    Architecture {
        name: "olmo2",
        families: &["olmo2"],
        class: "Olmo2ForCausalLM",
        parts: &[
            ("post_attention_norm", "post_attention_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ],
        pairs: false,
        biases: &[("attention_bias", "attn_q")],
        ..LLAMA
    },
    Architecture {
        name: "gemma2",
        families: &["gemma2"],
        class: "Gemma2ForCausalLM",
        parts: GEMMA_NORMS,
        pairs: false,
        gain: 1.0,
        biases: &[("attention_bias", "attn_q")],
        read: |weights, config| {
            gemma(weights, config, GEMMA2_LARGEST);
            config["attn_logit_softcapping"] = weights.float("attn_logit_softcapping").into();
            Ok(())
        },
        write: |config| {
            if pattern(config) != Some(2) {
                return Err(
                    "layers of Gemma 2 that see all tokens elsewhere than in every second".into()
                );
            }
            let mut metadata = gemma_metadata(config, GEMMA2_LARGEST)?;
            metadata.extend(config.score_cap.map(|cap| ("attn_logit_softcapping", float(cap))));
            Ok(metadata)
        },
        ..LLAMA
    },
    Architecture {
        name: "gemma3",
        families: &["gemma3_text"],
        class: "Gemma3ForCausalLM",
        parts: GEMMA_NORMS,
        pairs: false,
        gain: 1.0,
        biases: &[("attention_bias", "attn_q")],
        read: |weights, config| {
            gemma(weights, config, GEMMA3_LARGEST);
            config["rope_local_base_freq"] =
                weights.float("rope.freq_base_swa").unwrap_or(10_000.0).into();
            config["sliding_window_pattern"] =
                weights.size("attention.sliding_window_pattern").unwrap_or(6).into();
            Ok(())
        },
        write: |config| {
            let Some(pattern) = pattern(config) else {
                return Err("layers that see all tokens at no regular distance".into());
            };
            let mut metadata = gemma_metadata(config, GEMMA3_LARGEST)?;
            metadata.push(("attention.sliding_window_pattern", size(pattern)));
            if let Some(local) = &config.local_rope {
                metadata.push(("rope.freq_base_swa", float(local.theta)));
            }
            Ok(metadata)
        },
        ..LLAMA
    },
    Architecture {
        name: "phi3",
        families: &["phi3"],
        class: "Phi3ForCausalLM",
        parts: &[
            ("attn_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm"),
            ("attn_qkv", "self_attn.qkv_proj"),
            ("ffn_up", "mlp.gate_up_proj"),
        ],
        pairs: false,
        partial: true,
        biases: &[],
        read: |weights, config| {
            config["sliding_window"] = weights.size("attention.sliding_window").into();
            let rotated = weights.size("rope.dimension_count");
            let head_dim = config["head_dim"].as_u64().unwrap_or(1) as f64;
            config["partial_rotary_factor"] =
                rotated.map_or(1.0, |rotated| rotated as f64 / head_dim).into();
            let original = weights.size("rope.scaling.original_context_length");
            if let Some(original) = original {
                config["original_max_position_embeddings"] = original.into();
            }
            Ok(())
        },
        write: |config| {
            let window = config.layers.iter().find_map(|layer| layer.window);
            if config.activation != ff_ops::Activation::Silu {
                return Err(format!("the activation {}", config.activation.name()));
            }
            Ok(window
                .map(|window| ("attention.sliding_window", size(window)))
                .into_iter()
                .collect())
        },
        ..LLAMA
    },
    Architecture {
        name: "smollm3",
        families: &["smollm3"],
        class: "SmolLM3ForCausalLM",
        write: |config| {
            let turned = |layer: &LayerConfig| layer.rope != LayerRope::None;
            let usual =
                |(i, layer): (usize, &LayerConfig)| turned(layer) != (i + 1).is_multiple_of(4);
            if !config.layers.iter().enumerate().all(usual) {
                return Err("layers without positions elsewhere than in every fourth".into());
            }
            whole(config)
        },
        ..LLAMA
    },
    Architecture {
        name: "gpt-oss",
        families: &["gpt_oss"],
        class: "GptOssForCausalLM",
        parts: &[
            ("attn_norm", "input_layernorm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_gate_inp", "mlp.router"),
        ],
        pairs: false,
        biases: &[("attention_bias", "attn_q")],
        read: |weights, config| {
            if let Some(size) = weights.size("expert_feed_forward_length") {
                config["intermediate_size"] = size.into();
            }
            config["sliding_window"] = weights.size("attention.sliding_window").into();
            // The metadata has the factor alone, and without any the family has one of its own.
            let scaling = &mut config["rope_scaling"];
            match scaling.as_object_mut() {
                Some(scaling) => {
                    scaling.extend(yarn().map(|(key, value)| (key.to_owned(), value)));
                }
                None => *scaling = json!({ "rope_type": "default" }),
            }
            Ok(())
        },
        write: |config| {
            let window = config.layers.iter().find_map(|layer| layer.window);
            let usual = |(i, layer): (usize, &LayerConfig)| {
                layer.window == window.filter(|_| i.is_multiple_of(2))
            };
            let moe = config.moe.as_ref().filter(|moe| moe.clamp == Some([1.702, 7.0]));
            let Some(moe) = moe else {
                return Err("experts with other bounds than gpt-oss has".into());
            };
            if !config.layers.iter().enumerate().all(usual) {
                return Err("layers that see near tokens elsewhere than in every second".into());
            }
            let mut metadata = vec![
                ("expert_count", size(moe.experts)),
                ("expert_used_count", size(moe.top_k)),
                ("expert_feed_forward_length", size(moe.intermediate_size)),
            ];
            metadata.extend(window.map(|window| ("attention.sliding_window", size(window))));
            Ok(metadata)
        },
        ..LLAMA
    },
];

/// How gpt-oss scales its positions beside the factor, which llama.cpp's metadata does not say.
pub(super) fn yarn() -> [(&'static str, Value); 3] {
    [("beta_fast", 32.0.into()), ("beta_slow", 1.0.into()), ("truncate", false.into())]
}

/// How a family scales positions whose config says nothing of it.
pub(super) fn usual_scaling(family: &str) -> Option<Value> {
    let scaling =
        json!({ "rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096 });
    (family == "gpt_oss").then_some(scaling)
}

/// The number of layers of the largest model, whose queries llama.cpp scales by the width shared by
/// the heads and not by that of a head.
const GEMMA2_LARGEST: usize = 46;
const GEMMA3_LARGEST: usize = 62;

impl Architecture {
    /// The architecture that a family is written as.
    pub(super) fn of(family: &str) -> Option<&'static Self> {
        const { &ALL }.iter().find(|architecture| architecture.families.contains(&family))
    }

    /// The architecture of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        const { &ALL }.iter().find(|architecture| architecture.name == name)
    }

    fn parts(&self) -> impl Iterator<Item = &(&'static str, &'static str)> {
        self.parts.iter().chain(&PARTS)
    }

    /// The name in `transformers` of a layer's part.
    pub(super) fn theirs(&self, part: &str) -> Option<&'static str> {
        self.parts().find(|(ours, _)| *ours == part).map(|(_, theirs)| *theirs)
    }

    /// The name in llama.cpp of a layer's part.
    pub(super) fn ours(&self, part: &str) -> Option<&'static str> {
        self.parts().find(|(_, theirs)| *theirs == part).map(|(ours, _)| *ours)
    }

    /// What is added to the values of a tensor of `transformers`.
    pub(super) fn gain(&self, name: &str) -> f32 {
        if name.ends_with("norm.weight") { self.gain } else { 0.0 }
    }
}

fn size(n: usize) -> GgufValue {
    GgufValue::U32(u32::try_from(n).unwrap_or(u32::MAX))
}

fn float(x: f64) -> GgufValue {
    GgufValue::F32(x as f32)
}

/// Models whose layers all see every token.
fn whole(config: &DecoderConfig) -> Written {
    let seen = |layer: &LayerConfig| layer.window.is_none_or(|w| w >= config.max_positions);
    if config.layers.iter().all(seen) {
        return Ok(Vec::new());
    }
    Err("a model whose layers attend within a window".into())
}

/// n where every n-th layer sees all tokens and the others see near ones.
fn pattern(config: &DecoderConfig) -> Option<usize> {
    let far = |layer: &LayerConfig| layer.window.is_none() && layer.rope != LayerRope::Local;
    let count = config.layers.len();
    let n = config.layers.iter().position(far).map_or(count + 1, |i| i + 1);
    let fits = |(i, layer): (usize, &LayerConfig)| far(layer) == (i + 1).is_multiple_of(n);
    config.layers.iter().enumerate().all(fits).then_some(n)
}

/// What llama.cpp takes the queries' scale from: its inverse square.
fn query_scalar(layers: usize, largest: usize, [hidden, heads, head_dim]: [usize; 3]) -> usize {
    if layers == largest { hidden / heads.max(1) } else { head_dim }
}

/// The fields of both Gemmas.
fn gemma(weights: Metadata<'_>, config: &mut Value, largest: usize) {
    let number = |key: &str| config[key].as_u64().unwrap_or(0) as usize;
    let sizes = ["hidden_size", "num_attention_heads", "head_dim"].map(number);
    let scalar = query_scalar(number("num_hidden_layers"), largest, sizes);
    if let Some(config) = config.as_object_mut() {
        config.remove("hidden_act");
    }
    config["hidden_activation"] = json!("gelu_pytorch_tanh");
    config["query_pre_attn_scalar"] = scalar.into();
    config["sliding_window"] = weights.size("attention.sliding_window").into();
    config["final_logit_softcapping"] = weights.float("final_logit_softcapping").into();
}

/// The metadata of both Gemmas.
fn gemma_metadata(config: &DecoderConfig, largest: usize) -> Written {
    let sizes = [config.hidden_size, config.heads, config.head_dim];
    let expected = query_scalar(config.layers.len(), largest, sizes) as f64;
    let scale =
        |layer: &LayerConfig| layer.scale.is_none_or(|s| (s * s * expected - 1.0).abs() < 1e-9);
    if !config.layers.iter().all(scale) {
        return Err(format!("a query_pre_attn_scalar other than {expected}"));
    }
    if config.activation != ff_ops::Activation::GeluTanh {
        return Err(format!("the activation {}", config.activation.name()));
    }
    let window = config.layers.iter().find_map(|layer| layer.window);
    let mut metadata = Vec::new();
    metadata.extend(window.map(|window| ("attention.sliding_window", size(window))));
    metadata.extend(config.logit_cap.map(|cap| ("final_logit_softcapping", float(cap))));
    Ok(metadata)
}
