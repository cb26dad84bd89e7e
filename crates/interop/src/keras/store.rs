//! The parts of a file: configuration, weights, vocabularies.

use super::archive::{Archive, MOST_BYTES, MOST_TEXT, MOST_WEIGHTS};
use super::hdf5::{File, MAGIC};
use super::npz;
use crate::onnx::Tensor;
use std::cell::Cell;
use std::collections::BTreeMap;

/// The weights of a model.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Usually one; the shards of large weights.
    files: Vec<File>,
    /// Weights of an archive of NumPy instead.
    arrays: BTreeMap<String, Tensor>,
    /// Whether weights lie under the names of layers, as before Keras 3.
    pub(super) legacy: bool,
    /// Texts of layers by path: vocabularies.
    pub(super) assets: BTreeMap<String, String>,
    /// The bytes of all arrays that were read: one may be named often.
    read: Cell<usize>,
}

/// A file's parts.
pub(super) struct Parts {
    pub(super) config: Option<String>,
    pub(super) version: String,
    pub(super) store: Store,
}

/// Takes a file apart.
pub(super) fn parts(bytes: Vec<u8>) -> Result<Parts, String> {
    if bytes.starts_with(MAGIC) {
        let file = File::parse(bytes)?;
        let first = |path: &str, name: &str| -> Result<Option<String>, String> {
            Ok(file.texts(path, name)?.and_then(|texts| texts.into_iter().next()))
        };
        let config = first("", "model_config")?;
        let version = first("", "keras_version")?.unwrap_or_default();
        let legacy = config.is_some() || file.texts("", "layer_names")?.is_some();
        let store = Store { files: vec![file], legacy, ..Store::default() };
        return Ok(Parts { config, version, store });
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return archive(&bytes);
    }
    Err("it is neither an archive (.keras) nor an HDF5 file (.h5)".into())
}

fn archive(bytes: &[u8]) -> Result<Parts, String> {
    let mut archive = Archive::new(bytes)?;
    let Some(config) = archive.text("config.json")? else {
        if !archive.names().iter().any(|name| name.strip_suffix(".npy").is_some()) {
            return Err("the archive has no config.json".into());
        }
        let store = Store { arrays: npz::arrays(&mut archive)?, ..Store::default() };
        return Ok(Parts { config: None, version: String::new(), store });
    };
    let metadata = archive.read("metadata.json", MOST_TEXT)?.unwrap_or_default();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap_or_default();
    let version = metadata["keras_version"].as_str().unwrap_or_default().to_owned();
    let mut store = Store::default();
    if let Some(bytes) = archive.read("model.weights.h5", MOST_BYTES)? {
        store.files.push(File::parse(bytes).map_err(|e| format!("model.weights.h5: {e}"))?);
    } else if let Some(bytes) = archive.read("model.weights.npz", MOST_BYTES)? {
        let arrays = Archive::new(&bytes).and_then(|mut archive| npz::arrays(&mut archive));
        store.arrays = arrays.map_err(|e| format!("model.weights.npz: {e}"))?;
    } else if archive.names().iter().any(|name| name == "model.weights.json") {
        return Err("its weights are in several files, which are not read; save it again \
                    without max_shard_size"
            .into());
    }
    for name in archive.names().to_vec() {
        let inner = name.strip_prefix("assets/");
        if let Some(path) = inner.and_then(|name| name.strip_suffix("/vocabulary.txt")) {
            let text = archive.text(&name)?.unwrap_or_default();
            store.assets.insert(path.to_owned(), text);
        }
    }
    Ok(Parts { config: Some(config), version, store })
}

impl Store {
    /// Weights in several files.
    pub(super) fn of_shards(files: Vec<File>) -> Self {
        Self { files, ..Self::default() }
    }

    /// Takes the weights of another store.
    pub(super) fn take_weights(&mut self, other: Self) {
        (self.files, self.arrays, self.legacy) = (other.files, other.arrays, other.legacy);
    }

    /// The arrays of all files: path, type and shape.
    pub(super) fn arrays(&self) -> impl Iterator<Item = (&str, String, &[usize])> {
        let own = self.arrays.iter();
        let own =
            own.map(|(path, array)| (path.as_str(), array.dtype().name().into(), array.dims()));
        self.files.iter().flat_map(File::arrays).chain(own)
    }

    /// Whether a group or an array has this path.
    pub(super) fn holds(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let group = || {
            let next = self.arrays.range(below.clone()..).next();
            next.is_some_and(|(found, _)| found.starts_with(&below))
        };
        self.files.iter().any(|file| file.has(path)) || self.arrays.contains_key(path) || group()
    }

    /// The arrays of a layer in their order: of a path `layers/dense`, or under a layer's name.
    pub(super) fn variables(&self, place: &str) -> Result<Vec<Tensor>, String> {
        if self.files.is_empty() && self.arrays.is_empty() {
            return Err("the file has no weights".into());
        }
        let mut tensors = Vec::new();
        if let Some(first) = self.files.first().filter(|_| self.legacy) {
            let root = if first.has("model_weights") { "model_weights/" } else { "" };
            let group = format!("{root}{place}");
            for name in listed(first, &group, "weight_names")? {
                tensors.push(self.array(&format!("{group}/{name}"))?);
            }
        } else {
            let path = |i: usize| format!("{place}/vars/{i}");
            while self.holds(&path(tensors.len())) {
                tensors.push(self.array(&path(tensors.len()))?);
            }
        }
        Ok(tensors)
    }

    /// An array by its path.
    pub(super) fn array(&self, path: &str) -> Result<Tensor, String> {
        let tensor = if let Some(array) = self.arrays.get(path) {
            array.clone()
        } else {
            let file = self.files.iter().find(|file| file.has(path)).or(self.files.first());
            file.ok_or_else(|| format!("the file has no array `{path}`"))?.array(path)?
        };
        self.read.set(self.read.get().saturating_add(tensor.data().bytes()));
        if self.read.get() > MOST_WEIGHTS {
            return Err(format!("its layers read more than {MOST_WEIGHTS} bytes of weights"));
        }
        Ok(tensor)
    }
}

/// A list of names, in parts where it exceeds an attribute.
fn listed(file: &File, path: &str, name: &str) -> Result<Vec<String>, String> {
    if let Some(names) = file.texts(path, name)? {
        return Ok(names);
    }
    let mut names = Vec::new();
    for i in 0.. {
        match file.texts(path, &format!("{name}{i}"))? {
            Some(part) => names.extend(part),
            None => break,
        }
    }
    Ok(names)
}
