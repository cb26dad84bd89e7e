//! The forms of a tensor's values.

use ff_tensor::FileForm;
use std::fmt;

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $block:literal, $bytes:literal;)*) => {
        /// The form of a tensor's values in a GGUF file: plain, or in blocks of quantised ones.
        ///
        /// ```
        /// use ff_formats::GgmlType;
        /// assert_eq!((GgmlType::Q8_0.block(), GgmlType::Q8_0.bytes()), (32, 34));
        /// assert_eq!(GgmlType::Q4_K.to_string(), "Q4_K");
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types)]
        #[non_exhaustive]
        pub enum GgmlType { $($(#[$doc])* $name = $id,)* }

        impl GgmlType {
            /// The type of a number in a file.
            pub fn of(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }

            /// The number of values in a block.
            pub fn block(self) -> usize {
                match self { $(Self::$name => $block,)* }
            }

            /// The number of bytes of a block.
            pub fn bytes(self) -> usize {
                match self { $(Self::$name => $bytes,)* }
            }
        }
    };
}

types! {
    /// 32-bit floats.
    F32 = 0, 1, 4;
    /// 16-bit floats.
    F16 = 1, 1, 2;
    /// 4 bits and a scale.
    Q4_0 = 2, 32, 18;
    /// 4 bits, a scale and a minimum.
    Q4_1 = 3, 32, 20;
    /// 5 bits and a scale.
    Q5_0 = 6, 32, 22;
    /// 5 bits, a scale and a minimum.
    Q5_1 = 7, 32, 24;
    /// 8 bits and a scale.
    Q8_0 = 8, 32, 34;
    /// 8 bits, a scale and a sum; for activations only.
    Q8_1 = 9, 32, 40;
    /// 2 bits, in groups of 16.
    Q2_K = 10, 256, 84;
    /// 3 bits, in groups of 16.
    Q3_K = 11, 256, 110;
    /// 4 bits, in groups of 32.
    Q4_K = 12, 256, 144;
    /// 5 bits, in groups of 32.
    Q5_K = 13, 256, 176;
    /// 6 bits, in groups of 16.
    Q6_K = 14, 256, 210;
    /// 8 bits, for activations only.
    Q8_K = 15, 256, 292;
    /// About 2 bits, from a codebook.
    IQ2_XXS = 16, 256, 66;
    /// About 2.3 bits, from a codebook.
    IQ2_XS = 17, 256, 74;
    /// About 3 bits, from a codebook.
    IQ3_XXS = 18, 256, 98;
    /// About 1.6 bits, from a codebook.
    IQ1_S = 19, 256, 50;
    /// 4 bits, unevenly spaced.
    IQ4_NL = 20, 32, 18;
    /// About 3.4 bits, from a codebook.
    IQ3_S = 21, 256, 110;
    /// About 2.5 bits, from a codebook.
    IQ2_S = 22, 256, 82;
    /// 4 bits, unevenly spaced, in groups of 32.
    IQ4_XS = 23, 256, 136;
    /// 8-bit integers.
    I8 = 24, 1, 1;
    /// 16-bit integers.
    I16 = 25, 1, 2;
    /// 32-bit integers.
    I32 = 26, 1, 4;
    /// 64-bit integers.
    I64 = 27, 1, 8;
    /// 64-bit floats.
    F64 = 28, 1, 8;
    /// About 1.75 bits, from a codebook.
    IQ1_M = 29, 256, 56;
    /// 16-bit floats with the range of 32 bits.
    BF16 = 30, 1, 2;
    /// Three values, five in a byte.
    TQ1_0 = 34, 256, 54;
    /// Three values of 2 bits.
    TQ2_0 = 35, 256, 66;
    /// 4-bit floats with a power of two.
    MXFP4 = 39, 32, 17;
    /// 4-bit floats with 8-bit scales.
    NVFP4 = 40, 64, 36;
    /// 1 bit and a scale.
    Q1_0 = 41, 128, 18;
}

impl GgmlType {
    /// The form of a matrix that products read as it is, if there is one.
    pub fn file_form(self) -> Option<FileForm> {
        Some(match self {
            Self::F32 => FileForm::F32,
            Self::F16 => FileForm::F16,
            Self::BF16 => FileForm::BF16,
            Self::Q8_0 => FileForm::Q8_0,
            Self::Q4_0 => FileForm::Q4_0,
            Self::Q4_1 => FileForm::Q4_1,
            Self::Q5_0 => FileForm::Q5_0,
            Self::Q5_1 => FileForm::Q5_1,
            Self::Q2_K => FileForm::Q2_K,
            Self::Q3_K => FileForm::Q3_K,
            Self::Q4_K => FileForm::Q4_K,
            Self::Q5_K => FileForm::Q5_K,
            Self::Q6_K => FileForm::Q6_K,
            _ => return None,
        })
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
