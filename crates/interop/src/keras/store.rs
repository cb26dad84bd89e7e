//! The parts of a file: configuration, weights, vocabularies.

use super::hdf5::{File, MAGIC};
use crate::onnx::Tensor;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

/// The longest configuration or vocabulary.
const MOST_TEXT: u64 = 256 << 20;
/// The most files of an archive.
const MOST_FILES: usize = 10_000;
/// The most that one byte of an archive becomes.
const MOST_EXPANSION: u64 = 1040;

/// The weights of a model.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Usually one; the shards of large weights.
    files: Vec<File>,
    /// Whether weights lie under the names of layers, as before Keras 3.
    pub(super) legacy: bool,
    /// Texts of layers by path: vocabularies.
    pub(super) assets: BTreeMap<String, String>,
    /// The bytes of all arrays that were read: one may be named often.
    read: Cell<usize>,
}

/// The most bytes of all arrays that a model reads.
const MOST_WEIGHTS: usize = if cfg!(feature = "fuzzing") { 64 << 20 } else { 4 << 30 };

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
        return archive(bytes);
    }
    Err("it is neither an archive (.keras) nor an HDF5 file (.h5)".into())
}

fn archive(bytes: Vec<u8>) -> Result<Parts, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let names: Vec<String> = zip.file_names().take(MOST_FILES).map(str::to_owned).collect();
    let mut read = |name: &str, most: u64| -> Result<Option<Vec<u8>>, String> {
        if !names.iter().any(|known| known == name) {
            return Ok(None);
        }
        let mut file = zip.by_name(name).map_err(|e| format!("`{name}`: {e}"))?;
        let (size, stored) = (file.size(), file.compressed_size());
        // Sizes are checked before memory is taken.
        if size > most || size > stored.saturating_mul(MOST_EXPANSION) {
            return Err(format!("`{name}` would become {size} bytes of {stored}, too many"));
        }
        let mut bytes = Vec::new();
        let end = file.by_ref().take(size).read_to_end(&mut bytes);
        end.map_err(|e| format!("`{name}` is damaged: {e}"))?;
        Ok(Some(bytes))
    };
    let text = |bytes: Vec<u8>, name: &str| {
        String::from_utf8(bytes).map_err(|_| format!("`{name}` is not in UTF-8"))
    };
    let Some(config) = read("config.json", MOST_TEXT)? else {
        let npz = names.iter().any(|name| name.strip_suffix(".npy").is_some());
        return Err(if npz {
            "weights as .npz are pickled Python objects, which are not read; save them as \
             .weights.h5"
                .into()
        } else {
            "the archive has no config.json".into()
        });
    };
    let config = text(config, "config.json")?;
    let metadata = read("metadata.json", MOST_TEXT)?.unwrap_or_default();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap_or_default();
    let version = metadata["keras_version"].as_str().unwrap_or_default().to_owned();
    let file = match read("model.weights.h5", super::MOST_BYTES)? {
        Some(bytes) => Some(File::parse(bytes).map_err(|e| format!("model.weights.h5: {e}"))?),
        None if names.iter().any(|name| name == "model.weights.npz") => {
            return Err("its weights (model.weights.npz) are pickled Python objects, which are \
                        not read; install h5py and save it again"
                .into());
        }
        None if names.iter().any(|name| name == "model.weights.json") => {
            return Err("its weights are in several files, which are not read; save it again \
                        without max_shard_size"
                .into());
        }
        None => None,
    };
    let mut assets = BTreeMap::new();
    for name in &names {
        let inner = name.strip_prefix("assets/");
        if let Some(path) = inner.and_then(|name| name.strip_suffix("/vocabulary.txt")) {
            let bytes = read(name, MOST_TEXT)?.unwrap_or_default();
            assets.insert(path.to_owned(), text(bytes, name)?);
        }
    }
    let files = file.into_iter().collect();
    Ok(Parts { config: Some(config), version, store: Store { files, assets, ..Store::default() } })
}

impl Store {
    /// Weights in several files.
    pub(super) fn of_shards(files: Vec<File>) -> Self {
        Self { files, ..Self::default() }
    }

    /// Takes the weights of another store.
    pub(super) fn take_weights(&mut self, other: Self) {
        (self.files, self.legacy) = (other.files, other.legacy);
    }

    /// The arrays of all files: path, type and shape.
    pub(super) fn arrays(&self) -> impl Iterator<Item = (&str, String, &[usize])> {
        self.files.iter().flat_map(File::arrays)
    }

    /// Whether a group or an array has this path.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.has(path))
    }

    /// The arrays of a layer in their order: of a path `layers/dense`, or under a layer's name.
    pub(super) fn variables(&self, place: &str) -> Result<Vec<Tensor>, String> {
        let Some(first) = self.files.first() else { return Err("the file has no weights".into()) };
        let mut tensors = Vec::new();
        if self.legacy {
            let root = if first.has("model_weights") { "model_weights/" } else { "" };
            let group = format!("{root}{place}");
            for name in listed(first, &group, "weight_names")? {
                tensors.push(self.array(&format!("{group}/{name}"))?);
            }
        } else {
            let path = |i: usize| format!("{place}/vars/{i}");
            while self.files.iter().any(|file| file.has(&path(tensors.len()))) {
                tensors.push(self.array(&path(tensors.len()))?);
            }
        }
        Ok(tensors)
    }

    /// An array by its path.
    pub(super) fn array(&self, path: &str) -> Result<Tensor, String> {
        let file = self.files.iter().find(|file| file.has(path)).or(self.files.first());
        let tensor = file.ok_or("the file has no weights")?.array(path)?;
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
