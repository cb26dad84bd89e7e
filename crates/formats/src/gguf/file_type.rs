//! The types of a file's tensors together, as `llama-quantize` chooses them.

use super::GgmlType;
use std::fmt;
use std::str::FromStr;

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:literal, $base:ident;)*) => {
        /// The type of a file: the type of most of its matrices. Those that suffer most from
        /// rounding have another one.
        ///
        /// ```
        /// use ff_formats::{GgmlType, GgufFileType};
        /// assert_eq!("q4_k".parse(), Ok(GgufFileType::Q4_K_M));
        /// assert_eq!(GgufFileType::Q4_K_M.base(), GgmlType::Q4_K);
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types)]
        #[non_exhaustive]
        pub enum GgufFileType { $($(#[$doc])* $name = $id,)* }

        impl GgufFileType {
            /// All types that are written.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The type of most matrices.
            pub fn base(self) -> GgmlType {
                match self { $(Self::$name => GgmlType::$base,)* }
            }

            /// The name, as a user writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

types! {
    /// 32-bit floats.
    F32 = 0, "f32", F32;
    /// 16-bit floats.
    F16 = 1, "f16", F16;
    /// 16-bit floats with the range of 32 bits.
    BF16 = 32, "bf16", BF16;
    /// 8 bits and a scale.
    Q8_0 = 7, "q8_0", Q8_0;
    /// 6 bits.
    Q6_K = 18, "q6_k", Q6_K;
    /// 5 bits, and 6 for some of the values of attention and of the outputs of feedforward blocks.
    Q5_K_M = 17, "q5_k_m", Q5_K;
    /// 5 bits.
    Q5_K_S = 16, "q5_k_s", Q5_K;
    /// 5 bits, a scale and a minimum.
    Q5_1 = 9, "q5_1", Q5_1;
    /// 5 bits and a scale.
    Q5_0 = 8, "q5_0", Q5_0;
    /// 4 bits, and 6 for some of the values of attention and of the outputs of feedforward blocks.
    Q4_K_M = 15, "q4_k_m", Q4_K;
    /// 4 bits, and 5 for some of the first layers.
    Q4_K_S = 14, "q4_k_s", Q4_K;
    /// 4 bits, a scale and a minimum.
    Q4_1 = 3, "q4_1", Q4_1;
    /// 4 bits and a scale.
    Q4_0 = 2, "q4_0", Q4_0;
    /// 3 bits, and 5 for values of attention and the outputs of both blocks.
    Q3_K_L = 13, "q3_k_l", Q3_K;
    /// 3 bits, and 4 for values of attention and the outputs of both blocks.
    Q3_K_M = 12, "q3_k_m", Q3_K;
    /// 3 bits.
    Q3_K_S = 11, "q3_k_s", Q3_K;
    /// 2 bits, and 3 for values of attention and the outputs of both blocks.
    Q2_K = 10, "q2_k", Q2_K;
}

/// What the types of tensors depend on beside their name and shape.
///
/// ```
/// let model = ff_formats::GgufModel {
///     architecture: "llama",
///     layers: 30,
///     heads: 9,
///     kv_heads: 3,
///     tied: true,
/// };
/// let file_type = ff_formats::GgufFileType::Q4_K_M;
/// let of = |name| file_type.of_tensor(name, &[512, 512], &model).to_string();
/// assert_eq!(["blk.0.attn_v.weight", "blk.0.attn_q.weight"].map(of), ["Q6_K", "Q4_K"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufModel<'a> {
    /// llama.cpp's name of the architecture.
    pub architecture: &'a str,
    /// The number of layers.
    pub layers: usize,
    /// The number of heads of queries.
    pub heads: usize,
    /// The number of heads of keys and values.
    pub kv_heads: usize,
    /// Whether the table of embeddings is the output layer too.
    pub tied: bool,
}

impl GgufFileType {
    /// The type of a tensor under llama.cpp's name, that of `llama-quantize` without an importance
    /// matrix. Rows that are no whole blocks of a K-quant get the next larger type in blocks of 32,
    /// other ones f16; vectors stay f32. Models with experts are not covered.
    pub fn of_tensor(self, name: &str, dims: &[usize], model: &GgufModel<'_>) -> GgmlType {
        let (Some(part), Some(&width)) = (name.strip_suffix(".weight"), dims.last()) else {
            return GgmlType::F32;
        };
        if dims.len() < 2 || part.ends_with("_norm") || part.ends_with("ffn_gate_inp") {
            return GgmlType::F32;
        }
        let base = self.base();
        if base.block() == 1 {
            return base;
        }
        let fitting = match self.chosen(part, width, model) {
            kind if width.is_multiple_of(kind.block()) => kind,
            GgmlType::Q2_K | GgmlType::Q3_K => GgmlType::Q4_0,
            GgmlType::Q4_K => GgmlType::Q5_0,
            GgmlType::Q5_K => GgmlType::Q5_1,
            GgmlType::Q6_K => GgmlType::Q8_0,
            kind => kind,
        };
        if width.is_multiple_of(fitting.block()) { fitting } else { GgmlType::F16 }
    }

    /// The type for rows of any width.
    fn chosen(self, part: &str, width: usize, model: &GgufModel<'_>) -> GgmlType {
        use GgmlType as T;
        let base = self.base();
        if part == "output" || part == "token_embd" && model.tied {
            let kept = base == T::Q8_0 || !width.is_multiple_of(base.block());
            return if kept { T::Q8_0 } else { T::Q6_K };
        }
        let layers = model.layers;
        let mut names = part.split('.').skip(1);
        let layer = names.next().and_then(|layer| layer.parse().ok()).unwrap_or(0);
        let eighth = layers / 8;
        let ends_or_third = layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
        let many_bits = matches!(self, Self::Q4_K_M | Self::Q5_K_M) && ends_or_third;
        match names.next().unwrap_or_default() {
            "attn_v" | "attn_qkv" => {
                let shared = model.heads >= 4 * model.kv_heads;
                let kind = match self {
                    Self::Q2_K if shared => T::Q4_K,
                    Self::Q2_K => T::Q3_K,
                    Self::Q3_K_M if layer < 2 => T::Q5_K,
                    Self::Q3_K_M => T::Q4_K,
                    Self::Q3_K_L => T::Q5_K,
                    Self::Q4_K_S if layer < 4 => T::Q5_K,
                    _ if many_bits => T::Q6_K,
                    _ => base,
                };
                // Llama 2 of 70 billion weights and Qwen 2 of 72: eight heads share the matrix.
                let largest = layers == 80
                    && (model.architecture == "qwen2"
                        || model.architecture == "llama" && model.heads != model.kv_heads);
                if largest && matches!(kind, T::Q3_K | T::Q4_K) { T::Q5_K } else { kind }
            }
            "ffn_down" => match self {
                Self::Q2_K => T::Q3_K,
                Self::Q3_K_M if layer < layers / 16 => T::Q5_K,
                Self::Q3_K_M => T::Q4_K,
                Self::Q3_K_L => T::Q5_K,
                Self::Q4_K_S if layer < eighth => T::Q5_K,
                _ if many_bits => T::Q6_K,
                _ => base,
            },
            "attn_output" => match self {
                Self::Q2_K => T::Q3_K,
                Self::Q3_K_M => T::Q4_K,
                Self::Q3_K_L => T::Q5_K,
                _ => base,
            },
            _ => base,
        }
    }
}

impl FromStr for GgufFileType {
    type Err = String;

    /// A type by its name; `q4_k` is `q4_k_m`, as in llama.cpp.
    fn from_str(name: &str) -> Result<Self, String> {
        let medium = format!("{name}_m");
        let found = Self::ALL.iter().find(|kind| {
            kind.name().eq_ignore_ascii_case(name) || kind.name().eq_ignore_ascii_case(&medium)
        });
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("`{name}` is no type of weights; choose one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for GgufFileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_ascii_uppercase())
    }
}
