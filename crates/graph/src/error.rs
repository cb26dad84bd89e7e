use ff_tensor::{DType, Shape};

/// What can go wrong when an operation runs.
///
/// ```
/// use ff_graph::Error;
/// let error = Error::shape("feedforward", "x has 3 features, the weight expects 2");
/// assert_eq!(error.to_string(), "feedforward: x has 3 features, the weight expects 2");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The shapes or attributes do not fit each other.
    #[error("{op}: {message}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What was expected and what came.
        message: String,
    },
    /// The values are of a type that the operation does not take.
    #[error("{op}: values of type {found} are not supported here, expected {expected}")]
    DType {
        /// The operation.
        op: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What came.
        found: DType,
    },
    /// A value was outside of its domain: a class index that does not exist, for example.
    #[error("{op}: {message}")]
    Domain {
        /// The operation.
        op: &'static str,
        /// Which value, where, and what is allowed.
        message: String,
    },
    /// Memory or device.
    #[error("{op}: {source}")]
    Tensor {
        /// The operation, or the part of the engine.
        op: &'static str,
        /// What happened.
        source: ff_tensor::Error,
    },
    /// An operation asked in its backward pass for something that its contract did not keep.
    #[error(
        "{op}: {what} {index} was not declared as kept in the contract, so backward cannot have it"
    )]
    NotKept {
        /// The operation.
        op: &'static str,
        /// What it asked for: an input, an output, a saved value.
        what: &'static str,
        /// Its number.
        index: usize,
    },
    /// An operation's backward pass left a gradient unwritten.
    #[error("{op}: backward wrote no gradient for {input}")]
    MissingGradient {
        /// The operation.
        op: &'static str,
        /// The input or the parameter by name.
        input: String,
    },
    /// Backward was started from something that is not a single number.
    #[error(
        "backward starts from a single value, found shape {0}; reduce it to a sum or a mean first"
    )]
    NotScalar(Shape),
    /// Nothing that needs a gradient leads to the value that backward was started from.
    #[error("the loss depends on no parameter: nothing to differentiate")]
    NoGradient,
    /// A value of a tape that has been reset.
    #[error(
        "this value belongs to an earlier step of the tape; values do not outlive `Graph::reset`"
    )]
    Stale,
    /// A value was infinite or not a number, found while looking for the cause of a bad loss.
    #[error("{op} gave a value that is {kind}, first at index {index}{near}")]
    NonFinite {
        /// The operation.
        op: &'static str,
        /// `NaN` or `infinite`.
        kind: &'static str,
        /// The position in the flat output.
        index: usize,
        /// The parameters that took part, as ` (parameters …)`, or nothing.
        near: String,
    },
    /// A value that came in from outside was infinite or not a number, found while looking for the cause of a bad loss.
    #[error("a value that {op} reads from the data is {kind}, in row {row} of the batch")]
    NonFiniteInput {
        /// The operation that reads it first.
        op: &'static str,
        /// `NaN` or `infinite`.
        kind: &'static str,
        /// The row, from 0.
        row: usize,
    },
    /// A parameter of this name is not there, or twice.
    #[error("parameter `{name}`: {message}")]
    Param {
        /// Its name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// Shapes or attributes that do not fit each other.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::Shape { op, message: message.into() }
    }

    /// A value outside of its domain.
    pub fn domain(op: &'static str, message: impl Into<String>) -> Self {
        Error::Domain { op, message: message.into() }
    }

    /// Wraps an error of memory or device with the operation's name: `.map_err(Error::of("relu"))`.
    pub fn of(op: &'static str) -> impl Fn(ff_tensor::Error) -> Self {
        move |source| Error::Tensor { op, source }
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
