//! The types of values under PyTorch's names.

use safetensors::Dtype;

/// A type of values: its class of storages and its name in PyTorch.
pub(crate) struct DTypeName {
    pub(super) storage: &'static str,
    pub(crate) torch: &'static str,
    pub(super) dtype: Dtype,
    pub(super) size: usize,
}

const fn named(storage: &'static str, torch: &'static str, dtype: Dtype, size: usize) -> DTypeName {
    DTypeName { storage, torch, dtype, size }
}

pub(crate) static DTYPES: [DTypeName; 12] = [
    named("FloatStorage", "float32", Dtype::F32, 4),
    named("DoubleStorage", "float64", Dtype::F64, 8),
    named("HalfStorage", "float16", Dtype::F16, 2),
    named("BFloat16Storage", "bfloat16", Dtype::BF16, 2),
    named("LongStorage", "int64", Dtype::I64, 8),
    named("IntStorage", "int32", Dtype::I32, 4),
    named("ShortStorage", "int16", Dtype::I16, 2),
    named("CharStorage", "int8", Dtype::I8, 1),
    named("ByteStorage", "uint8", Dtype::U8, 1),
    named("BoolStorage", "bool", Dtype::BOOL, 1),
    named("", "uint16", Dtype::U16, 2),
    named("", "uint32", Dtype::U32, 4),
];
