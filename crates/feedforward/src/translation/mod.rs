//! Encoders with decoders (Marian, T5) fine-tuned on pairs: a text, and the one to write for it.

mod corpus;
mod evaluate;
mod network;
mod objective;
mod predict;
mod recipe;
mod report;
mod scores;
mod summary;
mod task;
mod training;

pub use evaluate::{TranslationEvaluation, evaluate, is_translation_model, is_translation_run};
pub use predict::predict;
pub use recipe::{
    TranslationConfig, TranslationData, TranslationEvaluate, TranslationLoss, TranslationRecipe,
};
pub use scores::{TranslationScore, TranslationScores};
pub use summary::TranslationSummary;
pub use training::train;

pub(crate) use task::Translating;
