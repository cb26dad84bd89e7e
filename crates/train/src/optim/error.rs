//! Errors of optimisers.

use ff_settings::ConfigError;
use ff_tensor::DType;

/// The name of optimisers in errors of operations.
pub(super) const NAME: &str = "optimizer";

/// An error in constructing, running or restoring an optimiser.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range.
    #[error("optimizer: {0}")]
    Config(#[from] ConfigError),
    /// The parameters have another type or no gradients, or memory is exhausted.
    #[error("optimizer: {0}")]
    Ops(#[from] ff_graph::Error),
    /// The number of rows or tokens of a step is invalid.
    #[error(
        "optimizer: a step's count of rows or tokens must be finite and at least 0 (for lbfgs: \
         above 0), found {0}"
    )]
    Count(f64),
    /// The learning rate is invalid.
    #[error(
        "optimizer: the learning rate must be finite and at least 0, found {0}; see the schedule"
    )]
    Rate(f64),
    /// The optimiser was made for other parameters.
    #[error(
        "optimizer: built for {expected} trainable values of type {expected_dtype}, found {found} \
         of type {found_dtype}; build a new optimiser for another model"
    )]
    OtherParams {
        /// The number of values of its own parameters.
        expected: usize,
        /// Their type.
        expected_dtype: DType,
        /// The number of values found.
        found: usize,
        /// Their type.
        found_dtype: DType,
    },
    /// A step of L-BFGS without a closure.
    #[error(
        "optimizer: lbfgs evaluates the loss several times a step; call `minimize` with a closure"
    )]
    NeedsClosure,
    /// The averaged weights are swapped in.
    #[error("optimizer: the averaged weights are swapped in; call `swap_average` again first")]
    Swapped,
    /// A saved state does not match.
    #[error("optimizer state `{name}`: {message}")]
    State {
        /// The tensor or number.
        name: String,
        /// The expectation and the finding.
        message: String,
    },
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
