//! The `[evaluate]` table of a recipe.

use ff_metrics::ThresholdAim;
use ff_settings::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most shuffles of a column; more add nothing.
const MAX_SHUFFLES: usize = 1000;

/// The evaluation after training.
///
/// ```
/// let config = feedforward::table::EvaluateConfig { top_k: Some(0), ..Default::default() };
/// assert_eq!(config.validate().unwrap_err().key, "evaluate.top_k");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateConfig {
    /// What the decision threshold of `data.positive` is chosen for on the validation part; the
    /// likeliest class by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdAim>,
    /// The k of the top-k accuracy; 5, or 2 where there are few classes, by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// How often each column is shuffled for its importance; 0 leaves importance and partial
    /// dependence out.
    pub importance: usize,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { threshold: None, top_k: None, importance: 5 }
    }
}

impl EvaluateConfig {
    /// Checks every value's domain.
    ///
    /// # Errors
    /// The first key with an invalid value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(aim) = &self.threshold {
            aim.validate().map_err(|e| {
                let message = e.to_string();
                let message = message.strip_prefix("threshold: ").unwrap_or(&message);
                ConfigError::new("evaluate.threshold", message)
            })?;
        }
        if self.top_k == Some(0) {
            return Err(ConfigError::new("evaluate.top_k", "must be at least 1, found 0"));
        }
        if self.importance > MAX_SHUFFLES {
            let message = format!("must be at most {MAX_SHUFFLES}, found {}", self.importance);
            return Err(ConfigError::new("evaluate.importance", message));
        }
        Ok(())
    }
}
