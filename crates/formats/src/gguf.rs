//! GGUF, the files of llama.cpp: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod bits;
mod blocks;
mod codebooks;
mod dtype;
mod file_type;
mod k_quants;
mod parse;
mod quantize;
mod value;
mod write;

pub use dtype::GgmlType;
pub use file_type::{GgufFileType, GgufModel};
pub use value::GgufValue;
pub use write::GgufWriter;

use crate::{Error, Result, rows_and_columns};
use ff_tensor::{FileBytes, FileMatrix, Mapped};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tensor's entry in a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// The shape, rows first; the file has it in reverse.
    pub dims: Vec<usize>,
    /// The form of its values.
    pub dtype: GgmlType,
    /// Its bytes' start, from the beginning of the file.
    start: usize,
    /// The size in bytes.
    pub bytes: usize,
}

/// A GGUF file: metadata and tensors, checked when opened.
///
/// Values are mapped, and read on access. The file must not be overwritten in place meanwhile.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    bytes: Arc<Mapped>,
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, GgufTensor>,
}

impl GgufFile {
    /// Maps a file and checks its header: versions 2 and 3, little-endian.
    ///
    /// # Errors
    /// If the file cannot be read, or its header does not describe its contents: counts, lengths
    /// or offsets past the end, unknown types, repeated names, overlapping tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = Mapped::open(path).map_err(Error::io(path, "reading"))?;
        let malformed = |message: String| Error::Malformed { path: path.to_owned(), message };
        let (metadata, tensors) = parse::header(&bytes).map_err(malformed)?;
        Ok(Self { path: path.to_owned(), bytes: Arc::new(bytes), metadata, tensors })
    }

    /// Whether a file begins like GGUF.
    pub fn is_at(path: &Path) -> bool {
        use std::io::Read;
        let mut magic = [0; 4];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
        read.is_ok() && magic == parse::MAGIC
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.metadata
    }

    /// A text of the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key)?.as_str()
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, GgufTensor> {
        &self.tensors
    }

    /// The bytes of a tensor, as they are in the file.
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        let tensor = self.tensors.get(name)?;
        Some(&self.bytes[tensor.start..tensor.start + tensor.bytes])
    }

    /// A matrix, or the rows of a stack of several, as the file has it, without a copy; `None` if
    /// it is missing, no matrix, or of a form that products do not read.
    pub fn matrix(&self, name: &str) -> Option<FileMatrix> {
        let tensor = self.tensors.get(name)?;
        let form = tensor.dtype.file_form()?;
        let dims = rows_and_columns(&tensor.dims)?;
        FileMatrix::new(form, dims, Arc::clone(&self.bytes) as FileBytes, tensor.start).ok()
    }

    /// A tensor's values as 32-bit floats, whatever their form.
    ///
    /// # Errors
    /// If the tensor is missing, or of a form that is not read.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let error = |message: String| Error::Tensor {
            path: self.path.clone(),
            name: name.to_owned(),
            message,
        };
        let tensor = self.tensors.get(name);
        let tensor = tensor.ok_or_else(|| error("is missing".into()))?;
        let bytes = &self.bytes[tensor.start..tensor.start + tensor.bytes];
        let mut values = vec![0.0; tensor.dims.iter().product()];
        if !blocks::dequantize(tensor.dtype, bytes, &mut values) {
            return Err(error(format!("values of type {} are not read", tensor.dtype)));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
