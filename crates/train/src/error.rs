use std::path::PathBuf;

/// Why training failed.
///
/// ```
/// let error = ff_train::Error::Diverged {
///     step: 12,
///     what: "the loss is NaN".into(),
///     hint: "lower the learning rate".into(),
/// };
/// assert_eq!(error.to_string(), "step 12: the loss is NaN; lower the learning rate");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation failed.
    #[error(transparent)]
    Op(#[from] ff_graph::Error),
    /// Memory or device.
    #[error(transparent)]
    Tensor(#[from] ff_tensor::Error),
    /// A value of the recipe is not allowed.
    #[error(transparent)]
    Config(#[from] ff_settings::ConfigError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] ff_formats::Error),
    /// The loss or a gradient is not finite, or the loss grew without bound.
    #[error("step {step}: {what}; {hint}")]
    Diverged {
        /// The step, from 1; its update was not made.
        step: u64,
        /// What is wrong, and where.
        what: String,
        /// What to try.
        hint: String,
    },
    /// A checkpoint does not fit.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        message: String,
    },
    /// A parameter that the loss does not depend on.
    #[error("no gradient reached {0}; the loss does not depend on it, so it cannot be trained")]
    Untrained(String),
    /// What an objective does after an epoch failed.
    #[error(transparent)]
    AfterEpoch(Box<dyn std::error::Error + Send + Sync>),
    /// The optimiser failed.
    #[error(transparent)]
    Optimizer(#[from] crate::optim::Error),
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
