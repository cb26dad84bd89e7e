//! Files of named tensors.

use crate::errors::of_library;
use crate::interpreter::compute;
use feedforward::formats::{RawTensor, TensorFile, write_raw};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::PathBuf;

/// A name, a type as safetensors spells it, a shape, and bytes.
type Tensor<'py> = (String, String, Vec<usize>, Bound<'py, PyBytes>);

/// The tensors of a safetensors file or a state dict of PyTorch.
#[pyfunction]
pub(crate) fn read_tensors(py: Python<'_>, path: PathBuf) -> PyResult<Vec<Tensor<'_>>> {
    let open = || TensorFile::map(&path).map_err(feedforward::Error::from);
    let file = compute(py, open)?.map_err(of_library)?;
    let names: Vec<String> = file.entries().map(|entry| entry.name).collect();
    let tensors = names.iter().filter_map(|name| file.raw(name));
    Ok(tensors.map(|t| (t.name, t.dtype, t.dims, PyBytes::new(py, &t.bytes))).collect())
}

/// Writes tensors as a safetensors file.
#[pyfunction]
pub(crate) fn write_tensors(
    py: Python<'_>,
    path: PathBuf,
    tensors: Vec<Tensor<'_>>,
) -> PyResult<()> {
    let tensors = tensors.iter().map(|(name, dtype, dims, bytes)| RawTensor {
        name: name.clone(),
        dtype: dtype.clone(),
        dims: dims.clone(),
        bytes: bytes.as_bytes().into(),
    });
    let tensors: Vec<_> = tensors.collect();
    compute(py, || write_raw(&path, &tensors))?.map_err(|error| of_library(error.into()))
}
