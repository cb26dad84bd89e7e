//! Mistral (Jiang et al., 2023).

use super::super::common::{rotary, sliding_window};
use super::{DecoderConfig, Defaults, Family, Fields, Names};

pub(super) static FAMILY: Family = Family {
    name: "mistral",
    architecture: "MistralForCausalLM",
    positions: "max_position_embeddings",
    names: Names::LLAMA,
    read,
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) {
    rotary(fields, config, &Defaults { positions: 131_072, ..Defaults::QWEN });
    // The first configs left the window out and meant 4096.
    let unstated = (!fields.is_stated("sliding_window")).then_some(4096);
    let window = sliding_window(fields).or(unstated);
    config.layers.iter_mut().for_each(|layer| layer.window = window);
}
