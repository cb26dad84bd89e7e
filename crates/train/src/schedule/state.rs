//! The state of a schedule that depends on validation scores.

use serde::{Deserialize, Serialize};

/// The state of [`Plateau`](super::Plateau) between evaluations, saved in checkpoints.
///
/// ```
/// use ff_train::schedule::{Plateau, Schedule};
/// let config = Plateau { patience: 0, ..Plateau::default() }.into();
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
    /// The number of evaluations since then without improvement.
    pub bad: u64,
    /// The number of evaluations to skip.
    pub cooldown: u64,
    /// The reduced rate; `None` before the first reduction.
    pub lr: Option<f64>,
}
