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
