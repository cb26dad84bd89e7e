//! Tensors, and reading them from messages.

use super::data::{DType, Data};
use super::proto::TensorProto;
use super::{Error, Result};
use half::{bf16, f16};
use std::path::{Component, Path};
use std::sync::Arc;

/// The most elements of a tensor that is computed: 1 GiB of floats. Those that are there, in memory
/// or in a file, may be more.
pub(crate) const MOST: usize = if cfg!(feature = "fuzzing") { 1 << 16 } else { 1 << 28 };

/// The most dimensions.
const MOST_DIMS: usize = 64;

/// Elements and their shape, row-major; a scalar has no dimensions.
///
/// ```
/// use ff_interop::onnx::Tensor;
/// let tensor = Tensor::new(&[2, 1], vec![1.0f32, 2.0])?;
/// assert_eq!(tensor.dims(), [2, 1]);
/// assert!(Tensor::new(&[3], vec![1.0f32]).is_err());
/// # Ok::<(), ff_interop::onnx::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    dims: Vec<usize>,
    /// Shared, so that another shape or a copy costs nothing.
    data: Arc<Data>,
}

/// The product of dimensions.
///
/// # Errors
/// It exceeds [`MOST`], also without the dimensions of 0, so that products of some of them are
/// bounded too.
pub(crate) fn count(dims: &[usize]) -> Result<usize, String> {
    count_within(dims, MOST)
}

/// The same with another bound.
fn count_within(dims: &[usize], most: usize) -> Result<usize, String> {
    let rest = dims.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d));
    if dims.len() > MOST_DIMS || rest.is_none_or(|n| n > most) {
        return Err(format!("a tensor of shape {dims:?} has more than {most} elements"));
    }
    Ok(dims.iter().product())
}

impl Tensor {
    /// A tensor.
    ///
    /// # Errors
    /// The shape has another number of elements.
    pub fn new(dims: &[usize], data: impl Into<Data>) -> Result<Self> {
        Self::of(dims, data.into()).map_err(Error::Input)
    }

    /// The same, with an error in words.
    pub(crate) fn of(dims: &[usize], data: Data) -> Result<Self, String> {
        if count_within(dims, data.len().max(MOST))? != data.len() {
            return Err(format!("a tensor of shape {dims:?} cannot hold {} elements", data.len()));
        }
        Ok(Self { dims: dims.to_vec(), data: Arc::new(data) })
    }

    /// One element without dimensions.
    pub(crate) fn scalar(data: impl Into<Data>) -> Self {
        let data = data.into();
        let data = if data.len() == 1 { data } else { data.pick(0..1) };
        Self { dims: Vec::new(), data: Arc::new(data) }
    }

    /// A vector.
    pub(crate) fn vector(data: impl Into<Data>) -> Self {
        let data = data.into();
        Self { dims: vec![data.len()], data: Arc::new(data) }
    }

    /// The shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements, to keep.
    pub fn into_data(self) -> Data {
        Arc::unwrap_or_clone(self.data)
    }

    /// The elements, unless another tensor shares them.
    pub(crate) fn sole_data(self) -> Option<Data> {
        Arc::try_unwrap(self.data).ok()
    }

    /// The same elements in another shape.
    pub(crate) fn reshaped(&self, dims: &[usize]) -> Result<Self, String> {
        if count_within(dims, self.data.len().max(MOST))? != self.data.len() {
            let n = self.data.len();
            return Err(format!("a tensor of shape {dims:?} cannot hold {n} elements"));
        }
        Ok(Self { dims: dims.to_vec(), data: self.data.clone() })
    }

    /// Reads a message. External data lies in `folder`.
    pub(crate) fn from_proto(proto: &TensorProto, folder: Option<&Path>) -> Result<Self> {
        let name = if proto.name.is_empty() { "a tensor" } else { &proto.name };
        let bad = |message: String| Error::Malformed(format!("tensor `{name}`: {message}"));
        let dims: Option<Vec<usize>> =
            proto.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let dims = dims.ok_or_else(|| bad(format!("{:?} is no shape", proto.dims)))?;
        // No memory is taken before its bytes are seen.
        let n = count_within(&dims, usize::MAX >> 3).map_err(bad)?;
        let dtype = DType::from_code(proto.data_type).ok_or_else(|| {
            let code = proto.data_type;
            Error::Unsupported(format!(
                "tensor `{name}` has elements of type {code}, which this version does not read"
            ))
        })?;
        let data = if proto.data_location == 1 {
            let bytes = external(proto, folder, n.saturating_mul(dtype.size())).map_err(bad)?;
            raw(dtype, &bytes)
        } else if let Some(bytes) = &proto.raw_data {
            raw(dtype, bytes)
        } else {
            typed(dtype, proto)
        };
        let data =
            data.ok_or_else(|| bad(format!("its bytes are no elements of type {}", dtype.name())))?;
        Self::of(&dims, data).map_err(bad)
    }

    /// The message of this tensor without its elements.
    pub(crate) fn header(&self, name: &str) -> TensorProto {
        TensorProto {
            name: name.into(),
            dims: self.dims.iter().map(|&d| d as i64).collect(),
            data_type: self.dtype().code(),
            ..TensorProto::default()
        }
    }

