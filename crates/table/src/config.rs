//! The `[data]` table of a recipe.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ff_settings::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::{Format, SourceOptions, default_null_values};

mod column;
mod ngrams;
mod split;

pub use column::{ColumnConfig, ColumnOptions};
pub use ngrams::NgramConfig;
pub use split::{SplitConfig, SplitKind};

/// What a file of data is and what becomes of it: the `[data]` table of a recipe.
///
/// Every key has a default; `path` and `target` are what a recipe has to say.
///
/// ```
/// use ff_table::{DataConfig, Scaling, SplitKind};
///
/// let config: DataConfig = toml::from_str(r#"
///     path = "datasets/digits.csv"
///     target = "label"
///     scaling = "standard"
///     columns.pixel0 = "drop"
///     [split]
///     kind = "stratified"
///     valid = 0.15
///     test = 0.15
/// "#).unwrap();
/// assert_eq!(config.scaling, Scaling::Standard);
/// assert_eq!(config.split.kind, SplitKind::Stratified);
/// assert!(toml::from_str::<DataConfig>("taget = 'label'").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The file, `-` for standard input.
    #[schemars(description = format!(
        "The file: {}, also as .gz, .zst or .lz4, or alone in a .zip; `-` is standard input.", Format::listed("or")
    ))]
    pub path: PathBuf,
    /// The file's format; found from its first bytes and its name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The character between fields of a text table; found from the first lines by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Whether the first line of a text table names the columns; found from the first lines by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The file of labels that belongs to an IDX file of images; found by its name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// The character before decimals of numbers in text, `.` or `,`; found in each column by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// The character between thousands: `,`, `.`, `'` or a space; found in each column by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// Texts that stand for a missing value.
    pub null_values: Vec<String>,
    /// The column to predict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What kind of target it is; inferred by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// The positive class of two, as text, the second in order by default; of several, the class
    /// that `evaluate.threshold` is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// Learn log(1 + y) in place of y (regression with a long tail; y > -1).
    pub target_log: bool,
    /// Learn a number as (y − mean) / standard deviation of the training part; false learns it in
    /// its own unit.
    #[serde(skip_serializing_if = "bool::clone")]
    pub target_scaling: bool,
    /// Keep predicted numbers within the range of the training part.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub target_clamp: bool,
    /// What to do with rows whose target is missing.
    pub missing_target: RowPolicy,
    /// What to do with rows of a class that has a single row.
    pub rare_classes: RowPolicy,
    /// A column of sample weights, at least 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Columns to leave out.
    pub drop: Vec<String>,
    /// Drop rows that repeat an earlier row exactly.
    pub drop_duplicates: bool,
    /// Use at most this many rows, the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
    /// What single columns are, by name: a kind (`"number"`) or a table of options.
    pub columns: BTreeMap<String, ColumnConfig>,
    /// How missing numbers are filled.
    pub missing: Missing,
    /// Whether a column that had missing values also gets a flag for them.
    pub missing_flag: bool,
    /// How numbers are scaled.
    pub scaling: Scaling,
    /// Scaled numbers beyond ± this are cut off; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// How categories are coded.
    pub categories: CategoryConfig,
    /// How texts are encoded.
    #[serde(skip_serializing_if = "NgramConfig::is_default")]
    pub text: NgramConfig,
    /// How rows are split into training, validation and test parts.
    pub split: SplitConfig,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            format: None,
            delimiter: None,
            header: None,
            labels: None,
            decimal: None,
            thousands: None,
            null_values: default_null_values(),
            target: None,
            task: None,
            positive: None,
            target_log: false,
            target_scaling: true,
            target_clamp: false,
            missing_target: RowPolicy::Error,
            rare_classes: RowPolicy::Error,
            weight: None,
            drop: Vec::new(),
            drop_duplicates: false,
            max_rows: None,
            columns: BTreeMap::new(),
            missing: Missing::Median,
            missing_flag: true,
            scaling: Scaling::Standard,
            clip: None,
            categories: CategoryConfig::default(),
            text: NgramConfig::default(),
            split: SplitConfig::default(),
        }
    }
}

impl DataConfig {
    /// The names of columns that it speaks of.
    fn names(&self) -> impl Iterator<Item = &String> {
        let single = [&self.target, &self.weight, &self.split.column];
        single.into_iter().flatten().chain(&self.drop).chain(self.columns.keys())
    }

