//! Keras: models of version 3 (`.keras`) and 2 (`.h5`) become ONNX graphs; nothing in them is
//! executed.

mod config;
mod export;
mod graph;
mod hdf5;
mod layers;
mod store;

use crate::onnx;
pub use crate::onnx::{Error, Result};
pub use export::export;
use serde_json::Value as Json;
use std::path::Path;
use store::Store;

/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 31;

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

/// A layer of a model.
///
/// ```
/// assert!(ff_interop::keras::Layer::default().inputs.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// The layers whose outputs it takes.
    pub inputs: Vec<String>,
    /// Whether the class is known.
    pub known: bool,
}

impl Model {
    /// Reads a `.keras` or `.h5` file.
    ///
    /// # Errors
    /// It cannot be read, or is no Keras model.
    pub fn open(path: &Path) -> Result<Self> {
        let io = ff_formats::Error::io(path, "reading");
        let size = std::fs::metadata(path).map_err(&io)?.len();
        if size > MOST_BYTES {
            return Err(Error::Malformed(format!("it has {size} bytes; 2 GiB are read at most")));
        }
        Self::from_bytes(std::fs::read(path).map_err(&io)?).map_err(|error| match error {
            Error::Malformed(message) => Error::Malformed(format!("{}: {message}", path.display())),
            other => other,
        })
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
        let arrays = self.store.file.iter().flat_map(hdf5::File::arrays);
        arrays.map(|(path, dtype, dims)| (path.to_owned(), dtype, dims.to_vec())).collect()
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

fn bad(message: impl std::fmt::Display) -> Error {
    Error::Malformed(format!("this is no Keras model that can be read: {message}"))
}
