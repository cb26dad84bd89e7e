//! Runs side by side: differences of their recipes, and their scores.

use std::path::{Path, PathBuf};

use ff_metrics::{Metric, Scores};
use ff_train::EpochRecord;
use serde::Serialize;

use super::recipe::Recipe;
use super::scores::PartScores;
use crate::error::{Error, Result};
use crate::run::difference::{Difference, differences, flat};
use crate::run::folder::RunFolder;

/// Runs side by side.
///
/// ```no_run
/// let summary = feedforward::compare(&["runs/digits-1".into(), "runs/digits-2".into()])?;
/// for difference in &summary.differences {
///     println!("{}: {:?}", difference.key, difference.values);
/// }
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompareSummary {
    /// The runs, in the given order.
    pub runs: Vec<ComparedRun>,
    /// The recipe's keys whose values differ.
    pub differences: Vec<Difference>,
    /// Whether all runs had the same data, by its hash; scores on different rows are not
    /// comparable.
    pub same_data: bool,
    /// Whether all runs split their rows alike, so that their parts hold the same rows.
    pub same_split: bool,
}

/// One of the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedRun {
    /// Its folder.
    pub run: PathBuf,
    /// Whether it is finished; an unfinished run has no scores.
    pub finished: bool,
    /// Its scores by part.
    pub metrics: PartScores,
    /// Epochs done.
    pub epochs: usize,
    /// Optimiser steps done.
    pub steps: u64,
    /// Training seconds.
    pub seconds: f64,
    /// The lowest loss on the validation part.
    pub best_valid_loss: Option<f64>,
    /// Parameters of the model.
    pub parameters: Option<usize>,
}

impl CompareSummary {
    /// The metrics of any run on a part, in the order of tables.
    pub fn metrics(&self, part: impl Fn(&PartScores) -> Option<&Scores>) -> Vec<Metric> {
        let has = |metric: Metric| {
            self.runs.iter().any(|run| part(&run.metrics).is_some_and(|s| s.get(metric).is_some()))
        };
        Metric::ALL.iter().copied().filter(|&metric| has(metric)).collect()
    }
}

/// Compares runs.
///
/// # Errors
/// A folder is no run's, or a file of it is damaged.
pub fn compare(runs: &[PathBuf]) -> Result<CompareSummary> {
    let mut compared = Vec::with_capacity(runs.len());
    let mut recipes = Vec::with_capacity(runs.len());
    let mut hashes = Vec::with_capacity(runs.len());
    for path in runs {
        let folder = RunFolder::open(path)?;
        let recipe = match crate::tasks::encoder_recipe_at(&folder.recipe())? {
            Some(recipe) => recipe,
            None => toml::Table::try_from(Recipe::load(&folder.recipe(), &[])?)
                .map_err(|e| Error::run(&folder.recipe(), e.to_string()))?,
        };
        recipes.push(flat(recipe));
        let info: Option<serde_json::Value> = read_json(&folder.info())?;
        let info = info.unwrap_or_default();
        // That of an encoder's run ends in the hash of its weights.
        let hash = info["data_hash"].as_str().and_then(|hash| hash.split('-').next());
        hashes.push(hash.map(str::to_owned));
        compared.push(read_run(&folder, info["finished"].as_bool().unwrap_or(false))?);
    }
    let differences = differences(&recipes);
    let differs = |prefix: &str| differences.iter().any(|d| d.key.starts_with(prefix));
    let same_data = hashes.windows(2).all(|pair| pair[0] == pair[1]);
    let split_seeds_differ = differs("train.seed")
        && recipes.iter().any(|r| !r.iter().any(|(key, _)| key == "data.split.seed"));
    let same_split = same_data && !differs("data.split") && !split_seeds_differ;
    Ok(CompareSummary { runs: compared, differences, same_data, same_split })
}

fn read_run(folder: &RunFolder, finished: bool) -> Result<ComparedRun> {
    let scores: Option<serde_json::Value> = read_json(&folder.scores())?;
    let part = |name: &str| -> Option<Scores> {
        serde_json::from_value(scores.as_ref()?.get(name)?.get("scores")?.clone()).ok()
    };
    let history = read_history(&folder.metrics())?;
    let last = history.last();
    let losses = history.iter().filter_map(|record| record.valid_loss);
    let model = folder.model().join("model.safetensors");
    let parameters =
        if model.is_file() { Some(crate::inspect::inspect(&model)?.values) } else { None };
    Ok(ComparedRun {
        run: folder.path().to_owned(),
        finished,
        metrics: PartScores { valid: part("valid"), test: part("test") },
        epochs: last.map_or(0, |record| record.epoch),
        steps: last.map_or(0, |record| record.step),
        seconds: last.map_or(0.0, |record| record.seconds),
        best_valid_loss: losses.min_by(f64::total_cmp),
        parameters,
    })
}

/// A JSON file that may be absent, as in a stopped run.
fn read_json(path: &Path) -> Result<Option<serde_json::Value>> {
    match std::fs::read_to_string(path) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(json) => Ok(Some(json)),
            Err(error) => Err(Error::run(path, format!("is not valid JSON: {error}"))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ff_formats::Error::io(path, "reading")(error).into()),
    }
}

/// The epochs of `metrics.jsonl`; the last line of a running or killed run may be incomplete.
fn read_history(path: &Path) -> Result<Vec<EpochRecord>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ff_formats::Error::io(path, "reading")(error).into()),
    };
    let count = text.lines().count();
    let mut history = Vec::with_capacity(count);
    for (i, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(record) => history.push(record),
            Err(_) if i + 1 == count && !text.ends_with('\n') => {}
            Err(error) => {
                return Err(Error::run(path, format!("line {} is damaged: {error}", i + 1)));
            }
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_is_being_written_is_read_up_to_its_last_whole_line() {
        let path = std::env::temp_dir().join(format!("feedforward-history-{}", std::process::id()));
        let line = serde_json::to_string(&EpochRecord { epoch: 1, ..Default::default() }).unwrap();
        std::fs::write(&path, format!("{line}\n{{\"epoch\": 2, \"st")).unwrap();
        let half = read_history(&path);
        std::fs::write(&path, format!("damaged\n{line}\n")).unwrap();
        let damaged = read_history(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(half.unwrap().len(), 1);
        assert!(damaged.unwrap_err().to_string().contains("line 1 is damaged"));
    }
}
