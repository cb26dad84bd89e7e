//! Errors about the inputs of metrics.

use thiserror::Error;

/// Input that no metric may be computed from, with the row at fault and what to do about it.
///
/// A metric that is merely not defined for valid input (an AUC with one class present) is no error:
/// it is `None`, with an [`Undefined`](crate::Undefined) that says why.
///
/// ```
/// use ff_metrics::{ClassificationOptions, ClassificationReport, MetricError};
/// let nan = ClassificationReport::compute(&[0_u32], &[f32::NAN, 0.5], 2, &ClassificationOptions::default());
/// assert!(matches!(nan, Err(MetricError::Probability { row: 0, class: 0, .. })));
/// ```
#[derive(Debug, Clone, PartialEq, Error)]
pub enum MetricError {
    /// There are no rows.
    #[error("there are no rows to evaluate; give the evaluated part at least one row")]
    Empty,
    /// A slice has another length than the rows (or rows times classes) ask for.
    #[error("{what}: expected {expected} values ({why}), found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// The number of values expected.
        expected: usize,
        /// The reason for that number.
        why: String,
        /// The number found.
        found: usize,
    },
    /// A label is not a class index.
    #[error("row {row}: the label {label} is not one of the {classes} classes (0 to {})", classes.saturating_sub(1))]
    Label {
        /// The row, counted from 0.
        row: usize,
        /// The label found there.
        label: String,
        /// The number of classes.
        classes: usize,
    },
    /// A probability is NaN, infinite or outside of [0, 1].
    #[error(
        "row {row}: the probability of class {class} is {value}, which is no number from 0 to 1; \
         give probabilities (after softmax or sigmoid), and look for NaN in the network's output"
    )]
    Probability {
        /// The row, counted from 0.
        row: usize,
        /// The class index.
        class: usize,
        /// The value found there.
        value: f64,
    },
    /// The probabilities of a row do not sum to 1.
    #[error(
        "row {row}: the probabilities sum to {sum}, not to 1; give the output of a softmax, \
         or both p and 1 - p for two classes"
    )]
    RowSum {
        /// The row, counted from 0.
        row: usize,
        /// Their sum.
        sum: f64,
    },
    /// A sample weight is negative, NaN or infinite.
    #[error("row {row}: the sample weight {value} is not a finite number of at least 0")]
    Weight {
        /// The row, counted from 0.
        row: usize,
        /// The weight found there.
        value: f64,
    },
    /// All sample weights are zero.
    #[error("all sample weights are 0; at least one row must count")]
    NoWeight,
    /// A target, score or prediction is NaN or infinite.
    #[error("row {row}: the {what} is {value}, which is not a finite number")]
    NotFinite {
        /// `target`, `prediction` or `score`.
        what: &'static str,
        /// The row, counted from 0.
        row: usize,
        /// The value found there.
        value: f64,
    },
    /// An option does not fit the problem or is out of range.
    #[error("{name}: {problem}")]
    Setting {
        /// The option.
        name: &'static str,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
}
