//! The quality of the model: classifiers and regressions.

use serde::{Deserialize, Serialize};

use super::exact;

/// The evaluation of a classifier on one split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Classification {
    /// The split of the figures.
    pub split: String,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The positive class, for two classes.
    pub positive: Option<usize>,
    /// `confusion[actual][predicted]`: rows of each actual class by predicted class.
    pub confusion: Vec<Vec<u64>>,
    /// The scores of each class.
    pub per_class: Vec<ClassScores>,
    /// Means over the classes: `macro`, `weighted`, `micro`.
    pub means: Vec<ClassScores>,
    /// True positive rate (`y`) over false positive rate (`x`).
    pub roc: Vec<RateCurve>,
    /// Precision (`y`) over recall (`x`).
    pub precision_recall: Vec<RateCurve>,
    /// Observed over predicted probability.
    pub calibration: Option<Calibration>,
    /// The counts at each decision threshold, for two classes.
    pub threshold: Option<ThresholdCurve>,
}

/// Precision, recall and F1 of a class or of a mean over classes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassScores {
    /// The name of the class or of the mean.
    pub name: String,
    /// TP / (TP + FP).
    #[serde(with = "exact")]
    pub precision: f64,
    /// TP / (TP + FN).
    #[serde(with = "exact")]
    pub recall: f64,
    /// 2 · precision · recall / (precision + recall).
    #[serde(with = "exact")]
    pub f1: f64,
    /// The number of rows of the class.
    pub support: u64,
    /// Area under the ROC curve, one class against the rest.
    #[serde(with = "exact")]
    pub roc_auc: Option<f64>,
}

/// A curve in the unit square with the area under it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateCurve {
    /// The class, or `macro mean`.
    pub name: String,
    /// Horizontal positions in [0, 1].
    #[serde(with = "exact")]
    pub x: Vec<f64>,
    /// Vertical positions in [0, 1].
    #[serde(with = "exact")]
    pub y: Vec<f64>,
    /// The area under the curve: ROC AUC, or average precision.
    #[serde(with = "exact")]
    pub area: Option<f64>,
    /// For precision–recall: the share of positives, the precision of guessing.
    #[serde(with = "exact")]
    pub chance: Option<f64>,
}

/// The reliability of predicted probabilities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calibration {
    /// The class of the probabilities: the positive class, or `most likely class`.
    pub of: String,
    /// Bins of rows with similar probabilities.
    pub bins: Vec<CalibrationBin>,
    /// The expected calibration error.
    #[serde(with = "exact")]
    pub error: Option<f64>,
    /// The Brier score.
    #[serde(with = "exact")]
    pub brier: Option<f64>,
}

/// Rows with similar predicted probabilities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CalibrationBin {
    /// The mean predicted probability.
    #[serde(with = "exact")]
    pub predicted: f64,
    /// The observed frequency.
    #[serde(with = "exact")]
    pub observed: f64,
    /// The lower end of the share's interval.
    #[serde(with = "exact")]
    pub low: Option<f64>,
    /// The upper end of the share's interval.
    #[serde(with = "exact")]
    pub high: Option<f64>,
    /// The number of rows in the bin.
    pub count: u64,
}

/// The confusion counts of a two-class model at each decision threshold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThresholdCurve {
    /// The split on which the threshold was chosen.
    pub split: String,
    /// Thresholds, ascending; a row is positive at `probability ≥ threshold`.
    #[serde(with = "exact")]
    pub thresholds: Vec<f64>,
    /// True positives at each threshold.
    pub true_positive: Vec<u64>,
    /// False positives at each threshold.
    pub false_positive: Vec<u64>,
    /// False negatives at each threshold.
    pub false_negative: Vec<u64>,
    /// True negatives at each threshold.
    pub true_negative: Vec<u64>,
    /// The threshold in use.
    #[serde(with = "exact")]
    pub chosen: Option<f64>,
    /// The reason for its choice: `best F1`, `recall ≥ 0.9`, `default`.
    pub aim: String,
    /// The cost of a false positive; `None` for 1.
    #[serde(with = "exact")]
    pub false_positive_cost: Option<f64>,
    /// The cost of a false negative; `None` for 1.
    #[serde(with = "exact")]
    pub false_negative_cost: Option<f64>,
}

/// How often intervals or sets of several levels hold the truth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    /// The split of the figures.
    pub split: String,
    /// The number of rows that were not learned, from which intervals or sets follow.
    pub scores: u64,
    /// Where these rows come from, in words.
    pub from: String,
    /// Whether these are sets of classes, in place of intervals of numbers.
    pub sets: bool,
    /// The levels, ascending.
    pub levels: Vec<CoverageLevel>,
}

/// A level of intervals or sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoverageLevel {
    /// The share of rows that should be covered.
    #[serde(with = "exact")]
    pub level: f64,
    /// The share that is.
    #[serde(with = "exact")]
    pub coverage: f64,
    /// The lower end of that share's interval.
    #[serde(with = "exact")]
    pub low: Option<f64>,
    /// The upper end of that share's interval.
    #[serde(with = "exact")]
    pub high: Option<f64>,
    /// The mean width of an interval, or the mean number of classes of a set.
    #[serde(with = "exact")]
    pub size: f64,
}

/// The evaluation of a regression on one split.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Regression {
    /// The split of the figures.
    pub split: String,
    /// The name of the target.
    pub target: String,
    /// The unit of the target; possibly empty.
    pub unit: String,
    /// The true values, one per row.
    #[serde(with = "exact")]
    pub actual: Vec<f64>,
    /// The predictions, in the same order.
    #[serde(with = "exact")]
    pub predicted: Vec<f64>,
    /// The name of the error compared in `segments`, such as `RMSE`.
    pub error: String,
    /// The error over all rows of the split.
    #[serde(with = "exact")]
    pub overall: Option<f64>,
    /// The groups of rows with the largest errors, the largest first.
    pub segments: Vec<Segment>,
}

/// A group of rows and the error on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// The column that defines the group.
    pub column: String,
    /// The range or category, in words.
    pub range: String,
    /// The number of rows in the group.
    pub rows: u64,
    /// The error on the group.
    #[serde(with = "exact")]
    pub error: f64,
}
