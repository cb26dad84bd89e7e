//! The recipe's table of a search.

use ff_settings::{ConfigError, Range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[tune]` table of a recipe: what `feedforward tune` searches.
///
/// ```
/// let config = feedforward::table::TuneConfig::default();
/// assert_eq!((config.trials, config.vary.len()), (27, 0));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TuneConfig {
    /// The number of trials; the first one has the recipe's own settings.
    pub trials: usize,
    /// The settings to vary: `optimizer.lr=0.001..0.01 log`, `model.hidden=[[64], [128, 64]]`.
    /// Rate, dropout, widths, activation, decay and bins by default.
    pub vary: Vec<String>,
}

impl Default for TuneConfig {
    fn default() -> Self {
        Self { trials: 27, vary: Vec::new() }
    }
}

impl TuneConfig {
    pub(in crate::table) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that there is at least one trial.
    ///
    /// # Errors
    /// There is none.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Range::AtLeast(1.0).check("tune.trials", self.trials as f64)
    }
}
