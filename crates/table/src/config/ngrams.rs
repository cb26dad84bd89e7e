//! How texts are encoded, as a recipe says it.

use ff_settings::{ConfigError, Range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How texts are encoded: the `[data.text]` table.
///
/// ```
/// let text = ff_table::NgramConfig::default();
/// assert_eq!((text.words, text.characters), (2, 5));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NgramConfig {
    /// The longest n-grams of words; 0 for none.
    pub words: usize,
    /// The longest n-grams of characters within words, from two characters on; 0 for none.
    pub characters: usize,
    /// N-grams in fewer training rows than this are left out.
    pub min_frequency: usize,
    /// The most n-grams of words, and of characters, of a column: those in the most rows.
    pub max: usize,
}

impl Default for NgramConfig {
    fn default() -> Self {
        Self { words: 2, characters: 5, min_frequency: 2, max: 100_000 }
    }
}

impl NgramConfig {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let between = |key: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let message = format!("{value} is not between {least} and {most}");
            Err(ConfigError::new(format!("data.text.{key}"), message))
        };
        between("words", self.words, 0, 8)?;
        between("characters", self.characters, 0, 16)?;
        between("max", self.max, 1, 10_000_000)?;
        Range::AtLeast(1.0).check("data.text.min_frequency", self.min_frequency as f64)?;
        if self.words == 0 && self.characters < 2 {
            let message = "0 leaves no n-grams, with data.text.characters below 2";
            return Err(ConfigError::new("data.text.words", message));
        }
        Ok(())
    }
}
