//! OLMo 2 (OLMo team, 2024).

use super::super::common::rotary;
use super::{DecoderConfig, Defaults, Family, Fields, Names, QueryKeyNorm};
use crate::transformer::{BlockNames, NormPlace};

pub(super) static FAMILY: Family = Family {
    name: "olmo2",
    architecture: "Olmo2ForCausalLM",
    positions: "max_position_embeddings",
    names: Names {
        block: BlockNames {
            attention_norm: "post_attention_layernorm",
            feedforward_norm: "post_feedforward_layernorm",
            ..Names::LLAMA.block
        },
        ..Names::LLAMA
    },
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { positions: 2048, norm_eps: 1e-5, ..Defaults::QWEN });
    config.qkv_bias = fields.flag("attention_bias", false);
    config.out_bias = config.qkv_bias;
    config.norm_place = NormPlace::Branch;
    config.qk_norm = Some(QueryKeyNorm::Projection);
}
