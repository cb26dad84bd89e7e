//! Qwen 2 and 2.5 (Yang et al., 2024).

use super::super::common::{layer_windows, rotary};
use super::{DecoderConfig, Defaults, Family, Fields, Names};

pub(super) static FAMILY: Family = Family {
    name: "qwen2",
    architecture: "Qwen2ForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { kv_heads: Some(32), ..Defaults::QWEN });
    config.qkv_bias = true;
    layer_windows(fields, config, |i, from| i >= from);
}
