//! The learning rate of every step.

use super::config::ScheduleConfig;
use super::registry::AnyShape;
use super::span::Span;
use super::state::PlateauState;
use ff_settings::{ConfigError, number};

/// The learning rate of every step.
///
/// ```
/// use ff_train::schedule::{Schedule, ScheduleConfig, ScheduleKind, Span};
/// let config = ScheduleConfig {
///     warmup: Some(Span::Steps(9)),
///     ..ScheduleConfig::new(ScheduleKind::Cosine)
/// };
/// let schedule = Schedule::new(&config, 0.1)?;
/// assert_eq!(schedule.lr_at(4, 109), 0.05); // half way up
/// assert_eq!(schedule.lr_at(9, 109), 0.1);
/// assert!((schedule.lr_at(59, 109) - 0.05).abs() < 1e-15); // half way down
/// # Ok::<(), ff_train::schedule::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    config: ScheduleConfig,
    shape: AnyShape,
    lr: f64,
    state: PlateauState,
}

impl Schedule {
    /// The schedule of a config, relative to the rate of the optimiser.
    ///
    /// # Errors
    /// If the config is contradictory, or its `min_lr` exceeds the rate.
    pub fn new(config: &ScheduleConfig, lr: f64) -> Result<Self, ConfigError> {
        config.validate()?;
        let least: Option<f64> = config.settings.get("min_lr");
        if let Some(min_lr) = least.filter(|min_lr| *min_lr > lr) {
            let message = format!(
                "must be at most the learning rate {}, found {}",
                number(lr),
                number(min_lr)
            );
            return Err(ConfigError::new("min_lr", message));
        }
        let shape = config.kind.shape(&config.settings);
        Ok(Self { config: config.clone(), shape, lr, state: PlateauState::default() })
    }

    /// The rate of step `step`, from 0, of `total_steps`; past the end, the last rate.
    pub fn lr_at(&self, step: u64, total_steps: u64) -> f64 {
        let warmup = self.config.warmup.unwrap_or(Span::Steps(0)).steps(total_steps);
        if step < warmup {
            let start = self.config.warmup_start.unwrap_or(1.0 / (warmup as f64 + 1.0));
            let peak = self.after_warmup(0, total_steps.saturating_sub(warmup));
            return peak * (start + (1.0 - start) * step as f64 / warmup as f64);
        }
        self.after_warmup(step - warmup, total_steps.saturating_sub(warmup))
    }

    fn after_warmup(&self, step: u64, total: u64) -> f64 {
        self.shape.lr(self.state.lr.unwrap_or(self.lr), step.min(total), total)
    }

    /// Records a validation score, once per evaluation; returns the new rate if `plateau` reduces
    /// it. Other kinds ignore scores.
    pub fn observe(&mut self, score: f64, higher_is_better: bool) -> Option<f64> {
        self.shape.observe(&mut self.state, self.lr, score, higher_is_better)
    }

    /// The config of the schedule.
    pub fn config(&self) -> &ScheduleConfig {
        &self.config
    }

    /// The state of [`Schedule::observe`], saved in checkpoints.
    pub fn state(&self) -> &PlateauState {
        &self.state
    }

    /// Restores a saved state.
    pub fn restore(&mut self, state: PlateauState) {
        self.state = state;
    }
}
