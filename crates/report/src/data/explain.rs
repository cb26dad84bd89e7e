//! Explanations of predictions, and mistakes.

use serde::{Deserialize, Serialize};

use super::{Distribution, exact};

/// Permutation importance: the fall of the score when a column is shuffled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Importance {
    /// The split whose rows were shuffled.
    pub split: String,
    /// The name of the score.
    pub metric: String,
    /// The number of shuffles of each column.
    pub repeats: u64,
    /// The columns, in any order; the page sorts them.
    pub items: Vec<ImportanceItem>,
}

/// The importance of one column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportanceItem {
    /// The column.
    pub name: String,
    /// The mean fall of the score; positive for useful columns.
    #[serde(with = "exact")]
    pub mean: f64,
    /// The standard deviation over the repeats.
    #[serde(with = "exact")]
    pub deviation: f64,
}

/// Partial dependence: the mean prediction as one column runs over its values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dependence {
    /// The column.
    pub column: String,
    /// The predicted quantity, with its unit.
    pub output: String,
    /// The values of the column.
    pub grid: Grid,
    /// The mean prediction at each value.
    #[serde(with = "exact")]
    pub mean: Vec<f64>,
    /// A lower band, such as the 10th percentile over the rows; possibly empty.
    #[serde(with = "exact")]
    pub low: Vec<f64>,
    /// An upper band; possibly empty.
    #[serde(with = "exact")]
    pub high: Vec<f64>,
    /// The distribution of the column, for the strip under the curve.
    pub distribution: Distribution,
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grid {
    /// Numbers, ascending.
    Numbers(#[serde(with = "exact")] Vec<f64>),
    /// Categories.
    Labels(Vec<String>),
}

impl Default for Grid {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

/// The rows with the highest loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mistakes {
    /// The split of the rows.
    pub split: String,
    /// The number of wrong rows in the split, if defined.
    pub wrong: Option<u64>,
    /// The number of rows in the split.
    pub total: u64,
    /// The name of the loss: `cross-entropy`, `absolute error`.
    pub loss: String,
    /// The names of the columns in `Mistake::cells`.
    pub columns: Vec<String>,
    /// The rows, the worst first.
    pub rows: Vec<Mistake>,
    /// A sentence above the table; possibly empty.
    pub note: String,
}

/// A wrongly predicted row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mistake {
    /// The row number in the source, from 1 and without the header.
    pub row: u64,
    /// The true label or value.
    pub actual: String,
    /// The predicted label or value.
    pub predicted: String,
    /// The probability of the predicted label.
    #[serde(with = "exact")]
    pub confidence: Option<f64>,
    /// The loss of the row.
    #[serde(with = "exact")]
    pub loss: f64,
    /// The values of the row, in the order of `Mistakes::columns`.
    pub cells: Vec<String>,
}