    /// Checks what the types cannot: ranges, and settings that exclude each other.
    ///
    /// # Errors
    /// The first key whose value is not allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.path.as_os_str().is_empty() {
            return Err(ConfigError::new("data.path", "name the file to read"));
        }
        if let Some(delimiter) = self.delimiter
            && (!delimiter.is_ascii() || matches!(delimiter, '"' | '\n' | '\r'))
        {
            return Err(ConfigError::new(
                "data.delimiter",
                format!("{delimiter:?} cannot separate fields: take one ASCII character"),
            ));
        }
        validate_separators("data", self.decimal, self.thousands)?;
        for (name, column) in &self.columns {
            let key = crate::schema::set_option(name, "", "");
            let decimal = column.decimal.or(self.decimal);
            let thousands = column.thousands.or(self.thousands);
            validate_separators(key.trim_end_matches('='), decimal, thousands)?;
        }
        if let Some(clip) = self.clip
            && !(clip > 0.0 && clip.is_finite())
        {
            return Err(ConfigError::new("data.clip", format!("{clip} is not above 0")));
        }
        if self.max_rows == Some(0) {
            return Err(ConfigError::new("data.max_rows", "0 rows cannot be learned from"));
        }
        if let Some(target) = &self.target {
            if self.drop.contains(target) {
                return Err(ConfigError::new("data.drop", format!("`{target}` is the target")));
            }
            if self.weight.as_ref() == Some(target) {
                return Err(ConfigError::new("data.weight", format!("`{target}` is the target")));
            }
        }
        self.categories.validate()?;
        self.text.validate()?;
        self.split.validate()
    }
}

/// Checks the characters of numbers in text.
fn validate_separators(
    key: &str,
    decimal: Option<char>,
    thousands: Option<char>,
) -> Result<(), ConfigError> {
    if let Some(decimal) = decimal.filter(|c| !matches!(c, '.' | ',')) {
        let message = format!("{decimal:?} is neither a point nor a comma");
        return Err(ConfigError::new(format!("{key}.decimal"), message));
    }
    if let Some(thousands) = thousands.filter(|c| !matches!(c, '.' | ',' | '\'' | ' ')) {
        let message = format!("{thousands:?} is none of `,`, `.`, `'` and a space");
        return Err(ConfigError::new(format!("{key}.thousands"), message));
    }
    if decimal.is_some() && decimal == thousands {
        let message = "the same character stands before decimals";
        return Err(ConfigError::new(format!("{key}.thousands"), message));
    }
    Ok(())
}

impl From<&DataConfig> for SourceOptions {
    fn from(config: &DataConfig) -> Self {
        let nulls = |(name, column): (&String, &ColumnConfig)| {
            Some((name.clone(), column.null_values.clone()?))
        };
        Self {
            column_nulls: config.columns.iter().filter_map(nulls).collect(),
            format: config.format,
            delimiter: config.delimiter,
            header: config.header,
            labels: config.labels.clone(),
            null_values: config.null_values.clone(),
            text_columns: config
                .columns
                .iter()
                .filter(|(_, column)| column.decimal.is_some() || column.thousands.is_some())
                .map(|(name, _)| name.clone())
                .collect(),
            blank_rows: false,
            points_are_decimal: config.decimal != Some(',') && config.thousands != Some('.'),
            names: config.names().cloned().collect(),
            max_rows: config.max_rows,
        }
    }
}

impl SourceOptions {
    /// What a model remembers of how its file was read; its texts for missing values are kept
    /// apart.
    pub(crate) fn remembered(config: &DataConfig) -> Self {
        let (null_values, text_columns) = (default_null_values(), Vec::new());
        Self {
            labels: None,
            null_values,
            text_columns,
            points_are_decimal: true,
            names: Vec::new(),
            max_rows: None,
            ..Self::from(config)
        }
    }

    /// Takes one of [`SourceOptions::KEYS`] from a recipe's `[data]`; `false` for another key.
    pub fn change(&mut self, key: &str, config: &DataConfig) -> bool {
        let new = Self::from(config);
        match key {
            "format" => self.format = new.format,
            "delimiter" => self.delimiter = new.delimiter,
            "header" => self.header = new.header,
            "labels" => self.labels = new.labels,
            "null_values" => self.null_values = new.null_values,
            _ => return false,
        }
        true
    }
}

/// What is learned about the target.
///
/// ```
/// assert!(ff_table::Task::Binary.is_classification());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of two classes.
    Binary,
    /// One of several classes.
    Multiclass,
    /// A number.
    Regression,
}

