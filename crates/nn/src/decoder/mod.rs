//! Decoders: language models that predict the next token, built from Hugging Face's `config.json`.

mod block;
mod cache;
mod common;
mod config;
mod explicit;
mod families;
mod files;
mod model;
mod names;
mod read;
#[cfg(test)]
mod tests;

pub use cache::ModelCache;
pub use config::{DecoderConfig, Family, LayerConfig, LayerRope, MoeConfig};
pub use files::{FileTensor, file_tensors, is_ignored, plain_file_tensors};
pub use model::{CausalLm, CausalLoss, TokenBatch};
pub use names::{DecoderLayerNames, DecoderNames};
