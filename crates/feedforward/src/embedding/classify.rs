//! The classes of texts by a published encoder with a classifier.

use super::model::{EmbedOptions, Embedder, is_encoder};
use super::task_file::TaskFile;
use super::texts::TextRows;
use crate::encoder::probabilities as sigmoids;
use crate::error::{Error, Result};
use crate::language::model_folder;
use crate::predict::{PredictOptions, PredictSummary, refuse_overwriting};
use crate::run::watch::Watcher;
use crate::table::objective::probabilities;
use ff_metrics::decide;
use ff_nn::models::EncoderProblem;
use ff_table::{Column, Format, TableWriter, Values};
use ff_tensor::Device;
use ff_train::Event;
use std::path::Path;

/// Rows in memory at a time.
const BLOCK: usize = 4096;

/// Whether a path is the folder of an encoder or of a head over texts, or a run of one.
pub fn is_encoder_model(path: &Path) -> bool {
    model_folder(path).is_ok_and(|folder| is_encoder(&folder) || TaskFile::is_in(&folder))
}

/// Predicts a class or a number for each text of a file with BERT, RoBERTa, DistilBERT or
/// ModernBERT and writes the rows with `prediction`, and one `probability_<class>` each where asked
/// for: the class, the labels between separators, or, of several numbers, `prediction_<name>` each.
/// An encoder of tags writes spans. `column` holds the texts, by default the columns that the model
/// was trained on.
///
/// # Errors
/// The model predicts nothing of texts; as [`embed`](super::embed()).
pub fn classify(
    model: &Path,
    column: Option<&str>,
    options: &PredictOptions,
    watcher: &mut dyn Watcher,
) -> Result<PredictSummary> {
    if crate::encoder::is_tagger(model) {
        return crate::encoder::tag(model, column, options, watcher);
    }
    if !options.set.is_empty() || options.spread || options.interval.is_some() {
        return Err(Error::usage(
            "--set, --spread and --interval are for models of tables, and this is an encoder",
        ));
    }
    refuse_overwriting(options)?;
    let folder = model_folder(model)?;
    let task = TaskFile::read(&folder)?;
    if let Some(task) = &task
        && let Some(head) = &task.head
    {
        if column.is_some() {
            let message = "the model reads columns beside texts and finds all of them by name; leave \
                           --text out";
            return Err(Error::usage(message));
        }
        return crate::sequence::predict(&folder, (task, head), options, watcher);
    }
    let columns = match (column, &task) {
        (Some(column), _) => vec![column.to_owned()],
        (None, Some(task)) => task.texts.clone(),
        (None, None) => Vec::new(),
    };
    let positive = task.as_ref().and_then(|task| task.target.as_ref()?.positive).unwrap_or(1);
    let threshold = task.as_ref().and_then(|task| task.threshold);
    let separator = task.as_ref().and_then(|task| task.separator.clone());
    let thresholds = task.as_ref().map(|task| task.thresholds.clone()).unwrap_or_default();
    let nulls = task.map(|task| task.null_values).unwrap_or_default();
    let mut rows = TextRows::open_columns(&options.data, &columns, &nulls, BLOCK)?;
    let device = Device::open(options.device)?;
    let mut model = Embedder::open(model, &device, &EmbedOptions::default())?;
    let classes = model.classes()?;
    let problem = model.problem();
    if problem == EncoderProblem::Numbers && options.proba {
        return Err(Error::usage("--proba is for classes; this model predicts numbers"));
    }
    // Without a file of ours, a label is predicted from 0.5 on.
    let labels = Labels {
        separator: separator.unwrap_or_else(|| "|".into()),
        thresholds: match thresholds {
            thresholds if thresholds.len() == classes.len() => thresholds,
            _ => vec![0.5; classes.len()],
        },
    };
    let mut writer = match &options.out {
        Some(path) => TableWriter::create(path)?,
        None => TableWriter::stream(Box::new(std::io::stdout()), Format::CSV)?,
    };
    watcher.event(Event::Phase("predicting"));
    let mut names = match problem {
        EncoderProblem::Numbers if classes.len() > 1 => {
            classes.iter().map(|class| format!("prediction_{class}")).collect()
        }
        _ => vec!["prediction".to_owned()],
    };
    if options.proba {
        names.extend(classes.iter().map(|class| format!("probability_{class}")));
    }
    let mut count = 0;
    while let Some(mut block) = rows.next(BLOCK)? {
        let logits = {
            let texts = rows.texts(&block);
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            model.logits(&texts, &mut |_| !watcher.interrupted())?.values
        };
        let added = match problem {
            EncoderProblem::Numbers => numbers_of(&logits, classes.len()),
            EncoderProblem::Labels => labels.columns(&logits, &classes),
            EncoderProblem::Class => {
                columns_of(&logits, &classes, |row| decide(row, positive, threshold))
            }
        };
        for (name, values) in names.iter().zip(added) {
            block.push(Column::new(name.clone(), values)).map_err(|column| {
                Error::usage(format!(
                    "the data has a column `{}` already; rename it, so that the prediction has a place",
                    column.name
                ))
            })?;
        }
        count += block.rows();
        writer.write(&block)?;
    }
    writer.finish()?;
    let out = options.out.clone();
    Ok(PredictSummary { rows: count, out, columns: names, unfamiliar: Vec::new() })
}

/// A column for each number.
fn numbers_of(outputs: &[f32], width: usize) -> Vec<Values> {
    let column = |i: usize| -> Values {
        let of = outputs.iter().skip(i).step_by(width);
        of.map(|&y| f64::from(y)).collect::<Vec<f64>>().into()
    };
    (0..width).map(column).collect()
}

/// How the labels of a row are decided and written.
struct Labels {
    separator: String,
    thresholds: Vec<f64>,
}

impl Labels {
    /// The labels of each row, then the probability of each label.
    fn columns(&self, logits: &[f32], classes: &[String]) -> Vec<Values> {
        let all = sigmoids(logits);
        let decided = |row: &[f64]| {
            let chosen = row.iter().zip(&self.thresholds).zip(classes);
            let chosen = chosen.filter(|((p, least), _)| p >= least);
            let names: Vec<&str> = chosen.map(|(_, class)| class.as_str()).collect();
            names.join(&self.separator)
        };
        let predicted: Vec<String> = all.chunks_exact(classes.len()).map(decided).collect();
        let predicted: Values = predicted.iter().map(|names| Some(names.as_str())).collect();
        let shares = (0..classes.len()).map(|i| -> Values {
            all.iter().skip(i).step_by(classes.len()).copied().collect::<Vec<f64>>().into()
        });
        std::iter::once(predicted).chain(shares).collect()
    }
}

/// The decided class of each row, then the probability of each class.
fn columns_of(logits: &[f32], classes: &[String], decide: impl Fn(&[f64]) -> usize) -> Vec<Values> {
    let probabilities = probabilities(logits, classes.len(), 1.0);
    let of = probabilities.chunks_exact(classes.len());
    let predicted: Values = of.map(|row| Some(classes[decide(row)].as_str())).collect();
    let shares = (0..classes.len()).map(|i| -> Values {
        let column: Vec<f64> =
            probabilities.iter().skip(i).step_by(classes.len()).copied().collect();
        column.into()
    });
    std::iter::once(predicted).chain(shares).collect()
}