impl Task {
    /// Whether the target is a class.
    pub fn is_classification(self) -> bool {
        self != Self::Regression
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Binary => "binary",
            Self::Multiclass => "multiclass",
            Self::Regression => "regression",
        })
    }
}

/// What to do with a row that cannot be learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowPolicy {
    /// Stop and name the rows.
    #[default]
    Error,
    /// Drop the rows and count them.
    Drop,
}

/// How missing numbers are filled; what is filled in is fitted on the training part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The column's median (scikit-learn's `SimpleImputer(strategy="median")`).
    #[default]
    Median,
    /// The column's mean.
    Mean,
    /// The column's `fill`, 0 by default.
    Constant,
}

/// How numbers are scaled; fitted on the training part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// `(x - mean) / std` (scikit-learn's `StandardScaler`).
    #[default]
    Standard,
    /// `(x - min) / (max - min)` (`MinMaxScaler`).
    Minmax,
    /// `(x - median) / (q75 - q25)` (`RobustScaler`).
    Robust,
    /// `x / √(1 + x²/9)` of that, which stays between -3 and 3; where the quartiles are equal, half
    /// the range stands for their distance (RealMLP).
    RobustSmooth,
    /// The rank among the training values as a normal quantile
    /// (`QuantileTransformer(output_distribution="normal")`).
    QuantileNormal,
    /// The rank among the training values, 0 to 1 (`QuantileTransformer`).
    QuantileUniform,
    /// As it is.
    None,
}

/// How categories are coded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CategoryConfig {
    /// Up to this many categories become one 0/1 column each; more become ids for an embedding.
    pub one_hot_max: usize,
    /// Values with fewer training rows share one slot, which unseen values use too.
    pub min_frequency: usize,
    /// More distinct values than this in one column are an error.
    pub max: usize,
    /// The share of training cells that an embedding shows as an unseen value, anew at each step,
    /// so that the network learns what to make of one; 0 to 1.
    pub unseen: f64,
    /// Whether 0/1 columns are scaled as numbers are, by `data.scaling`, and two categories become
    /// one column of 1 and -1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scaled: bool,
}

impl Default for CategoryConfig {
    fn default() -> Self {
        Self { one_hot_max: 16, min_frequency: 2, max: 100_000, unseen: 0.02, scaled: false }
    }
}

impl CategoryConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.max < 2 || self.max > MAX_CATEGORIES {
            return Err(ConfigError::new(
                "data.categories.max",
                format!("{} is not between 2 and {MAX_CATEGORIES}", self.max),
            ));
        }
        if !(0.0..1.0).contains(&self.unseen) {
            let message = format!("{} is not a share from 0 to below 1", self.unseen);
            return Err(ConfigError::new("data.categories.unseen", message));
        }
        Ok(())
    }
}

/// The most categories that one column may have: their ids are 32-bit and their texts are kept in
/// memory.
const MAX_CATEGORIES: usize = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_survives_toml() {
        let text = r#"
            path = "a.csv"
            target = "y"
            drop = ["z"]
            columns.a = "category"
            columns.b = { kind = "number", scaling = "none", log = true }
            [split]
            kind = "time"
            column = "day"
        "#;
        let config: DataConfig = toml::from_str(text).unwrap();
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<DataConfig>(&written).unwrap(), config, "{written}");
        assert!(config.validate().is_ok());
        let default: DataConfig = toml::from_str("").unwrap();
        assert_eq!(default, DataConfig::default());
    }

    #[test]
    fn unknown_keys_and_kinds_are_named() {
        let error = |text: &str| toml::from_str::<DataConfig>(text).unwrap_err().to_string();
        assert!(error("scalling = 'none'").contains("unknown field `scalling`"));
        assert!(error("columns.a = 'numbr'").contains("unknown variant `numbr`"));
        assert!(error("columns.a = { knd = 'number' }").contains("unknown field `knd`"));
        assert!(error("columns.a = 3").contains("a kind of column"));
        assert!(error("split.valid = 'much'").contains("expected f64"));
    }

    #[test]
    fn the_schema_knows_every_key() {
        let schema = serde_json::to_value(schemars::schema_for!(DataConfig)).unwrap();
        let config = serde_json::to_value(DataConfig::default()).unwrap();
        assert!(schema["properties"]["text"].is_object());
        for key in config.as_object().unwrap().keys() {
            assert!(schema["properties"][key].is_object(), "{key}");
        }
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema["$defs"]["ColumnConfig"]["anyOf"].is_array());
    }
}
