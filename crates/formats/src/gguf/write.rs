//! Writing GGUF files, version 3.

use super::quantize::quantize;
use super::{GgmlType, GgufValue, blocks, parse};
use crate::Result;
use crate::output::write_output;
use ff_tensor::ThreadPool;
use std::borrow::Cow;
use std::fmt;
use std::io::{Error, Write};
use std::path::Path;

const ALIGNMENT: usize = 32;
/// The values of a task: whole blocks of any form, some milliseconds of the slowest.
const PART: usize = 1 << 15;

/// Collects metadata and tensors and writes them as one file.
///
/// ```
/// use ff_formats::{GgmlType, GgufFile, GgufValue, GgufWriter};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.gguf");
/// let mut writer = GgufWriter::new();
/// writer.metadata("general.architecture", GgufValue::String("llama".into()));
/// writer.add("output.weight", &[2, 32], GgmlType::Q8_0, || vec![0.5; 64].into());
/// writer.write(&path, &ff_tensor::ThreadPool::new(1))?;
/// let values = GgufFile::open(&path)?.floats("output.weight")?;
/// assert!(values.iter().all(|x| (x - 0.5).abs() < 1e-3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct GgufWriter<'a> {
    metadata: Vec<(String, GgufValue)>,
    tensors: Vec<Tensor<'a>>,
}

struct Tensor<'a> {
    name: String,
    dims: Vec<usize>,
    dtype: GgmlType,
    values: Box<dyn Fn() -> Cow<'a, [f32]> + 'a>,
}

impl Tensor<'_> {
    fn len(&self) -> usize {
        self.dims.iter().product()
    }

    fn bytes(&self) -> usize {
        self.len() / self.dtype.block() * self.dtype.bytes()
    }
}

impl fmt::Debug for GgufWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.tensors.iter().map(|tensor| &tensor.name);
        f.debug_list().entries(names).finish()
    }
}

impl<'a> GgufWriter<'a> {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metadata entry.
    pub fn metadata(&mut self, key: &str, value: GgufValue) {
        self.metadata.push((key.to_owned(), value));
    }

    /// Adds a tensor, whose values are asked for on writing.
    pub fn add(
        &mut self,
        name: &str,
        dims: &[usize],
        dtype: GgmlType,
        values: impl Fn() -> Cow<'a, [f32]> + 'a,
    ) {
        let tensor =
            Tensor { name: name.to_owned(), dims: dims.to_vec(), dtype, values: Box::new(values) };
        self.tensors.push(tensor);
    }

    /// Writes the file atomically, as [`write_output`] does; threads share the quantisation.
    ///
    /// # Errors
    /// If the file cannot be written; if a tensor's rows are no whole blocks, its form is not one
    /// that is written, or its values are not those of its shape.
    pub fn write(self, path: &Path, threads: &ThreadPool) -> Result<()> {
        write_output(path, |file| {
            let header = self.header();
            file.write_all(&header)?;
            file.write_all(&vec![0; header.len().next_multiple_of(ALIGNMENT) - header.len()])?;
            for tensor in &self.tensors {
                let fail = |what: &str| Error::other(format!("tensor `{}`: {what}", tensor.name));
                let values = (tensor.values)();
                if values.len() != tensor.len() {
                    return Err(fail("its values are not those of its shape"));
                }
                if !tensor
                    .dims
                    .last()
                    .is_none_or(|width| width.is_multiple_of(tensor.dtype.block()))
                {
                    return Err(fail("its rows are no whole blocks"));
                }
                let Some(mut bytes) = bytes_of(tensor.dtype, &values, threads) else {
                    return Err(fail("its form is not written"));
                };
                bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
                file.write_all(&bytes)?;
            }
            Ok(())
        })
    }

    fn header(&self) -> Vec<u8> {
        let mut out = parse::MAGIC.to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(key, &mut out);
            out.extend(kind(value).to_le_bytes());
            write_value(value, &mut out);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            text(&tensor.name, &mut out);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().rev().for_each(|&dim| out.extend((dim as u64).to_le_bytes()));
            out.extend((tensor.dtype as u32).to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT) as u64;
        }
        out
    }
}

impl GgmlType {
    /// The values as they are read once they were written in this form; none if it is not written.
    ///
    /// ```
    /// let threads = ff_tensor::ThreadPool::new(1);
    /// assert_eq!(ff_formats::GgmlType::BF16.rounded(&[1.001], &threads), Some(vec![1.0]));
    /// ```
    pub fn rounded(self, values: &[f32], threads: &ThreadPool) -> Option<Vec<f32>> {
        let bytes = bytes_of(self, values, threads)?;
        let mut rounded = vec![0.0; values.len()];
        blocks::dequantize(self, &bytes, &mut rounded).then_some(rounded)
    }
}

/// The values in a form, if it is one that is written.
fn bytes_of(dtype: GgmlType, values: &[f32], threads: &ThreadPool) -> Option<Vec<u8>> {
    let part = |values: &[f32]| {
        let mut bytes = Vec::with_capacity(values.len() / dtype.block() * dtype.bytes());
        quantize(dtype, values, &mut bytes).then_some(bytes)
    };
    Some(threads.map(values.chunks(PART), part).into_iter().collect::<Option<Vec<_>>>()?.concat())
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The number of a value's type.
fn kind(value: &GgufValue) -> u32 {
    match value {
        GgufValue::U8(_) => 0,
        GgufValue::I8(_) => 1,
        GgufValue::U16(_) => 2,
        GgufValue::I16(_) => 3,
        GgufValue::U32(_) => 4,
        GgufValue::I32(_) => 5,
        GgufValue::F32(_) => 6,
        GgufValue::Bool(_) => 7,
        GgufValue::String(_) => 8,
        GgufValue::Array(_) => 9,
        GgufValue::U64(_) => 10,
        GgufValue::I64(_) => 11,
        GgufValue::F64(_) => 12,
    }
}

fn write_value(value: &GgufValue, out: &mut Vec<u8>) {
    match value {
        GgufValue::U8(n) => out.extend(n.to_le_bytes()),
        GgufValue::I8(n) => out.extend(n.to_le_bytes()),
        GgufValue::U16(n) => out.extend(n.to_le_bytes()),
        GgufValue::I16(n) => out.extend(n.to_le_bytes()),
        GgufValue::U32(n) => out.extend(n.to_le_bytes()),
        GgufValue::I32(n) => out.extend(n.to_le_bytes()),
        GgufValue::F32(x) => out.extend(x.to_le_bytes()),
        GgufValue::Bool(flag) => out.push((*flag).into()),
        GgufValue::String(value) => text(value, out),
        GgufValue::Array(values) => {
            // Empty lists are lists of texts.
            out.extend(values.first().map_or(8, kind).to_le_bytes());
            out.extend((values.len() as u64).to_le_bytes());
            for value in values {
                write_value(value, out);
            }
        }
        GgufValue::U64(n) => out.extend(n.to_le_bytes()),
        GgufValue::I64(n) => out.extend(n.to_le_bytes()),
        GgufValue::F64(x) => out.extend(x.to_le_bytes()),
    }
}
