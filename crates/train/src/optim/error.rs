//! What can go wrong with an optimiser.

use ff_settings::ConfigError;
use ff_tensor::DType;

/// The name of optimisers in errors of operations.
pub(super) const NAME: &str = "optimizer";

/// What can go wrong when an optimiser is made, steps or is restored.
///
/// ```
/// let error = ff_train::optim::Error::Rate(f64::NAN);
/// assert!(error.to_string().contains("NaN"));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting cannot be.
    #[error("optimizer: {0}")]
    Config(#[from] ConfigError),
    /// The parameters could not be reached: of another type, without gradients, or out of memory.
    #[error("optimizer: {0}")]
    Ops(#[from] ff_graph::Error),
    /// The number of rows or tokens of a step is not a count.
    #[error(
        "optimizer: a step's count of rows or tokens must be finite and at least 0 (for lbfgs: above 0), found {0}"
    )]
    Count(f64),
    /// The learning rate is not one.
    #[error(
        "optimizer: the learning rate must be finite and at least 0, found {0}; see the schedule"
    )]
    Rate(f64),
    /// The parameters are not those that the optimiser was made for.
    #[error(
        "optimizer: made for {expected} trainable values of type {expected_dtype}, found {found} of type {found_dtype}; make a new optimiser for another model"
    )]
    OtherParams {
        /// How many values it was made for.
        expected: usize,
        /// Their type.
        expected_dtype: DType,
        /// How many values came.
        found: usize,
        /// Their type.
        found_dtype: DType,
    },
    /// L-BFGS was asked for a step without the means to evaluate the loss again.
    #[error(
        "optimizer: lbfgs evaluates the loss several times a step; call `minimize` with a closure"
    )]
    NeedsClosure,
    /// The averaged weights stand in the model's place.
    #[error("optimizer: the averaged weights are swapped in; call `swap_average` again first")]
    Swapped,
    /// A saved state does not fit.
    #[error("optimizer state `{name}`: {message}")]
    State {
        /// The tensor or number.
        name: String,
        /// What was expected and what was found.
        message: String,
    },
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
