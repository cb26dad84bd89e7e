//! safetensors: <https://github.com/huggingface/safetensors>.

use crate::atomic::replace;
use crate::gguf::GgmlType;
use crate::unique::UniqueKeys;
use crate::{Error, Result, rows_and_columns};
use ff_tensor::{FileBytes, FileForm, FileMatrix, Mapped};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The maximum header length accepted by readers of safetensors.
const LONGEST_HEADER: usize = 100_000_000;

/// The type of a stored tensor's values.
///
/// ```
/// use ff_formats::{StoredDType, TensorFile, TensorWriter};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let mut writer = TensorWriter::new();
/// writer.add_f32("bias", &[1], &[0.5]);
/// writer.write(&path)?;
/// assert_eq!(TensorFile::open(&path)?.dtype("bias"), Some(StoredDType::F32));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredDType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 16-bit float with the range of 32 bits.
    BF16,
    /// 16-bit float.
    F16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// Any other type; listed but not read.
    Other,
}

/// A tensor's entry in a file, listed by [`TensorFile::entries`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// The name.
    pub name: String,
    /// The shape.
    pub dims: Vec<usize>,
    /// The type, as spelled in the file.
    pub dtype: String,
    /// The size in bytes.
    pub bytes: usize,
}

/// A tensor with the bytes of its values, row by row, little-endian.
///
/// ```
/// use ff_formats::{RawTensor, TensorFile, write_raw};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("ids.safetensors");
/// let ids = RawTensor {
///     name: "ids".into(),
///     dtype: "I16".into(),
///     dims: vec![2],
///     bytes: (&[1, 0, 2, 0][..]).into(),
/// };
/// write_raw(&path, std::slice::from_ref(&ids))?;
/// assert_eq!(TensorFile::open(&path)?.raw("ids"), Some(ids));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTensor<'a> {
    /// The name.
    pub name: String,
    /// The type, as safetensors spells it: `F32`, `BF16`, `I64`.
    pub dtype: String,
    /// The shape.
    pub dims: Vec<usize>,
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
}

/// Writes tensors of any type as a safetensors file, atomically.
///
/// # Errors
/// If a type is unknown, the bytes do not fit the shape, or the file cannot be written.
pub fn write_raw(path: &Path, tensors: &[RawTensor<'_>]) -> Result<()> {
    let wrong = |name: &str, message: String| Error::Tensor {
        path: path.to_owned(),
        name: name.to_owned(),
        message,
    };
    let views = tensors.iter().map(|tensor| {
        let dtype = serde_json::from_value(serde_json::Value::from(tensor.dtype.as_str()));
        let dtype: Dtype = dtype.map_err(|e| wrong(&tensor.name, e.to_string()))?;
        let view = TensorView::new(dtype, tensor.dims.clone(), &tensor.bytes);
        Ok((tensor.name.as_str(), view.map_err(|e| wrong(&tensor.name, e.to_string()))?))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata));
    let bytes = bytes.map_err(|e| wrong("", e.to_string()))?;
    crate::write_atomic(path, |out| out.write_all(&bytes))
}

/// The bytes of a mapped tensor that are in memory at once while it is copied.
const PART: usize = 1 << 22;

/// A safetensors file, checked when opened; a file of PyTorch becomes one in memory.
///
/// ```
/// use ff_formats::{TensorFile, TensorWriter};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.safetensors");
/// let mut writer = TensorWriter::new();
/// writer.add_f32("weight", &[2, 1], &[1.0, 2.0]);
/// writer.write(&path)?;
/// let file = TensorFile::open(&path)?;
/// assert_eq!(file.f32("weight", &[2, 1])?, [1.0, 2.0]);
/// assert!(file.f32("weight", &[1, 2]).unwrap_err().to_string().contains("[2, 1]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    entries: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

/// The contents of a file: read, or mapped if possibly larger than memory.
#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(Arc<Mapped>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct Entry {
    dims: Vec<usize>,
    dtype: Dtype,
    start: usize,
    len: usize,
}

