use crate::{DType, Error, Result, Slice, SliceMut};
use half::bf16;
use std::fmt;

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
