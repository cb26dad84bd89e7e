//! The metrics of a run, epoch by epoch.

use serde::{Deserialize, Serialize};

/// The metrics of one epoch, a line of `metrics.jsonl`.
///
/// ```
/// let record =
///     ff_train::EpochRecord { epoch: 1, step: 20, train_loss: 0.7, ..Default::default() };
/// assert!(serde_json::to_string(&record).unwrap().contains("\"train_loss\":0.7"));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// The number of optimiser steps at its end.
    pub step: u64,
    /// The mean loss of the training rows, each at its own step.
    pub train_loss: f64,
    /// The loss on the validation part; `None` without one.
    pub valid_loss: Option<f64>,
    /// Accuracy or R² on the validation part; `None` without one.
    pub valid_score: Option<f64>,
    /// The learning rate of the last step.
    pub lr: f64,
    /// The mean gradient norm before clipping.
    pub grad_norm: f64,
    /// Seconds of training since the start, without interruptions.
    pub seconds: f64,
}

/// The metrics of the validation part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The mean loss.
    pub loss: f64,
    /// Accuracy or R²: higher is better.
    pub score: f64,
}

/// The progress of training; with the parameters and the state of the optimiser, it suffices to
/// resume a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Completed optimiser steps.
    pub step: u64,
    /// Completed epochs.
    pub epoch: usize,
    /// Completed steps of the current epoch.
    pub step_in_epoch: u64,
    /// The sum of losses in the current epoch.
    pub loss_sum: f64,
    /// The weighted number of rows in that sum.
    pub loss_count: f64,
    /// The sum of gradient norms in the current epoch.
    pub grad_norm_sum: f64,
    /// The loss of the very first step, the reference for divergence.
    pub first_loss: Option<f64>,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// One record per completed epoch.
    pub history: Vec<EpochRecord>,
    /// Seconds of training so far.
    pub seconds: f64,
}

impl Progress {
    /// Adds a step: its sum of losses, its count and the norm of its gradient.
    pub(crate) fn add_step(&mut self, sum: f64, count: f64, grad_norm: f64) {
        self.step += 1;
        self.step_in_epoch += 1;
        self.loss_sum += sum;
        self.loss_count += count;
        self.grad_norm_sum += grad_norm;
    }

    /// Ends the epoch; returns its metrics, which the history keeps.
    pub(crate) fn end_epoch(&mut self, evaluation: Option<Evaluation>, lr: f64) -> EpochRecord {
        self.epoch += 1;
        let record = EpochRecord {
            epoch: self.epoch,
            step: self.step,
            train_loss: self.loss_sum / self.loss_count.max(f64::MIN_POSITIVE),
            valid_loss: evaluation.map(|e| e.loss),
            valid_score: evaluation.map(|e| e.score),
            lr,
            grad_norm: self.grad_norm_sum / self.step_in_epoch.max(1) as f64,
            seconds: self.seconds,
        };
        self.history.push(record.clone());
        (self.loss_sum, self.loss_count, self.grad_norm_sum) = (0.0, 0.0, 0.0);
        self.step_in_epoch = 0;
        record
    }
}

/// The best epoch, whose weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The number of the epoch, from 1.
    pub epoch: usize,
    /// The monitored value, with a sign such that higher is better.
    pub value: f64,
}
