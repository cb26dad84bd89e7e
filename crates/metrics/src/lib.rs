//! The quality of a model: scores, intervals, curves, the decision threshold and the baseline.
//!
//! Pure functions on slices. [`ClassificationReport::compute`] and [`RegressionReport::compute`]
//! return everything at once, ready for JSON; the parts are also usable on their own: [`Ranking`]
//! for metrics of the order of scores, [`ClassCounts`] and [`ConfusionMatrix`] for metrics of
//! decision counts, [`calibration_bins`] for calibration, [`choose_threshold`] for the decision
//! threshold.
//!
//! Conventions:
//! - Values agree with scikit-learn's, if it has the metric. Where scikit-learn substitutes a
//!   number for an undefined value, a metric here is `None`, with the reason in [`Undefined`].
//! - Invalid input (NaN, a row that does not sum to 1, a label outside the classes) is a
//!   [`MetricError`] with the row.
//! - Sums are in `f64`, in the order of the rows, so results depend only on the input and the seed.
#![forbid(unsafe_code)]

mod baseline;
mod bootstrap;
mod classification;
mod conformal;
mod confusion;
mod error;
mod input;
mod labels;
mod metric;
mod probability;
mod ranking;
mod regression;
mod resample;
mod spans;
mod temperature;
mod threshold;
mod translation;

pub mod explain;

pub use baseline::{Baseline, BaselineRule, Comparison, Outcome, class_shares};
pub use bootstrap::{Bootstrap, Interval, IntervalMethod, LEVEL, wilson};
pub use classification::{ClassCurves, ClassScores, ClassificationOptions, ClassificationReport};
pub use conformal::{CONFORMAL_LEVELS, Conformal, Coverage, conformal_rows};
pub use confusion::{Average, Averaged, ClassCounts, Confusion, ConfusionMatrix};
pub use error::MetricError;
pub use input::{ClassLabel, Real, decide, predict_classes};
pub use labels::{LabelReport, LabelScore};
pub use metric::{Direction, Metric, Scores, Undefined};
pub use probability::{CalibrationBin, calibration_bins, expected_calibration_error};
pub use ranking::{PrPoint, Ranking, RocPoint};
pub use regression::{RegressionOptions, RegressionReport, ResidualHistogram, ScatterPoint};
pub use spans::{Span, SpanReport, SpanScore, TagScheme, spans};
pub use temperature::{Temperature, fit_temperature};
pub use threshold::{ChosenThreshold, ThresholdAim, choose_threshold};
pub use translation::TranslationReport;
