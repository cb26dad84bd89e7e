//! Qwen 3 with experts.

use super::super::common::{rotary, sparse_experts, used_window};
use super::{DecoderConfig, Defaults, Family, Fields, Names, QueryKeyNorm};

pub(super) static FAMILY: Family = Family {
    name: "qwen3_moe",
    architecture: "Qwen3MoeForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { kv_heads: Some(4), ..Defaults::QWEN });
    config.qkv_bias = fields.flag("attention_bias", false);
    config.out_bias = config.qkv_bias;
    config.qk_norm = Some(QueryKeyNorm::Head);
    sparse_experts(fields, config);
    let used = fields.flag("use_sliding_window", false);
    let window = used_window(fields).filter(|_| used);
    config.layers.iter_mut().for_each(|layer| layer.window = window);
}
