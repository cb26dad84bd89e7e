//! The data of a table: totals, columns, decisions, the split.

use serde::{Deserialize, Serialize};

use super::exact;

/// Something that the program inferred, chose or dropped, with its reason and the way back.
///
/// ```
/// use ff_report::{Decision, DecisionKind};
///
/// let decision = Decision {
///     kind: DecisionKind::Dropped,
///     what: "column passenger_id".into(),
///     why: "an identifier: 891 distinct values in 891 rows".into(),
///     undo: "--set data.columns.passenger_id=number".into(),
/// };
/// assert!(decision.undo.starts_with("--set"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decision {
    /// Whether it was inferred, chosen, dropped or changed.
    pub kind: DecisionKind,
    /// What was decided.
    pub what: String,
    /// The evidence.
    pub why: String,
    /// The option that undoes it, ready to paste; empty when there is none.
    pub undo: String,
}

/// The kinds of decision.
///
/// ```
/// assert_eq!(ff_report::DecisionKind::default(), ff_report::DecisionKind::Inferred);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Read off the data: the task, a column's kind, the delimiter.
    #[default]
    Inferred,
    /// A default that fits the data: batch size, width, threshold.
    Chosen,
    /// Left out: a column, a row.
    Dropped,
    /// Altered: imputed, clipped, merged into `other`.
    Changed,
}

/// The rows and columns that came in.
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
    /// Where it came from, and in which form: `titanic.csv · comma, header, UTF-8`.
    pub source: String,
    /// Rows read from the source.
    pub rows_read: u64,
    /// Rows that entered a split.
    pub rows_used: u64,
    /// Rows left out, by reason.
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

/// A count with the reason for it.
///
/// ```
/// assert_eq!(ff_report::Tally::new("empty line", 3).count, 3);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// The reason.
    pub label: String,
    /// Their number.
    pub count: u64,
}

impl Tally {
    /// A tally from a reason and a count.
    pub fn new(label: impl Into<String>, count: u64) -> Self {
        Self { label: label.into(), count }
    }
}

/// One column of the table.
///
/// ```
/// use ff_report::{Column, Distribution};
///
/// let age = Column {
///     name: "age".into(),
///     kind: "number".into(),
///     range: "0.42 to 80, median 28".into(),
///     unique: Some(88),
///     missing: 177,
///     role: "standardised, median, missing flag".into(),
///     distribution: Distribution::Numeric { edges: vec![0.0, 40.0, 80.0], counts: vec![580, 134] },
///     ..Column::default()
/// };
/// assert_eq!(age.missing, 177);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// Its kind: `number`, `category`, `boolean`, `date`, `text`, `identifier`.
    pub kind: String,
    /// Its range or most frequent values, in words.
    pub range: String,
    /// Distinct values, when they were counted.
    pub unique: Option<u64>,
    /// Missing values.
    pub missing: u64,
    /// What becomes of it: how it is encoded, or why it is dropped.
    pub role: String,
    /// Whether it is what the model predicts.
    pub target: bool,
    /// Whether it is left out of the model's input.
    pub dropped: bool,
    /// Its values, for the small histogram.
    pub distribution: Distribution,
    /// What a reader should look at.
    pub alerts: Vec<Alert>,
}

/// The values of a column, counted.
///
/// ```
/// use ff_report::{Distribution, Tally};
///
/// let sex = Distribution::Categories(vec![Tally::new("male", 577), Tally::new("female", 314)]);
/// assert_ne!(sex, Distribution::Unknown);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Not counted.
    #[default]
    Unknown,
    /// Equal or unequal bins: `counts[i]` values lie in `edges[i]..edges[i + 1]`.
    Numeric {
        /// Bin borders, ascending, one more than `counts`.
        #[serde(with = "exact")]
        edges: Vec<f64>,
        /// Values in each bin.
        counts: Vec<u64>,
    },
    /// The most frequent categories, and how often each occurs.
    Categories(Vec<Tally>),
}

/// The outcome of a check.
///
/// ```
/// use ff_report::{Alert, Level};
///
/// let alert = Alert::new(Level::Warning, "77 % missing", "consider dropping it");
/// assert_eq!(alert.level, Level::Warning);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// Its severity.
    pub level: Level,
    /// What was found, in a few words.
    pub label: String,
    /// The figures behind it, or what to do; may be empty.
    pub detail: String,
}

impl Alert {
    /// An alert from its parts.
    pub fn new(level: Level, label: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level, label: label.into(), detail: detail.into() }
    }
}

/// How serious a finding is.
///
/// ```
/// assert_eq!(ff_report::Level::default(), ff_report::Level::Note);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    #[default]
    Note,
    /// Checked, and fine.
    Passed,
    /// Worth a look.
    Warning,
    /// The scores cannot be trusted until it is solved.
    Failed,
}

/// How the rows were divided into parts.
///
/// ```
/// use ff_report::{Split, SplitPart};
///
/// let split = Split {
///     method: "stratified by survived, seed 0".into(),
///     parts: vec![SplitPart { name: "train".into(), rows: 623, ..SplitPart::default() }],
///     ..Split::default()
/// };
/// assert_eq!(split.parts[0].rows, 623);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Split {
    /// How: stratified, grouped, by time, a given file, with the seed.
    pub method: String,
    /// The parts in their usual order: train, valid, test.
    pub parts: Vec<SplitPart>,
    /// Names of the classes that `SplitPart::classes` counts.
    pub classes: Vec<String>,
    /// Overlap, duplicates, groups that cross the border, rare labels.
    pub checks: Vec<Alert>,
}

/// One part of a split.
///
/// ```
/// let part = ff_report::SplitPart { name: "test".into(), rows: 134, ..Default::default() };
/// assert!(part.classes.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SplitPart {
    /// `train`, `valid` or `test`.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows of each class, in the order of `Split::classes`; empty for regression.
    pub classes: Vec<u64>,
    /// The target's values, for regression.
    pub target: Distribution,
}
