//! Messages of object headers: shapes, types, places of elements.

use super::Attribute;
use super::cursor::Cursor;
use crate::onnx::DType;

/// The type of elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datatype {
    Number {
        dtype: DType,
        big_endian: bool,
    },
    /// Texts of so many bytes.
    Text {
        size: usize,
    },
    /// Texts in the global heap.
    VariableText,
    /// What is not read.
    Other {
        name: String,
        size: usize,
    },
}

/// Where the elements are.
#[derive(Debug)]
pub(super) enum Layout {
    Inside(std::ops::Range<usize>),
    Contiguous { address: u64, size: usize },
    Chunks { tree: u64, dims: Vec<usize> },
}

impl Datatype {
    /// The bytes of an element.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Number { dtype, .. } => dtype.size(),
            Self::Text { size } | Self::Other { size, .. } => *size,
            Self::VariableText => 16,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Number { dtype, .. } => dtype.name().into(),
            Self::Text { .. } | Self::VariableText => "string".into(),
            Self::Other { name, .. } => name.clone(),
        }
    }

    pub(super) fn parse(at: &mut Cursor<'_>) -> Result<Self, String> {
        let class = at.u8()? & 15;
        let flags = at.uint(3)?;
        let size = at.u32()? as usize;
        let other = |name: &str| Ok(Self::Other { name: name.into(), size });
        match class {
            0 => {
                let (offset, bits) = (at.u16()?, at.u16()?);
                let dtype = match (size, flags >> 3 & 1) {
                    (1, 0) => DType::U8,
                    (2, 0) => DType::U16,
                    (4, 0) => DType::U32,
                    (8, 0) => DType::U64,
                    (1, _) => DType::I8,
                    (2, _) => DType::I16,
                    (4, _) => DType::I32,
                    (8, _) => DType::I64,
                    _ => return other("integers of an unusual size"),
                };
                if offset != 0 || usize::from(bits) != 8 * size {
                    return other("integers with padding");
                }
                Ok(Self::Number { dtype, big_endian: flags & 1 == 1 })
            }
            1 => {
                let (offset, bits) = (at.u16()?, at.u16()?);
                let parts = [at.u8()?, at.u8()?, at.u8()?, at.u8()?];
                let dtype = match (size, parts) {
                    (2, [10, 5, 0, 10]) => DType::F16,
                    (2, [7, 8, 0, 7]) => DType::BF16,
                    (4, [23, 8, 0, 23]) => DType::F32,
                    (8, [52, 11, 0, 52]) => DType::F64,
                    _ => return other("numbers of an unusual format"),
                };
                if offset != 0 || usize::from(bits) != 8 * size || flags >> 6 & 1 == 1 {
                    return other("numbers of an unusual format");
                }
                Ok(Self::Number { dtype, big_endian: flags & 1 == 1 })
            }
            3 => Ok(Self::Text { size }),
            // The truth values of h5py are an enumeration.
            8 if size == 1 => Ok(Self::Number { dtype: DType::Bool, big_endian: false }),
            9 if flags & 15 == 1 && size == 16 => Ok(Self::VariableText),
            2 => other("times"),
            4 => other("bit fields"),
            5 => other("opaque bytes"),
            6 => other("compound types"),
            7 => other("references"),
            8 => other("enumerations"),
            9 => other("lists of various lengths"),
            10 => other("arrays"),
            _ => other("an unknown type"),
        }
    }
}

/// A shape; one without elements for the null space.
pub(super) fn dataspace(at: &mut Cursor<'_>) -> Result<Vec<usize>, String> {
    let version = at.u8()?;
    let (rank, _flags) = (at.u8()?, at.u8()?);
    let kind = at.u8()?;
    match version {
        1 => at.skip(4)?,
        2 if kind == 2 => return Ok(vec![0]),
        2 => {}
        _ => return Err(format!("its shape has version {version}, which is not read")),
    }
    let dims: Vec<usize> = (0..rank).map(|_| at.size()).collect::<Result<_, _>>()?;
    crate::onnx::count(&dims)?;
    Ok(dims)
}

