//! Tables: rows of numbers and categories, a class or a number to predict. Reading and encoding
//! them is `ff_table`, which is re-exported here whole.

pub use ff_table::*;

mod bags;
mod bins;
mod budget;
pub(crate) mod calibrate;
mod cross_validate;
mod evaluate;
mod evaluate_config;
mod find_lr;
#[cfg(feature = "onnx")]
mod import;
mod kind;
mod model;
pub mod objective;
#[cfg(feature = "onnx")]
mod onnx;
mod predict;
mod reading;
mod recipe;
mod refit;
pub(crate) mod report;
pub mod scores;
pub(crate) mod setup;
mod start;
mod summary;
pub(crate) mod task;
mod tune;

pub use cross_validate::{CrossValidation, FoldResult, cross_validate};
pub use evaluate::{EvaluateSummary, evaluate};
pub use evaluate_config::EvaluateConfig;
pub use find_lr::{LrSuggestion, find_lr};
#[cfg(feature = "onnx")]
pub use import::{Imported, import};
pub use model::{Intervals, ModelFile, Predictions, TableModel};
#[cfg(feature = "keras")]
pub use onnx::export_keras;
#[cfg(feature = "onnx")]
pub(crate) use onnx::export_table_within;
#[cfg(all(feature = "language", feature = "onnx"))]
pub(crate) use onnx::network::element_wise as element_wise_node;
#[cfg(feature = "onnx")]
pub use onnx::{export_tflite, to_onnx};
pub use predict::predict;
pub use recipe::{Quality, Recipe};
pub use scores::PartScores;
pub use summary::TrainSummary;
pub use task::{plan, train};
pub use tune::{Influence, Trial, TuneConfig, TuneSummary, resume_tune, tune};

#[cfg(feature = "language")]
pub(crate) use predict::{predict_blocks, prediction_columns};
pub(crate) use task::Tables;
