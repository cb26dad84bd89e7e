//! Build, train and fine-tune neural networks, from one feedforward layer up.
//!
//! The rooms below are re-exported whole: [`tensor`], [`kernels`], [`ops`], [`nn`], [`text`],
//! [`metrics`], [`trainer`], [`formats`]. This room joins them. A recipe says what to train on
//! what: [`open_recipe`] reads one of any task, and its [`train`](TrainRecipe::train) makes the
//! folder of a run, which [`resume`] continues. Each task has a folder of its own: [`mod@table`],
//! [`language`], [`mod@finetune`]. [`embedding`] makes texts vectors.
//!
//! ```no_run
//! use feedforward::{Recipe, TrainOptions, train};
//! let recipe = Recipe::load("recipes/digits.toml".as_ref(), &[])?;
//! let summary = train(&recipe, &TrainOptions::default(), &mut ())?;
//! println!("{} steps into {}", summary.steps, summary.run.display());
//! # Ok::<(), feedforward::Error>(())
//! ```
#![forbid(unsafe_code)]

mod compare;
#[cfg(feature = "language")]
pub mod embedding;
#[cfg(feature = "language")]
pub mod encoder;
mod environment;
mod error;
mod files;
#[cfg(feature = "language")]
pub mod finetune;
mod inspect;
#[cfg(feature = "language")]
pub mod language;
#[cfg(feature = "onnx")]
mod onnx;
mod predict;
mod run;
#[cfg(feature = "language")]
pub mod sequence;
pub mod table;
mod task_keys;
mod tasks;
#[cfg(feature = "language")]
pub mod translation;
pub mod words;

pub use ff_formats as formats;
pub use ff_graph as graph;
#[cfg(feature = "onnx")]
pub use ff_interop as interop;
pub use ff_kernels as kernels;
pub use ff_metrics as metrics;
pub use ff_nn as nn;
pub use ff_nn::models::Predictor;
pub use ff_ops as ops;
pub use ff_tensor as tensor;
#[cfg(feature = "language")]
pub use ff_text as text;
pub use ff_train as trainer;

pub use compare::{CompareSummary, ComparedRun, ComparedScore, compare};
pub use environment::{Environment, environment};
pub use error::{Error, Result};
pub use ff_settings::{self as settings, RecipeError};
pub use inspect::{Inspection, LayerInfo, TensorInfo, inspect};
#[cfg(feature = "onnx")]
pub use onnx::{OnnxExport, export_onnx, export_onnx_within};
pub use predict::{PredictOptions, PredictSummary};
pub use run::difference::Difference;
pub use run::folder::RunFolder;
pub use run::life::TrainOptions;
pub use run::plan::{Plan, PlanDetails};
pub use run::summary::{Closing, RunSummary};
pub use run::watch::{
    DataNotice, ModelNotice, Notice, PreviewNotice, SampleNotice, TextNotice, Throughput, Watcher,
};
#[cfg(feature = "keras")]
pub use table::export_keras;
pub use table::{
    CrossValidation, EvaluateSummary, FoldResult, LrSuggestion, ModelFile, PartScores, Predictions,
    Recipe, TableModel, TrainSummary, TuneSummary, cross_validate, evaluate, find_lr, plan,
    predict, resume_tune, scores, train, tune,
};
#[cfg(feature = "onnx")]
pub use table::{Imported, export_tflite, import};
pub use tasks::{
    TrainRecipe, encoder_recipe, names_encoder, open_recipe, parse_recipe, recipe_schema, resume,
    stated_command,
};
pub use words::bytes;
