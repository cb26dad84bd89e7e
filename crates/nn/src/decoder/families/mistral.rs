//! Mistral (Jiang et al., 2023).

use super::super::common::{rotary, used_window};
use super::{DecoderConfig, Defaults, Family, Fields, Names};

pub(super) static FAMILY: Family = Family {
    name: "mistral",
    architecture: "MistralForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { positions: 131_072, kv_heads: Some(8), ..Defaults::QWEN });
    let window = used_window(fields);
    config.layers.iter_mut().for_each(|layer| layer.window = window);
}
