use super::{ScheduleConfig, ThresholdMode};
use serde::{Deserialize, Serialize};

/// What `plateau` remembers between evaluations; saved with a checkpoint.
///
/// ```
/// use ff_train::schedule::{Schedule, ScheduleConfig, ScheduleKind};
/// let config = ScheduleConfig { patience: Some(0), ..ScheduleConfig::new(ScheduleKind::Plateau) };
/// let mut schedule = Schedule::new(&config, 0.5)?;
/// assert_eq!(schedule.observe(1.0, false), None);
/// assert_eq!(schedule.observe(1.0, false), Some(0.05)); // not better
/// assert_eq!(schedule.state().lr, Some(0.05));
/// # Ok::<(), ff_train::schedule::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlateauState {
    /// The best score so far.
    pub best: Option<f64>,
    /// Evaluations since then that were no better.
    pub bad: u64,
    /// Evaluations that will not be counted.
    pub cooldown: u64,
    /// The reduced rate; `None` before the first reduction.
    pub lr: Option<f64>,
}

impl PlateauState {
    pub(super) fn lr(&self, start: f64) -> f64 {
        self.lr.unwrap_or(start)
    }

    pub(super) fn observe(
        &mut self,
        config: &ScheduleConfig,
        start: f64,
        score: f64,
        higher_is_better: bool,
    ) -> Option<f64> {
        if self.is_better(config, score, higher_is_better) {
            self.best = Some(score);
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.bad = 0;
        }
        if self.bad <= config.patience.unwrap_or(10) {
            return None;
        }
        self.cooldown = config.cooldown.unwrap_or(0);
        self.bad = 0;
        let old = self.lr(start);
        let new = (old * config.factor.unwrap_or(0.1)).max(config.min_lr.unwrap_or(0.0));
        if old - new > config.eps.unwrap_or(1e-8) {
            self.lr = Some(new);
            return Some(new);
        }
        None
    }

    fn is_better(&self, config: &ScheduleConfig, score: f64, higher_is_better: bool) -> bool {
        // A score that cannot be saved, such as NaN after divergence, is never the best.
        let Some(best) = self.best else { return score.is_finite() };
        let threshold = config.threshold.unwrap_or(1e-4);
        match (higher_is_better, config.threshold_mode.unwrap_or_default()) {
            (false, ThresholdMode::Rel) => score < best * (1.0 - threshold),
            (false, ThresholdMode::Abs) => score < best - threshold,
            (true, ThresholdMode::Rel) => score > best * (1.0 + threshold),
            (true, ThresholdMode::Abs) => score > best + threshold,
        }
    }
}
