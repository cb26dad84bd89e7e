use serde::{Deserialize, Serialize};

/// The figures of one epoch; a line of `metrics.jsonl`.
///
/// ```
/// let record = ff_train::EpochRecord { epoch: 1, step: 20, train_loss: 0.7, ..Default::default() };
/// assert!(serde_json::to_string(&record).unwrap().contains("\"train_loss\":0.7"));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Optimiser steps done when it ended.
    pub step: u64,
    /// The mean loss of its training rows, as they were met.
    pub train_loss: f64,
    /// The loss on the validation part, where there is one.
    pub valid_loss: Option<f64>,
    /// Accuracy or R² on the validation part, where there is one.
    pub valid_score: Option<f64>,
    /// The learning rate of its last step.
    pub lr: f64,
    /// The mean norm of its gradients before clipping.
    pub grad_norm: f64,
    /// Training seconds since the start, interruptions left out.
    pub seconds: f64,
}

/// Where training stands: with the parameters and the optimiser's state, all that a resumed run needs.
///
/// ```
/// assert_eq!(ff_train::Progress::default().step, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done of the epoch that is under way.
    pub step_in_epoch: u64,
    /// The sum of losses of the epoch that is under way.
    pub loss_sum: f64,
    /// The number of rows behind that sum, weighted.
    pub loss_count: f64,
    /// The sum of gradient norms of the epoch that is under way.
    pub grad_norm_sum: f64,
    /// The loss of the very first step, to tell divergence by.
    pub first_loss: Option<f64>,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// One record for each epoch done.
    pub history: Vec<EpochRecord>,
    /// Training seconds so far.
    pub seconds: f64,
}

/// The epoch whose weights are kept.
///
/// ```
/// let best = ff_train::Best { epoch: 3, value: -0.25 };
/// assert_eq!(best.epoch, 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: usize,
    /// The monitored value, turned so that higher is better.
    pub value: f64,
}
