//! Judging a finished run, on its own held-out part or on new rows.

use crate::notes::load_info;
use crate::recipe::Recipe;
use crate::scores::{self, Report};
use crate::training::open_device;
use crate::{Error, Result, RunFolder, TableModel, TrainOptions};
use ff_table::{Encoded, load, prepare};
use ff_tensor::DeviceOptions;
use serde::Serialize;
use std::path::Path;

/// The scores of a model on some rows.
///
/// ```
/// fn line(s: &feedforward::EvaluateSummary) -> String { format!("{}: {} rows", s.part, s.rows) }
/// ```
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

/// Judges a run's model: on the rows of `data` where given, else on the run's test part (its validation part where there
/// is none).
///
/// # Errors
/// The run is not finished, its data has changed, or the new rows lack a column or the target.
pub fn evaluate(run: &Path, data: Option<&Path>, device: DeviceOptions) -> Result<EvaluateSummary> {
    let folder = RunFolder::open(run)?;
    let recipe = Recipe::load(&folder.recipe(), &[])?;
    let device = open_device(&recipe, &TrainOptions { device, ..TrainOptions::default() })?;
    if !folder.model().join("config.json").is_file() {
        return Err(folder.no_model());
    }
    let mut model = TableModel::open(&folder.model(), &device)?;
    let (part, encoded): (String, Encoded) = if let Some(path) = data {
        let (table, _) = load(path, &model.transforms().source_options())?;
        (path.display().to_string(), model.transforms().encode_with_target(&table)?)
    } else {
        let info = load_info(&folder)?;
        let prepared = prepare(&recipe.data, recipe.train.seed, &info.base)?;
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
        return Err(Error::usage(format!("{part} has no rows to judge the model by")));
    }
    let predictions = model.predict_encoded(&encoded)?;
    let report = scores::judge_part(&model, &recipe, &encoded, &predictions, None, true)?;
    Ok(EvaluateSummary { part, rows: encoded.rows, report })
}
