//! How a run went, for programs and for terminals.

use super::clock::Clock;
use super::folder::RunFolder;
use super::plan::Sizes;
use ff_metrics::Comparison;
use ff_train::{Progress, Stop};
use serde::Serialize;
use std::path::PathBuf;

/// What every task's summary is made from.
pub(crate) struct Ended<'a> {
    pub(crate) folder: &'a RunFolder,
    pub(crate) stop: Stop,
    pub(crate) progress: &'a Progress,
    pub(crate) sizes: &'a Sizes,
    /// The most bytes that pool and arena held while training.
    pub(crate) pool_bytes: usize,
    pub(crate) clock: &'a Clock,
}

impl Ended<'_> {
    /// Why training ended: `finished`, `early` or `interrupted`.
    pub(crate) fn stopped(&self) -> String {
        match self.stop {
            Stop::Finished => "finished",
            Stop::Early => "early",
            Stop::Interrupted => "interrupted",
        }
        .into()
    }
}

/// A run that ended, with its task's own summary.
pub(crate) struct Ran<S> {
    pub(crate) folder: RunFolder,
    pub(crate) interrupted: bool,
    pub(crate) steps: u64,
    pub(crate) closing: Closing,
    pub(crate) summary: S,
}

/// How a run of any task went.
///
/// ```no_run
/// # fn main() -> feedforward::Result<()> {
/// let recipe = feedforward::open_recipe("recipes/digits.toml".as_ref(), &[])?;
/// let summary = recipe.train(&Default::default(), &mut ())?;
/// assert!(!summary.interrupted && summary.run.join("report.html").exists());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// The command of its task: `train`, `pretrain`.
    pub command: &'static str,
    /// Whether it was interrupted, with everything saved, and can be resumed.
    pub interrupted: bool,
    /// Optimiser steps done.
    pub steps: u64,
    /// What a terminal shows of a finished run.
    pub closing: Closing,
    /// The task's own summary, the object of `--json`.
    pub json: serde_json::Value,
}

/// What a terminal shows of a finished run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Closing {
    /// Why it stopped, what was kept, how long it took.
    pub headline: String,
    /// Scores beside those of a baseline.
    pub verdict: Option<Verdict>,
    /// Scores in sentences.
    pub lines: Vec<String>,
    /// Commands to continue with.
    pub next: Vec<String>,
}

/// The main scores: which part, how the model does and how the baseline does.
///
/// ```
/// let verdict = feedforward::scores::Verdict {
///     part: "test",
///     rows: 30,
///     baseline: "always setosa".into(),
///     comparisons: vec![],
/// };
/// assert_eq!(serde_json::to_value(&verdict).unwrap()["rows"], 30);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// `test`, or `valid` where there is no test part.
    pub part: &'static str,
    /// How many rows it has.
    pub rows: usize,
    /// What the baseline predicts: `always setosa`, `the mean`.
    pub baseline: String,
    /// Each score of both.
    pub comparisons: Vec<Comparison>,
}

/// The scores of the test part, or, without one, of the validation part, with the part's name.
pub(crate) fn headline<'a, T>(
    valid: Option<&'a T>,
    test: Option<&'a T>,
) -> Option<(&'static str, &'a T)> {
    test.map(|scores| ("test", scores)).or(valid.map(|scores| ("valid", scores)))
}
