//! Evaluation of a finished run of an encoder.

use super::data::Tokens;
use super::learner::{Learner, Opened};
use super::network::Network;
use super::objective::{Part, outputs};
use super::recipe::SequenceRecipe;
use super::task::{model_file, predictions, table_hash};
use crate::embedding::{Modules, TaskFile, TextReader};
use crate::error::{Error, Result};
use crate::language::EncoderModel;
use crate::run::folder::RunFolder;
use crate::run::info::{RunInfo, no_model};
use crate::run::measure::open_device;
use crate::table::EvaluateSummary;
use crate::table::scores::{Judge, evaluate_part};
use crate::task_keys::SEQUENCE_KEYS;
use ff_nn::models::LanguageOptions;
use ff_table::{DataError, Encoded, SourceOptions, Table, load, prepare};
use ff_tensor::DeviceOptions;
use std::path::Path;

/// Whether a path is the run of an encoder under a head.
pub fn is_sequence_run(path: &Path) -> bool {
    let recipe = RunFolder::open(path).map(|folder| folder.recipe());
    let text = recipe.ok().and_then(|recipe| std::fs::read_to_string(recipe).ok());
    text.is_some_and(|text| crate::task_keys::states_any(&text, SEQUENCE_KEYS))
}

/// Evaluates a run's model on the rows of `data`, by default on the run's test part (or, without
/// one, its validation part).
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
    let recipe = SequenceRecipe::load(&folder.recipe(), sets)?;
    let device = open_device(&recipe, device)?;
    let model = folder.model();
    let Some(task) = TaskFile::read(&model)? else { return Err(no_model(&folder)) };
    let Some(target) = &task.target else { return Err(no_model(&folder)) };
    let threads = device.cpu().threads();
    let mut left_out = Vec::new();
    let table;
    let (part, encoded, rows): (String, Encoded, Vec<usize>) = if let Some(path) = data {
        (table, _) = load(path, &SourceOptions::from(&recipe.data), threads)?;
        let (rows, dropped) = target.judged(&table);
        left_out = dropped;
        let encoded = Encoded {
            rows: rows.len(),
            target: Some(target.encode(&table, &rows)?),
            weights: recipe
                .data
                .weight
                .as_deref()
                .map(|w| weights(&table, w, &rows))
                .transpose()?,
            ..Encoded::default()
        };
        (path.display().to_string(), encoded, rows)
    } else if !sets.is_empty() {
        return Err(Error::usage("--set says how rows are read; name them with --data"));
    } else {
        let info = RunInfo::load(&folder)?;
        let prepared = prepare(&recipe.data, recipe.train.seed, &info.base, threads)?;
        if prepared.hash != table_hash(&info.data_hash) {
            return Err(Error::run(
                folder.path(),
                "was trained on other data than its file holds now, so its test part is not known any more; name rows \
                 with --data",
            ));
        }
        table = prepared.table;
        if prepared.test.rows > 0 {
            ("test".into(), prepared.test, prepared.parts.test)
        } else if prepared.valid.rows > 0 {
            ("valid".into(), prepared.valid, prepared.parts.valid)
        } else {
            return Err(Error::run(folder.path(), "held nothing out; name rows with --data"));
        }
    };
    if encoded.rows == 0 {
        return Err(Error::usage(format!("{part} has no rows to evaluate the model on")));
    }
    check_texts(&table, &task.texts)?;
    let file = model_file(target, task.threshold);
    let mut encoded = encoded;
    let (learner, mut graph, texts) = if let Some(head) = &task.head {
        let opened = Opened::read(&model, &task, head, &device)?;
        let data = opened.transforms.encode_rows(&table, &rows, false, threads)?;
        let texts = opened.origin.read(&table, &task.texts, &rows)?;
        let data = texts.beside(data);
        let (target, weights) = (encoded.target, encoded.weights);
        encoded = Encoded { target, weights, ..data };
        (opened.learner, opened.graph, texts.tokens)
    } else {
        let options = LanguageOptions { precision: task.precision, ..LanguageOptions::default() };
        let opened = EncoderModel::open(&model, &device, &options)?;
        let modules = Modules::read(&model)?;
        let (config, encoder, graph, tokenizer) = opened.into_parts();
        let tokenizer = tokenizer
            .ok_or_else(|| Error::run(&model, "has no tokenizer; copy the model again"))?;
        let reader = TextReader::new(tokenizer, &modules, None, config.longest(), false)?;
        let tokens = Tokens::read(&reader, &table, &task.texts, &rows)?;
        (Learner::of_encoder(Network { encoder, config }), graph, tokens)
    };
    let part_of = Part { data: &encoded, tokens: &texts };
    let found = predictions(&outputs(&mut graph, &learner, part_of)?, &file);
    let judge = Judge { file: &file, target, top_k: recipe.evaluate.top_k, threads };
    let report = evaluate_part(judge, &encoded, &found, None, true)?;
    let unfamiliar = std::mem::take(&mut encoded.unfamiliar);
    Ok(EvaluateSummary { part, rows: encoded.rows, left_out, unfamiliar, report })
}

/// The sample weights of some rows.
fn weights(table: &Table, name: &str, rows: &[usize]) -> Result<Vec<f32>> {
    let column = column(table, name, "data.weight")?;
    let weight = |&row: &usize| column.values.number(row).map(|w| w as f32);
    let weights: Option<Vec<f32>> = rows.iter().map(weight).collect();
    weights.ok_or_else(|| Error::usage(format!("column `{name}`: a weight is not a number")))
}

/// Checks that the columns of texts are there.
///
/// # Errors
/// One is not.
pub(super) fn check_texts(table: &Table, texts: &[String]) -> Result<()> {
    texts.iter().try_for_each(|name| column(table, name, "a text that the model reads").map(drop))
}

fn column<'a>(table: &'a Table, name: &str, role: &str) -> Result<&'a ff_table::Column> {
    table.column(name).ok_or_else(|| {
        DataError::NoColumn {
            place: table.source_name(),
            column: name.to_owned(),
            role: role.into(),
            available: table.names(),
            note: String::new(),
        }
        .into()
    })
}
