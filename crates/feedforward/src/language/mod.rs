//! Language models: pretraining on text, folders of models, generation, evaluation.

mod addition;
mod chat;
mod corpus;
mod decoder_config;
mod evaluate;
mod export;
mod likelihood;
mod model;
pub mod objective;
#[cfg(feature = "onnx")]
mod onnx;
mod recipe;
mod report;
mod samples;
mod scores;
mod setup;
mod summary;
mod tables;
mod task;

pub use addition::{Addition, Question};
pub use chat::{Answer, Chat};
pub use evaluate::{LanguageEvaluation, TextReading, evaluate_language, is_language_model};
pub use export::{ExportFormat, Exported, export, export_adapter};
pub use model::{
    EncoderModel, GenerateOptions, Generated, GeneratedTokens, LanguageModel, SaveOptions,
    StopReason, TranslateOptions, Translator, generate, generate_tokens, model_folder,
    read_weights, save,
};
#[cfg(feature = "onnx")]
pub use onnx::export_decoder_onnx;
#[cfg(feature = "onnx")]
pub(crate) use onnx::{export_within as export_decoder_within, is_decoder_model};
pub use recipe::PretrainRecipe;
pub use scores::{Choice, Choices, Exact, TextScores};
pub use summary::PretrainSummary;
pub use tables::{ModelTable, PretrainConfig, SampleConfig, TokenizerTable, WindowOrder};
pub use task::{plan, pretrain};

pub(crate) use model::{
    Base, PairText, Places, TASK_HEAD, TargetWriter, TranslatorFolder, adapter_folder,
    begin_adapter, encoder_batch, folder_config, hash_weights, is_adapter, merge_trained,
    read_encoder, read_generation, read_tokenizer, sizes_in_file, without_adapter, write_adapter,
};
pub(crate) use report::{curves, samples as report_samples};
pub(crate) use samples::{Sample, Samples};
pub(crate) use task::Pretraining;
