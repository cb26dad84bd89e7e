//! The data of a table: totals, columns, decisions, the split.

use serde::{Deserialize, Serialize};

use super::exact;

/// A decision of the program, with its reason and the way to undo it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// Whether it was inferred, chosen, dropped or changed.
    pub kind: DecisionKind,
    /// The decision.
    pub what: String,
    /// The evidence.
    pub why: String,
    /// The option that undoes it, ready to paste; empty if there is none.
    pub undo: String,
}

/// The kinds of decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Inferred from the data: the task, the kind of a column, the delimiter.
    #[default]
    Inferred,
    /// A default chosen for the data: batch size, width, threshold.
    Chosen,
    /// Dropped: a column, a row.
    Dropped,
    /// Altered: imputed, clipped, merged into `other`.
    Changed,
}

/// The rows and columns of the data.
///
/// ```
/// use ff_report::{Data, Tally};
///
/// let data = Data {
///     rows_read: 893,
///     rows_used: 891,
///     dropped: vec![Tally::new("target missing", 2)],
///     ..Data::default()
/// };
/// assert!(data.adds_up());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// The source and its format: `titanic.csv · comma, header, UTF-8`.
    pub source: String,
    /// The number of rows read.
    pub rows_read: u64,
    /// The number of rows in splits.
    pub rows_used: u64,
    /// Dropped rows, by reason.
    pub dropped: Vec<Tally>,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
    /// Checks of the whole table: duplicates, constant columns, leaks.
    pub checks: Vec<Alert>,
}

impl Data {
    /// Whether rows read = rows used + rows dropped.
    pub fn adds_up(&self) -> bool {
        let dropped = self.dropped.iter().fold(0u64, |sum, d| sum.saturating_add(d.count));
        self.rows_used.saturating_add(dropped) == self.rows_read
    }
}

/// A count with its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// The reason.
    pub label: String,
    /// The count.
    pub count: u64,
}

impl Tally {
    /// A tally from a reason and a count.
    pub fn new(label: impl Into<String>, count: u64) -> Self {
        Self { label: label.into(), count }
    }
}

/// One column of the table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Column {
    /// The name of the column.
    pub name: String,
    /// The kind: `number`, `category`, `boolean`, `date`, `text`, `identifier`.
    pub kind: String,
    /// The range or the most frequent values, in words.
    pub range: String,
    /// The number of distinct values, if counted.
    pub unique: Option<u64>,
    /// The number of missing values.
    pub missing: u64,
    /// The treatment: its encoding, or the reason for dropping it.
    pub role: String,
    /// Whether it is the target.
    pub target: bool,
    /// Whether it is excluded from the input of the model.
    pub dropped: bool,
    /// The distribution of the values, for the small histogram.
    pub distribution: Distribution,
    /// Findings to check.
    pub alerts: Vec<Alert>,
}

/// The distribution of a column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Not counted.
    #[default]
    Unknown,
    /// Bins of equal or unequal width: `counts[i]` values lie in `edges[i]..edges[i + 1]`.
    Numeric {
        /// Bin edges, ascending, one more than `counts`.
        #[serde(with = "exact")]
        edges: Vec<f64>,
        /// The number of values in each bin.
        counts: Vec<u64>,
    },
    /// The most frequent categories, with their counts.
    Categories(Vec<Tally>),
}

/// The outcome of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// The severity.
    pub level: Level,
    /// The finding, in a few words.
    pub label: String,
    /// The figures or the remedy; possibly empty.
    pub detail: String,
}

impl Alert {
    /// An alert from its parts.
    pub fn new(level: Level, label: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level, label: label.into(), detail: detail.into() }
    }
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For information.
    #[default]
    Note,
    /// Passed.
    Passed,
    /// A warning.
    Warning,
    /// An error: the scores cannot be trusted.
    Failed,
}

/// The split of the rows into parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// The method: stratified, grouped, by time or a given file, with the seed.
    pub method: String,
    /// The parts in their usual order: train, valid, test.
    pub parts: Vec<SplitPart>,
    /// The names of the classes in `SplitPart::classes`.
    pub classes: Vec<String>,
    /// Findings: overlap, duplicates, groups across parts, rare labels.
    pub checks: Vec<Alert>,
}

/// One part of a split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SplitPart {
    /// `train`, `valid` or `test`.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
    /// The number of rows per class, in the order of `Split::classes`; empty for regression.
    pub classes: Vec<u64>,
    /// The distribution of the target, for regression.
    pub target: Distribution,
}
