//! Predicting new rows, block by block, so that files may be larger than memory.

use super::model::{Intervals, Predictions, TableModel, find_model};
use super::reading;
use super::recipe::Recipe;
use crate::error::{Error, Result};
use crate::predict::{PredictOptions, PredictSummary, refuse_overwriting};
use crate::run::measure::open_device;
use crate::run::watch::Watcher;
use ff_table::{
    BlockReader, Column, ColumnTypes, DataError, Format, SourceOptions, Table, TableWriter,
    Unfamiliar, Values, class_values,
};
use ff_train::Event;
use std::path::Path;

/// Rows in memory at a time.
const BLOCK: usize = 8192;

/// Predicts every row of a file and writes its columns, then `prediction`, then one
/// `probability_<class>` each, `spread`, and `lower` and `upper` or `set` where asked for, rows in
/// their order. JSONL and Parquet keep numbers, integers and truth values typed, which takes a
/// first pass over a text table. `run` may be a file of another program (`.onnx`, `.keras`,
/// `.tflite`, `.pt`), whose outputs have their own names.
///
/// # Errors
/// No model, a column that is missing or of another kind, an output file that exists or cannot be
/// written. No output is left behind.
pub fn predict(
    run: &Path,
    options: &PredictOptions,
    watcher: &mut dyn Watcher,
) -> Result<PredictSummary> {
    #[cfg(feature = "onnx")]
    if !run.is_dir() && ff_interop::Foreign::reads(run) {
        return super::onnx::predict_foreign(run, options, watcher);
    }
    let (folder, threads) = find_model(run)?;
    let mut recipe = Recipe::default();
    recipe.train.threads = threads;
    let device = open_device(&recipe, options.device)?;
    let mut model = TableModel::open(&folder, &device)?;
    if options.proba && model.file().classes.is_empty() {
        return Err(Error::usage("--proba is for classes; this model predicts numbers"));
    }
    let separator = separator(&model, options)?;
    refuse_overwriting(options)?;
    let reading = reading::source_options(model.transforms(), &options.data, &options.set)?;
    predict_blocks(options, &reading, watcher, &mut |block, typed| {
        let (predictions, found) = model.predict_with_findings(block)?;
        let spread = options.spread.then(|| model.spread(block)).transpose()?;
        let intervals = options.interval.map(|level| model.intervals(block, &predictions, level));
        let intervals = intervals.transpose()?;
        let classes = &model.file().classes;
        let mut added = prediction_columns(classes, &predictions, (options.proba, typed));
        added.extend(spread.map(|spread| ("spread".into(), spread.into())));
        if let Some(intervals) = intervals {
            added.extend(interval_columns(classes, &intervals, separator));
        }
        Ok((added, found))
    })
}

/// Columns to add to a block of rows, and cells in it that training met nothing like.
pub(crate) type Predicted = (Vec<(String, Values)>, Vec<Unfamiliar>);

/// Reads rows block by block, and writes them with the columns that `predict` gives for each; it
/// is told whether the output's format has types.
///
/// # Errors
/// The rows cannot be read or written, or `predict` fails. No output is left behind.
pub(crate) fn predict_blocks(
    options: &PredictOptions,
    reading: &SourceOptions,
    watcher: &mut dyn Watcher,
    predict: &mut dyn FnMut(&Table, bool) -> Result<Predicted>,
) -> Result<PredictSummary> {
    watcher.event(Event::Phase("predicting"));
    let mut writer = match &options.out {
        Some(path) => TableWriter::create(path)?,
        None => TableWriter::stream(Box::new(std::io::stdout()), Format::CSV)?,
    };
    let typed = writer.is_typed();
    let mut blocks = InputBlocks::open(&options.data, reading, typed)?;
    let (mut columns, mut unfamiliar) = (Vec::new(), Vec::new());
    let mut rows = 0;
    while let Some(block) = blocks.next()? {
        let (added, found) = predict(&block, typed)?;
        join(&mut unfamiliar, found);
        rows += block.rows();
        let mut block = blocks.typed(block);
        columns = add_columns(&mut block, added)?;
        writer.write(&block)?;
        if watcher.interrupted() {
            return Err(Error::usage("prediction was interrupted; nothing was written"));
        }
    }
    writer.finish()?;
    Ok(PredictSummary { rows, out: options.out.clone(), columns, unfamiliar })
}

