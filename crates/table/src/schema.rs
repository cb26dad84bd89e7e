//! The columns: kinds with their reasons, and statistics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::table::Values;

mod infer;
mod names;
mod profile;
mod sorted;

pub(crate) use infer::{Inferred, MARKERS, MAX_ODD, boolean_texts, infer};
pub(crate) use names::{is_index, is_series};
pub use profile::{ColumnStats, Histogram, NumberStats};
pub(crate) use profile::{profile, profiles};

/// The kind of a column, as far as learning is concerned.
///
/// Kinds are inferred from all values; the rules that are not plain:
/// - Integers are numbers. They are a category where the name ends in a word for codes (`class`,
///   `type`, `code`, `zip`, …), there are 3 to 50 distinct ones with five rows each on average, and
///   the name does not belong to a numbered series such as `pixel0`, `pixel1`, `pixel2`. 0 and 1
///   alone are truth values.
/// - An identifier is a running number, a different integer in each row under a name such as `id`,
///   a different text in each row, or texts of which more than nine in ten differ.
/// - The index of a data frame is an identifier: `__index_level_0__`, and integers in an unnamed
///   first column or one named `Unnamed: 0` that all differ or count up.
/// - Numbers among which up to three different texts stand are numbers; these texts count as
///   missing, with a warning.
/// - Texts are those of four words or more on average, more than half of which differ; two letters
///   of a script without spaces count as a word.
/// - Codes with leading zeros (`01067`) are a category.
///
/// ```
/// assert_eq!(ff_table::Kind::Number.to_string(), "number");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A quantity: imputed, scaled, used as it is.
    Number,
    /// One of some values without an order: 0/1 columns, or ids for an embedding.
    Category,
    /// True or false.
    Boolean,
    /// A day or a moment: year, month, day, weekday, hour, days since 1970.
    Date,
    /// Words: weighted n-grams of words and characters.
    Text,
    /// A name or number of the row itself; not used.
    Identifier,
    /// The same value in every row; not used.
    Constant,
    /// Left out.
    Drop,
}

impl Kind {
    /// Whether a column of this kind is given to the model.
    pub fn is_used(self) -> bool {
        matches!(self, Self::Number | Self::Category | Self::Boolean | Self::Date | Self::Text)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Number => "number",
            Self::Category => "category",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Text => "text",
            Self::Identifier => "identifier",
            Self::Constant => "constant",
            Self::Drop => "drop",
        })
    }
}

/// The role of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Given to the model.
    Feature,
    /// To be predicted.
    Target,
    /// The sample weights.
    Weight,
    /// The column that rows are split by.
    Split,
    /// Not used.
    Dropped,
}

/// One column: its kind, why, what becomes of it, how to undo that, and its figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ColumnSchema {
    /// The column's name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its role.
    pub role: Role,
    /// Why it was read so, as a sentence without a full stop.
    pub reason: String,
    /// Its treatment, such as `standardised, median, missing flag`.
    pub usage: String,
    /// The setting that changes the decision, as `key=value` for `--set`.
    pub undo: Option<String>,
    /// Its figures over all rows that were read.
    pub stats: ColumnStats,
}

/// All columns, in the file's order.
///
/// ```
/// let schema = ff_table::Schema::default();
/// assert!(schema.column("age").is_none());
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Schema {
    /// The columns.
    pub columns: Vec<ColumnSchema>,
}

impl Schema {
    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&ColumnSchema> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that are given to the model.
    pub fn features(&self) -> impl Iterator<Item = &ColumnSchema> {
        self.columns.iter().filter(|column| column.role == Role::Feature)
    }
}

/// The two texts of a truth value, false first, that are recognised in any case.
pub(crate) const BOOLEANS: [(&str, &str); 6] =
    [("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"), ("off", "on"), ("0", "1")];

/// The setting that gives a column another kind.
pub(crate) fn set_kind(column: &str, kind: &str) -> String {
    set_option(column, "", kind)
}

/// The setting of one option of a column; of its kind alone where no option is named.
pub(crate) fn set_option(column: &str, option: &str, value: &str) -> String {
    let option = if option.is_empty() { String::new() } else { format!(".{option}") };
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !column.is_empty() && column.chars().all(bare) {
        format!("data.columns.{column}{option}={value}")
    } else {
        format!("data.columns.{column:?}{option}={value}")
    }
}

/// Whether every value present is a whole number.
pub(crate) fn all_integers(values: &Values) -> bool {
    matches!(values, Values::Integer(_))
        || (0..values.len()).all(|row| values.number(row).is_none_or(|x| x.fract() == 0.0))
}
