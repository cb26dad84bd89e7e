//! Predictions of new rows by a head over texts and other columns.

use super::learner::Opened;
use super::objective::{Part, outputs};
use super::task::{model_file, predictions};
use crate::embedding::TaskFile;
use crate::error::{Error, Result};
use crate::predict::{PredictOptions, PredictSummary};
use crate::run::watch::Watcher;
use crate::table::{predict_blocks, prediction_columns};
use ff_nn::models::MlpConfig;
use ff_tensor::Device;
use std::path::Path;

/// Predicts every row of a file by a model's folder with a head of this program, as
/// [`predict`](crate::predict) does by a model of a table.
///
/// # Errors
/// As that, or the folder is damaged.
pub(crate) fn predict(
    folder: &Path,
    (task, head): (&TaskFile, &MlpConfig),
    options: &PredictOptions,
    watcher: &mut dyn Watcher,
) -> Result<PredictSummary> {
    let device = Device::open(options.device)?;
    let Opened { learner, mut graph, origin, transforms } =
        Opened::read(folder, task, head, &device)?;
    let file = model_file(&transforms.target, task.threshold);
    if options.proba && file.classes.is_empty() {
        return Err(Error::usage("--proba is for classes; this model predicts numbers"));
    }
    let mut reading = transforms.source_options();
    reading.names.extend(task.texts.iter().cloned());
    let threads = device.cpu().threads();
    predict_blocks(options, &reading, watcher, &mut |block, typed| {
        super::evaluate::check_texts(block, &task.texts)?;
        let rows: Vec<usize> = (0..block.rows()).collect();
        let mut data = transforms.encode_rows(block, &rows, false, threads)?;
        let found = std::mem::take(&mut data.unfamiliar);
        let texts = origin.read(block, &task.texts, &rows)?;
        let data = texts.beside(data);
        let part = Part { data: &data, tokens: &texts.tokens };
        let predicted = predictions(&outputs(&mut graph, &learner, part)?, &file);
        let columns = prediction_columns(&file.classes, &predicted, (options.proba, typed));
        Ok((columns, found))
    })
}