    /// The message of this tensor.
    pub(crate) fn to_proto(&self, name: &str) -> TensorProto {
        let mut proto = self.header(name);
        proto.raw_data = self.bytes();
        if let Data::Text(v) = &*self.data {
            proto.string_data = v.iter().map(|text| text.clone().into_bytes()).collect();
        }
        proto
    }

    /// The elements as little-endian bytes; `None` for texts.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        macro_rules! bytes {
            ($v:expr) => {
                $v.iter().flat_map(|x| x.to_le_bytes()).collect()
            };
        }
        Some(match &*self.data {
            Data::Text(_) => return None,
            Data::Bool(v) => v.iter().map(|&x| u8::from(x)).collect(),
            Data::F32(v) => bytes!(v),
            Data::F64(v) => bytes!(v),
            Data::F16(v) => bytes!(v),
            Data::BF16(v) => bytes!(v),
            Data::I8(v) => bytes!(v),
            Data::I16(v) => bytes!(v),
            Data::I32(v) => bytes!(v),
            Data::I64(v) => bytes!(v),
            Data::U8(v) => v.clone(),
            Data::U16(v) => bytes!(v),
            Data::U32(v) => bytes!(v),
            Data::U64(v) => bytes!(v),
        })
    }
}

/// Elements of little-endian bytes.
pub(crate) fn raw(dtype: DType, bytes: &[u8]) -> Option<Data> {
    if dtype == DType::Text || !bytes.len().is_multiple_of(dtype.size()) {
        return None;
    }
    macro_rules! read {
        ($t:ty) => {
            bytes.as_chunks().0.iter().map(|b| <$t>::from_le_bytes(*b)).collect::<Vec<$t>>().into()
        };
    }
    Some(match dtype {
        DType::F32 => read!(f32),
        DType::F64 => read!(f64),
        DType::F16 => read!(f16),
        DType::BF16 => read!(bf16),
        DType::I8 => read!(i8),
        DType::I16 => read!(i16),
        DType::I32 => read!(i32),
        DType::I64 => read!(i64),
        DType::U8 => bytes.to_vec().into(),
        DType::U16 => read!(u16),
        DType::U32 => read!(u32),
        DType::U64 => read!(u64),
        DType::Bool => bytes.iter().map(|&b| b != 0).collect::<Vec<_>>().into(),
        DType::Text => return None,
    })
}

/// Elements of the fields that have a type.
fn typed(dtype: DType, proto: &TensorProto) -> Option<Data> {
    let small = || proto.int32_data.iter().copied();
    Some(match dtype {
        DType::F32 => proto.float_data.clone().into(),
        DType::F64 => proto.double_data.clone().into(),
        DType::I64 => proto.int64_data.clone().into(),
        DType::I32 => proto.int32_data.clone().into(),
        DType::U64 => proto.uint64_data.clone().into(),
        DType::U32 => proto.uint64_data.iter().map(|&x| x as u32).collect::<Vec<_>>().into(),
        DType::F16 => small().map(|x| f16::from_bits(x as u16)).collect::<Vec<_>>().into(),
        DType::BF16 => small().map(|x| bf16::from_bits(x as u16)).collect::<Vec<_>>().into(),
        DType::I8 => small().map(|x| x as i8).collect::<Vec<_>>().into(),
        DType::I16 => small().map(|x| x as i16).collect::<Vec<_>>().into(),
        DType::U8 => small().map(|x| x as u8).collect::<Vec<_>>().into(),
        DType::U16 => small().map(|x| x as u16).collect::<Vec<_>>().into(),
        DType::Bool => small().map(|x| x != 0).collect::<Vec<_>>().into(),
        DType::Text => {
            let texts = proto.string_data.iter().map(|bytes| String::from_utf8(bytes.clone()).ok());
            texts.collect::<Option<Vec<String>>>()?.into()
        }
    })
}

/// The bytes of a tensor in a file of its own, in or below the model's folder.
fn external(
    proto: &TensorProto,
    folder: Option<&Path>,
    expected: usize,
) -> Result<Vec<u8>, String> {
    use std::io::{Read, Seek, SeekFrom};
    let entry = |key: &str| {
        proto.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    };
    let location = entry("location").ok_or("its external data names no file")?;
    let path = Path::new(location);
    let inside =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || location.is_empty() {
        return Err(format!(
            "its external data `{location}` lies outside of the model's folder, where nothing is read"
        ));
    }
    let folder = folder.ok_or("its data is in another file, and the model was read from memory")?;
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| format!("its external {key} `{text}` is no number")),
    };
    let (offset, length) =
        (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(expected as u64));
    if length != expected as u64 {
        return Err(format!(
            "its external data has {length} bytes, and its shape needs {expected}"
        ));
    }
    let path = folder.join(path);
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    // A link may leave the folder, too.
    let (real, root) =
        (path.canonicalize().map_err(failed)?, folder.canonicalize().map_err(failed)?);
    if !real.starts_with(root) {
        return Err(format!(
            "its external data `{location}` is a link to outside of the model's folder, where nothing is read"
        ));
    }
    let mut file = std::fs::File::open(&real).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || offset.checked_add(length).is_none_or(|end| end > found.len()) {
        return Err(format!("{} ends before its data does", path.display()));
    }
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut bytes = vec![0; expected];
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
