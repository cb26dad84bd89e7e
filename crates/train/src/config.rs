//! The `[train]` table of a recipe.

use ff_settings::{ConfigError, Range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The length of training and the size of batches.
///
/// ```
/// let config = ff_train::TrainConfig { epochs: 5, ..Default::default() };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The maximum number of passes over the training part.
    pub epochs: usize,
    /// The maximum number of optimiser steps; overrides `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Rows per micro-batch, in memory at a time.
    pub batch_size: usize,
    /// Double `batch_size` for large tables, up to this, while an epoch has more than 128 steps;
    /// never by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_max: Option<usize>,
    /// Leave out the rows of a pass that do not fill a step; each pass leaves out others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_last: bool,
    /// Micro-batches per optimiser step; the loss is averaged over all their rows.
    pub accumulate: usize,
    /// The seed of all random numbers.
    pub seed: u64,
    /// Epochs without improvement of the monitored score before training stops; 0 never stops
    /// early.
    pub patience: usize,
    /// The patience while the best epoch is an early one: this and a third of that epoch, up to
    /// `patience`; `patience` from the start by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience_start: Option<usize>,
    /// Tables of texts alone: the patience in place of `patience`, as few epochs are enough for a
    /// linear model; never by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_patience: Option<usize>,
    /// The minimum gain that counts as an improvement.
    pub min_delta: f64,
    /// The same as a share of the best value; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_gain: Option<f64>,
    /// Tables of texts alone: the least share in place of `min_gain`, as the loss of a linear model
    /// falls slowly long after its errors are as few as they get; never by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_min_gain: Option<f64>,
    /// Of epochs with the same best score, keep the last one, not the first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub latest_best: bool,
    /// The score that selects the best epoch.
    pub monitor: Monitor,
    /// Whether to keep the weights of the best epoch instead of the last.
    pub restore_best: bool,
    /// Tables: train the model that is kept anew on all rows, for as many epochs as were best, or
    /// with `bags`, which each stop on a fold of their own; the scores are those of the first one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refit: bool,
    /// Tables: with `refit` and one network, more training rows than this train the judged one on,
    /// for a quarter of its epochs, instead of a new one; a new one by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refit_judged_above: Option<usize>,
    /// Tables: train this many networks, each on all rows outside the test part but one fold, on
    /// which it is stopped, and average their predictions; one network by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bags: Option<usize>,
    /// Tables: `bags` only where the training part has fewer rows than this, no texts, and a split
    /// with folds; everywhere by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bags_below: Option<usize>,
    /// Tables: divide the logits of classes by a temperature that is fitted on the validation part,
    /// so that probabilities are neither too sure nor too unsure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub temperature: bool,
    /// The standard deviation of noise added to the scaled numeric inputs during training.
    pub input_noise: f64,
    /// Mixup: the α of the Beta distribution of mixing weights; 0 for none.
    pub mixup: f64,
    /// The minimum number of seconds between checkpoints; one is always written at the end and on
    /// Ctrl-C.
    pub checkpoint_seconds: f64,
    /// Threads; 0 for one per core. Results do not depend on this choice.
    pub threads: usize,
}

/// The score that selects the best epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// The validation loss; lower is better.
    #[default]
    Loss,
    /// Accuracy, or R² for numbers; higher is better.
    Score,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 200,
            steps: None,
            batch_size: 64,
            batch_max: None,
            drop_last: false,
            accumulate: 1,
            seed: 0,
            patience: 20,
            patience_start: None,
            text_patience: None,
            min_delta: 0.0,
            min_gain: None,
            text_min_gain: None,
            latest_best: false,
            monitor: Monitor::Loss,
            restore_best: true,
            refit: false,
            refit_judged_above: None,
            bags: None,
            bags_below: None,
            temperature: false,
            input_noise: 0.0,
            mixup: 0.0,
            checkpoint_seconds: 5.0,
            threads: 0,
        }
    }
}

impl TrainConfig {
    /// Checks the range of every value.
    ///
    /// # Errors
    /// The first key with a value out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("accumulate", self.accumulate),
        ];
        for (key, value) in at_least_one {
            Range::AtLeast(1.0).check(&format!("train.{key}"), value as f64)?;
        }
        let least = self.batch_size as f64;
        Range::AtLeast(least).check("train.batch_max", self.batch_max.map(|most| most as f64))?;
        Range::AtLeast(1.0).check("train.steps", self.steps.map(|steps| steps as f64))?;
        let start = self.patience_start.map(|epochs| epochs as f64);
        Range::AtLeast(1.0).check("train.patience_start", start)?;
        Range::AtLeast(2.0).check("train.bags", self.bags.map(|bags| bags as f64))?;
        for (key, value) in [
            ("min_delta", self.min_delta),
            ("min_gain", self.min_gain.unwrap_or_default()),
            ("text_min_gain", self.text_min_gain.unwrap_or_default()),
            ("input_noise", self.input_noise),
            ("mixup", self.mixup),
            ("checkpoint_seconds", self.checkpoint_seconds),
        ] {
            Range::AtLeast(0.0).check(&format!("train.{key}"), value)?;
        }
        Ok(())
    }

    /// The same settings with the batches for so many rows: see `batch_max`.
    #[must_use]
    pub fn for_rows(&self, rows: usize) -> Self {
        const STEPS: usize = 128;
        let mut config = self.clone();
        let most = self.batch_max.unwrap_or(0);
        while config.batch_size <= most / 2 && rows.div_ceil(config.batch_size) > STEPS {
            config.batch_size *= 2;
        }
        config
    }

    /// The epochs without improvement, after a best one, before training stops: see
    /// `patience_start`.
    ///
    /// ```
    /// let config = ff_train::TrainConfig { patience_start: Some(8), ..Default::default() };
    /// assert_eq!([1, 6, 36, 90].map(|best| config.patience_after(best)), [8, 10, 20, 20]);
    /// ```
    pub fn patience_after(&self, best: usize) -> usize {
        let early = self.patience_start.map(|start| start.saturating_add(best / 3));
        early.unwrap_or(self.patience).min(self.patience)
    }

    /// The optimiser steps per pass over this number of rows.
    pub fn steps_per_epoch(&self, rows: usize) -> u64 {
        if self.drop_last {
            let whole = rows / self.batch_size.saturating_mul(self.accumulate);
            return whole.max(1).min(rows) as u64;
        }
        rows.div_ceil(self.batch_size).div_ceil(self.accumulate) as u64
    }

    /// The maximum number of optimiser steps.
    pub fn total_steps(&self, rows: usize) -> u64 {
        self.steps.unwrap_or_else(|| self.epochs as u64 * self.steps_per_epoch(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_that_do_not_fill_a_step_are_left_out() {
        let config = TrainConfig { batch_size: 4, drop_last: true, ..TrainConfig::default() };
        assert_eq!([0, 3, 4, 11].map(|rows| config.steps_per_epoch(rows)), [0, 1, 1, 2]);
        let two = TrainConfig { accumulate: 2, ..config };
        assert_eq!([7, 8, 17].map(|rows| two.steps_per_epoch(rows)), [1, 1, 2]);
    }

    #[test]
    fn batches_grow_with_the_rows_up_to_their_most() {
        let config = TrainConfig { batch_max: Some(500), ..TrainConfig::default() };
        let size = |rows| config.for_rows(rows).batch_size;
        assert_eq!(
            [0, 64 * 128, 64 * 128 + 1, 1 << 15, 1 << 20].map(size),
            [64, 64, 128, 256, 256]
        );
        assert_eq!(TrainConfig::default().for_rows(1 << 20).batch_size, 64);
    }
}
