//! The types of elements, and flat arrays of them.

use super::rows::Rows;
use super::session::pool::{Pool, Pooled};
use half::{bf16, f16};

/// A type that arithmetic runs on: floats by way of `f64`, which rounds sums, products and
/// quotients of shorter floats correctly, and integers by way of `i128`, which wrap on the way
/// back.
pub(crate) trait Number: Copy + PartialEq + 'static {
    fn float(self) -> f64;
    fn of_float(x: f64) -> Self;
    fn integer(self) -> i128;
    fn of_integer(x: i128) -> Self;
}

macro_rules! number {
    (float: $($t:ty: $to:expr, $of:expr;)*) => { $(
        impl Number for $t {
            #[inline]
            fn float(self) -> f64 { $to(self) }
            #[inline]
            fn of_float(x: f64) -> Self { $of(x) }
            #[inline]
            fn integer(self) -> i128 { $to(self) as i128 }
            #[inline]
            fn of_integer(x: i128) -> Self { $of(x as f64) }
        }
    )* };
    (integer: $($t:ty)*) => { $(
        impl Number for $t {
            #[inline]
            fn float(self) -> f64 { self as f64 }
            #[inline]
            fn of_float(x: f64) -> Self { x as Self }
            #[inline]
            fn integer(self) -> i128 { self as i128 }
            #[inline]
            fn of_integer(x: i128) -> Self { x as Self }
        }
    )* };
}
number!(float: f64: |x| x, |x| x; f32: f64::from, |x: f64| x as f32; f16: f16::to_f64, f16::from_f64; bf16: bf16::to_f64, bf16::from_f64;);
number!(integer: i8 i16 i32 i64 u8 u16 u32 u64);

fn runs<T: Clone + Pooled>(v: &[T], at: &[usize], len: usize, pool: &Pool) -> Vec<T> {
    let mut to = T::room(pool, at.len() * len);
    if len == 1 {
        to.extend(at.iter().map(|&at| v[at].clone()));
        return to;
    }
    for &at in at {
        to.extend_from_slice(&v[at..at + len]);
    }
    to
}

fn view<T: Clone + Pooled>(
    v: &[T],
    dims: &[usize],
    strides: &[isize],
    first: usize,
    pool: &Pool,
) -> Vec<T> {
    let mut to = T::room(pool, dims.iter().product());
    let rows = Rows::new(dims, [strides]);
    let (n, step) = (rows.len, rows.steps[0]);
    for row in 0..rows.count {
        let at = (first as isize + rows.starts(row)[0]) as usize;
        match step {
            1 => to.extend_from_slice(&v[at..at + n]),
            0 => to.extend(std::iter::repeat_n(&v[at], n).cloned()),
            _ => to.extend((0..n as isize).map(|i| v[(at as isize + i * step) as usize].clone())),
        }
    }
    to
}

fn chosen<T: Clone>(rows: &Rows<3>, truth: &[bool], a: &[T], b: &[T]) -> Vec<T> {
    let mut to = Vec::with_capacity(rows.count * rows.len);
    let [t, x, y] = rows.steps;
    for row in 0..rows.count {
        let [from_t, from_x, from_y] = rows.starts(row);
        if t == 1 {
            // Truth values side by side, and values that are, too, or repeat.
            let truth = &truth[from_t as usize..][..rows.len];
            let (a, b) = (&a[from_x as usize..], &b[from_y as usize..]);
            let pick = |(&t, (a, b)): (&bool, (&T, &T))| if t { a.clone() } else { b.clone() };
            match [x, y] {
                [1, 1] => to.extend(truth.iter().zip(a.iter().zip(b)).map(pick)),
                [0, 1] => to.extend(truth.iter().zip(b).map(|(t, b)| pick((t, (&a[0], b))))),
                [1, 0] => to.extend(truth.iter().zip(a).map(|(t, a)| pick((t, (a, &b[0]))))),
                _ => to.extend(truth.iter().map(|t| pick((t, (&a[0], &b[0]))))),
            }
            continue;
        }
        to.extend((0..rows.len as isize).map(|i| {
            if truth[(from_t + i * t) as usize] {
                a[(from_x + i * x) as usize].clone()
            } else {
                b[(from_y + i * y) as usize].clone()
            }
        }));
    }
    to
}