/// The place of elements; `start` is where the message begins in the file.
pub(super) fn layout(at: &mut Cursor<'_>) -> Result<Layout, String> {
    let version = at.u8()?;
    if !(3..=5).contains(&version) {
        return Err(format!("its layout has version {version}, which is not read"));
    }
    match at.u8()? {
        0 => {
            let size = usize::from(at.u16()?);
            let start = at.at;
            at.skip(size)?;
            Ok(Layout::Inside(start..start + size))
        }
        1 => Ok(Layout::Contiguous { address: at.u64()?, size: at.size()? }),
        2 if version == 3 => {
            let rank = at.u8()?;
            let tree = at.u64()?;
            let dims: Vec<usize> =
                (0..rank).map(|_| at.u32().map(|d| d as usize)).collect::<Result<_, _>>()?;
            Ok(Layout::Chunks { tree, dims })
        }
        2 => Err("its chunks have an index of HDF5 1.10 (libver=\"latest\"), which is not read; \
                  save it again with the default of h5py"
            .into()),
        3 => Err("it is a virtual dataset, a view of other files, which is not followed".into()),
        class => Err(format!("its layout is of an unknown class {class}")),
    }
}

/// The filters of chunks, in the order of writing.
pub(super) fn filters(at: &mut Cursor<'_>) -> Result<Vec<u16>, String> {
    let version = at.u8()?;
    let n = at.u8()?;
    match version {
        1 => at.skip(6)?,
        2 => {}
        _ => return Err(format!("its filters have version {version}, which is not read")),
    }
    let mut filters = Vec::new();
    for _ in 0..n {
        let id = at.u16()?;
        let name = if version == 1 || id >= 256 { usize::from(at.u16()?) } else { 0 };
        let _flags = at.u16()?;
        let values = usize::from(at.u16()?);
        at.skip(if version == 1 { name.next_multiple_of(8) } else { name })?;
        at.skip(4 * values)?;
        if version == 1 && values % 2 == 1 {
            at.skip(4)?;
        }
        filters.push(match id {
            DEFLATE | SHUFFLE | CHECKSUM => id,
            4 => return Err("it is compressed with szip, which is not read".into()),
            32_000 => return Err("it is compressed with LZF, which is not read".into()),
            _ => return Err(format!("it passed the filter {id}, which is not read")),
        });
    }
    Ok(filters)
}

pub(super) const DEFLATE: u16 = 1;
pub(super) const SHUFFLE: u16 = 2;
pub(super) const CHECKSUM: u16 = 3;

/// An attribute; `start` is where the message begins in the file.
pub(super) fn attribute(at: &mut Cursor<'_>) -> Result<Attribute, String> {
    let version = at.u8()?;
    let flags = at.u8()?;
    let sizes = [at.u16()?, at.u16()?, at.u16()?].map(usize::from);
    match version {
        1 | 2 => {}
        3 => at.skip(1)?,
        _ => return Err(format!("an attribute has version {version}, which is not read")),
    }
    if version > 1 && flags & 3 != 0 {
        return Err("an attribute has a type of its own name, which is not read".into());
    }
    let padded = |n: usize| if version == 1 { n.next_multiple_of(8) } else { n };
    let name = at.text(sizes[0])?;
    at.skip(padded(sizes[0]) - sizes[0])?;
    let start = at.at;
    let dtype = Datatype::parse(at)?;
    at.at = start;
    at.skip(padded(sizes[1]))?;
    let start = at.at;
    let dims = dataspace(at)?;
    at.at = start;
    at.skip(padded(sizes[2]))?;
    let size = crate::onnx::count(&dims)?.saturating_mul(dtype.size());
    let start = at.at;
    at.skip(size).map_err(|_| format!("the attribute `{name}` is longer than its header"))?;
    Ok(Attribute { name, dtype, dims, at: start..start + size })
}

/// A link message: a name and the address of a header.
pub(super) fn link(at: &mut Cursor<'_>) -> Result<(String, u64), String> {
    let _version = at.u8()?;
    let flags = at.u8()?;
    let kind = if flags & 8 != 0 { at.u8()? } else { 0 };
    at.skip(if flags & 4 != 0 { 8 } else { 0 })?;
    at.skip(usize::from(flags & 16 != 0))?;
    let length = at.uint(1 << (flags & 3))?;
    let name = at.text(usize::try_from(length).unwrap_or(usize::MAX))?;
    match kind {
        0 => Ok((name, at.u64()?)),
        1 => Err(format!("`{name}` is a soft link, which is not followed")),
        64 => Err(format!("`{name}` is a link to another file, which is not followed")),
        _ => Err(format!("`{name}` is a link of an unknown kind")),
    }
}
