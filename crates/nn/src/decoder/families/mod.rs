//! The families of decoders, a file each.

use super::common::Defaults;
use super::config::{DecoderConfig, Family, Names};
use crate::layers::QueryKeyNorm;
use crate::transformer::fields::Fields;

macro_rules! families {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*
        pub(super) static ALL: &[&Family] = &[$(&$file::FAMILY),*];
    };
}

families![
    gpt2, llama, mistral, qwen2, qwen3, mixtral, qwen2_moe, qwen3_moe, olmo2, gemma2, gemma3, phi3,
    smollm3, gpt_oss,
];