macro_rules! types {
    ($($variant:ident($t:ty) = $code:literal, $name:literal, $size:literal;)*) => {
        /// The type of a tensor's elements, by its number in the standard.
        ///
        /// ```
        /// use ff_interop::onnx::DType;
        /// assert_eq!(DType::from_code(11), Some(DType::F64));
        /// assert_eq!(DType::F64.name(), "double");
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum DType { $(#[doc = $name] $variant,)* }

        impl DType {
            /// The type of this number; `None` for types that are not supported.
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// Its number.
            pub fn code(self) -> i32 {
                match self { $(Self::$variant => $code,)* }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The bytes of an element; those of its header for a text.
            pub fn size(self) -> usize {
                match self { $(Self::$variant => $size,)* }
            }

            /// So many zeros, false values or empty texts.
            pub(crate) fn zeros(self, n: usize) -> Data {
                match self { $(Self::$variant => Data::$variant(vec![<$t>::default(); n]),)* }
            }
        }

        /// The elements of a tensor in row-major order.
        ///
        /// ```
        /// use ff_interop::onnx::{DType, Data};
        /// assert_eq!(Data::from(vec![1.0f32]).dtype(), DType::F32);
        /// ```
        #[derive(Debug, Clone, PartialEq)]
        pub enum Data { $(#[doc = $name] $variant(Vec<$t>),)* }

        $(impl From<Vec<$t>> for Data {
            fn from(values: Vec<$t>) -> Self { Self::$variant(values) }
        })*

        impl Data {
            /// The type.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }

            /// The number of elements.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(v) => v.len(),)* }
            }

            /// The elements at these positions: what every operator that only moves data is.
            pub(crate) fn pick(&self, mut at: impl Iterator<Item = usize>) -> Self {
                self.pick_all(&mut at)
            }

            /// One copy of the code for each type, not for each type and iterator.
            fn pick_all(&self, at: &mut dyn Iterator<Item = usize>) -> Self {
                match self { $(Self::$variant(v) => Self::$variant(at.map(|i| v[i].clone()).collect()),)* }
            }

            /// Runs of `len` elements that start at these positions.
            pub(crate) fn runs(&self, at: &[usize], len: usize, pool: &Pool) -> Self {
                match self { $(Self::$variant(v) => Self::$variant(runs(v, at, len, pool)),)* }
            }

            /// The elements of a view: a stride in each dimension, and its first position.
            pub(crate) fn view(
                &self,
                dims: &[usize],
                strides: &[isize],
                first: usize,
                pool: &Pool,
            ) -> Self {
                match self {
                    $(Self::$variant(v) => Self::$variant(view(v, dims, strides, first, pool)),)*
                }
            }

            /// By turns, so many elements of each part, `outer` times; `None` if their types
            /// differ.
            pub(crate) fn by_turns(
                parts: &[(&Self, usize)],
                outer: usize,
                pool: &Pool,
            ) -> Option<Self> {
                match parts.first()?.0 { $(Self::$variant(_) => {
                    let mut all: Vec<(&[$t], usize)> = Vec::with_capacity(parts.len());
                    for (data, width) in parts {
                        let Self::$variant(v) = data else { return None };
                        all.push((v, *width));
                    }
                    let mut to = <$t>::room(pool, all.iter().map(|(v, _)| v.len()).sum());
                    for row in 0..outer {
                        for (v, width) in &all {
                            to.extend_from_slice(&v[row * width..][..*width]);
                        }
                    }
                    Some(Self::$variant(to))
                })* }
            }

            /// For each truth value an element of `a` or of `b`, which repeat where their stride
            /// is 0; `None` if their types differ.
            pub(crate) fn chosen(rows: &Rows<3>, truth: &[bool], a: &Self, b: &Self) -> Option<Self> {
                match (a, b) {
                    $((Self::$variant(a), Self::$variant(b)) => {
                        Some(Self::$variant(chosen(rows, truth, a, b)))
                    })*
                    _ => None,
                }
            }

            /// The elements of both; `None` if their types differ.
            pub(crate) fn joined(mut self, other: &Self) -> Option<Self> {
                match (&mut self, other) {
                    $((Self::$variant(a), Self::$variant(b)) => a.extend_from_slice(b),)*
                    _ => return None,
                }
                Some(self)
            }

        }
    };
}

types! {
    F32(f32) = 1, "float", 4;
    U8(u8) = 2, "uint8", 1;
    I8(i8) = 3, "int8", 1;
    U16(u16) = 4, "uint16", 2;
    I16(i16) = 5, "int16", 2;
    I32(i32) = 6, "int32", 4;
    I64(i64) = 7, "int64", 8;
    Text(String) = 8, "string", 24;
    Bool(bool) = 9, "bool", 1;
    F16(f16) = 10, "float16", 2;
    F64(f64) = 11, "double", 8;
    U32(u32) = 12, "uint32", 4;
    U64(u64) = 13, "uint64", 8;
    BF16(bf16) = 16, "bfloat16", 2;
}

/// Evaluates an expression on the numbers of [`Data`], with `$otherwise` for truth values and
/// texts.
macro_rules! numbers {
    ($data:expr, $v:ident => $body:expr, $otherwise:expr) => {
        match $data {
            $crate::onnx::Data::F32($v) => $body,
            $crate::onnx::Data::F64($v) => $body,
            $crate::onnx::Data::F16($v) => $body,
            $crate::onnx::Data::BF16($v) => $body,
            $crate::onnx::Data::I8($v) => $body,
            $crate::onnx::Data::I16($v) => $body,
            $crate::onnx::Data::I32($v) => $body,
            $crate::onnx::Data::I64($v) => $body,
            $crate::onnx::Data::U8($v) => $body,
            $crate::onnx::Data::U16($v) => $body,
            $crate::onnx::Data::U32($v) => $body,
            $crate::onnx::Data::U64($v) => $body,
            _ => $otherwise,
        }
    };
}
pub(crate) use numbers;

impl DType {
    /// The type of this name in safetensors files.
    pub(crate) fn of_safetensors(name: &str) -> Option<Self> {
        (1..=16).filter_map(Self::from_code).find(|dtype| dtype.safetensors() == Some(name))
    }

    /// Its name in safetensors files, which hold no texts.
    pub fn safetensors(self) -> Option<&'static str> {
        Some(match self {
            Self::F32 => "F32",
            Self::F64 => "F64",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I8 => "I8",
            Self::I16 => "I16",
            Self::I32 => "I32",
            Self::I64 => "I64",
            Self::U8 => "U8",
            Self::U16 => "U16",
            Self::U32 => "U32",
            Self::U64 => "U64",
            Self::Bool => "BOOL",
            Self::Text => return None,
        })
    }

    /// Whether it is a float.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::BF16)
    }

    /// Numbers of this type; `None` for texts.
    pub fn numbers(self, values: Vec<f64>) -> Option<Data> {
        self.of_floats(values.into_iter())
    }

    /// Numbers of this type, rounded or cut off as `as` does; truth values are those that differ
    /// from 0.
    pub(crate) fn of_floats(self, mut values: impl Iterator<Item = f64>) -> Option<Data> {
        self.of_all_floats(&mut values)
    }

    fn of_all_floats(self, values: &mut dyn Iterator<Item = f64>) -> Option<Data> {
        fn collect<T: Number>(values: &mut dyn Iterator<Item = f64>) -> Vec<T> {
            values.map(T::of_float).collect()
        }
        Some(match self {
            Self::F32 => Data::F32(collect(values)),
            Self::F64 => Data::F64(values.collect()),
            Self::F16 => Data::F16(collect(values)),
            Self::BF16 => Data::BF16(collect(values)),
            Self::I8 => Data::I8(collect(values)),
            Self::I16 => Data::I16(collect(values)),
            Self::I32 => Data::I32(collect(values)),
            Self::I64 => Data::I64(collect(values)),
            Self::U8 => Data::U8(collect(values)),
            Self::U16 => Data::U16(collect(values)),
            Self::U32 => Data::U32(collect(values)),
            Self::U64 => Data::U64(collect(values)),
            Self::Bool => Data::Bool(values.map(|x| x != 0.0).collect()),
            Self::Text => return None,
        })
    }

    /// Integers in this type, wrapping.
    pub(crate) fn of_integers(self, mut values: impl Iterator<Item = i128>) -> Option<Data> {
        self.of_all_integers(&mut values)
    }

    fn of_all_integers(self, values: &mut dyn Iterator<Item = i128>) -> Option<Data> {
        fn collect<T: Number>(values: &mut dyn Iterator<Item = i128>) -> Vec<T> {
            values.map(T::of_integer).collect()
        }
        Some(match self {
            Self::I8 => Data::I8(collect(values)),
            Self::I16 => Data::I16(collect(values)),
            Self::I32 => Data::I32(collect(values)),
            Self::I64 => Data::I64(collect(values)),
            Self::U8 => Data::U8(collect(values)),
            Self::U16 => Data::U16(collect(values)),
            Self::U32 => Data::U32(collect(values)),
            Self::U64 => Data::U64(collect(values)),
            other => return other.of_all_floats(&mut values.map(|x| x as f64)),
        })
    }
}

impl Data {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the elements in memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Data::Text(v) => v.iter().map(|text| 24 + text.len()).sum(),
            other => other.len() * other.dtype().size(),
        }
    }

    /// The elements as `f64`; truth values are 0 and 1; `None` for texts.
    pub fn floats(&self) -> Option<Vec<f64>> {
        if let Data::Bool(v) = self {
            return Some(v.iter().map(|&x| f64::from(u8::from(x))).collect());
        }
        Some(numbers!(self, v => v.iter().map(|x| x.float()).collect(), return None))
    }

    /// The elements as integers, floats cut off; `None` for texts.
    pub(crate) fn integers(&self) -> Option<Vec<i128>> {
        if let Data::Bool(v) = self {
            return Some(v.iter().map(|&x| i128::from(x)).collect());
        }
        Some(numbers!(self, v => v.iter().map(|x| x.integer()).collect(), return None))
    }
}
