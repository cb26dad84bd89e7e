//! What a run on a table tells when it ends.

use super::scores::{PartReports, PartScores};
use crate::run::memory::process_peak_bytes;
use crate::run::summary::{Closing, Ended, Verdict};
use crate::words::{bytes, duration};
use ff_metrics::{Coverage, Metric};
use ff_settings::shell_word;
use serde::Serialize;
use std::path::PathBuf;

/// How a run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// Scores on the held-out parts.
    pub metrics: PartScores,
    /// Total seconds, over all sessions of a resumed run.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Epochs.
    pub epochs: usize,
    /// The epoch whose weights are kept.
    pub best_epoch: Option<usize>,
    /// Trainable parameters.
    pub parameters: usize,
    /// Peak memory of the process, in bytes.
    pub peak_bytes: usize,
    /// Peak memory of pool and arena, in bytes.
    pub pool_bytes: usize,
    /// Why it ended: `finished`, `early` or `interrupted`.
    pub stopped: String,
    /// The verdict against the baseline on the test part (or, without one, the validation part).
    pub verdict: Option<Verdict>,
    /// The rows that the kept model was trained anew on after the verdict (`train.refit`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refit_rows: Option<usize>,
    /// The networks whose predictions are averaged (`train.bags`); steps and epochs are those of
    /// the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<usize>,
    /// How often intervals or sets hold the truth of the test part, by level.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<Coverage>,
}

impl TrainSummary {
    /// The numbers of a run, and its scores where it came to them.
    pub(crate) fn new(ended: &Ended<'_>, reports: Option<&PartReports>) -> Self {
        let progress = ended.progress;
        let whole = if reports.is_some() { ended.clock.seconds() } else { 0.0 };
        Self {
            run: ended.folder.path().to_owned(),
            metrics: reports.map(PartReports::scores).unwrap_or_default(),
            seconds: progress.seconds.max(whole),
            steps: progress.step,
            epochs: progress.epoch,
            best_epoch: progress.best.map(|best| best.epoch),
            parameters: ended.sizes.parameters,
            peak_bytes: process_peak_bytes(),
            pool_bytes: ended.pool_bytes,
            stopped: ended.stopped(),
            verdict: reports.and_then(PartReports::verdict),
            refit_rows: None,
            networks: None,
            coverage: reports.map(|reports| reports.coverage.clone()).unwrap_or_default(),
        }
    }

    /// Whether the target is a class.
    pub(crate) fn has_classes(&self) -> bool {
        let scores = self.metrics.test.as_ref().or(self.metrics.valid.as_ref());
        scores.is_some_and(|scores| scores.get(Metric::Accuracy).is_some())
    }

    /// Why the run stopped and what it kept, and the commands that come next; `other` is a setting
    /// to try.
    pub(crate) fn closing(
        &self,
        why: &str,
        restore_best: bool,
        lines: Vec<String>,
        other: &str,
    ) -> Closing {
        let kept = match self.best_epoch {
            Some(epoch) if restore_best => format!("kept epoch {epoch}"),
            _ => "kept the last epoch".into(),
        };
        let peak = match self.peak_bytes {
            0 => String::new(),
            peak => format!(" · {} of memory at most", bytes(peak)),
        };
        let run = shell_word(&self.run.display().to_string());
        let proba = if self.has_classes() { " --proba" } else { "" };
        Closing {
            headline: format!("stopped: {why}; {kept} · {}{peak}", duration(self.seconds)),
            verdict: self.verdict.clone(),
            lines,
            next: vec![
                format!("feedforward predict {run} --data new.csv{proba} --out predicted.csv"),
                format!("feedforward train {run}/recipe.toml --set {other}"),
            ],
        }
    }
}