impl TensorFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If the file cannot be read, or its header does not describe its contents: lengths past the
    /// end, overlaps, gaps.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "reading"))?;
        Self::parse(path, bytes)
    }

    /// Maps a file and reads only its header; values are read on access. The file must not be
    /// overwritten in place meanwhile.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn map(path: &Path) -> Result<Self> {
        let bytes = Mapped::open(path).map_err(Error::io(path, "reading"))?;
        Self::check(path, Bytes::Mapped(Arc::new(bytes)))
    }

    /// Checks a file in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::check(path, Bytes::Read(bytes))
    }

    fn check(path: &Path, bytes: Bytes) -> Result<Self> {
        let named = path.extension().is_some_and(|extension| extension == "safetensors");
        if !named && crate::torch::recognises(&bytes) {
            let bytes = Bytes::Read(crate::torch::to_safetensors(path, &bytes)?);
            return Self::check_safetensors(path, bytes);
        }
        Self::check_safetensors(path, bytes)
    }

    fn check_safetensors(path: &Path, bytes: Bytes) -> Result<Self> {
        let malformed = |message: String| Error::Malformed { path: path.to_owned(), message };
        let header = match bytes.first_chunk::<8>() {
            Some(length) => u64::from_le_bytes(*length),
            None => {
                return Err(malformed(format!(
                    "{} bytes are too few for a safetensors file",
                    bytes.len()
                )));
            }
        };
        if header > bytes.len() as u64 - 8 {
            return Err(malformed(format!(
                "the header claims {header} bytes, the file has {} in all",
                bytes.len()
            )));
        }
        // The crate checks lengths, offsets and overlaps; a panic in a third-party parser must not
        // end a run.
        let parsed = std::panic::catch_unwind(|| {
            let (header, metadata) =
                SafeTensors::read_metadata(&bytes).map_err(|e| e.to_string())?;
            SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
            // The crate keeps the last of several.
            let names: Result<UniqueKeys, _> = serde_json::from_slice(&bytes[8..8 + header]);
            names.map_err(|e| e.to_string())?;
            Ok::<_, String>((header, metadata))
        });
        let (header, metadata) = parsed
            .map_err(|_| malformed("the header cannot be parsed".into()))?
            .map_err(|message| malformed(format!("not a valid safetensors file: {message}")))?;
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let start = 8 + header + start;
                let entry = Entry {
                    dims: info.shape.clone(),
                    dtype: info.dtype,
                    start,
                    len: 8 + header + end - start,
                };
                (name, entry)
            })
            .collect();
        let metadata = metadata.metadata().clone().unwrap_or_default();
        Ok(Self { path: path.to_owned(), bytes, entries, metadata })
    }

    /// The value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// All tensors, by name.
    pub fn entries(&self) -> impl Iterator<Item = StoredTensor> + '_ {
        self.entries.iter().map(|(name, entry)| StoredTensor {
            name: name.clone(),
            dims: entry.dims.clone(),
            dtype: format!("{:?}", entry.dtype),
            bytes: entry.len,
        })
    }

    /// A tensor of any type as it is stored.
    pub fn raw(&self, name: &str) -> Option<RawTensor<'_>> {
        let entry = self.entries.get(name)?;
        Some(RawTensor {
            name: name.to_owned(),
            dtype: format!("{:?}", entry.dtype),
            dims: entry.dims.clone(),
            bytes: self.bytes[entry.start..][..entry.len].into(),
        })
    }

    /// Whether a tensor of this name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The shape of a tensor.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.dims.as_slice())
    }

    /// The type of a tensor's values.
    pub fn dtype(&self, name: &str) -> Option<StoredDType> {
        Some(match self.entries.get(name)?.dtype {
            Dtype::F32 => StoredDType::F32,
            Dtype::F64 => StoredDType::F64,
            Dtype::BF16 => StoredDType::BF16,
            Dtype::F16 => StoredDType::F16,
            Dtype::I32 => StoredDType::I32,
            Dtype::I64 => StoredDType::I64,
            _ => StoredDType::Other,
        })
    }

    /// A tensor of 32-bit floats with the expected shape.
    ///
    /// # Errors
    /// If the tensor is missing, or has another shape or type.
    pub fn f32(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        self.values(name, Some(dims), Dtype::F32, f32::from_le_bytes)
    }

    /// A tensor of floats of any width, as 32-bit floats, with the expected shape.
    ///
    /// # Errors
    /// If the tensor is missing, or has another shape or type.
    pub fn floats(&self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        match self.dtype(name) {
            Some(StoredDType::BF16) => {
                self.values(name, Some(dims), Dtype::BF16, |b| bf16::from_le_bytes(b).to_f32())
            }
            Some(StoredDType::F16) => {
                self.values(name, Some(dims), Dtype::F16, |b| f16::from_le_bytes(b).to_f32())
            }
            Some(StoredDType::F64) => {
                self.values(name, Some(dims), Dtype::F64, |b| f64::from_le_bytes(b) as f32)
            }
            _ => self.f32(name, dims),
        }
    }

    /// A matrix, or the rows of a stack of several, as a mapped file has it, without a copy; `None`
    /// if it is missing, no matrix, of another type than 16-bit or 32-bit floats, or if the file is
    /// not mapped.
    pub fn matrix(&self, name: &str) -> Option<FileMatrix> {
        let entry = self.entries.get(name)?;
        let form = match entry.dtype {
            Dtype::F32 => FileForm::F32,
            Dtype::F16 => FileForm::F16,
            Dtype::BF16 => FileForm::BF16,
            _ => return None,
        };
        let Bytes::Mapped(bytes) = &self.bytes else { return None };
        let dims = rows_and_columns(&entry.dims)?;
        FileMatrix::new(form, dims, Arc::clone(bytes) as FileBytes, entry.start).ok()
    }

    /// A tensor of 64-bit floats of any shape.
    ///
    /// # Errors
    /// If the tensor is missing or of another type.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>> {
        self.values(name, None, Dtype::F64, f64::from_le_bytes)
    }

    /// A tensor of 32-bit integers of any shape.
    ///
    /// # Errors
    /// If the tensor is missing or of another type.
    pub fn i32(&self, name: &str) -> Result<Vec<i32>> {
        self.values(name, None, Dtype::I32, i32::from_le_bytes)
    }

    fn values<T, const N: usize>(
        &self,
        name: &str,
        dims: Option<&[usize]>,
        dtype: Dtype,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let error = |message: String| Error::Tensor {
            path: self.path.clone(),
            name: name.to_owned(),
            message,
        };
        let entry = self.entries.get(name).ok_or_else(|| {
            let mut near: Vec<&str> = self.entries.keys().map(String::as_str).take(4).collect();
            near.sort_unstable();
            error(format!(
                "is missing; the file has {} tensors ({}, …)",
                self.entries.len(),
                near.join(", ")
            ))
        })?;
        if dims.is_some_and(|dims| dims != entry.dims) {
            let dims = dims.unwrap_or_default();
            return Err(error(format!("expected shape {dims:?}, found {:?}", entry.dims)));
        }
        if entry.dtype != dtype {
            return Err(error(format!("expected type {dtype:?}, found {:?}", entry.dtype)));
        }
        let mut values = Vec::with_capacity(entry.len / N);
        let end = entry.start + entry.len;
        for start in (entry.start..end).step_by(PART) {
            let part = start..end.min(start + PART);
            let chunks = self.bytes[part.clone()].as_chunks::<N>().0;
            values.extend(chunks.iter().map(|&chunk| read(chunk)));
            if let Bytes::Mapped(bytes) = &self.bytes {
                bytes.release(part);
            }
        }
        Ok(values)
    }
}

