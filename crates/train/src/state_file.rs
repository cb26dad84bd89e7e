//! The state of an optimiser in a file of its own, from which training starts.

use crate::error::{Error, Result};
use crate::optim::{Optimizer, OptimizerScalars};
use ff_formats::{TensorFile, TensorWriter};
use ff_graph::Params;
use ff_tensor::{Shape, TensorRef};
use std::path::Path;

/// The key of the scalars in the metadata.
const SCALARS: &str = "optimizer";

/// A tensor that was read: its name, its shape and its values.
pub(crate) type Read = (String, Shape, Vec<f32>);

/// Writes the state of an optimiser: tensors under the names of [`Optimizer::state_tensors`].
///
/// # Errors
/// The disk is full or the folder cannot be written.
pub fn write_optimizer(
    path: &Path,
    scalars: &OptimizerScalars,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
) -> Result<()> {
    let mut writer = TensorWriter::new();
    for (name, dims, values) in tensors {
        writer.add_f32(name.as_str(), dims, values);
    }
    writer.metadata(SCALARS, serde_json::to_string(scalars).map_err(|e| damaged(path, &e))?);
    Ok(writer.write(path)?)
}

/// Puts the state of a file into an optimiser, whose next step is then the one after those that the
/// file counts.
///
/// # Errors
/// The file is none of [`write_optimizer`], or of another optimiser or other parameters.
pub fn read_optimizer(path: &Path, params: &Params, optimizer: &mut Optimizer) -> Result<()> {
    let file = TensorFile::open(path)?;
    let scalars = file.metadata(SCALARS).ok_or_else(|| Error::Checkpoint {
        path: path.to_owned(),
        message: "is a safetensors file, but not the state of an optimiser".into(),
    })?;
    let scalars: OptimizerScalars = serde_json::from_str(scalars).map_err(|e| damaged(path, &e))?;
    let read = tensors(&file, "")?;
    let loaded = optimizer.load_state(params, &scalars, views(&read));
    loaded.map_err(|e| Error::Checkpoint { path: path.to_owned(), message: e.to_string() })
}

/// The tensors whose names begin so, under the rest of their names.
pub(crate) fn tensors(file: &TensorFile, prefix: &str) -> Result<Vec<Read>> {
    let mut read = Vec::new();
    for entry in file.entries() {
        if let Some(name) = entry.name.strip_prefix(prefix) {
            let values = file.f32(&entry.name, &entry.dims)?;
            read.push((name.to_owned(), Shape::new(&entry.dims)?, values));
        }
    }
    Ok(read)
}

pub(crate) fn views(read: &[Read]) -> impl Iterator<Item = (&str, TensorRef<'_>)> {
    read.iter().map(|(name, shape, values)| {
        (name.as_str(), TensorRef::new(values.as_slice().into(), *shape))
    })
}

fn damaged(path: &Path, error: &serde_json::Error) -> Error {
    Error::Checkpoint {
        path: path.to_owned(),
        message: format!("the numbers of its optimiser are damaged: {error}"),
    }
}
