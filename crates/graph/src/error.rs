use ff_tensor::{DType, Shape};

/// An error inside an operation. The graph adds the operation's name: [`Error::Op`].
///
/// ```
/// use ff_graph::{Error, OpError};
/// let error = OpError::shape("x has 3 features, the weight expects 2");
/// assert_eq!(
///     Error::of("feedforward")(error).to_string(),
///     "feedforward: x has 3 features, the weight expects 2",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// Inconsistent shapes or attributes: expected and found.
    #[error("{0}")]
    Shape(String),
    /// Values of an unsupported type.
    #[error("values of type {found} are not supported here, expected {expected}")]
    DType {
        /// The supported types.
        expected: &'static str,
        /// The type of the values.
        found: DType,
    },
    /// A value outside its domain, such as a class index out of range: which value, where, and the
    /// allowed range.
    #[error("{0}")]
    Domain(String),
    /// Memory or device.
    #[error(transparent)]
    Tensor(#[from] ff_tensor::Error),
    /// A tensor requested by backward but not kept by the contract.
    #[error("{what} {index} was not declared as kept in the contract, so backward cannot have it")]
    NotKept {
        /// An input, an output, or a saved value.
        what: &'static str,
        /// Its number.
        index: usize,
    },
}

impl OpError {
    /// Inconsistent shapes or attributes.
    pub fn shape(message: impl Into<String>) -> Self {
        Self::Shape(message.into())
    }

    /// A value outside its domain.
    pub fn domain(message: impl Into<String>) -> Self {
        Self::Domain(message.into())
    }

    /// An unsupported type.
    pub fn dtype(expected: &'static str, found: DType) -> Self {
        Self::DType { expected, found }
    }
}

/// The result of an operation's own code.
pub type OpResult<T = ()> = std::result::Result<T, OpError>;

/// An error of the graph, of the parameters, or of an operation by name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation, or a part of the engine, failed.
    #[error("{op}: {source}")]
    Op {
        /// The operation, or the part of the engine.
        op: &'static str,
        /// The failure.
        source: OpError,
    },
    /// An operation's backward pass left a gradient unwritten.
    #[error("{op}: backward wrote no gradient for {input}")]
    MissingGradient {
        /// The operation.
        op: &'static str,
        /// The input, or the parameter by name.
        input: String,
    },
    /// Backward was started from a value that is not a single number.
    #[error(
        "backward starts from a single value, found shape {0}; reduce it to a sum or a mean first"
    )]
    NotScalar(Shape),
    /// The value that backward was started from depends on nothing with a gradient.
    #[error("the loss depends on no parameter: nothing to differentiate")]
    NoGradient,
    /// A value of a tape since reset.
    #[error(
        "this value belongs to an earlier step of the tape; values do not outlive `Graph::reset`"
    )]
    Stale,
    /// An operation's output was infinite or NaN, found by [`Graph::set_check_finite`].
    ///
    /// [`Graph::set_check_finite`]: crate::Graph::set_check_finite
    #[error("{op} gave a value that is {kind}, first at index {index}{near}")]
    NonFinite {
        /// The operation.
        op: &'static str,
        /// `NaN` or `infinite`.
        kind: &'static str,
        /// The position in the flat output.
        index: usize,
        /// The parameters involved, as ` (parameters …)`, or nothing.
        near: String,
    },
    /// An input from outside the graph was infinite or NaN.
    #[error("a value that {op} reads from the data is {kind}, in row {row} of the batch")]
    NonFiniteInput {
        /// The first operation to read it.
        op: &'static str,
        /// `NaN` or `infinite`.
        kind: &'static str,
        /// The row, from 0.
        row: usize,
    },
    /// A parameter is missing or duplicated.
    #[error("parameter `{name}`: {message}")]
    Param {
        /// Its name.
        name: String,
        /// The problem with it.
        message: String,
    },
}

impl Error {
    /// Adds the name of an operation or of a part of the engine: `.map_err(Error::of("init"))`.
    pub fn of<E: Into<OpError>>(op: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Op { op, source: source.into() }
    }

    /// Inconsistent shapes or attributes.
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Self::Op { op, source: OpError::shape(message) }
    }

    /// An unsupported type.
    pub fn dtype(op: &'static str, expected: &'static str, found: DType) -> Self {
        Self::Op { op, source: OpError::dtype(expected, found) }
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