/// Merges the findings of a block into those of earlier blocks.
fn join(all: &mut Vec<Unfamiliar>, found: Vec<Unfamiliar>) {
    for column in found {
        match all.iter_mut().find(|before| before.column == column.column) {
            Some(before) => before.join(column),
            None => all.push(column),
        }
    }
}

/// The input's rows, block by block, and the types of its columns for typed outputs.
struct InputBlocks {
    reader: BlockReader,
    types: Option<ColumnTypes>,
    /// Blocks of an input that can be read only once, kept after the pass that finds types.
    kept: std::vec::IntoIter<Table>,
}

impl InputBlocks {
    fn open(path: &Path, options: &SourceOptions, typed: bool) -> Result<Self, DataError> {
        let mut reader = BlockReader::open(path, options, BLOCK)?;
        let mut kept = Vec::new();
        // These formats declare column types.
        let own = ["parquet", "arrow"].map(Format::named).contains(&Some(reader.format()));
        let mut types = (typed && !own).then(ColumnTypes::default);
        if let Some(types) = &mut types {
            let again = std::fs::metadata(path).is_ok_and(|found| found.is_file());
            while let Some(block) = reader.next_block()? {
                types.observe(&block);
                if !again {
                    kept.push(block);
                }
            }
            if again {
                reader = BlockReader::open(path, options, BLOCK)?;
            }
        }
        Ok(Self { reader, types, kept: kept.into_iter() })
    }

    fn next(&mut self) -> Result<Option<Table>, DataError> {
        match self.kept.next() {
            None => self.reader.next_block(),
            block => Ok(block),
        }
    }

    fn typed(&self, block: Table) -> Table {
        match &self.types {
            Some(types) => types.apply(block),
            None => block,
        }
    }
}

/// What stands between the classes of a set: a character that is in none of their names.
///
/// # Errors
/// The model has no scores for the level, or its classes take every separator.
fn separator(model: &TableModel, options: &PredictOptions) -> Result<char> {
    let Some(level) = options.interval else { return Ok('|') };
    model.check_level(level)?;
    let classes = &model.file().classes;
    let free = |c: &char| classes.iter().all(|class| !class.contains(*c));
    ['|', ';', '/', '\t'].into_iter().find(free).ok_or_else(|| {
        Error::usage(
            "the classes' names hold |, ;, / and tabs, so that a set of them could not be read",
        )
    })
}

fn interval_columns(
    classes: &[String],
    intervals: &Intervals,
    separator: char,
) -> Vec<(String, Values)> {
    match intervals {
        Intervals::Numbers(ends) => {
            let end = |i: usize| ends.iter().map(|ends| ends[i]).collect::<Vec<f64>>();
            vec![("lower".into(), end(0).into()), ("upper".into(), end(1).into())]
        }
        Intervals::Sets(sets) => {
            let names = |set: &Vec<usize>| {
                let names: Vec<&str> = set.iter().map(|&class| classes[class].as_str()).collect();
                names.join(&separator.to_string())
            };
            let sets: Vec<String> = sets.iter().map(names).collect();
            vec![("set".into(), sets.iter().map(|set| Some(set.as_str())).collect())]
        }
    }
}

/// The prediction of each row, and the probability of each class where asked for.
pub(crate) fn prediction_columns(
    classes: &[String],
    predictions: &Predictions,
    (proba, typed): (bool, bool),
) -> Vec<(String, Values)> {
    let mut added: Vec<(String, Values)> = Vec::new();
    match predictions {
        Predictions::Values(values) => added.push(("prediction".into(), values.clone().into())),
        Predictions::Classes { predicted, probabilities } => {
            let values = if typed {
                class_values(classes, predicted)
            } else {
                predicted.iter().map(|&class| Some(classes[class].as_str())).collect()
            };
            added.push(("prediction".into(), values));
            if proba {
                for (i, class) in classes.iter().enumerate() {
                    let column: Vec<f64> =
                        probabilities.iter().skip(i).step_by(classes.len()).copied().collect();
                    added.push((format!("probability_{class}"), column.into()));
                }
            }
        }
    }
    added
}

fn add_columns(block: &mut Table, added: Vec<(String, Values)>) -> Result<Vec<String>> {
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
