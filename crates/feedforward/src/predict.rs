//! Settings and results that predictions of all models share.

use crate::error::{Error, Result};
use ff_table::Unfamiliar;
use ff_tensor::DeviceOptions;
use serde::Serialize;
use std::path::PathBuf;

/// The rows to predict and the output.
///
/// ```
/// let options =
///     feedforward::PredictOptions { data: "new.csv".into(), proba: true, ..Default::default() };
/// assert!(options.out.is_none()); // then standard output
/// ```
#[derive(Debug, Clone, Default)]
pub struct PredictOptions {
    /// The rows: CSV, Parquet or JSONL, also compressed; `-` is standard input.
    pub data: PathBuf,
    /// The output file for rows with predictions: CSV, Parquet or JSONL by extension; standard
    /// output by default.
    pub out: Option<PathBuf>,
    /// Whether to add a probability for each class.
    pub proba: bool,
    /// Whether to add the disagreement of an ensemble's members.
    pub spread: bool,
    /// The level of intervals of numbers, or of sets of classes, to add: such as 0.9.
    pub interval: Option<f64>,
    /// Settings of reading that differ from the model's, such as `data.header=false`.
    pub set: Vec<String>,
    /// Whether to overwrite an existing output file.
    pub force: bool,
    /// Threads and kernels.
    pub device: DeviceOptions,
}

/// The result of a prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PredictSummary {
    /// The number of rows.
    pub rows: usize,
    /// The output file; `None` for standard output.
    pub out: Option<PathBuf>,
    /// The added columns.
    pub columns: Vec<String>,
    /// Columns with cells unlike those of training: unseen categories, gaps, values out of range.
    pub unfamiliar: Vec<Unfamiliar>,
}

/// Refuses to overwrite a file without `force`.
pub(crate) fn refuse_overwriting(options: &PredictOptions) -> Result<()> {
    let Some(out) = options.out.as_deref().filter(|out| out.is_file() && !options.force) else {
        return Ok(());
    };
    let same = std::fs::canonicalize(out).ok() == std::fs::canonicalize(&options.data).ok();
    let what = if same { "holds the rows to predict" } else { "is there already" };
    let shown = out.display();
    Err(Error::usage(format!("{shown} {what}; choose another name, or overwrite it with --force")))
}
