//! Keras: models of version 3 (`.keras`) and 2 (`.h5`) become ONNX graphs; nothing in them is
//! executed.

mod archive;
mod config;
mod export;
mod graph;
mod hdf5;
mod layers;
mod npz;
mod store;
mod training;

pub use crate::onnx::{Error, Result};
use crate::{Foreign, onnx};
use archive::MOST_BYTES;
pub use export::{export, weighted};
pub use graph::{Layer, Weighted};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;
use store::Store;
pub use training::Training;

/// The most files of sharded weights.
const MOST_SHARDS: usize = 1000;

/// A model as it was saved: its configuration and its weights.
///
/// ```
/// let error = ff_interop::keras::Model::from_bytes(b"no model".to_vec()).unwrap_err();
/// assert!(error.to_string().contains("no Keras model"));
/// ```
#[derive(Debug)]
pub struct Model {
    /// `None` for weights alone.
    config: Option<Json>,
    version: String,
    store: Store,
}

impl Model {
    /// Reads a `.keras` or `.h5` file, weights as `.weights.npz`, the list of sharded weights
    /// (`.weights.json`) with the files beside it, or the configuration of a model
    /// (`model.to_json()`).
    ///
    /// # Errors
    /// It cannot be read, or is no Keras model.
    pub fn open(path: &Path) -> Result<Self> {
        let named = |error: Error| match error {
            Error::Malformed(message) => Error::Malformed(format!("{}: {message}", path.display())),
            other => other,
        };
        let bytes = read(path, MOST_BYTES)?;
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            return listed(path, &bytes).map_err(named);
        }
        Self::from_bytes(bytes).map_err(named)
    }

    /// The same layers with the weights of another file.
    ///
    /// # Errors
    /// That file has none.
    pub fn with_weights(mut self, other: Self) -> Result<Self> {
        if other.arrays().is_empty() {
            return Err(Error::Malformed("the file of weights has no arrays".into()));
        }
        self.store.take_weights(other.store);
        Ok(self)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// They are no Keras model.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let parts = store::parts(bytes).map_err(bad)?;
        let config = parts.config.map(|text| {
            serde_json::from_str(&text).map_err(|e| bad(format!("its configuration: {e}")))
        });
        Ok(Self { config: config.transpose()?, version: parts.version, store: parts.store })
    }

    /// The version of Keras that wrote it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it is a model rather than weights alone.
    pub fn has_layers(&self) -> bool {
        self.config.is_some()
    }

    /// Its layers, those of models in models under `OUTER/INNER`.
    pub fn layers(&self) -> Vec<Layer> {
        self.config.as_ref().map(graph::layers).unwrap_or_default()
    }

    /// Its arrays: path, type and shape.
    pub fn arrays(&self) -> Vec<(String, String, Vec<usize>)> {
        self.store
            .arrays()
            .map(|(path, dtype, dims)| (path.to_owned(), dtype, dims.to_vec()))
            .collect()
    }

    /// The arrays with their elements.
    ///
    /// # Errors
    /// One is damaged, or of a type that is not read.
    pub fn weights(&self) -> Result<Vec<(String, onnx::Tensor)>> {
        let names = self.arrays().into_iter().map(|(name, _, _)| name);
        names.map(|name| Ok((name.clone(), self.store.array(&name).map_err(bad)?))).collect()
    }

    /// The same computation as an ONNX graph. Inputs have the names of the model's; one of higher
    /// rank takes a row of numbers.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a layer, an option or a type without a counterpart, by name;
    /// [`Error::Malformed`] for a configuration or weights that contradict each other.
    pub fn to_onnx(&self) -> Result<onnx::Model> {
        let config = self.config.as_ref().ok_or_else(|| {
            Error::Malformed(
                "the file holds weights without layers; save the whole model: \
                 model.save(\"model.keras\")"
                    .into(),
            )
        })?;
        graph::translate(config, &self.store, &self.version)
    }
}

/// The weights of a `.keras` file as a file of their own (`.weights.h5`), which its model loads.
///
/// # Errors
/// It is no such file, or its weights are in another form.
pub fn weights_file(archive: &[u8]) -> Result<Vec<u8>> {
    archive::weights_file(archive).map_err(bad)
}

/// A model as a graph, or the arrays of a file of weights.
pub(crate) fn open(path: &Path) -> Result<Foreign> {
    let model = Model::open(path)?;
    if model.has_layers() {
        return Ok(Foreign::Graph(Box::new(model.to_onnx()?)));
    }
    Ok(Foreign::Weights(model.weights()?))
}

/// Whether a file's name is that of weights in an archive of NumPy; another `.npz` is a table.
pub(crate) fn is_npz(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    name.is_some_and(|name| name.ends_with(".weights.npz"))
}

/// The bytes of a file.
fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let io = ff_formats::Error::io(path, "reading");
    let size = std::fs::metadata(path).map_err(&io)?.len();
    if size > most {
        let message = format!("{}: it has {size} bytes; {most} are read at most", path.display());
        return Err(Error::Malformed(message));
    }
    Ok(std::fs::read(path).map_err(&io)?)
}

/// A configuration, or a list of shards, which lie beside it.
fn listed(path: &Path, bytes: &[u8]) -> Result<Model> {
    let json: Json = serde_json::from_slice(bytes).map_err(bad)?;
    let Some(map) = json["weight_map"].as_object() else {
        if json["class_name"].is_string() {
            let version = json["keras_version"].as_str().unwrap_or_default().to_owned();
            return Ok(Model { config: Some(json), version, store: Store::default() });
        }
        return Err(bad("it is neither a configuration nor a list of sharded weights"));
    };
    let mut names = BTreeSet::new();
    for files in map.values() {
        let several = files.as_array().map_or(std::slice::from_ref(files), Vec::as_slice);
        names.extend(several.iter().filter_map(Json::as_str));
    }
    if names.len() > MOST_SHARDS {
        return Err(bad(format!("it lists more than {MOST_SHARDS} files")));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut left = MOST_BYTES;
    let mut files = Vec::new();
    for name in names {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            let message = format!("it lists `{name}`; only files beside it are read");
            return Err(bad(message));
        }
        let bytes = read(&folder.join(name), left)?;
        left = left.saturating_sub(bytes.len() as u64);
        files.push(hdf5::File::parse(bytes).map_err(|e| bad(format!("`{name}`: {e}")))?);
    }
    Ok(Model { config: None, version: String::new(), store: Store::of_shards(files) })
}

fn bad(message: impl std::fmt::Display) -> Error {
    Error::Malformed(format!("this is no Keras model that can be read: {message}"))
}
