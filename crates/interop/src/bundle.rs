//! Weights of TensorFlow: a SavedModel's folder, or a checkpoint. Only variables are read, never a
//! graph.
//!
//! An index (`NAME.index`) is a table of LevelDB from names to messages, and the elements lie in
//! files `NAME.data-00000-of-00001` and so on. Sources:
//! <https://github.com/google/leveldb/blob/main/doc/table_format.md>,
//! <https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/tensor_bundle.proto>.

use crate::onnx::{self, DType, Error, Result, Tensor};
use prost::Message;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The largest index.
const MOST_INDEX: u64 = 256 << 20;
/// The most bytes of all weights.
const MOST_WEIGHTS: usize = if cfg!(feature = "fuzzing") { 16 << 20 } else { 4 << 30 };
/// The most weights.
const MOST_ENTRIES: usize = if cfg!(feature = "fuzzing") { 10_000 } else { 1_000_000 };
/// The most bytes of all names: a few bytes may repeat a long one.
const MOST_NAMES: usize = 64 << 20;
/// The last bytes of a table of LevelDB.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// What follows a block: its compression and a checksum.
const TRAILER: usize = 5;

/// What the index says of all files.
#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(int32, tag = "1")]
    shards: i32,
    /// 0 for little-endian.
    #[prost(int32, tag = "2")]
    endianness: i32,
}

/// Where a weight is.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(int32, tag = "3")]
    shard: i32,
    #[prost(int64, tag = "4")]
    offset: i64,
    #[prost(int64, tag = "5")]
    size: i64,
    /// Parts of a larger weight.
    #[prost(message, repeated, tag = "7")]
    slices: Vec<Slice>,
}

#[derive(Clone, PartialEq, Message)]
struct Slice {}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dims: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// The index of a SavedModel's folder or of a checkpoint; `None` for any other path.
pub(crate) fn index_of(path: &Path) -> Option<PathBuf> {
    let saved = path.join("variables").join("variables.index");
    if path.is_dir() {
        return saved.is_file().then_some(saved);
    }
    path.extension().is_some_and(|ending| ending == "index").then(|| path.to_owned())
}

/// The weights of an index, by the names of TensorFlow's objects; texts are left out.
pub(crate) fn weights(index: &Path) -> Result<Vec<(String, Tensor)>> {
    let io = ff_formats::Error::io(index, "reading");
    let size = std::fs::metadata(index).map_err(&io)?.len();
    let bad = |message: String| {
        Error::Malformed(format!(
            "{}: these are no weights of TensorFlow: {message}",
            index.display()
        ))
    };
    if size > MOST_INDEX {
        return Err(bad(format!("the index has {size} bytes; {MOST_INDEX} are read at most")));
    }
    let bytes = std::fs::read(index).map_err(&io)?;
    let mut shards = 0;
    let mut found = Vec::new();
    let mut left = MOST_WEIGHTS;
    for (key, value) in entries(&bytes).map_err(bad)? {
        if key.is_empty() {
            let header = Header::decode(value).map_err(|e| bad(e.to_string()))?;
            if header.endianness != 0 {
                return Err(bad("they are big-endian, which is not read".into()));
            }
            shards = header.shards;
            continue;
        }
        let name = String::from_utf8(key).map_err(|_| bad("a name is not in UTF-8".into()))?;
        let of = |message: String| bad(format!("`{name}`: {message}"));
        let entry = Entry::decode(value).map_err(|e| of(e.to_string()))?;
        // Texts, such as the description of all objects.
        if entry.dtype == 7 {
            continue;
        }
        let dtype = dtype(entry.dtype).ok_or_else(|| {
            Error::Unsupported(format!(
                "`{name}` has elements of type {}, which are not read",
                entry.dtype
            ))
        })?;
        if !entry.slices.is_empty() {
            return Err(Error::Unsupported(format!("`{name}` lies in slices, which are not read")));
        }
        let dims: Option<Vec<usize>> = entry
            .shape
            .iter()
            .flat_map(|shape| &shape.dims)
            .map(|d| usize::try_from(d.size).ok())
            .collect();
        let dims = dims.ok_or_else(|| of("its shape is none".into()))?;
        let n = onnx::count(&dims).map_err(of)?.saturating_mul(dtype.size());
        left = left
            .checked_sub(n)
            .ok_or_else(|| of(format!("all weights take more than {MOST_WEIGHTS} bytes")))?;
        if u64::try_from(entry.size).ok() != Some(n as u64) {
            return Err(of(format!(
                "it has {} bytes, and its shape {dims:?} needs {n}",
                entry.size
            )));
        }
        let bytes = part(index, entry.shard, shards, entry.offset, n).map_err(of)?;
        let data =
            onnx::raw(dtype, &bytes).ok_or_else(|| of("its bytes are no elements".into()))?;
        let short = name.strip_suffix("/.ATTRIBUTES/VARIABLE_VALUE").unwrap_or(&name).to_owned();
        found.push((short, Tensor::new(&dims, data)?));
    }
    Ok(found)
}

