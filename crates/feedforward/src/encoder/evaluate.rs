//! Evaluation of a finished run.

use super::corpus::{self, Names, Part};
use super::goal::Goal;
use super::objective::EncoderObjective;
use super::recipe::{EncoderRecipe, ObjectiveKind};
use super::rows::{self, Reading};
use super::scores::{EncoderScores, Judge};
use crate::embedding::{Modules, TaskFile, TextReader};
use crate::error::{Error, Result};
use crate::language::EncoderModel;
use crate::run::folder::RunFolder;
use crate::run::info::{RunInfo, no_model};
use crate::run::measure::open_device;
use crate::sequence::{Network, Shapes, options, table_hash};
use crate::task_keys::{ENCODER_KEYS, states_any};
use ff_tensor::DeviceOptions;
use serde::Serialize;
use std::path::Path;

/// The scores of a model on some rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EncoderEvaluation {
    /// The rows: `test`, `valid`, or the file.
    pub part: String,
    /// What was learned.
    pub objective: ObjectiveKind,
    /// The scores.
    #[serde(flatten)]
    pub scores: EncoderScores,
}

/// Whether a path is the run of an encoder for labels, numbers, tags, masked tokens or pairs.
pub fn is_encoder_run(path: &Path) -> bool {
    let recipe = RunFolder::open(path).map(|folder| folder.recipe());
    let text = recipe.ok().and_then(|recipe| std::fs::read_to_string(recipe).ok());
    text.is_some_and(|text| states_any(&text, ENCODER_KEYS))
}

/// Evaluates a run's model on the rows of `data`, by default on the run's test part (or, without
/// one, its validation part).
///
/// # Errors
/// The run is not finished, its data has changed, or the new rows are not as those of training.
pub fn evaluate(
    run: &Path,
    data: Option<&Path>,
    device: DeviceOptions,
) -> Result<EncoderEvaluation> {
    let folder = RunFolder::open(run)?;
    let recipe = EncoderRecipe::load(&folder.recipe(), &[])?;
    let device = open_device(&recipe, device)?;
    let (model, kind) = (folder.model(), recipe.objective.kind);
    let Some(task) = TaskFile::read(&model)? else { return Err(no_model(&folder)) };
    let opened = EncoderModel::open(&model, &device, &options(&recipe.model))?;
    let modules = Modules::read(&model)?;
    let (config, encoder, mut graph, tokenizer) = opened.into_parts();
    let tokenizer =
        tokenizer.ok_or_else(|| Error::run(&model, "has no tokenizer; copy the model again"))?;
    let reader =
        TextReader::new(tokenizer, &modules, Some(task.max_tokens), config.longest(), false)?;
    let names = Names {
        all: config.label_names(),
        scheme: task.scheme.unwrap_or_default(),
        // The outputs of a finished model are in the numbers' own units.
        units: if kind == ObjectiveKind::Numbers {
            vec![(0.0, 1.0); config.labels]
        } else {
            Vec::new()
        },
    };
    let threads = device.cpu().threads();
    let (mut train, name, rows) = if let Some(path) = data {
        let mut reading = Reading {
            text: task.texts.clone(),
            separator: task.separator.clone(),
            ..Reading::default()
        };
        let (rows, _, _) = rows::read_file(&recipe.data, kind, path, &mut reading, threads)?;
        (None, path.display().to_string(), rows)
    } else {
        let info = RunInfo::load(&folder)?;
        let found = rows::read(
            &recipe.data,
            (kind, Reading::default()),
            recipe.train.seed,
            &info.base,
            threads,
        )?;
        if found.hash != table_hash(&info.data_hash) {
            return Err(Error::run(
                folder.path(),
                "was trained on other data than its file holds now, so its test part is not known any more; name rows \
                 with --data",
            ));
        }
        let [train, valid, test] = found.rows;
        if test.len() > 0 {
            (Some(train), "test".into(), test)
        } else if valid.len() > 0 {
            (Some(train), "valid".into(), valid)
        } else {
            return Err(Error::run(folder.path(), "held nothing out; name rows with --data"));
        }
    };
    if rows.len() == 0 {
        return Err(Error::usage(format!("{name} has no rows to evaluate the model on")));
    }
    if kind == ObjectiveKind::Masked || kind == ObjectiveKind::Pairs {
        train = None;
    }
    let part = corpus::encode(rows, kind, &reader, &names)?;
    let train = train.map(|rows| corpus::encode(rows, kind, &reader, &names)).transpose()?;
    let goal = Goal::new(&recipe, &config, (&reader, &modules), &part)?;
    let network = Network { encoder, config };
    let nothing = Part::default();
    let mut objective = EncoderObjective {
        network: &network,
        goal: &goal,
        names: &names,
        train: train.as_ref().unwrap_or(&nothing),
        valid: &part,
        batch: recipe.train.batch_size,
        seed: recipe.train.seed,
        shapes: Shapes::new(&part.tokens, 1),
    };
    let found = objective.measure(&mut graph, &part)?;
    let thresholds = match kind {
        ObjectiveKind::Labels if task.thresholds.len() == names.all.len() => task.thresholds,
        _ => vec![0.5; names.all.len()],
    };
    let judge = Judge { kind, names: &names, thresholds: &thresholds, device: &device };
    let mut scores = judge.with_intervals(&part, &found)?;
    if let Some(train) = &train
        && let Some((values, what)) = judge.baseline(train, &part)?
    {
        scores = scores.beside(&values, what);
    }
    Ok(EncoderEvaluation { part: name, objective: kind, scores })
}
