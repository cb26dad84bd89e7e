//! Weights in an archive of NumPy (`.npz`): a file for each layer, whose dict has its arrays.

use super::archive::{Archive, MOST_WEIGHTS};
use crate::onnx::{self, DType, Tensor};
use ff_formats::numpy_arrays;
use std::collections::BTreeMap;
use std::path::Path;

/// The arrays under the paths that they have in a file of HDF5, `layers/dense/vars/0`; one that is
/// in no dict under the name of its file.
pub(super) fn arrays(archive: &mut Archive<'_>) -> Result<BTreeMap<String, Tensor>, String> {
    let mut arrays = BTreeMap::new();
    let mut left = MOST_WEIGHTS;
    for name in archive.names().to_vec() {
        let Some(place) = name.strip_suffix(".npy") else { continue };
        let bytes = archive.read(&name, left as u64)?.unwrap_or_default();
        let found = numpy_arrays(Path::new(&name), &bytes).map_err(|e| e.to_string())?;
        for array in found {
            let path = match array.name {
                None => place.to_owned(),
                Some(key) if place == "__root__" => format!("vars/{key}"),
                Some(key) => format!("{place}/vars/{key}"),
            };
            left = left
                .checked_sub(array.bytes.len())
                .ok_or_else(|| format!("its arrays take more than {MOST_WEIGHTS} bytes"))?;
            let dtype = dtype(&array.dtype).ok_or_else(|| {
                format!("`{path}` has elements of the type {}, which are not read", array.dtype)
            })?;
            let data = onnx::raw(dtype, &array.bytes)
                .ok_or_else(|| format!("the bytes of `{path}` are no elements"))?;
            let tensor = Tensor::of(&array.dims, data)?;
            if arrays.insert(path.clone(), tensor).is_some() {
                return Err(format!("two arrays have the place `{path}`"));
            }
        }
    }
    Ok(arrays)
}

fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        _ => return None,
    })
}
