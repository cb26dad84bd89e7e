//! How a run on pairs went.

use super::scores::TranslationScores;
use crate::run::summary::Closing;
use crate::words::{bytes, count, duration};
use ff_settings::shell_word;
use serde::Serialize;
use std::path::PathBuf;

/// How a fine-tuning run on pairs went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TranslationSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// The scores of the validation part, which chose the epoch, beside those before training.
    pub valid: Option<TranslationScores>,
    /// The scores of the test part.
    pub test: Option<TranslationScores>,
    /// Seconds of training, of all sessions.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Epochs.
    pub epochs: usize,
    /// The epoch whose weights are kept.
    pub best_epoch: Option<usize>,
    /// Tokens of the targets learned, each as often as it was.
    pub tokens: u64,
    /// The same a second.
    pub tokens_per_second: f64,
    /// Values trained.
    pub parameters: usize,
    /// The most memory the process held.
    pub peak_bytes: usize,
    /// The most memory that pool and arena held from the system.
    pub pool_bytes: usize,
    /// Why it ended: `finished`, `early` or `interrupted`.
    pub stopped: String,
    /// A source to try, with its prefix.
    pub prompt: Option<String>,
}

impl TranslationSummary {
    /// What a terminal shows of a finished run.
    pub(super) fn closing(&self) -> Closing {
        let peak = match self.peak_bytes {
            0 => String::new(),
            peak => format!(" · {} of memory at most", bytes(peak)),
        };
        let mut lines = Vec::new();
        for (name, scores) in [("test", &self.test), ("valid", &self.valid)] {
            let Some(scores) = scores else { continue };
            let pairs = count(scores.pairs as u64);
            lines.push(format!("{name}, {pairs} pairs: {}", scores.line()));
        }
        if !lines.is_empty() {
            lines.push("in parentheses: before training".into());
        }
        let run = shell_word(&self.run.display().to_string());
        let prompt = shell_word(self.prompt.as_deref().unwrap_or("TEXT"));
        Closing {
            headline: format!(
                "{} steps · {} target tokens · {} · {} tokens/s{peak}",
                count(self.steps),
                count(self.tokens),
                duration(self.seconds),
                count(self.tokens_per_second as u64)
            ),
            verdict: None,
            lines,
            next: vec![
                format!("feedforward generate {run} --prompt {prompt}"),
                format!("feedforward evaluate {run} --data FILE"),
            ],
        }
    }
}
