use crate::{DType, FileMatrix};
use half::bf16;

macro_rules! slices {
    ($($variant:ident: $t:ty),*) => {
        /// A shared slice of one of the supported types.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[non_exhaustive]
        pub enum Slice<'a> {
            $(#[doc = concat!("Values of type `", stringify!($t), "`.")] $variant(&'a [$t]),)*
            /// Values of type `f32` in the form of their file: a matrix, or a stack of several.
            File(&'a [FileMatrix]),
        }

        /// A mutable slice of one of the supported types.
        #[derive(Debug, PartialEq)]
        #[non_exhaustive]
        pub enum SliceMut<'a> {
            $(#[doc = concat!("Values of type `", stringify!($t), "`.")] $variant(&'a mut [$t]),)*
        }

        impl<'a> Slice<'a> {
            /// The type of the values.
            #[inline]
            pub fn dtype(&self) -> DType {
                match self { $(Slice::$variant(_) => DType::$variant,)* Slice::File(_) => DType::F32 }
            }

            /// The number of values.
            #[inline]
            pub fn len(&self) -> usize {
                match self {
                    $(Slice::$variant(values) => values.len(),)*
                    Slice::File(stack) => stack.iter().map(|m| m.rows() * m.cols()).sum(),
                }
            }

            /// Whether there are no values.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The `len` values from `start` on.
            ///
            /// # Panics
            /// If the range exceeds the slice, or is a part of a matrix in the form of its file.
            #[must_use]
            #[inline]
            pub fn range(&self, start: usize, len: usize) -> Slice<'a> {
                match self {
                    $(Slice::$variant(values) => Slice::$variant(&values[start..start + len]),)*
                    Slice::File(_) => {
                        assert!(start == 0 && len == self.len(), "a matrix of a file is read whole");
                        *self
                    }
                }
            }
        }

        impl SliceMut<'_> {
            /// The type of the values.
            #[inline]
            pub fn dtype(&self) -> DType {
                match self { $(SliceMut::$variant(_) => DType::$variant,)* }
            }

            /// The number of values.
            #[inline]
            pub fn len(&self) -> usize {
                match self { $(SliceMut::$variant(values) => values.len(),)* }
            }

            /// Whether there are no values.
            #[inline]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// A shorter borrow of the same values.
            #[inline]
            pub fn reborrow(&mut self) -> SliceMut<'_> {
                match self { $(SliceMut::$variant(values) => SliceMut::$variant(values),)* }
            }

            /// The same values, shared.
            #[inline]
            pub fn as_slice(&self) -> Slice<'_> {
                match self { $(SliceMut::$variant(values) => Slice::$variant(values),)* }
            }

            /// Sets all values to zero.
            #[inline]
            pub fn zero(&mut self) {
                match self { $(SliceMut::$variant(values) => values.fill(<$t>::default()),)* }
            }
        }

        $(impl<'a> From<&'a [$t]> for Slice<'a> {
            fn from(values: &'a [$t]) -> Self { Slice::$variant(values) }
        }
        impl<'a> From<&'a mut [$t]> for SliceMut<'a> {
            fn from(values: &'a mut [$t]) -> Self { SliceMut::$variant(values) }
        }
        )*
    };
}
slices!(F32: f32, F64: f64, BF16: bf16, I32: i32, U8: u8);
