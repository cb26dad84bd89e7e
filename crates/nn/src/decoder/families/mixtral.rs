//! Mixtral (Jiang et al., 2024).

use super::super::common::{experts, rotary, sliding_window};
use super::{DecoderConfig, Defaults, Family, Fields, Names};
use crate::transformer::BlockNames;

pub(super) static FAMILY: Family = Family {
    name: "mixtral",
    architecture: "MixtralForCausalLM",
    positions: "max_position_embeddings",
    names: Names {
        block: BlockNames { feedforward: "block_sparse_moe", ..Names::LLAMA.block },
        experts: ["w1", "w3", "w2"],
        ..Names::LLAMA
    },
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    let defaults = Defaults {
        positions: 131_072,
        kv_heads: Some(8),
        norm_eps: 1e-5,
        theta: 1e6,
        ..Defaults::QWEN
    };
    rotary(fields, config, &defaults);
    experts(fields, config, ["num_local_experts", "num_experts"], "intermediate_size");
    let window = sliding_window(fields);
    config.layers.iter_mut().for_each(|layer| layer.window = window);
}
