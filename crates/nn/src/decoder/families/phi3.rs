//! Phi 3 and 4 (Abdin et al., 2024).

use super::super::common::{rotary, sliding_window};
use super::{DecoderConfig, Defaults, Family, Fields, Names};
use crate::transformer::BlockNames;

pub(super) static FAMILY: Family = Family {
    name: "phi3",
    architecture: "Phi3ForCausalLM",
    positions: "max_position_embeddings",
    names: Names {
        block: BlockNames {
            projections: ["qkv_proj", "", "", "o_proj"],
            layers: ["gate_up_proj", "", "down_proj"],
            ..Names::LLAMA.block
        },
        ..Names::LLAMA
    },
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    let defaults = Defaults {
        positions: 4096,
        norm_eps: 1e-5,
        partial: true,
        original: Some(4096),
        longrope: &["longrope", "su", "yarn"],
        ..Defaults::QWEN
    };
    rotary(fields, config, &defaults);
    config.fused_qkv = true;
    let window = sliding_window(fields);
    config.layers.iter_mut().for_each(|layer| layer.window = window);
}
