//! Files of tensors (safetensors, GGUF, PyTorch's, NumPy's): foreign files are validated, ours are
//! written atomically.
#![forbid(unsafe_code)]

mod atomic;
mod gguf;
mod guard;
mod mxfp4;
mod numpy;
mod output;
mod pickle;
mod tensors;
mod torch;
mod unique;

pub use atomic::{check_writable, remove_temporaries, write_atomic};
pub use gguf::{GgmlType, GgufFile, GgufFileType, GgufModel, GgufTensor, GgufValue, GgufWriter};
pub use guard::guarded_call;
pub use mxfp4::mxfp4;
pub use numpy::{NumpyArray, numpy_arrays};
pub use output::{OutputFolder, write_output};
pub use tensors::{RawTensor, StoredDType, StoredTensor, TensorFile, TensorWriter, write_raw};
pub use torch::{Setting as TorchSetting, TorchModule};

use std::path::{Path, PathBuf};

/// An error in a file.
///
/// ```
/// use ff_formats::TensorFile;
/// let error = TensorFile::open("no/such/file.safetensors".as_ref()).unwrap_err();
/// assert!(error.to_string().starts_with("no/such/file.safetensors: "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error("{}: {action}: {source}{}", path.display(), way_out(action, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The action that failed.
        action: &'static str,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file violates its format.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The violation.
        message: String,
    },
    /// The file holds something that is not read on purpose, such as objects of Python.
    #[error("{}: {message}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it holds.
        message: String,
    },
    /// A tensor is missing, or has another shape or type.
    #[error("{}: tensor `{name}`: {message}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The expected and the found property.
        message: String,
    },
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The rows and columns of a matrix, or of a stack of several as one below the other.
fn rows_and_columns(dims: &[usize]) -> Option<[usize; 2]> {
    let &[ref before @ .., rows, cols] = dims else { return None };
    let stacked = before.iter().try_fold(rows, |rows, n| rows.checked_mul(*n))?;
    Some([stacked, cols])
}

impl Error {
    /// Wraps a system error: `.map_err(Error::io(path, "writing"))`.
    pub fn io(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io { path: path.clone(), action, source: without_temporary(source) }
    }

    /// The remedy, unless the message states it; otherwise empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Io { action: "reading", source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                "the folder is incomplete: copy it again from its source, or train again"
            }
            Error::Malformed { .. } => {
                "it is damaged, truncated or of another format: copy it again from its source"
            }
            Error::Refused { .. } => {
                "nothing in it was executed: save the model's state_dict() with torch.save or as \
                 safetensors for its tensors, or export it with torch.onnx.export to predict with it"
            }
            Error::Tensor { .. } => {
                "the file belongs to another model or was converted: copy it again from its \
                 source, or train again"
            }
            Error::Io { .. } => "",
        }
    }
}

/// Removes the name of the temporary file, which no longer exists when the message is read.
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
            "; choose a writable folder with --out"
        }
        _ => "",
    }
}
