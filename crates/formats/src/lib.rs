//! Other people's files, read with suspicion; ours, written so that nothing is ever half there.
#![forbid(unsafe_code)]

mod atomic;
mod guard;
mod tensors;

pub use atomic::{check_writable, remove_temporaries, write_atomic};
pub use guard::guarded_call;
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
    #[error("{}: {action}: {source}{}", path.display(), way_out(action, source))]
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
        move |source| Error::Io { path: path.clone(), action, source: without_temporary(source) }
    }

    /// What to do about it, where the message does not say so; empty where it does.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Io { action: "reading", source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                "the folder is incomplete: copy it again from where it was made, or train again"
            }
            Error::Malformed { .. } => {
                "it is damaged, cut short or no safetensors file: copy it again from where it was made"
            }
            Error::Tensor { .. } => {
                "the file is of another model, or was converted: copy it again from where it was made, or train again"
            }
            Error::Io { .. } => "",
        }
    }
}

/// The names of temporary files help nobody: they are gone when the message is read.
fn without_temporary(error: std::io::Error) -> std::io::Error {
    let text = error.to_string();
    match text.split_once(" at path \"") {
        Some((plain, _)) => std::io::Error::new(error.kind(), plain.to_owned()),
        None => error,
    }
}

fn way_out(action: &str, error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        _ if action == "reading" => "",
        Kind::StorageFull => "; free some space first, nothing was overwritten",
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "; choose a folder that can be written with --out"
        }
        _ => "",
    }
}
