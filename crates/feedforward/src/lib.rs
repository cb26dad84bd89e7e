//! Build, train and fine-tune neural networks, from one feedforward layer up.
//!
//! The rooms below are re-exported whole: [`tensor`], [`kernels`], [`ops`], [`nn`], [`table`], [`text`], [`trainer`], [`metrics`], [`formats`].
//! This room joins them: a [`Recipe`] says what to train on what; [`train()`] makes a run's folder of it, which
//! [`evaluate()`], [`predict()`] and [`resume()`] read.
//!
//! ```no_run
//! use feedforward::{Recipe, TrainOptions, train};
//! let recipe = Recipe::load("recipes/digits.toml".as_ref(), &[])?;
//! let summary = train(&recipe, &TrainOptions::default(), &mut ())?;
//! println!("{} steps into {}", summary.steps, summary.run.display());
//! # Ok::<(), feedforward::Error>(())
//! ```
#![forbid(unsafe_code)]

mod clock;
mod compare;
mod cross_validate;
mod environment;
mod error;
mod evaluate;
mod find_lr;
mod inspect;
pub mod language;
mod memory;
mod model;
mod notes;
mod plan;
mod predict;
pub mod pretrain;
pub mod recipe;
mod report;
mod run;
pub mod scores;
mod setup;
mod training;
mod watch;

pub use ff_formats as formats;
pub use ff_graph as graph;
pub use ff_kernels as kernels;
pub use ff_metrics as metrics;
pub use ff_nn as nn;
pub use ff_nn::models::Predictor;
pub use ff_ops as ops;
pub use ff_table as table;
pub use ff_tensor as tensor;
pub use ff_text as text;
pub use ff_train as trainer;

pub use compare::{CompareSummary, ComparedRun, Difference, compare};
pub use cross_validate::{CrossValidation, FoldResult, cross_validate};
pub use environment::{Environment, environment};
pub use error::{Error, Result};
pub use evaluate::{EvaluateSummary, evaluate};
pub use find_lr::{LrSuggestion, find_lr};
pub use inspect::{Inspection, LayerInfo, TensorInfo, inspect};
pub use memory::bytes;
pub use model::{ModelFile, Predictions, TableModel};
pub use plan::{PlanSummary, plan};
pub use predict::{PredictOptions, PredictSummary, predict};
pub use recipe::{Recipe, RecipeError};
pub use run::RunFolder;
pub use training::{PartScores, TrainOptions, TrainSummary, resume, train};
pub use watch::{
    DataNotice, LanguageNotice, ModelNotice, Notice, SampleNotice, TextNotice, Watcher,
};
