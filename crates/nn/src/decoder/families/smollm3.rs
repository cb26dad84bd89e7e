//! SmolLM 3 (Hugging Face, 2025).

use super::super::common::{rotary, sliding_window};
use super::super::config::LayerRope;
use super::{DecoderConfig, Defaults, Family, Fields, Names};
use crate::transformer::fields::MOST_LAYERS;
use serde_json::Value;

pub(super) static FAMILY: Family = Family {
    name: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    let defaults = Defaults { kv_heads: Some(4), theta: 2e6, tied: true, ..Defaults::QWEN };
    rotary(fields, config, &defaults);
    config.qkv_bias = fields.flag("attention_bias", false);
    config.out_bias = config.qkv_bias;
    config.mlp_bias = fields.flag("mlp_bias", false);
    let count = config.layers.len();
    let turned = turned_layers(fields, count);
    let used = fields.flag("use_sliding_window", false);
    let window = sliding_window(fields).filter(|_| used);
    let types = fields.layer_types(count);
    for (i, layer) in config.layers.iter_mut().enumerate() {
        if !turned[i] {
            layer.rope = LayerRope::None;
        }
        let listed = types.as_ref().map(|types| types.get(i) == Some(&true));
        layer.window = window.filter(|_| listed.unwrap_or(!turned[i]));
    }
}

/// For each layer, whether it has rotary positions: as `no_rope_layers` lists, which says 1 where
/// it has, or in all but each `no_rope_layer_interval`-th.
fn turned_layers(fields: &Fields<'_>, count: usize) -> Vec<bool> {
    const KEY: &str = "no_rope_layers";
    let interval = fields.size(&["no_rope_layer_interval"], MOST_LAYERS).unwrap_or(4);
    let usual = |i: usize| !(i + 1).is_multiple_of(interval);
    let Some(list) = fields.list(KEY) else { return (0..count).map(usual).collect() };
    let whole = |value: &Value| value.as_u64().is_some_and(|v| v < 2) || value.is_boolean();
    if list.len() < count || !list.iter().all(whole) {
        let message = format!("expected 0 or 1 for each of {count} layers, found {}", list.len());
        fields.fail(KEY, message);
    }
    let turned = |i: usize| list.get(i).is_some_and(|v| *v == 1 || *v == true);
    (0..count).map(turned).collect()
}
