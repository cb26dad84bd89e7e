//! HDF5 as Keras writes it: groups, attributes, and arrays that are contiguous, compact or in
//! chunks (deflated, shuffled); read from memory, every address and size checked before its use.
//!
//! Source: "HDF5 File Format Specification Version 3.0", The HDF Group.

mod cursor;
mod data;
mod heap;
mod message;
mod object;
mod write;

pub(crate) use write::write;

use crate::onnx::{Data, Tensor};
use cursor::Cursor;
use message::{Datatype, Layout};
use std::collections::BTreeMap;

/// The first bytes of a file.
pub(crate) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";
/// The most groups and datasets.
const MOST_OBJECTS: usize = 100_000;
/// The most messages, attributes and nodes of all headers: a few bytes may be named often.
const MOST_PARTS: usize = if cfg!(feature = "fuzzing") { 100_000 } else { 4_000_000 };
/// The deepest path.
const DEEPEST: usize = 32;

/// A file in memory.
#[derive(Debug)]
pub(crate) struct File {
    bytes: Vec<u8>,
    objects: BTreeMap<String, Object>,
}

/// A group or a dataset.
#[derive(Debug, Default)]
pub(crate) struct Object {
    attributes: Vec<Attribute>,
    dataset: Option<Dataset>,
}

/// A small value beside an object, decoded on demand.
#[derive(Debug)]
struct Attribute {
    name: String,
    dtype: Datatype,
    dims: Vec<usize>,
    at: std::ops::Range<usize>,
}

/// Where the elements of an array are.
#[derive(Debug)]
struct Dataset {
    dtype: Datatype,
    dims: Vec<usize>,
    layout: Layout,
    filters: Vec<u16>,
}

impl File {
    /// Reads groups and headers; elements are read on demand.
    ///
    /// # Errors
    /// It is no HDF5 file, damaged, or uses what is not read, by name.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let root = root(&bytes)?;
        let mut objects = BTreeMap::new();
        let mut open = vec![(String::new(), root, 0)];
        let mut parts = MOST_PARTS;
        while let Some((path, address, depth)) = open.pop() {
            let name = if path.is_empty() { "/" } else { &path };
            let of = |message: String| format!("`{name}`: {message}");
            let object::Parsed { object, links } =
                object::parse(&bytes, address, &mut parts).map_err(of)?;
            if depth == DEEPEST && !links.is_empty() {
                return Err(format!("`{name}` lies deeper than {DEEPEST} groups"));
            }
            for (name, address) in links {
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                open.push((path, address, depth + 1));
            }
            objects.insert(path, object);
            if objects.len() + open.len() > MOST_OBJECTS {
                return Err(format!("it has more than {MOST_OBJECTS} groups and arrays"));
            }
        }
        Ok(Self { bytes, objects })
    }

    /// Whether there is such a group or array.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.objects.contains_key(path)
    }

    /// The arrays: path, type and shape.
    pub(crate) fn arrays(&self) -> impl Iterator<Item = (&str, String, &[usize])> {
        self.objects.iter().filter_map(|(path, object)| {
            let dataset = object.dataset.as_ref()?;
            Some((path.as_str(), dataset.dtype.name(), dataset.dims.as_slice()))
        })
    }

    /// The elements of an array.
    pub(crate) fn array(&self, path: &str) -> Result<Tensor, String> {
        let dataset = self.objects.get(path).and_then(|object| object.dataset.as_ref());
        let dataset = dataset.ok_or_else(|| format!("the file has no array `{path}`"))?;
        let of = |message: String| format!("`{path}`: {message}");
        let bytes = data::read(&self.bytes, dataset).map_err(of)?;
        let data = self.elements(&dataset.dtype, &dataset.dims, &bytes).map_err(of)?;
        Tensor::new(&dataset.dims, data).map_err(|e| of(e.to_string()))
    }

    /// The texts of an attribute; `None` where there is no such attribute.
    pub(crate) fn texts(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(object) = self.objects.get(path) else { return Ok(None) };
        let Some(attribute) = object.attributes.iter().find(|a| a.name == name) else {
            return Ok(None);
        };
        let of = |message: String| format!("the attribute `{name}` of `{path}`: {message}");
        let bytes = &self.bytes[attribute.at.clone()];
        // NumPy has no type for a list without texts.
        if attribute.dims.contains(&0) {
            return Ok(Some(Vec::new()));
        }
        match self.elements(&attribute.dtype, &attribute.dims, bytes).map_err(of)? {
            Data::Text(texts) => Ok(Some(texts)),
            other => Err(of(format!("should be text, found {}", other.dtype().name()))),
        }
    }

    fn elements(&self, dtype: &Datatype, dims: &[usize], bytes: &[u8]) -> Result<Data, String> {
        let n = crate::onnx::count(dims)?;
        if bytes.len() != n.saturating_mul(dtype.size()) {
            return Err(format!("{} bytes cannot hold a shape of {dims:?}", bytes.len()));
        }
        match dtype {
            Datatype::Number { dtype, big_endian, .. } => data::numbers(*dtype, *big_endian, bytes),
            Datatype::Text { size } => {
                let texts = bytes.chunks_exact((*size).max(1)).take(n).map(data::text);
                Ok(Data::Text(texts.collect::<Result<_, _>>()?))
            }
            Datatype::VariableText => heap::texts(&self.bytes, bytes).map(Data::Text),
            Datatype::Other { name, .. } => Err(format!("elements of {name} are not read")),
        }
    }
}

/// The address of the root group's header.
fn root(bytes: &[u8]) -> Result<u64, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("this is no HDF5 file: it does not begin like one".into());
    }
    let mut at = Cursor::new(bytes, MAGIC.len() as u64)?;
    let version = at.u8()?;
    let sizes = match version {
        0 | 1 => {
            at.skip(4)?;
            [at.u8()?, at.u8()?]
        }
        2 | 3 => [at.u8()?, at.u8()?],
        _ => return Err(format!("its superblock has version {version}, which is not read")),
    };
    if sizes != [8, 8] {
        return Err(format!("its addresses and lengths have {sizes:?} bytes; 8 are read"));
    }
    at.skip(match version {
        0 => 9,
        1 => 13,
        _ => 1,
    })?;
    let base = at.u64()?;
    if base != 0 {
        return Err("it begins with a user block, which is not read".into());
    }
    // Free space or extension, end of file, and in old files a driver and the root's name.
    at.skip(if version < 2 { 32 } else { 16 })?;
    at.u64()
}

#[cfg(test)]
mod tests;