/// Elements of the data beside the index.
fn part(index: &Path, shard: i32, shards: i32, offset: i64, n: usize) -> Result<Vec<u8>, String> {
    let path = index.with_extension(format!("data-{shard:05}-of-{shards:05}"));
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = std::fs::File::open(&path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let offset = u64::try_from(offset).map_err(|_| "its offset is negative")?;
    if offset.checked_add(n as u64).is_none_or(|end| end > size) {
        return Err(format!("{} ends before its data does", path.display()));
    }
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut bytes = vec![0; n];
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn dtype(code: i32) -> Option<DType> {
    Some(match code {
        1 => DType::F32,
        2 => DType::F64,
        3 => DType::I32,
        4 => DType::U8,
        5 => DType::I16,
        6 => DType::I8,
        9 => DType::I64,
        10 => DType::Bool,
        14 => DType::BF16,
        17 => DType::U16,
        19 => DType::F16,
        22 => DType::U32,
        23 => DType::U64,
        _ => return None,
    })
}

/// Keys and values.
type Pairs<'a> = Vec<(Vec<u8>, &'a [u8])>;

/// The keys and values of a table.
fn entries(bytes: &[u8]) -> Result<Pairs<'_>, String> {
    let end = bytes.len().checked_sub(8).ok_or("the index is too short")?;
    if bytes[end..] != MAGIC.to_le_bytes() {
        return Err("the index does not end like one".into());
    }
    let footer = end.checked_sub(40).ok_or("the index is too short")?;
    let mut at = footer;
    // The block of other tables comes first.
    for _ in 0..2 {
        varint(bytes, &mut at)?;
    }
    let index = block(bytes, bytes, &mut at)?;
    let mut room = [MOST_ENTRIES, MOST_NAMES];
    let mut all = Vec::new();
    for (_, handle) in pairs(index, &mut room)? {
        let block = block(bytes, handle, &mut 0)?;
        all.extend(pairs(block, &mut room)?);
    }
    Ok(all)
}

/// The block that a handle names.
fn block<'a>(file: &'a [u8], handle: &[u8], at: &mut usize) -> Result<&'a [u8], String> {
    let (offset, size) = (varint(handle, at)?, varint(handle, at)?);
    let end = offset.checked_add(size).filter(|end| end.saturating_add(TRAILER) <= file.len());
    let end = end.ok_or("a block lies outside of the index")?;
    match file[end] {
        0 => Ok(&file[offset..end]),
        _ => Err("a block is compressed, which is not read".into()),
    }
}

/// The entries of a block: each key begins like the one before it. `room` is for entries and for
/// the bytes of their names.
fn pairs<'a>(block: &'a [u8], room: &mut [usize; 2]) -> Result<Pairs<'a>, String> {
    let short = || "a block of the index is damaged".to_owned();
    let (body, restarts) = block.split_last_chunk::<4>().ok_or_else(short)?;
    let restarts = u32::from_le_bytes(*restarts) as usize;
    let body = body.len().checked_sub(restarts.saturating_mul(4)).map(|n| &body[..n]);
    let body = body.ok_or_else(short)?;
    let (mut at, mut key, mut all) = (0, Vec::new(), Vec::new());
    while at < body.len() {
        let (shared, own) = (varint(body, &mut at)?, varint(body, &mut at)?);
        let size = varint(body, &mut at)?;
        let rest = body.get(at..).ok_or_else(short)?;
        let (own, rest) = rest.split_at_checked(own).ok_or_else(short)?;
        let value = rest.get(..size).ok_or_else(short)?;
        if shared > key.len() {
            return Err(short());
        }
        let needed = [1, shared + own.len()];
        for (left, needed) in room.iter_mut().zip(needed) {
            *left =
                left.checked_sub(needed).ok_or("the index has too many names, or too long ones")?;
        }
        at += own.len() + size;
        key.truncate(shared);
        key.extend(own);
        all.push((key.clone(), value));
    }
    Ok(all)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<usize, String> {
    let mut value = 0u64;
    for i in 0..10 {
        let byte = *bytes.get(*at).ok_or("the index ends within a number")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * i).min(63);
        if byte < 0x80 {
            return usize::try_from(value).map_err(|_| "a number of the index is too large".into());
        }
    }
    Err("a number of the index is too long".into())
}
