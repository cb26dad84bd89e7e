//! The quality of a model: scores, intervals, curves, the decision threshold and the baseline.
//!
//! Pure functions on slices. [`ClassificationReport::compute`] and [`RegressionReport::compute`]
//! give everything at once, ready to be written as JSON; the parts stand on their own too:
//! [`Ranking`] for what follows from the order of the scores, [`ClassCounts`] and
//! [`ConfusionMatrix`] for what follows from counting decisions, [`calibration_bins`] for whether
//! probabilities come true, [`choose_threshold`] for the decision.
//!
//! Conventions, the same everywhere:
//! - Values agree with scikit-learn's where it has the metric. Where it would put a number in the
//!   place of something undefined, a metric here is `None`, and [`Undefined`] says why.
//! - Input that is wrong (NaN, a row that does not sum to 1, a label that is no class) is a
//!   [`MetricError`] that names the row.
//! - Sums run in `f64` in the order of the rows, so a result depends on nothing but the input and
//!   the seed.
#![forbid(unsafe_code)]

mod baseline;
mod bootstrap;
mod classification;
mod confusion;
mod error;
mod input;
mod metric;
mod probability;
mod ranking;
mod regression;
mod resample;
mod threshold;

pub mod explain;

pub use baseline::{Baseline, BaselineRule, Comparison, Outcome, class_shares};
pub use bootstrap::{Bootstrap, Interval, IntervalMethod, LEVEL, wilson};
pub use classification::{ClassCurves, ClassScores, ClassificationOptions, ClassificationReport};
pub use confusion::{Average, Averaged, ClassCounts, Confusion, ConfusionMatrix};
pub use error::MetricError;
pub use input::{ClassLabel, Real, predict_classes};
pub use metric::{Direction, Metric, Scores, Undefined};
pub use probability::{CalibrationBin, calibration_bins, expected_calibration_error};
pub use ranking::{PrPoint, Ranking, RocPoint};
pub use regression::{RegressionOptions, RegressionReport, ResidualHistogram, ScatterPoint};
pub use threshold::{ChosenThreshold, ThresholdAim, choose_threshold};
