//! Evaluation of a finished run, on its own held-out part or on new rows.

use super::model::TableModel;
use super::reading;
use super::recipe::Recipe;
use super::scores::{self, Judge, Report};
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::run::info::{RunInfo, no_model};
use crate::run::measure::open_device;
use ff_table::{Dropped, Encoded, Unfamiliar, load, prepare};
use ff_tensor::DeviceOptions;
use serde::Serialize;
use std::path::Path;

/// The scores of a model on some rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluateSummary {
    /// The rows: `test`, `valid`, or the file.
    pub part: String,
    /// Their number.
    pub rows: usize,
    /// Rows left out, as in training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Dropped>,
    /// Columns with cells unlike those of training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfamiliar: Vec<Unfamiliar>,
    /// The full report.
    #[serde(flatten)]
    pub report: Report,
}

/// Evaluates a run's model on the rows of `data`, by default on the run's test part (or, without
/// one, its validation part), which the kept model may have been trained on (`train.refit`): then
/// the model before it is evaluated.
///
/// `data` is read with the run's settings and the overrides `sets`, such as `data.header=false`.
/// Rows that training would leave out are left out and counted.
///
/// # Errors
/// The run is not finished, its data has changed, or the new rows lack a column or the target.
pub fn evaluate(
    run: &Path,
    data: Option<&Path>,
    sets: &[String],
    device: DeviceOptions,
) -> Result<EvaluateSummary> {
    let folder = RunFolder::open(run)?;
    let recipe = Recipe::load(&folder.recipe(), &[])?;
    let device = open_device(&recipe, device)?;
    if !folder.model().join("config.json").is_file() {
        return Err(no_model(&folder));
    }
    let judged = Some(folder.judged_model()).filter(|judged| data.is_none() && judged.is_dir());
    let mut model = TableModel::open(&judged.unwrap_or(folder.model()), &device)?;
    let threads = device.cpu().threads();
    let mut left_out = Vec::new();
    // Several networks each encode the rows of a table by themselves.
    let mut averaged = None;
    let (part, mut encoded): (String, Encoded) = if let Some(path) = data {
        let transforms = model.transforms();
        let (table, _) = load(path, &reading::source_options(transforms, path, sets)?, threads)?;
        let rows;
        (rows, left_out) = transforms.judged(&table);
        let encoded = transforms.encode_rows(&table, &rows, true, threads)?;
        if model.networks() > 1 {
            averaged = Some(model.predict_rows(&table, &rows)?);
        }
        (path.display().to_string(), encoded)
    } else if !sets.is_empty() {
        return Err(Error::usage("--set says how rows are read; name them with --data"));
    } else {
        let info = RunInfo::load(&folder)?;
        let prepared = prepare(&recipe.data, recipe.train.seed, &info.base, threads)?;
        if prepared.hash != info.data_hash {
            return Err(Error::run(
                folder.path(),
                "was trained on other data than its file holds now, so its test part is not known any more; name rows \
                 with --data",
            ));
        }
        if prepared.test.rows > 0 {
            if model.networks() > 1 {
                averaged = Some(model.predict_rows(&prepared.table, &prepared.parts.test)?);
            }
            ("test".into(), prepared.test)
        } else if model.networks() > 1 {
            let message = "held nothing out of all its networks; name rows with --data";
            return Err(Error::run(folder.path(), message));
        } else if prepared.valid.rows > 0 {
            ("valid".into(), prepared.valid)
        } else {
            return Err(Error::run(folder.path(), "held nothing out; name rows with --data"));
        }
    };
    if encoded.rows == 0 {
        return Err(Error::usage(format!("{part} has no rows to evaluate the model on")));
    }
    let predictions = match averaged {
        Some(averaged) => averaged,
        None => model.predict_encoded(&encoded)?,
    };
    let judge = Judge::of(&model, &recipe);
    let report = scores::evaluate_part(judge, &encoded, &predictions, None, true)?;
    let unfamiliar = std::mem::take(&mut encoded.unfamiliar);
    Ok(EvaluateSummary { part, rows: encoded.rows, left_out, unfamiliar, report })
}
