//! The elements of arrays.

use super::Dataset;
use super::cursor::{Cursor, UNDEFINED};
use super::message::{CHECKSUM, DEFLATE, Layout, SHUFFLE};
use super::object::leaves;
use crate::onnx::{DType, Data};
use std::borrow::Cow;
use std::io::Read;

/// The most that deflate shortens.
const DEFLATED: usize = 1040;

/// The bytes of an array.
pub(super) fn read<'a>(bytes: &'a [u8], dataset: &Dataset) -> Result<Cow<'a, [u8]>, String> {
    let size = crate::onnx::count(&dataset.dims)?.saturating_mul(dataset.dtype.size());
    if size == 0 {
        return Ok(Cow::Borrowed(&[]));
    }
    match &dataset.layout {
        Layout::Inside(at) => Ok(Cow::Borrowed(&bytes[at.clone()])),
        Layout::Contiguous { address: UNDEFINED, .. } => {
            Err("its elements were never written".into())
        }
        Layout::Contiguous { address, size: stored } => {
            if *stored != size {
                let dims = &dataset.dims;
                return Err(format!("it has {stored} bytes, and its shape {dims:?} needs {size}"));
            }
            let stored = Cursor::new(bytes, *address)?.take(size);
            stored.map(Cow::Borrowed).map_err(|_| "the file ends before its elements do".into())
        }
        Layout::Chunks { tree, dims } => chunks(bytes, dataset, *tree, dims, size).map(Cow::Owned),
    }
}

/// The bytes of an array in chunks.
fn chunks(
    bytes: &[u8],
    dataset: &Dataset,
    tree: u64,
    chunk: &[usize],
    size: usize,
) -> Result<Vec<u8>, String> {
    let Some((&element, chunk)) = chunk.split_last() else {
        return Err("its chunks have no shape".into());
    };
    let (dims, rank) = (&dataset.dims, dataset.dims.len());
    if chunk.len() != rank || element != dataset.dtype.size() || chunk.contains(&0) {
        return Err(format!("chunks of shape {chunk:?} do not divide a shape of {dims:?}"));
    }
    if tree == UNDEFINED {
        return Err("its elements were never written".into());
    }
    let chunk_size = crate::onnx::count(chunk)?.saturating_mul(element);
    let expected: usize = dims.iter().zip(chunk).map(|(d, c)| d.div_ceil(*c)).product();
    let found = leaves(bytes, tree, 1, 8 + 8 * (rank + 1))?;
    if found.len() != expected {
        let n = found.len();
        return Err(format!("it has {n} chunks, and its shape {dims:?} needs {expected}"));
    }
    // Sizes are checked before memory is taken: no file of a few bytes becomes gigabytes.
    let mut stored = 0usize;
    let mut parts = Vec::new();
    for leaf in &found {
        let mut key = Cursor { bytes: &bytes[..leaf.key.end], at: leaf.key.start };
        let (length, mask) = (key.u32()? as usize, key.u32()?);
        let offset: Vec<usize> = (0..rank).map(|_| key.size()).collect::<Result<_, _>>()?;
        let part = Cursor::new(bytes, leaf.child)?.take(length);
        let part = part.map_err(|_| "the file ends before its chunks do".to_owned())?;
        if offset.iter().zip(dims).any(|(o, d)| o >= d)
            || offset.iter().zip(chunk).any(|(o, c)| o % c != 0)
        {
            return Err(format!("a chunk at {offset:?} lies outside of its shape {dims:?}"));
        }
        stored = stored.saturating_add(length);
        parts.push((offset, part, mask));
    }
    if stored > bytes.len() || size.max(chunk_size) > stored.saturating_mul(DEFLATED) {
        return Err(format!("its chunks of {stored} bytes cannot hold a shape of {dims:?}"));
    }
    let mut all = vec![0; size];
    for (offset, part, mask) in parts {
        let part = unfiltered(part, &dataset.filters, mask, chunk_size, element)?;
        place(&mut all, dims, &part, chunk, &offset, element);
    }
    Ok(all)
}

/// The bytes of a chunk before its filters.
fn unfiltered<'a>(
    part: &'a [u8],
    filters: &[u16],
    mask: u32,
    size: usize,
    element: usize,
) -> Result<Cow<'a, [u8]>, String> {
    let mut part = Cow::Borrowed(part);
    for (i, filter) in filters.iter().enumerate().rev() {
        if mask >> i.min(31) & 1 == 1 {
            continue;
        }
        part = match *filter {
            DEFLATE => {
                // A checksum of four bytes may follow the elements.
                let most = size as u64 + 5;
                let mut plain = Vec::new();
                let mut reader = flate2::read::ZlibDecoder::new(&*part).take(most);
                reader.read_to_end(&mut plain).map_err(|e| format!("a chunk is damaged: {e}"))?;
                plain.into()
            }
            SHUFFLE => {
                let n = part.len() / element;
                let mut plain = part.to_vec();
                for (i, byte) in plain[..n * element].iter_mut().enumerate() {
                    *byte = part[i % element * n + i / element];
                }
                plain.into()
            }
            CHECKSUM => {
                let Some(body) = part.len().checked_sub(4) else {
                    return Err("a chunk is shorter than its checksum".into());
                };
                if fletcher32(&part[..body]).to_le_bytes() != part[body..] {
                    return Err("a chunk differs from its checksum: the file is damaged".into());
                }
                part[..body].to_vec().into()
            }
            other => return Err(format!("the filter {other} is not read")),
        };
    }
    if part.len() != size {
        return Err(format!("a chunk has {} bytes, and its shape needs {size}", part.len()));
    }
    Ok(part)
}

/// Fletcher's checksum of 16-bit words, as the format defines it.
fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (0u64, 0u64);
    for pair in bytes.chunks(2) {
        let word = u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        a = (a + word) % 65_535;
        b = (b + a) % 65_535;
    }
    (b << 16 | a) as u32
}

/// Copies a chunk to its place, row by row, without what lies beyond the array.
fn place(
    all: &mut [u8],
    dims: &[usize],
    part: &[u8],
    chunk: &[usize],
    offset: &[usize],
    element: usize,
) {
    let Some((&last, outer)) = chunk.split_last() else {
        all.copy_from_slice(part);
        return;
    };
    let rank = dims.len();
    let width = last.min(dims[rank - 1] - offset[rank - 1]) * element;
    for row in 0..outer.iter().product::<usize>() {
        let (mut rest, mut target, mut stride) = (row, offset[rank - 1], dims[rank - 1]);
        let mut inside = true;
        for axis in (0..rank - 1).rev() {
            let at = offset[axis] + rest % chunk[axis];
            rest /= chunk[axis];
            inside &= at < dims[axis];
            target += at * stride;
            stride *= dims[axis];
        }
        if inside {
            let (from, to) = (row * last * element, target * element);
            all[to..to + width].copy_from_slice(&part[from..from + width]);
        }
    }
}

/// Numbers of bytes in either order.
pub(super) fn numbers(dtype: DType, big_endian: bool, bytes: &[u8]) -> Result<Data, String> {
    let data = if big_endian {
        let mut bytes = bytes.to_vec();
        bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
        crate::onnx::raw(dtype, &bytes)
    } else {
        crate::onnx::raw(dtype, bytes)
    };
    data.ok_or_else(|| "its bytes are no elements".into())
}

/// A text of a fixed size, without the zeros or spaces behind it.
pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| "a text is not in UTF-8".into())
}
