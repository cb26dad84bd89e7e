//! Qwen 3 (Yang et al., 2025).

use super::super::common::{layer_windows, rotary};
use super::{DecoderConfig, Defaults, Family, Fields, Names, QueryKeyNorm};

pub(super) static FAMILY: Family = Family {
    name: "qwen3",
    architecture: "Qwen3ForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { head_dim: Some(128), kv_heads: Some(32), ..Defaults::QWEN });
    config.qkv_bias = fields.flag("attention_bias", false);
    config.out_bias = config.qkv_bias;
    config.qk_norm = Some(QueryKeyNorm::Head);
    layer_windows(fields, config, |i, from| i >= from);
}