/// Collects tensors and writes them as one file.
///
/// ```
/// let mut writer = ff_formats::TensorWriter::new();
/// writer.metadata("format", "pt");
/// writer.add_f32("bias", &[1], &[0.5]);
/// assert_eq!(writer.bytes(), 4);
/// ```
#[derive(Debug, Default)]
pub struct TensorWriter<'a> {
    /// The type of the stored values; f32 if there is none.
    dtype: Option<GgmlType>,
    tensors: BTreeMap<String, Source<'a>>,
    metadata: BTreeMap<String, String>,
}

/// Values converted to bytes only while being written.
struct Source<'a> {
    dims: Vec<usize>,
    values: Box<dyn Fn() -> Cow<'a, [f32]> + 'a>,
}

impl Source<'_> {
    fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("dims", &self.dims).finish_non_exhaustive()
    }
}

impl<'a> TensorWriter<'a> {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores the values as F32, F16 or BF16.
    ///
    /// # Panics
    /// For another type.
    #[must_use]
    pub fn stored_as(mut self, dtype: GgmlType) -> Self {
        let known = [GgmlType::F32, GgmlType::F16, GgmlType::BF16].contains(&dtype);
        assert!(known, "safetensors of {dtype}");
        self.dtype = Some(dtype);
        self
    }

    fn dtype(&self) -> GgmlType {
        self.dtype.unwrap_or(GgmlType::F32)
    }

    /// Adds a metadata entry.
    pub fn metadata(&mut self, key: &str, value: impl Into<String>) {
        self.metadata.insert(key.to_owned(), value.into());
    }

