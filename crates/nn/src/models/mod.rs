//! Whole networks, built from their configs.

mod language;
mod mlp;
mod predictor;

pub use language::{
    CausalLm, CausalLoss, DecoderCache, DecoderConfig, Marian, MarianConfig, TranslationBatch, DecoderNorm, Encoder, EncoderBatch, EncoderConfig, EncoderFamily, EncoderHead, Family, FileTensor, LanguageOptions, LayerConfig,
    ModelCache, MoeConfig, Rope, TokenBatch, file_tensors, is_ignored, plain_file_tensors,
};
pub use mlp::{Mlp, MlpConfig, MlpInput};
pub use predictor::Predictor;
