//! How a fine-tuning run went.

use crate::run::summary::Closing;
use crate::words::{bytes, count, duration, score};
use ff_settings::shell_word;
use serde::Serialize;
use std::path::PathBuf;

/// How a fine-tuning run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FinetuneSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// The loss a learned token on the held-out conversations before training; of pairs, that of a
    /// pair.
    pub before: Option<f64>,
    /// The same of the kept weights.
    pub after: Option<f64>,
    /// The share of held-out pairs whose chosen answer has the larger reward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred: Option<f64>,
    /// The mean difference of the rewards of held-out pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// Seconds of training, of all sessions.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens in rows trained on, padding included.
    pub tokens: u64,
    /// The same a second.
    pub tokens_per_second: f64,
    /// Values trained.
    pub parameters: usize,
    /// Values of the base model.
    pub base_parameters: usize,
    /// The most memory the process held.
    pub peak_bytes: usize,
    /// The most memory that pool and arena held from the system.
    pub pool_bytes: usize,
    /// Why it ended: `finished`, `early` or `interrupted`.
    pub stopped: String,
    /// The base model, where an adapter was trained.
    pub base: Option<PathBuf>,
    /// Whether the adapter can be merged into the base model.
    #[serde(skip)]
    pub merges: bool,
    /// A prompt to try.
    pub prompt: Option<String>,
}

impl FinetuneSummary {
    /// What a terminal shows of a finished run.
    pub(super) fn closing(&self) -> Closing {
        let peak = match self.peak_bytes {
            0 => String::new(),
            peak => format!(" · {} of memory at most", bytes(peak)),
        };
        let losses = self.before.zip(self.after).map(|(before, after)| {
            format!("held-out loss {} (before: {})", score(after), score(before))
        });
        let preferred = self.preferred.zip(self.margin).map(|(share, margin)| {
            format!(
                "the chosen answer is preferred in {:.1} % of held-out pairs, margin {}",
                100.0 * share,
                score(margin)
            )
        });
        let run = shell_word(&self.run.display().to_string());
        let prompt = shell_word(self.prompt.as_deref().unwrap_or("Once"));
        let mut next = vec![format!("feedforward generate {run} --prompt {prompt}")];
        if let Some(base) = self.base.as_ref().filter(|_| self.merges) {
            let base = shell_word(&base.display().to_string());
            next.push(format!("feedforward merge {base} --adapter {run} --out merged"));
        }
        Closing {
            headline: format!(
                "{} steps · {} tokens · {} · {} tokens/s{peak}",
                count(self.steps),
                count(self.tokens),
                duration(self.seconds),
                count(self.tokens_per_second as u64)
            ),
            verdict: None,
            lines: losses.into_iter().chain(preferred).collect(),
            next,
        }
    }
}
