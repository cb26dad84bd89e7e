//! The layout before PyTorch 1.6: four pickles (a magic number, a version, facts of the system, the
//! object), the keys of its storages in a fifth, then the storages one after the other.

use super::Contents;
use super::dtypes::DTYPES;
use super::module::TorchModule;
use super::state;
use crate::pickle::{Failure, Id, Pickle, Reads, Value, malformed};
use std::collections::HashMap;

/// The magic number as a pickle writes it: protocol 2, an integer of ten bytes, the end.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

pub(super) fn recognises(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

pub(super) fn read(bytes: &[u8], reads: Reads) -> Result<Contents, Failure> {
    let mut pickle = Pickle::new(bytes, reads);
    for _ in 0..3 {
        pickle.load()?;
    }
    let root = pickle.load()?;
    let keys = pickle.load()?;
    let sizes = sizes(&pickle);
    let module = TorchModule::of(&pickle, root)?;
    let views = state::tensors(&pickle, root)?;
    let Value::List(keys) = pickle.value(keys) else {
        return Err(malformed("the keys of its storages are no list"));
    };
    let mut storages = HashMap::new();
    let mut rest = pickle.rest();
    for &key in keys {
        let Value::Text(key) = pickle.value(key) else {
            return Err(malformed("the key of a storage is no text"));
        };
        let (length, behind) =
            rest.split_first_chunk().ok_or_else(|| malformed("it ends within its storages"))?;
        let size = sizes.get(key).copied().unwrap_or(1);
        let bytes = usize::try_from(u64::from_le_bytes(*length)).ok();
        let bytes = bytes.and_then(|values| values.checked_mul(size));
        let split = bytes.and_then(|bytes| behind.split_at_checked(bytes));
        let (content, behind) = split.ok_or_else(|| malformed("it ends within its storages"))?;
        storages.insert(key.clone(), content.to_vec());
        rest = behind;
    }
    Ok(Contents { module, tensors: state::gather(views, &storages, bytes.len())? })
}

/// The bytes of a value of each storage, by its key.
fn sizes(pickle: &Pickle<'_>) -> HashMap<String, usize> {
    let items = |id: Id| match pickle.value(id) {
        Value::List(items) => Some(items.as_slice()),
        _ => None,
    };
    let size = |id: Id| {
        let Value::Stored(id) = pickle.value(id) else { return None };
        let [_, class, key, ..] = items(*id)? else { return None };
        let (Value::Global(class), Value::Text(key)) = (pickle.value(*class), pickle.value(*key))
        else {
            return None;
        };
        let class = class.rsplit('.').next().unwrap_or_default();
        let found = DTYPES.iter().find(|dtype| dtype.storage == class)?;
        Some((key.clone(), found.size))
    };
    (0..pickle.len()).filter_map(size).collect()
}
