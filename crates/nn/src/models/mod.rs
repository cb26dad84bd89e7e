//! Whole networks, built from their configs.

mod language;
mod mlp;
mod predictor;

pub use language::{
    CausalLm, CausalLoss, DecoderConfig, DecoderNorm, Family, FileTensor, LanguageOptions,
    LayerConfig, ModelCache, MoeConfig, Rope, TokenBatch, file_tensors, is_ignored,
};
pub use mlp::{Mlp, MlpConfig, MlpInput};
pub use predictor::Predictor;
