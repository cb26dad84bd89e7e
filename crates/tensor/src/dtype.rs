use crate::{Error, Result, Slice, SliceMut};
use half::bf16;
use std::fmt;

/// The type of a tensor's values.
///
/// ```
/// use ff_tensor::DType;
/// assert_eq!(DType::F32.bytes(), 4);
/// assert_eq!(DType::F64.to_string(), "f64");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float: parameters, activations, gradients.
    F32,
    /// 64-bit float: gradient checks.
    F64,
    /// The upper half of a 32-bit float: activations and operands of matrix products, which sum in
    /// f32.
    BF16,
    /// 32-bit signed integer: class indices, category and token ids.
    I32,
    /// A byte.
    U8,
}

impl DType {
    /// The size of one value in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::BF16 => 2,
            DType::U8 => 1,
        }
    }

    /// Whether gradients can flow through values of this type.
    #[inline]
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::BF16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::BF16 => "bf16",
            DType::I32 => "i32",
            DType::U8 => "u8",
        })
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::bf16 {}
    impl Sealed for i32 {}
    impl Sealed for u8 {}
}

/// A Rust type of tensor values; every bit pattern is a valid value.
///
/// ```
/// use ff_tensor::{DType, Element};
/// assert_eq!(<f32 as Element>::DTYPE, DType::F32);
/// assert!(f64::of_slice([1.0f32].as_slice().into()).is_err());
/// ```
pub trait Element: Copy + Default + Send + Sync + fmt::Debug + 'static + sealed::Sealed {
    /// The type as a value.
    const DTYPE: DType;

    /// The values, shared.
    ///
    /// # Errors
    /// If the values are of another type.
    fn of_slice(slice: Slice<'_>) -> Result<&[Self]>;

    /// The values, mutable.
    ///
    /// # Errors
    /// If the values are of another type.
    fn of_slice_mut(slice: SliceMut<'_>) -> Result<&mut [Self]>;

    /// Shared values as those of one of the types.
    fn as_slice(values: &[Self]) -> Slice<'_>;

    /// Values as those of one of the types.
    fn as_slice_mut(values: &mut [Self]) -> SliceMut<'_>;
}

macro_rules! element {
    ($t:ty, $variant:ident) => {
        impl Element for $t {
            const DTYPE: DType = DType::$variant;

            fn of_slice(slice: Slice<'_>) -> Result<&[Self]> {
                match slice {
                    Slice::$variant(values) => Ok(values),
                    Slice::File(_) => Err(Error::InFile),
                    other => Err(Error::DType { expected: DType::$variant, found: other.dtype() }),
                }
            }

            fn of_slice_mut(slice: SliceMut<'_>) -> Result<&mut [Self]> {
                match slice {
                    SliceMut::$variant(values) => Ok(values),
                    other => Err(Error::DType { expected: DType::$variant, found: other.dtype() }),
                }
            }

            fn as_slice(values: &[Self]) -> Slice<'_> {
                Slice::$variant(values)
            }

            fn as_slice_mut(values: &mut [Self]) -> SliceMut<'_> {
                SliceMut::$variant(values)
            }
        }
    };
}
element!(f32, F32);
element!(f64, F64);
element!(bf16, BF16);
element!(i32, I32);
element!(u8, U8);
