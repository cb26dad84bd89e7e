//! Predicting new rows, block by block, so that a file larger than memory passes.

use super::model::{Predictions, TableModel};
use super::recipe::Recipe;
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::run::info::no_model;
use crate::run::measure::open_device;
use crate::run::watch::Watcher;
use ff_table::{BlockReader, Column, Format, Table, TableWriter, Values};
use ff_tensor::DeviceOptions;
use ff_train::Event;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Rows in memory at a time.
const BLOCK: usize = 8192;

/// What to predict and where to write it.
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
    /// Where they are written, with their predictions; CSV, Parquet or JSONL by extension, standard
    /// output where not given.
    pub out: Option<PathBuf>,
    /// Whether a probability for each class is written too.
    pub proba: bool,
    /// Threads and kernels.
    pub device: DeviceOptions,
}

/// What was predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PredictSummary {
    /// How many rows.
    pub rows: usize,
    /// Where they were written; `None` for standard output.
    pub out: Option<PathBuf>,
    /// The columns that were added.
    pub columns: Vec<String>,
}

/// Predicts every row of a file and writes its columns, then `prediction`, then one
/// `probability_<class>` each where asked for, rows in their order.
///
/// # Errors
/// There is no model, a column is missing or of another kind, or the output cannot be written; then
/// no output is left.
pub fn predict(
    run: &Path,
    options: &PredictOptions,
    watcher: &mut dyn Watcher,
) -> Result<PredictSummary> {
    let (folder, threads) = find_model(run)?;
    let mut recipe = Recipe::default();
    recipe.train.threads = threads;
    let device = open_device(&recipe, options.device)?;
    let mut model = TableModel::open(&folder, &device)?;
    if options.proba && model.file().classes.is_empty() {
        return Err(Error::usage("--proba is for classes; this model predicts numbers"));
    }
    watcher.event(Event::Phase("predicting"));
    let mut reader = BlockReader::open(&options.data, &model.transforms().source_options(), BLOCK)?;
    let mut writer = match &options.out {
        Some(path) => TableWriter::create(path)?,
        None => TableWriter::stream(Box::new(std::io::stdout()), Format::CSV)?,
    };
    let mut columns = Vec::new();
    let mut rows = 0;
    while let Some(mut block) = reader.next_block()? {
        let predictions = model.predict(&block)?;
        rows += block.rows();
        columns = add_columns(&mut block, &model, &predictions, options.proba)?;
        writer.write(&block)?;
        if watcher.interrupted() {
            return Err(Error::usage("prediction was interrupted; nothing was written"));
        }
    }
    writer.finish()?;
    Ok(PredictSummary { rows, out: options.out.clone(), columns })
}

/// The model's folder from a run's folder or from itself, and the threads of the run's recipe.
fn find_model(run: &Path) -> Result<(PathBuf, usize)> {
    if run.join("config.json").is_file() {
        return Ok((run.to_owned(), 0));
    }
    let folder = RunFolder::open(run)?;
    if !folder.model().join("config.json").is_file() {
        return Err(no_model(&folder));
    }
    let recipe = Recipe::load(&folder.recipe(), &[])?;
    Ok((folder.model(), recipe.train.threads))
}

fn add_columns(
    block: &mut Table,
    model: &TableModel,
    predictions: &Predictions,
    proba: bool,
) -> Result<Vec<String>> {
    let mut added: Vec<(String, Values)> = Vec::new();
    match predictions {
        Predictions::Values(values) => added.push(("prediction".into(), values.clone().into())),
        Predictions::Classes { predicted, probabilities } => {
            let classes = &model.file().classes;
            let texts = predicted.iter().map(|&class| Some(classes[class].as_str())).collect();
            added.push(("prediction".into(), texts));
            if proba {
                for (i, class) in classes.iter().enumerate() {
                    let column: Vec<f64> =
                        probabilities.iter().skip(i).step_by(classes.len()).copied().collect();
                    added.push((format!("probability_{class}"), column.into()));
                }
            }
        }
    }
    let names = added.iter().map(|(name, _)| name.clone()).collect();
    for (name, values) in added {
        block.push(Column::new(name, values)).map_err(|column| {
            Error::usage(format!(
                "the data has a column `{}` already; rename it, so that the prediction has a place",
                column.name
            ))
        })?;
    }
    Ok(names)
}
