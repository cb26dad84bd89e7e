//! The learning-rate finder.

use ff_settings::{ConfigError, Range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sweep of the learning-rate finder.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FinderConfig {
    /// The first rate.
    pub start: f64,
    /// The last rate.
    pub end: f64,
    /// The number of rates, evenly spaced on a logarithmic scale.
    pub steps: usize,
    /// The decay of the running mean of the losses; 0 for the losses themselves.
    pub smoothing: f64,
    /// The sweep ends when the smoothed loss exceeds this multiple of its minimum so far.
    pub divergence: f64,
}

impl Default for FinderConfig {
    fn default() -> Self {
        Self { start: 1e-7, end: 10.0, steps: 100, smoothing: 0.9, divergence: 4.0 }
    }
}

impl FinderConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Range::Above(0.0).check("start", self.start)?;
        Range::Above(self.start).check("end", self.end)?;
        Range::BelowOne.check("smoothing", self.smoothing)?;
        Range::Above(1.0).check("divergence", self.divergence)?;
        if self.steps < 2 {
            return Err(ConfigError::new(
                "steps",
                format!("must be at least 2, found {}", self.steps),
            ));
        }
        Ok(())
    }

    /// The rate of a step of the sweep.
    pub fn lr_at(&self, step: usize) -> f64 {
        let last = self.steps.saturating_sub(1).max(1);
        self.start * (self.end / self.start).powf(step as f64 / last as f64)
    }
}

/// The result of a sweep.
///
/// ```
/// use ff_train::schedule::{FinderConfig, find_lr};
/// // A loss that starts to fall at 1e-3 and blows up at 1.
/// let report = find_lr(&FinderConfig::default(), |lr| {
///     Ok::<f64, ff_train::schedule::ConfigError>(2.0 / (1.0 + lr / 1e-3) + lr * lr)
/// })?;
/// let lr = report.steepest.unwrap();
/// assert!(lr > 1e-4 && lr < 1e-1);
/// # Ok::<(), ff_train::schedule::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FinderReport {
    /// The rates tried.
    pub rates: Vec<f64>,
    /// The loss at each.
    pub losses: Vec<f64>,
    /// The running mean of the losses, corrected for its start from zero.
    pub smoothed: Vec<f64>,
    /// The suggestion: the rate at which the loss, smoothed without lag, falls most steeply in the
    /// logarithm of the rate, before its minimum. `None` if it never falls.
    pub steepest: Option<f64>,
    /// A tenth of the rate of the lowest smoothed loss, the other usual choice.
    pub tenth_of_minimum: Option<f64>,
    /// Whether the sweep ended early because of divergence.
    pub diverged: bool,
}

/// Sweeps the learning rate from small to large, one training step each, and suggests the rate at
/// which the loss falls most steeply: Smith 2015, section 3.3.
///
/// `step` performs one training step at a rate and returns its loss. The caller keeps a copy of the
/// model if needed afterwards.
///
/// # Errors
/// If the config is contradictory or `step` fails.
pub fn find_lr<E: From<ConfigError>>(
    config: &FinderConfig,
    mut step: impl FnMut(f64) -> Result<f64, E>,
) -> Result<FinderReport, E> {
    config.validate()?;
    let mut report = FinderReport::default();
    let (mut mean, mut lowest) = (0.0, f64::INFINITY);
    for i in 0..config.steps {
        let lr = config.lr_at(i);
        let loss = step(lr)?;
        if !loss.is_finite() {
            report.diverged = true;
            break;
        }
        mean = config.smoothing * mean + (1.0 - config.smoothing) * loss;
        let smoothed = mean / (1.0 - config.smoothing.powi(i as i32 + 1));
        report.rates.push(lr);
        report.losses.push(loss);
        report.smoothed.push(smoothed);
        if smoothed < lowest {
            lowest = smoothed;
            report.tenth_of_minimum = Some(lr / 10.0);
        } else if i > 0 && smoothed - lowest > (config.divergence - 1.0) * lowest.abs() {
            report.diverged = true;
            break;
        }
    }
    report.steepest = steepest(&report, config.smoothing);
    Ok(report)
}

/// The fraction of the decrease after which the search for the steepest point begins.
const UNDER_WAY: f64 = 0.1;

/// The point of the steepest decrease before the minimum.
///
/// A second running mean, backward, undoes the lag of the first. The decrease starts where the loss
/// leaves its plateau, the median up to the minimum, for good: at rates too small to matter,
/// batches differ by chance, and the first few means average over too few of them.
fn steepest(report: &FinderReport, smoothing: f64) -> Option<f64> {
    let lowest = (0..report.smoothed.len())
        .min_by(|&a, &b| report.smoothed[a].total_cmp(&report.smoothed[b]))?;
    let mut even = report.smoothed[..=lowest].to_vec();
    let mut mean = 0.0;
    for (i, loss) in even.iter_mut().rev().enumerate() {
        mean = smoothing * mean + (1.0 - smoothing) * *loss;
        *loss = mean / (1.0 - smoothing.powi(i as i32 + 1));
    }
    let mut sorted = even.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let plateau = sorted[sorted.len() / 2];
    let under_way = plateau - UNDER_WAY * (plateau - even[lowest]);
    let start = even.iter().rposition(|&loss| loss >= under_way)?;
    // A central difference; rates are evenly spaced in their logarithm.
    let slopes = even[start..].windows(3).zip(&report.rates[start + 1..]);
    let falling = slopes.map(|(w, &lr)| (w[2] - w[0], lr)).filter(|(slope, _)| *slope < 0.0);
    falling.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, lr)| lr)
}
