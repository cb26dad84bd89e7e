use std::path::PathBuf;

/// An error of training.
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
    /// A value of the recipe is out of range.
    #[error(transparent)]
    Config(#[from] ff_settings::ConfigError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] ff_formats::Error),
    /// The loss or a gradient is not finite, or the loss diverged.
    #[error("step {step}: {what}; {hint}")]
    Diverged {
        /// The step, from 1, skipped.
        step: u64,
        /// The problem and its position.
        what: String,
        /// The suggested remedy.
        hint: String,
    },
    /// A checkpoint does not match.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The reason and the remedy.
        message: String,
    },
    /// The loss does not depend on a parameter.
    #[error("no gradient reached {0}; the loss does not depend on it, so it cannot be trained")]
    Untrained(String),
    /// The work of an objective after an epoch failed.
    #[error(transparent)]
    AfterEpoch(Box<dyn std::error::Error + Send + Sync>),
    /// The optimiser failed.
    #[error(transparent)]
    Optimizer(#[from] crate::optim::Error),
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
