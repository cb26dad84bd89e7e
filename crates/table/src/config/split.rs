//! How rows are split, as a recipe says it.

use std::path::PathBuf;

use ff_settings::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How rows are split into training, validation and test parts: the `[data.split]` table.
///
/// ```
/// let split = ff_table::SplitConfig::default();
/// assert_eq!((split.valid, split.test), (0.15, 0.15));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// The way to split; `auto` is stratified for classes, random for numbers.
    pub kind: SplitKind,
    /// The share of rows in the validation part.
    pub valid: f64,
    /// The share of rows in the test part.
    pub test: f64,
    /// The column of groups (`grouped`), of times (`time`) or of part names (`given`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A file that is the validation part (`given`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_path: Option<PathBuf>,
    /// A file that is the test part (`given`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    /// The split's own seed; the run's seed by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A way to split rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitKind {
    /// Stratified for classes, random for numbers; given where part files are named.
    #[default]
    Auto,
    /// Any row may fall into any part.
    Random,
    /// Each part has each class in the same proportion.
    Stratified,
    /// Rows with the same value in `column` stay together.
    Grouped,
    /// The latest rows by `column` are the test part, those before them the validation part.
    Time,
    /// `column` names each row's part, or the parts are files of their own.
    Given,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            kind: SplitKind::Auto,
            valid: 0.15,
            test: 0.15,
            column: None,
            valid_path: None,
            test_path: None,
            seed: None,
        }
    }
}

impl SplitConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (key, share) in [("data.split.valid", self.valid), ("data.split.test", self.test)] {
            if !(0.0..1.0).contains(&share) {
                return Err(ConfigError::new(
                    key,
                    format!("{share} is not a share from 0 to below 1"),
                ));
            }
        }
        if self.valid + self.test >= 1.0 {
            return Err(ConfigError::new(
                "data.split",
                format!(
                    "valid = {} and test = {} leave nothing to train on",
                    self.valid, self.test
                ),
            ));
        }
        let files = self.valid_path.is_some() || self.test_path.is_some();
        match self.kind {
            SplitKind::Grouped | SplitKind::Time if self.column.is_none() => Err(ConfigError::new(
                "data.split.column",
                "name the column to split by, such as column = \"customer\"",
            )),
            SplitKind::Given if self.column.is_none() && !files => Err(ConfigError::new(
                "data.split",
                "a given split needs `column`, or `valid_path` and `test_path`",
            )),
            SplitKind::Given if self.column.is_some() && files => Err(ConfigError::new(
                "data.split",
                "a given split has either `column` or part files, not both",
            )),
            SplitKind::Random | SplitKind::Stratified | SplitKind::Grouped | SplitKind::Time
                if files =>
            {
                Err(ConfigError::new("data.split.kind", "part files need kind = \"given\""))
            }
            SplitKind::Random | SplitKind::Stratified if self.column.is_some() => {
                Err(ConfigError::new(
                    "data.split.column",
                    "a random or stratified split takes no column; did you mean kind = \"grouped\"?",
                ))
            }
            _ => Ok(()),
        }
    }
}
