//! How a pretraining run went.

use super::scores::{Exact, TextScores};
use crate::run::summary::Closing;
use crate::words::{bytes, count, duration, score};
use ff_settings::shell_word;
use serde::Serialize;
use std::path::PathBuf;

/// How a pretraining run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PretrainSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// The scores on the whole validation part; none without one, or where the run was interrupted.
    pub valid: Option<TextScores>,
    /// The loss on the validation windows before training.
    pub before: Option<f64>,
    /// How many test questions are answered exactly, where there are any.
    pub exact: Option<Exact>,
    /// Seconds of training, of all sessions.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Tokens trained on a second, evaluations left out.
    pub tokens_per_second: f64,
    /// The evaluation whose weights are kept.
    pub best: Option<usize>,
    /// Values trained.
    pub parameters: usize,
    /// The most memory the process held.
    pub peak_bytes: usize,
    /// The most memory that pool and arena held from the system.
    pub pool_bytes: usize,
    /// Why it ended: `finished` or `interrupted`.
    pub stopped: String,
    /// A prompt to try.
    pub prompt: Option<String>,
}

impl PretrainSummary {
    /// What a terminal shows of a finished run.
    pub(super) fn closing(&self) -> Closing {
        let peak = match self.peak_bytes {
            0 => String::new(),
            peak => format!(" · {} of memory at most", bytes(peak)),
        };
        let mut lines = Vec::new();
        if let Some(valid) = &self.valid {
            let before = self.before.map(|before| format!(" (before: loss {})", score(before)));
            let interval = valid.interval.map(|interval| {
                format!(" (95 %: {} to {})", score(interval.low), score(interval.high))
            });
            lines.push(format!(
                "valid loss {}{} · perplexity {} · {} bits per byte{}",
                score(valid.loss),
                interval.unwrap_or_default(),
                score(valid.perplexity),
                score(valid.bits_per_byte),
                before.unwrap_or_default()
            ));
        }
        if let Some(exact) = &self.exact {
            lines.push(format!(
                "{} of {} test answers are exact: {:.2} %",
                count(exact.right),
                count(exact.questions),
                100.0 * exact.share()
            ));
        }
        let run = shell_word(&self.run.display().to_string());
        let prompt = shell_word(self.prompt.as_deref().unwrap_or("Once"));
        Closing {
            headline: format!(
                "{} steps · {} tokens · {} · {} tokens/s{peak}",
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
