//! Qwen 1.5 and 2 with experts.

use super::super::common::{layer_windows, rotary, sparse_experts};
use super::{DecoderConfig, Defaults, Family, Fields, Names};
use crate::transformer::fields::MOST_HIDDEN;

pub(super) static FAMILY: Family = Family {
    name: "qwen2_moe",
    architecture: "Qwen2MoeForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { kv_heads: Some(16), ..Defaults::QWEN });
    config.qkv_bias = fields.flag("qkv_bias", true);
    sparse_experts(fields, config);
    let shared = fields.required(&["shared_expert_intermediate_size"], MOST_HIDDEN);
    config.moe.iter_mut().for_each(|moe| moe.shared = Some(shared));
    layer_windows(fields, config, |i, from| i.is_multiple_of(2) && i < from);
}
