//! Other people's files, read with suspicion; ours, written so that nothing is ever half there.
#![forbid(unsafe_code)]

mod atomic;
mod tensors;

pub use atomic::write_atomic;
pub use tensors::{StoredDType, StoredTensor, TensorFile, TensorWriter};

use std::path::{Path, PathBuf};

/// What can be wrong with a file.
///
/// ```
/// use ff_formats::TensorFile;
/// let error = TensorFile::open("no/such/file.safetensors".as_ref()).unwrap_err();
/// assert!(error.to_string().starts_with("no/such/file.safetensors: "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system could not read or write.
    #[error("{}: {action}: {source}{}", path.display(), hint(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what its format says.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor is not there, or is of another shape or type.
    #[error("{}: tensor `{name}`: {message}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What was expected and what was found.
        message: String,
    },
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps an error of the system: `.map_err(Error::io(path, "writing"))`.
    pub fn io(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io { path: path.clone(), action, source }
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull => "; free some space and run the command again, nothing was overwritten",
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "; choose a folder that can be written with --out"
        }
        _ => "",
    }
}
