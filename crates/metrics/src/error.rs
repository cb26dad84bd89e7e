//! Errors in the inputs of metrics.

use thiserror::Error;

/// Invalid input of metrics, with the row at fault and the remedy.
///
/// A metric undefined for valid input (such as an AUC with a single class) is not an error: it is
/// `None`, with the reason in [`Undefined`](crate::Undefined).
///
/// ```
/// use ff_metrics::{ClassificationOptions, ClassificationReport, MetricError};
/// let nan = ClassificationReport::compute(
///     &[0_u32],
///     &[f32::NAN, 0.5],
///     2,
///     &ClassificationOptions::default(),
/// );
/// assert!(matches!(nan, Err(MetricError::Probability { row: 0, class: 0, .. })));
/// ```
#[derive(Debug, Clone, PartialEq, Error)]
pub enum MetricError {
    /// There are no rows.
    #[error("there are no rows to evaluate; give the evaluated part at least one row")]
    Empty,
    /// The length of a slice does not match the rows (or rows times classes).
    #[error("{what}: expected {expected} values ({why}), found {found}")]
    Length {
        /// The slice.
        what: &'static str,
        /// The expected number of values.
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
        /// The label.
        label: String,
        /// The number of classes.
        classes: usize,
    },
    /// A probability is NaN, infinite or outside [0, 1].
    #[error(
        "row {row}: the probability of class {class} is {value}, which is not between 0 and 1; \
         pass probabilities (after softmax or sigmoid), and check the output of the network for NaN"
    )]
    Probability {
        /// The row, counted from 0.
        row: usize,
        /// The class index.
        class: usize,
        /// The value.
        value: f64,
    },
    /// The probabilities of a row do not sum to 1.
    #[error(
        "row {row}: the probabilities sum to {sum}, not to 1; pass the output of a softmax, or \
         both p and 1 - p for two classes"
    )]
    RowSum {
        /// The row, counted from 0.
        row: usize,
        /// Their sum.
        sum: f64,
    },
    /// A sample weight is negative, NaN or infinite.
    #[error("row {row}: the sample weight {value} is not finite and at least 0")]
    Weight {
        /// The row, counted from 0.
        row: usize,
        /// The weight.
        value: f64,
    },
    /// All sample weights are zero.
    #[error("all sample weights are 0; at least one must be positive")]
    NoWeight,
    /// A target, score or prediction is NaN or infinite.
    #[error("row {row}: the {what} is {value}, which is not a finite number")]
    NotFinite {
        /// `target`, `prediction` or `score`.
        what: &'static str,
        /// The row, counted from 0.
        row: usize,
        /// The value.
        value: f64,
    },
    /// A tag is none of the scheme.
    #[error(
        "the tag `{tag}` at position {at} is none of the scheme {scheme}: {}",
        expected_tags(scheme)
    )]
    Tag {
        /// The tag.
        tag: String,
        /// Its place in the sequence, from 0.
        at: usize,
        /// The scheme.
        scheme: &'static str,
    },
    /// An option does not suit the problem or is out of range.
    #[error("{name}: {problem}")]
    Setting {
        /// The option.
        name: &'static str,
        /// The problem and the allowed values.
        problem: String,
    },
}

/// What the tags of a scheme look like.
fn expected_tags(scheme: &str) -> &'static str {
    match scheme {
        "iob1" | "iob2" => "expected O, or B or I with a hyphen and a type, such as B-PER",
        _ => "expected O, or B, I, E or S with a hyphen and a type, such as B-PER",
    }
}
