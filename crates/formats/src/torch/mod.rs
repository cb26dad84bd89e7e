//! PyTorch's files (`torch.save`), of both layouts: the ZIP archive of today, and the row of
//! pickles of before version 1.6.
//!
//! A pickle is a program for a stack machine that can call any function. [`Pickle`] runs the part
//! of it that builds containers, and knows the handful of functions that build tensors; it looks up
//! nothing else, so nothing of a file is ever executed.

pub(crate) mod dtypes;
mod legacy;
mod module;
mod state;
mod tensor;

use crate::Result;
use crate::pickle::{Failure, Pickle, Reads, malformed};
pub use module::{Setting, TorchModule};
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;
use tensor::Stored;

/// The limit of a pickle's bytes: names and shapes, no values.
const LONGEST_PICKLE: u64 = 256 << 20;

/// Whether a file that begins with these bytes may be one of PyTorch's.
pub(crate) fn recognises(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || legacy::recognises(head)
}

/// What a file holds.
struct Contents {
    /// The module, if the file is one.
    module: Option<TorchModule>,
    tensors: Vec<Stored>,
}

/// The tensors of a file, by name, as the bytes of a safetensors file.
pub(crate) fn to_safetensors(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(read(path, bytes, Reads::Tensors)?.1)
}

/// The module of a file, where modules are read, and its tensors as the bytes of a safetensors
/// file.
fn read(path: &Path, bytes: &[u8], reads: Reads) -> Result<(Option<TorchModule>, Vec<u8>)> {
    let read = crate::guarded_call(|| {
        let old = legacy::recognises(bytes);
        let read = if old { legacy::read(bytes, reads) } else { read_zip(bytes, reads) };
        let Contents { module, tensors } = read?;
        Ok((module, state::serialized(&tensors)?))
    });
    read.unwrap_or_else(|panic| Err(malformed(panic))).map_err(|failure| failure.at(path))
}

fn read_zip(bytes: &[u8], reads: Reads) -> Result<Contents, Failure> {
    let failed =
        |error: zip::result::ZipError| malformed(format!("not a readable archive: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(failed)?;
    let name = archive.file_names().find(|name| name.ends_with("/data.pkl"));
    let name = name.map(str::to_owned).ok_or_else(|| {
        if archive.file_names().any(|name| name.ends_with("/constants.pkl")) {
            return Failure::Refused("is a TorchScript archive, which holds a program".into());
        }
        malformed("the archive has no data.pkl: it is not of torch.save")
    })?;
    let folder = name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    if archive.file_names().any(|name| *name == format!("{folder}constants.pkl")) {
        return Err(Failure::Refused("is a TorchScript archive, which holds a program".into()));
    }
    let mut stored = |name: &str, limit: u64| -> Result<Option<Vec<u8>>, Failure> {
        let mut file = match archive.by_name(name) {
            Ok(file) => file,
            Err(zip::result::ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.compression() != zip::CompressionMethod::Stored {
            return Err(malformed(format!("{name} is compressed, which torch.save never does")));
        }
        if file.size() > limit.min(bytes.len() as u64) {
            return Err(malformed(format!("{name} claims {} bytes", file.size())));
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(|e| malformed(format!("{name}: {e}")))?;
        Ok(Some(content))
    };
    if stored(&format!("{folder}byteorder"), 16)?.is_some_and(|order| order == b"big") {
        return Err(malformed("its numbers are big-endian, which is not read"));
    }
    let program = stored(&name, LONGEST_PICKLE)?.unwrap_or_default();
    let mut pickle = Pickle::new(&program, reads);
    let root = pickle.load()?;
    let module = TorchModule::of(&pickle, root)?;
    let tensors = state::tensors(&pickle, root)?;
    let mut storages: HashMap<String, Vec<u8>> = HashMap::new();
    for tensor in &tensors {
        if !storages.contains_key(&tensor.key) {
            let name = format!("{folder}data/{}", tensor.key);
            let content = stored(&name, u64::MAX)?;
            let content = content.ok_or_else(|| malformed(format!("{name} is missing")))?;
            storages.insert(tensor.key.clone(), content);
        }
    }
    Ok(Contents { module, tensors: state::gather(tensors, &storages, bytes.len())? })
}
