//! Whole networks, built from their configs.

mod language;
mod mlp;
mod predictor;

pub use language::{
    CausalLm, CausalLoss, DecoderCache, DecoderConfig, DecoderNorm, Encoder, EncoderBatch,
    EncoderConfig, EncoderFamily, EncoderHead, Family, FileTensor, LanguageOptions, LayerConfig,
    Marian, MarianConfig, ModelCache, MoeConfig, Rope, TokenBatch, TranslationBatch, file_tensors,
    is_ignored, plain_file_tensors,
};
pub use mlp::{Mlp, MlpConfig, MlpInput};
pub use predictor::Predictor;
