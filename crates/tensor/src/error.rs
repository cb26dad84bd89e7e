use crate::DType;

/// An error of memory or devices.
///
/// ```
/// use ff_tensor::{Device, Error, Tensor};
/// let x = Tensor::from_slice(&Device::default(), &[1.0f32, 2.0], &[2]).unwrap();
/// assert!(matches!(x.slice::<f64>(), Err(Error::DType { .. })));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The values are of another type than requested.
    #[error("expected values of type {expected}, found {found}")]
    DType {
        /// The requested type.
        expected: DType,
        /// The type of the tensor.
        found: DType,
    },
    /// The number of values does not match the shape.
    #[error("shape {shape:?} holds {} values, found {found}", shape.iter().product::<usize>())]
    Length {
        /// The requested shape.
        shape: Vec<usize>,
        /// The number of values given.
        found: usize,
    },
    /// A shape has too many dimensions, or more values than can be addressed.
    #[error("shape {shape:?} is too large: at most {max_rank} dimensions and 2^48 values")]
    Shape {
        /// The requested shape.
        shape: Vec<usize>,
        /// The most dimensions.
        max_rank: usize,
    },
    /// The system has no memory left.
    #[error("out of memory: cannot allocate {bytes} more bytes; use a smaller batch")]
    OutOfMemory {
        /// The bytes requested.
        bytes: usize,
    },
    /// The buffer to be written is shared.
    #[error("this tensor is shared and cannot be written")]
    Shared,
    /// A planned tensor has a size but no values.
    #[error("this tensor belongs to a plan: it has a size but no values")]
    Planned,
    /// The values are in the form of their file, which only some operations read.
    #[error(
        "these values are in the form of their file, which only linear layers and embeddings read"
    )]
    InFile,
    /// The requested device does not exist.
    #[error("{0}")]
    Device(String),
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
