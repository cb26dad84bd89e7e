//! Runs side by side: differences of their recipes, and their scores.

use std::path::{Path, PathBuf};

use ff_metrics::{Metric, Scores};
use ff_train::EpochRecord;
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::run::difference::{Difference, differences, flat};
use crate::run::folder::RunFolder;
use crate::table::PartScores;

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
    /// Its scores by part, where it learned from a table.
    pub metrics: PartScores,
    /// Those of any other run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ComparedScore>,
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

/// A score of a run that did not learn from columns of a table alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedScore {
    /// Its part: `valid` or `test`.
    pub part: &'static str,
    /// Its name.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Whether higher is better.
    pub higher_is_better: bool,
}

impl CompareSummary {
    /// The part, the name and the direction of the scores of any run that are no metrics of a
    /// table, as they are first met.
    pub fn others(&self) -> Vec<&ComparedScore> {
        let mut all: Vec<&ComparedScore> = Vec::new();
        for score in self.runs.iter().flat_map(|run| &run.scores) {
            if !all.iter().any(|known| known.is(score)) {
                all.push(score);
            }
        }
        all
    }

    /// The metrics of any run on a part, in the order of tables.
    pub fn metrics(&self, part: impl Fn(&PartScores) -> Option<&Scores>) -> Vec<Metric> {
        let has = |metric: Metric| {
            self.runs.iter().any(|run| part(&run.metrics).is_some_and(|s| s.get(metric).is_some()))
        };
        Metric::ALL.iter().copied().filter(|&metric| has(metric)).collect()
    }
}

impl ComparedScore {
    /// Whether this is the same score, of whichever run.
    pub fn is(&self, other: &Self) -> bool {
        (self.part, &self.name) == (other.part, &other.name)
    }
}

/// Compares runs, of any task.
///
/// # Errors
/// A folder is no run's, or a file of it is damaged.
pub fn compare(runs: &[PathBuf]) -> Result<CompareSummary> {
    let mut compared = Vec::with_capacity(runs.len());
    let mut recipes = Vec::with_capacity(runs.len());
    let mut hashes = Vec::with_capacity(runs.len());
    for path in runs {
        let folder = RunFolder::open(path)?;
        let path = folder.recipe();
        let recipe = crate::tasks::open_recipe(&path, &[])?.to_toml();
        recipes.push(flat(
            recipe.parse().map_err(|e: toml::de::Error| Error::run(&path, e.to_string()))?,
        ));
        let info = read_json(&folder.info())?.unwrap_or_default();
        // That of a published model's run ends in the hash of its weights.
        let hash = info["data_hash"].as_str().and_then(|hash| hash.split('-').next());
        hashes.push(hash.map(str::to_owned));
        compared.push(read_run(&folder, info["finished"].as_bool().unwrap_or(false))?);
    }
    let differences = differences(&recipes);
    let differs = |prefix: &str| differences.iter().any(|d| d.key.starts_with(prefix));
    let same_data = hashes.windows(2).all(|pair| pair[0] == pair[1]);
    // Other tasks hold the same texts out for any seed.
    let has = |r: &[(String, String)], start: &str| r.iter().any(|(key, _)| key.starts_with(start));
    let by_seed = |r: &Vec<(String, String)>| {
        has(r, "data.split") && !r.iter().any(|(key, _)| key == "data.split.seed")
    };
    let split_seeds_differ = differs("train.seed") && recipes.iter().any(by_seed);
    let same_split = same_data && !differs("data.split") && !split_seeds_differ;
    Ok(CompareSummary { runs: compared, differences, same_data, same_split })
}

fn read_run(folder: &RunFolder, finished: bool) -> Result<ComparedRun> {
    let scores = read_json(&folder.scores())?.unwrap_or_default();
    let part = |name: &str| -> Option<Scores> {
        serde_json::from_value(scores.get(name)?.get("scores")?.clone()).ok()
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
        scores: others(&scores),
        epochs: last.map_or(0, |record| record.epoch),
        steps: last.map_or(0, |record| record.step),
        seconds: last.map_or(0.0, |record| record.seconds),
        best_valid_loss: losses.min_by(f64::total_cmp),
        parameters,
    })
}

/// The scores in a `scores.json` that are no metrics of a table.
fn others(json: &Value) -> Vec<ComparedScore> {
    let mut found = Vec::new();
    let mut add = |part, name: &str, value: Option<f64>, higher_is_better| {
        let name = name.to_owned();
        found.extend(value.map(|value| ComparedScore { part, name, value, higher_is_better }));
    };
    // Of encoders, and of encoders with decoders: a list with the direction of each.
    for part in ["valid", "test"] {
        for score in json[part]["scores"].as_array().into_iter().flatten() {
            let name = score["name"].as_str().unwrap_or_default();
            let higher = score["higher_is_better"].as_bool().unwrap_or(true);
            add(part, name, score["value"].as_f64(), higher);
        }
    }
    // Of a new language model: its text, and its answers.
    if let Some([text, exact]) = json.as_array().map(Vec::as_slice) {
        for name in ["loss", "perplexity", "bits_per_byte"] {
            add("valid", name, text[name].as_f64(), false);
        }
        let share = exact["right"].as_f64().zip(exact["questions"].as_f64());
        add("test", "exact", share.map(|(right, all)| right / all.max(1.0)), true);
    }
    // Of a fine-tuned one.
    add("valid", "loss", json["after"].as_f64(), false);
    add("valid", "preferred", json["preferred"].as_f64(), true);
    add("valid", "margin", json["margin"].as_f64(), true);
    found
}

/// A JSON file that may be absent, as in a stopped run.
fn read_json(path: &Path) -> Result<Option<Value>> {
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
    fn the_scores_of_every_task_have_a_name_and_a_direction() {
        let read = |text: &str| -> Vec<(&str, String, f64, bool)> {
            let all = others(&serde_json::from_str(text).unwrap());
            all.into_iter().map(|s| (s.part, s.name, s.value, s.higher_is_better)).collect()
        };
        let score = r#"{"name": "chrf", "value": 31.5, "higher_is_better": true}"#;
        let pairs = format!(r#"{{"valid": {{"pairs": 2, "scores": [{score}]}}, "test": null}}"#);
        assert_eq!(read(&pairs), [("valid", "chrf".into(), 31.5, true)]);
        let text = r#"[{"loss": 1.5, "perplexity": 4.5, "bits_per_byte": 2.0}, {"questions": 4, "right": 3}]"#;
        let found = read(text);
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], ("test", "exact".into(), 0.75, true));
        let tuned = r#"{"before": 2.0, "after": 1.25, "preferred": 0.5}"#;
        assert_eq!(read(tuned).len(), 2);
        assert_eq!(read(tuned)[0], ("valid", "loss".into(), 1.25, false));
        assert!(read(r#"{"valid": {"scores": {"accuracy": 0.5}}}"#).is_empty());
        assert!(read("null").is_empty());
    }

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
