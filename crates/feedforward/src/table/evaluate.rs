//! Evaluation of a finished run, on its own held-out part or on new rows.

use super::model::TableModel;
use super::recipe::Recipe;
use super::scores::{self, Report};
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::run::info::{RunInfo, no_model};
use crate::run::measure::open_device;
use ff_table::{Encoded, load, prepare};
use ff_tensor::DeviceOptions;
use serde::Serialize;
use std::path::Path;

/// The scores of a model on some rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluateSummary {
    /// What the rows are: `test`, `valid`, or the file.
    pub part: String,
    /// How many.
    pub rows: usize,
    /// Everything that was found.
    #[serde(flatten)]
    pub report: Report,
}

/// Evaluates a run's model: on the rows of `data` where given, else on the run's test part (its
/// validation part where there is none).
///
/// # Errors
/// The run is not finished, its data has changed, or the new rows lack a column or the target.
pub fn evaluate(run: &Path, data: Option<&Path>, device: DeviceOptions) -> Result<EvaluateSummary> {
    let folder = RunFolder::open(run)?;
    let recipe = Recipe::load(&folder.recipe(), &[])?;
    let device = open_device(&recipe, device)?;
    if !folder.model().join("config.json").is_file() {
        return Err(no_model(&folder));
    }
    let mut model = TableModel::open(&folder.model(), &device)?;
    let threads = device.cpu().threads();
    let (part, encoded): (String, Encoded) = if let Some(path) = data {
        let (table, _) = load(path, &model.transforms().source_options(), threads)?;
        (path.display().to_string(), model.transforms().encode_with_target(&table, threads)?)
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
            ("test".into(), prepared.test)
        } else if prepared.valid.rows > 0 {
            ("valid".into(), prepared.valid)
        } else {
            return Err(Error::run(folder.path(), "held nothing out; name rows with --data"));
        }
    };
    if encoded.rows == 0 {
        return Err(Error::usage(format!("{part} has no rows to evaluate the model on")));
    }
    let predictions = model.predict_encoded(&encoded)?;
    let report = scores::evaluate_part(&model, &recipe, &encoded, &predictions, None, true)?;
    Ok(EvaluateSummary { part, rows: encoded.rows, report })
}
