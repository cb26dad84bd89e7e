//! Evaluation of a run on pairs, or of any encoder with a decoder.

use super::corpus;
use super::network::options;
use super::recipe::TranslationRecipe;
use super::scores::{Judge, TranslationScores};
use crate::encoder::{Rows, read_rows, read_rows_of};
use crate::error::{Error, Result};
use crate::language::{Translator, TranslatorFolder};
use crate::run::folder::RunFolder;
use crate::run::info::{RunInfo, no_model};
use crate::run::measure::open_device;
use crate::sequence::table_hash;
use crate::task_keys::{TRANSLATION_KEYS, states_any};
use ff_nn::models::LanguageOptions;
use ff_tensor::DeviceOptions;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The scores of a model on some pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TranslationEvaluation {
    /// The model or the run.
    pub model: PathBuf,
    /// The pairs: `test`, `valid`, or the file.
    pub part: String,
    /// The columns of sources and targets.
    pub columns: [String; 2],
    /// The scores.
    #[serde(flatten)]
    pub scores: TranslationScores,
    /// What was found about the pairs.
    pub findings: Vec<String>,
}

/// Whether a path is a run that fine-tuned an encoder with a decoder.
pub fn is_translation_run(path: &Path) -> bool {
    let recipe = RunFolder::open(path).map(|folder| folder.recipe());
    let text = recipe.ok().and_then(|recipe| std::fs::read_to_string(recipe).ok());
    text.is_some_and(|text| states_any(&text, TRANSLATION_KEYS))
}

/// Whether a path is such a run, or the folder of an encoder with a decoder.
pub fn is_translation_model(path: &Path) -> bool {
    is_translation_run(path) || Translator::is_at(path).unwrap_or(false)
}

/// A run, or a model's folder, with the recipe that says how its texts are read.
pub(super) struct Opened {
    pub(super) run: Option<RunFolder>,
    pub(super) recipe: TranslationRecipe,
    /// The folder of the model.
    pub(super) model: PathBuf,
}

/// Opens a run or a model's folder, with overrides of the recipe.
///
/// # Errors
/// The run is not finished, an override is wrong, or a folder comes without data.
pub(super) fn open(path: &Path, data: Option<&Path>, sets: &[String]) -> Result<Opened> {
    if is_translation_run(path) {
        let folder = RunFolder::open(path)?;
        let recipe = TranslationRecipe::load(&folder.recipe(), sets)?;
        let model = folder.model();
        if !model.join("config.json").exists() {
            return Err(no_model(&folder));
        }
        return Ok(Opened { run: Some(folder), recipe, model });
    }
    let Some(data) = data else {
        let message = "there is nothing to evaluate it on; name a file of pairs with --data";
        return Err(Error::usage(message));
    };
    let quoted = |path: &Path| toml::Value::String(path.display().to_string());
    let own = [format!("base.model={}", quoted(path)), format!("data.path={}", quoted(data))];
    let all: Vec<String> = own.iter().chain(sets).cloned().collect();
    let recipe = TranslationRecipe::parse("", "the command line", &all)?;
    Ok(Opened { run: None, recipe, model: path.to_owned() })
}

/// The columns that a run was trained on, where its recipe does not name them.
pub(super) fn columns_of(info: &RunInfo) -> Vec<String> {
    let columns = info.config.as_ref().and_then(|config| config.get("columns"));
    columns.map_or_else(Vec::new, |all| serde_json::from_value(all.clone()).unwrap_or_default())
}

/// Evaluates the model of a run or of a folder on the pairs of `data`; by default that of a run on
/// its test part, or, without one, its validation part. `sets` are keys of the recipe: the columns,
/// the prefix, how many targets are written.
///
/// # Errors
/// The run is not finished, its data has changed, or the pairs are not right.
pub fn evaluate(
    path: &Path,
    data: Option<&Path>,
    sets: &[String],
    device: DeviceOptions,
) -> Result<TranslationEvaluation> {
    let Opened { run, recipe, model } = open(path, data, sets)?;
    let device = open_device(&recipe, device)?;
    let base = TranslatorFolder::open(&model)?;
    let threads = device.cpu().threads();
    let mut rows_of = recipe.data.as_rows();
    let info = run.as_ref().map(RunInfo::load).transpose()?;
    if rows_of.text.is_empty()
        && let Some(info) = &info
    {
        rows_of.text = columns_of(info);
    }
    let (kind, mut reading) = corpus::reading();
    let (part, rows, mut notes): (String, Rows, _) = match (data, &run, &info) {
        (Some(path), ..) => {
            let (mut rows, _, notes) = read_rows_of(&rows_of, kind, path, &mut reading, threads)?;
            rows.truncate(rows_of.max_rows);
            (path.display().to_string(), rows, notes)
        }
        (None, Some(folder), Some(info)) => {
            let seed = recipe.train.seed;
            let found = read_rows(&rows_of, (kind, reading), seed, &info.base, threads)?;
            if found.hash != table_hash(&info.data_hash) {
                return Err(Error::run(
                    folder.path(),
                    "was trained on other data than its file holds now, so its test part is not known any more; name \
                     pairs with --data",
                ));
            }
            reading = found.reading;
            let [_, valid, test] = found.rows;
            if test.len() > 0 {
                ("test".into(), test, found.notes)
            } else if valid.len() > 0 {
                ("valid".into(), valid, found.notes)
            } else {
                let message = "held nothing out; name pairs with --data";
                return Err(Error::run(folder.path(), message));
            }
        }
        // A folder without a file was refused above.
        (None, ..) => return Err(Error::usage("name a file of pairs with --data")),
    };
    let columns = corpus::columns(&recipe, &reading)?;
    if rows.len() == 0 {
        return Err(Error::usage(format!("{part} has no pairs to evaluate the model on")));
    }
    let limits = corpus::limits(&recipe, &base)?;
    let pairs = corpus::encode(rows, &recipe.data.prefix, &base, limits)?;
    let pairs = [corpus::Pairs::default(), pairs, corpus::Pairs::default()];
    notes.extend(corpus::notes(&pairs, limits, base.text()?));
    let language = LanguageOptions { label_smoothing: 0.0, ..options(&recipe) };
    let mut opened = Translator::open(&model, &device, &language)?;
    let (network, graph) = opened.parts();
    let judge = Judge { base: &base, settings: &recipe.evaluate, max_target: limits[1] };
    let scores = judge.scores(graph, network, &pairs[1])?;
    let findings = notes.into_iter().map(|note| note.message).collect();
    Ok(TranslationEvaluation { model: path.to_owned(), part, columns, scores, findings })
}
