//! gpt-oss (OpenAI, 2025).

use super::super::common::{experts, without_positions};
use super::{DecoderConfig, Defaults, Family, Fields, Names};
use crate::transformer::Rope;
use serde_json::{Map, Value, json};

pub(super) static FAMILY: Family = Family {
    name: "gpt_oss",
    architecture: "GptOssForCausalLM",
    positions: "max_position_embeddings",
    names: Names { stacked_with: Some("router"), ..Names::LLAMA },
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    let defaults = Defaults {
        positions: 131_072,
        head_dim: Some(64),
        kv_heads: Some(8),
        norm_eps: 1e-5,
        theta: 150_000.0,
        ..Defaults::QWEN
    };
    without_positions(fields, config, &defaults);
    config.rope = Some(Rope::read_or(fields, &defaults.rope(config), &usual_positions()));
    config.qkv_bias = fields.flag("attention_bias", true);
    config.out_bias = config.qkv_bias;
    config.sinks = true;
    experts(fields, config, ["num_local_experts", "num_experts"], "intermediate_size");
    let alpha = fields.positive(&["swiglu_alpha"]).unwrap_or(1.702);
    let limit = fields.positive(&["swiglu_limit"]).unwrap_or(7.0);
    if let Some(moe) = &mut config.moe {
        (moe.clamp, moe.stacked) = (Some([alpha, limit]), true);
    }
    let stated = fields.is_stated("sliding_window");
    let window = fields.count("sliding_window").filter(|&window| window > 0);
    let window = window.or((!stated).then_some(128));
    let types = fields.layer_types(config.layers.len());
    for (i, layer) in config.layers.iter_mut().enumerate() {
        let listed = types.as_ref().map(|types| types.get(i) == Some(&true));
        layer.window = window.filter(|_| listed.unwrap_or(i.is_multiple_of(2)));
    }
}

/// The positions of a config that says nothing of them.
fn usual_positions() -> Map<String, Value> {
    let usual = json!({
        "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
        "truncate": false, "original_max_position_embeddings": 4096,
    });
    usual.as_object().cloned().unwrap_or_default()
}