    /// Adds a tensor of 32-bit floats.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    pub fn add_f32(&mut self, name: impl Into<String>, dims: &[usize], values: &'a [f32]) {
        assert_eq!(values.len(), dims.iter().product::<usize>(), "shape {dims:?}");
        self.add_made(name, dims, move || values.into());
    }

    /// Adds a tensor of 32-bit floats computed on writing, so that no copy of a whole model is
    /// held.
    pub fn add_made(
        &mut self,
        name: impl Into<String>,
        dims: &[usize],
        values: impl Fn() -> Cow<'a, [f32]> + 'a,
    ) {
        let source = Source { dims: dims.to_vec(), values: Box::new(values) };
        self.tensors.insert(name.into(), source);
    }

    /// The size of the values in bytes.
    pub fn bytes(&self) -> usize {
        self.tensors.values().map(|source| self.dtype().bytes() * source.len()).sum()
    }

    /// Writes the file atomically, tensors in the order of their names.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(self, path: &Path) -> Result<()> {
        // The crate's own writer would replace our temporary file by a second one, neither synced
        // nor readable by others.
        replace(path, |temporary| {
            let header = self.header()?;
            let mut out = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            for source in self.tensors.values() {
                let values = (source.values)();
                if values.len() != source.len() {
                    let message = format!("{} values for shape {:?}", values.len(), source.dims);
                    return Err(std::io::Error::other(message));
                }
                let dtype = self.dtype();
                for value in values.iter() {
                    match dtype {
                        GgmlType::F16 => out.write_all(&f16::from_f32(*value).to_le_bytes())?,
                        GgmlType::BF16 => out.write_all(&bf16::from_f32(*value).to_le_bytes())?,
                        _ => out.write_all(&value.to_le_bytes())?,
                    }
                }
            }
            out.flush()
        })
    }

    /// The header as JSON, padded with spaces so that values start at a multiple of 8 bytes.
    fn header(&self) -> std::io::Result<Vec<u8>> {
        let mut entries = serde_json::Map::new();
        if !self.metadata.is_empty() {
            entries.insert("__metadata__".into(), serde_json::to_value(&self.metadata)?);
        }
        let mut start = 0;
        for (name, source) in &self.tensors {
            let end = start + self.dtype().bytes() * source.len();
            let entry = serde_json::json!({
                "dtype": self.dtype().to_string(), "shape": source.dims, "data_offsets": [start, end],
            });
            entries.insert(name.clone(), entry);
            start = end;
        }
        let mut header = serde_json::to_vec(&entries)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        if header.len() > LONGEST_HEADER {
            return Err(std::io::Error::other(format!(
                "the header would take {} bytes, more than the {LONGEST_HEADER} that readers of \
                 safetensors accept",
                header.len()
            )));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<TensorFile> {
        TensorFile::parse(Path::new("x.safetensors"), bytes.to_vec())
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_before_anything_is_allocated() {
        let mut bytes = (1u64 << 63).to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        let message = parse(&bytes).unwrap_err().to_string();
        assert!(message.contains("claims 9223372036854775808 bytes"), "{message}");
        assert!(parse(b"").is_err());
    }

    #[test]
    fn a_key_that_stands_there_twice_is_refused() {
        let tensor = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let message = |header: String| parse(&file(&header, &[0; 4])).unwrap_err().to_string();
        let twice = message(format!(r#"{{"a":{tensor},"a":{tensor}}}"#));
        assert!(twice.contains("the key `a` is repeated"), "{twice}");
        let metadata = r#""__metadata__":{"x":"1","x":"2"}"#;
        assert!(message(format!(r#"{{{metadata},"a":{tensor}}}"#)).contains("`x` is repeated"));
        // Names are compared as texts, however they are written.
        assert!(message(format!(r#"{{"a":{tensor},"\u0061":{tensor}}}"#)).contains("`a`"));
        assert!(parse(&file(&format!(r#"{{"a":{tensor}}}   "#), &[0; 4])).is_ok());
    }

    #[test]
    fn what_is_written_is_one_file_that_others_may_read_and_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let mut first = Vec::new();
        for _ in 0..2 {
            let mut writer = TensorWriter::new();
            for key in ["format", "a \"note\"", "z"] {
                writer.metadata(key, "pt");
            }
            writer.add_f32("b", &[2, 1], &[1.0, f32::NAN]);
            writer.add_f32("a", &[0], &[]);
            writer.add_f32("c", &[], &[-0.0]);
            writer.write(&path).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert!(first.is_empty() || first == bytes);
            first = bytes;
        }
        let header = u64::from_le_bytes(*first.first_chunk().unwrap());
        assert_eq!((header % 8, first.len() as u64), (0, 8 + header + 12));
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.metadata("a \"note\""), Some("pt"));
        assert_eq!(file.f32("b", &[2, 1]).unwrap()[0].to_bits(), 1f32.to_bits());
        assert_eq!(file.f32("c", &[]).unwrap()[0].to_bits(), (-0f32).to_bits());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644);
        }
    }

    #[test]
    fn lies_about_offsets_shapes_and_types_are_found() {
        let good = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        assert!(parse(&file(good, &[0; 8])).is_ok());
        assert!(parse(&file(good, &[0; 7])).is_err());
        for bad in [
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"X9","shape":[2],"data_offsets":[0,8]}}"#,
            "not json",
        ] {
            assert!(parse(&file(bad, &[0; 8])).is_err(), "{bad}");
        }
        let opened = parse(&file(good, &[0; 8])).unwrap();
        assert!(opened.f64("a").unwrap_err().to_string().contains("expected type F64, found F32"));
        assert!(opened.f32("b", &[2]).unwrap_err().to_string().contains("is missing"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in ".{0,80}") {
            let _ = parse(&bytes);
            let _ = parse(&file(&header, &bytes));
        }
    }
}
