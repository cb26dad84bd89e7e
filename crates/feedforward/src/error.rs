use std::path::{Path, PathBuf};

/// What can go wrong with a run.
///
/// ```
/// let error = feedforward::Error::usage("name the column to predict with --target");
/// assert!(error.is_usage());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe is not right.
    #[error(transparent)]
    Recipe(#[from] ff_settings::RecipeError),
    /// The data is not right.
    #[error(transparent)]
    Data(#[from] ff_table::DataError),
    /// The text or its tokens are not right.
    #[cfg(feature = "language")]
    #[error(transparent)]
    Text(ff_text::TextError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] ff_train::Error),
    /// A metric could not be computed.
    #[error(transparent)]
    Metric(#[from] ff_metrics::MetricError),
    /// A model could not be asked about its columns.
    #[error(transparent)]
    Explain(#[from] ff_metrics::explain::ExplainError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] ff_formats::Error),
    /// A model of another tool is not right, or uses what is not evaluated.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] ff_interop::onnx::Error),
    /// A run's folder is not what it should be.
    #[error("{}: {message}", path.display())]
    Run {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What was asked for makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    /// Something about a run's folder.
    pub fn run(path: &Path, message: impl Into<String>) -> Self {
        Error::Run { path: path.to_owned(), message: message.into() }
    }

    /// What to do about it, where the message does not say so; empty where it does.
    pub fn hint(&self) -> String {
        match self {
            Error::Data(error) => error.hint(),
            #[cfg(feature = "language")]
            Error::Text(error) => error.hint(),
            Error::File(error) | Error::Train(ff_train::Error::File(error)) => error.hint().into(),
            #[cfg(feature = "onnx")]
            Error::Onnx(ff_interop::onnx::Error::File(
                error @ ff_formats::Error::Refused { .. },
            )) => error.hint().into(),
            _ => String::new(),
        }
    }

    /// Whether the mistake is in what was asked for, not in how it went: exit code 2.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Error::Usage(_) | Error::Recipe(_) | Error::Train(ff_train::Error::Config(_))
        )
    }
}

#[cfg(feature = "language")]
impl From<ff_text::TextError> for Error {
    fn from(error: ff_text::TextError) -> Self {
        match error {
            ff_text::TextError::Data(error) => Error::Data(error),
            error => Error::Text(error),
        }
    }
}

impl From<ff_graph::Error> for Error {
    fn from(error: ff_graph::Error) -> Self {
        Error::Train(error.into())
    }
}

impl From<ff_tensor::Error> for Error {
    fn from(error: ff_tensor::Error) -> Self {
        Error::Train(error.into())
    }
}

impl From<ff_settings::ConfigError> for Error {
    fn from(error: ff_settings::ConfigError) -> Self {
        Error::Train(error.into())
    }
}
