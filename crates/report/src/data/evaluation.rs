//! The quality of the model: classifiers and regressions.

use serde::{Deserialize, Serialize};

use super::exact;

/// The evaluation of a classifier on one split.
///
/// ```
/// let c = ff_report::Classification {
///     split: "test".into(),
///     classes: vec!["died".into(), "survived".into()],
///     positive: Some(1),
///     confusion: vec![vec![74, 9], vec![14, 37]],
///     ..Default::default()
/// };
/// assert_eq!(c.confusion[1][0], 14, "fourteen survivors were taken for dead");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Classification {
    /// The split that the figures come from.
    pub split: String,
    /// The classes' names.
    pub classes: Vec<String>,
    /// Which class counts as positive, for two classes.
    pub positive: Option<usize>,
    /// `confusion[actual][predicted]`: rows of each actual class by predicted class.
    pub confusion: Vec<Vec<u64>>,
    /// Scores of each class.
    pub per_class: Vec<ClassScores>,
    /// Means over the classes: `macro`, `weighted`, `micro`.
    pub means: Vec<ClassScores>,
    /// True positive rate (`y`) over false positive rate (`x`).
    pub roc: Vec<RateCurve>,
    /// Precision (`y`) over recall (`x`).
    pub precision_recall: Vec<RateCurve>,
    /// Observed over predicted probability.
    pub calibration: Option<Calibration>,
    /// Counts at each decision threshold, for two classes.
    pub threshold: Option<ThresholdCurve>,
}

/// Precision, recall and F1 of a class or of a mean over classes.
///
/// ```
/// let s = ff_report::ClassScores {
///     name: "survived".into(),
///     precision: 0.80,
///     recall: 0.73,
///     f1: 0.76,
///     support: 51,
///     roc_auc: None,
/// };
/// assert_eq!(s.support, 51);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassScores {
    /// The class's name, or the name of the mean.
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
    /// Rows of the class.
    pub support: u64,
    /// Area under the ROC curve, one class against the rest.
    #[serde(with = "exact")]
    pub roc_auc: Option<f64>,
}

/// A curve in the unit square with the area under it.
///
/// ```
/// let roc = ff_report::RateCurve {
///     name: "survived".into(),
///     x: vec![0.0, 0.1, 1.0],
///     y: vec![0.0, 0.8, 1.0],
///     area: Some(0.85),
///     chance: None,
/// };
/// assert_eq!(roc.area, Some(0.85));
/// ```
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
    /// For precision–recall: the share of positives, which is what guessing gets.
    #[serde(with = "exact")]
    pub chance: Option<f64>,
}

/// The reliability of predicted probabilities.
///
/// ```
/// use ff_report::{Calibration, CalibrationBin};
///
/// let c = Calibration {
///     bins: vec![CalibrationBin { predicted: 0.15, observed: 0.12, count: 40, ..Default::default() }],
///     error: Some(0.03),
///     ..Calibration::default()
/// };
/// assert_eq!(c.bins.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calibration {
    /// Whose probability: the positive class, or `most likely class`.
    pub of: String,
    /// Groups of rows with similar probabilities.
    pub bins: Vec<CalibrationBin>,
    /// The expected calibration error.
    #[serde(with = "exact")]
    pub error: Option<f64>,
    /// The Brier score.
    #[serde(with = "exact")]
    pub brier: Option<f64>,
}

/// Rows with similar predicted probabilities.
///
/// ```
/// let bin = ff_report::CalibrationBin { predicted: 0.9, observed: 0.8, ..Default::default() };
/// assert!(bin.observed < bin.predicted, "overconfident here");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CalibrationBin {
    /// The mean predicted probability.
    #[serde(with = "exact")]
    pub predicted: f64,
    /// The share of rows where it came true.
    #[serde(with = "exact")]
    pub observed: f64,
    /// The lower end of the share's interval.
    #[serde(with = "exact")]
    pub low: Option<f64>,
    /// The upper end of the share's interval.
    #[serde(with = "exact")]
    pub high: Option<f64>,
    /// Rows in the group.
    pub count: u64,
}

/// The confusion counts of a two-class model at each decision threshold.
///
/// ```
/// let t = ff_report::ThresholdCurve {
///     split: "valid".into(),
///     thresholds: vec![0.25, 0.5, 0.75],
///     true_positive: vec![45, 37, 20],
///     false_positive: vec![30, 9, 2],
///     false_negative: vec![6, 14, 31],
///     true_negative: vec![53, 74, 81],
///     chosen: Some(0.5),
///     aim: "best F1".into(),
///     ..Default::default()
/// };
/// assert_eq!(t.thresholds.len(), t.true_positive.len());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThresholdCurve {
    /// The split that the threshold was chosen on.
    pub split: String,
    /// Thresholds, ascending; a row is positive at `probability ≥ threshold`.
    #[serde(with = "exact")]
    pub thresholds: Vec<f64>,
    /// Positives found, at each threshold.
    pub true_positive: Vec<u64>,
    /// False alarms, at each threshold.
    pub false_positive: Vec<u64>,
    /// Positives missed, at each threshold.
    pub false_negative: Vec<u64>,
    /// Negatives left alone, at each threshold.
    pub true_negative: Vec<u64>,
    /// The threshold in use.
    #[serde(with = "exact")]
    pub chosen: Option<f64>,
    /// Why that one: `best F1`, `recall ≥ 0.9`, `default`.
    pub aim: String,
    /// What a false alarm costs; `None` stands for 1.
    #[serde(with = "exact")]
    pub false_positive_cost: Option<f64>,
    /// What a missed positive costs; `None` stands for 1.
    #[serde(with = "exact")]
    pub false_negative_cost: Option<f64>,
}

/// The evaluation of a regression on one split.
///
/// ```
/// let r = ff_report::Regression {
///     split: "test".into(),
///     target: "progression".into(),
///     actual: vec![151.0, 75.0],
///     predicted: vec![160.2, 81.0],
///     ..Default::default()
/// };
/// assert_eq!(r.actual.len(), r.predicted.len());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Regression {
    /// The split that the figures come from.
    pub split: String,
    /// The target's name.
    pub target: String,
    /// The target's unit; may be empty.
    pub unit: String,
    /// The true values, one a row.
    #[serde(with = "exact")]
    pub actual: Vec<f64>,
    /// The predictions, in the same order.
    #[serde(with = "exact")]
    pub predicted: Vec<f64>,
    /// The name of the error that `segments` compares, such as `RMSE`.
    pub error: String,
    /// The error over all rows of the split.
    #[serde(with = "exact")]
    pub overall: Option<f64>,
    /// Groups of rows where the model does worst, the worst first.
    pub segments: Vec<Segment>,
}

/// A group of rows and the error on it.
///
/// ```
/// let s = ff_report::Segment {
///     column: "bmi".into(),
///     range: "≥ 32".into(),
///     rows: 21,
///     error: 71.3,
/// };
/// assert_eq!(s.rows, 21);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// The column that makes the group.
    pub column: String,
    /// The range or category, in words.
    pub range: String,
    /// Rows in the group.
    pub rows: u64,
    /// The error on them.
    #[serde(with = "exact")]
    pub error: f64,
}
