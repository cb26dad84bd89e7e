//! Errors about text and tokens.

use std::path::{Path, PathBuf};

use ff_settings::ConfigError;
use ff_table::DataError;

/// The result of the functions of this crate.
pub type Result<T, E = TextError> = std::result::Result<T, E>;

/// A problem with text, a tokenizer or a folder of tokens.
///
/// The message states what is wrong and where; [`TextError::hint`] states what to do.
///
/// ```
/// use ff_text::{TextError, Tokenizer};
///
/// let error = Tokenizer::bytes(&[])?.decode(&[300]).unwrap_err();
/// assert!(matches!(error, TextError::Vocabulary { id: 300, vocab_size: 256 }));
/// # Ok::<(), TextError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file that cannot be read or written, or a setting outside its range.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A tokenizer that cannot be read, or a text that it cannot encode.
    #[error("{place}: {message}")]
    Tokenizer {
        /// The file or folder, or where the text stands.
        place: String,
        /// The problem.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// A chat template that is malformed, or that refuses a conversation.
    #[error("{place}: {message}")]
    Template {
        /// The file.
        place: String,
        /// The problem.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// Too little text to learn from.
    #[error("{message}")]
    Corpus {
        /// The thing missing.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// A folder of tokens that is incomplete or damaged.
    #[error("`{}`: {message}", path.display())]
    Tokens {
        /// The folder or the file in it.
        path: PathBuf,
        /// The problem.
        message: String,
    },
    /// Tokens beyond a model's vocabulary.
    #[error("token id {id} is beyond the model's vocabulary of {vocab_size}")]
    Vocabulary {
        /// The largest id found.
        id: u32,
        /// The size of the model's vocabulary.
        vocab_size: usize,
    },
}

impl From<ConfigError> for TextError {
    fn from(error: ConfigError) -> Self {
        Self::Data(error.into())
    }
}

impl TextError {
    /// The remedy, as one or two sentences; empty where the message says it all.
    pub fn hint(&self) -> String {
        match self {
            Self::Data(error) => error.hint(),
            Self::Tokenizer { hint, .. }
            | Self::Template { hint, .. }
            | Self::Corpus { hint, .. } => hint.clone(),
            Self::Tokens { .. } => {
                "Remove the folder: it is written anew from the text the next time.".into()
            }
            Self::Vocabulary { id, .. } => format!(
                "Set the model's vocab_size to {} or more, or tokenise with the model's own tokenizer.",
                id + 1
            ),
        }
    }

    pub(crate) fn tokenizer(
        place: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Tokenizer { place: place.into(), message: message.into(), hint: hint.into() }
    }

    pub(crate) fn tokens(path: &Path, message: impl Into<String>) -> Self {
        Self::Tokens { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn corpus(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Corpus { message: message.into(), hint: hint.into() }
    }
}

impl From<ff_formats::Error> for TextError {
    fn from(error: ff_formats::Error) -> Self {
        Self::Data(error.into())
    }
}
