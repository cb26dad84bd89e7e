//! Llama (Touvron et al., 2023); SmolLM and many other models belong to this family.

use super::super::common::rotary;
use super::{DecoderConfig, Defaults, Family, Fields, Names};

pub(super) static FAMILY: Family = Family {
    name: "llama",
    architecture: "LlamaForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { positions: 2048, ..Defaults::QWEN });
    config.qkv_bias = fields.flag("attention_bias", false);
    config.out_bias = config.qkv_bias;
    config.mlp_bias = fields.flag("mlp_bias", false);
}
