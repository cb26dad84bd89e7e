//! Tensor files with one thing wrong, made from a good one.

use serde_json::{Map, Value, json};

/// What to do to a tensor.
pub(super) enum Edit {
    Remove,
    Shape(Vec<usize>),
    /// Another type, whose values take so many bytes.
    Retype(&'static str, usize),
    /// A second one under a name that no layer has.
    Copy,
}

/// The same file but for one tensor.
pub(super) fn edit(bytes: &[u8], name: &str, edit: Edit) -> Vec<u8> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
    let (header, data) = bytes[8..].split_at(length);
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let mut tensors: Vec<(String, Value, Vec<u8>)> = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
        .map(|(name, entry)| {
            let offset = |i: usize| entry["data_offsets"][i].as_u64().unwrap() as usize;
            let values = data[offset(0)..offset(1)].to_vec();
            (name, entry, values)
        })
        .collect();
    let at = tensors.iter().position(|(found, ..)| found == name).unwrap();
    match edit {
        Edit::Remove => drop(tensors.remove(at)),
        Edit::Shape(dims) => tensors[at].1["shape"] = json!(dims),
        Edit::Retype(dtype, size) => {
            let values = tensors[at].2.len() / 4;
            tensors[at].1["dtype"] = dtype.into();
            tensors[at].2 = vec![0; values * size];
        }
        Edit::Copy => {
            let (_, entry, values) = &tensors[at];
            tensors.push((format!("{name}.copy"), entry.clone(), values.clone()));
        }
    }
    let mut header = Map::new();
    let mut data = Vec::new();
    for (name, mut entry, values) in tensors {
        entry["data_offsets"] = json!([data.len(), data.len() + values.len()]);
        header.insert(name, entry);
        data.extend(values);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}
