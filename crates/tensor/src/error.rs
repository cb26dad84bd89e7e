use crate::{DType, Shape};

/// What can go wrong with memory and devices.
///
/// ```
/// use ff_tensor::{Device, Error, Tensor};
/// let x = Tensor::from_slice(&Device::default(), &[1.0f32, 2.0], &[2]).unwrap();
/// assert!(matches!(x.slice::<f64>(), Err(Error::DType { .. })));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The values are of another type than asked for.
    #[error("expected values of type {expected}, found {found}")]
    DType {
        /// The type asked for.
        expected: DType,
        /// The type the tensor has.
        found: DType,
    },
    /// The number of values does not fit the shape.
    #[error("shape {shape} holds {} values, found {found}", shape.len())]
    Length {
        /// The shape asked for.
        shape: Shape,
        /// How many values came.
        found: usize,
    },
    /// A shape has more dimensions than are supported, or more values than can be addressed.
    #[error("shape {0:?} is too large: at most {max} dimensions and 2^48 values", max = crate::MAX_RANK)]
    Shape(Vec<usize>),
    /// The system gave no memory.
    #[error("out of memory: {bytes} more bytes were asked for; a smaller batch needs less")]
    OutOfMemory {
        /// The bytes asked for.
        bytes: usize,
    },
    /// Someone else still holds the buffer that was to be written.
    #[error("this tensor is shared and cannot be written")]
    Shared,
    /// Values were asked of a tensor that only has a size.
    #[error("this tensor belongs to a plan: it has a size but no values")]
    Planned,
    /// The device asked for is not there.
    #[error("{0}")]
    Device(String),
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
