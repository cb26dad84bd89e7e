//! A model of another tool, whatever its format.

use crate::contents::Foreign;
use crate::onnx::{Error, Model, Result};
use std::path::Path;

/// The endings of files of Keras.
#[cfg(feature = "keras")]
const KERAS: [&str; 4] = ["keras", "h5", "hdf5", "json"];

/// Reads a file of ONNX or, where its name ends in `.tflite`, of TensorFlow Lite.
///
/// # Errors
/// As [`Model::open`] and [`tflite::open`](crate::tflite::open).
pub fn open_graph(path: &Path) -> Result<Model> {
    match path.extension() {
        Some(ending) if ending.eq_ignore_ascii_case("tflite") => crate::tflite::open(path),
        _ => Model::open(path),
    }
}

/// A reader of a format.
type Reader = fn(&Path) -> Result<Foreign>;

/// The formats: the endings of files, and their reader.
static FORMATS: &[(&[&str], Reader)] = &[
    (&["onnx"], |path| Ok(Foreign::Graph(Box::new(Model::open(path)?.with_its_data()?)))),
    (&["tflite"], |path| Ok(Foreign::Graph(Box::new(crate::tflite::open(path)?)))),
    (&["pt", "pth"], crate::torch::open),
    #[cfg(feature = "keras")]
    (&["keras", "h5", "hdf5", "json"], crate::keras::open),
];

impl Foreign {
    /// Reads a model by the ending of its name, or the variables in a SavedModel's folder.
    ///
    /// # Errors
    /// The format is not known or not part of this build; the file is damaged, or holds what is not
    /// read, by name.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(index) = crate::bundle::index_of(path) {
            return Ok(Self::Weights(crate::bundle::weights(&index)?));
        }
        let Some(read) = reader(path) else {
            let endings = FORMATS.iter().flat_map(|(endings, _)| endings.iter());
            let endings: Vec<String> = endings.map(|ending| format!(".{ending}")).collect();
            return Err(Error::Unsupported(format!(
                "{}: models are read from files that end in {}, and weights from .weights.npz, folders of SavedModel and .index files",
                path.display(),
                endings.join(", ")
            )));
        };
        read(path)
    }

    /// What a model of Keras was trained with, as [`keras::Model::training`](crate::keras::Model);
    /// `None` for files of other programs.
    ///
    /// # Errors
    /// The file, or the state in it, cannot be read.
    #[cfg(feature = "keras")]
    pub fn training(path: &Path, weights: Option<&Path>) -> Result<Option<crate::keras::Training>> {
        use crate::keras::Model;
        if !is_keras(path) {
            return Ok(None);
        }
        let model = Model::open(path)?;
        match weights {
            Some(weights) => model.with_weights(Model::open(weights)?)?.training(),
            None => model.training(),
        }
    }

    /// Whether a file's name ends as that of a model of another tool; `.json`, the layers of a
    /// model without weights, may be a file of a run as well.
    ///
    /// ```
    /// use ff_interop::Foreign;
    /// assert!(Foreign::reads("model.onnx".as_ref()));
    /// assert!(!Foreign::reads("runs/digits-1/run.json".as_ref()));
    /// ```
    pub fn reads(path: &Path) -> bool {
        let json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        !json && reader(path).is_some()
    }

    /// The same with weights from another file: layers of Keras, saved without their weights or
    /// with older ones.
    ///
    /// # Errors
    /// As [`Foreign::open`]; only models of Keras keep weights in files of their own.
    pub fn open_with_weights(path: &Path, weights: &Path) -> Result<Self> {
        #[cfg(feature = "keras")]
        if is_keras(path) {
            use crate::keras::Model;
            let model = Model::open(path)?.with_weights(Model::open(weights)?)?;
            return Ok(Self::Graph(Box::new(model.to_onnx()?)));
        }
        let message =
            "weights in a file of their own belong to models of Keras (.keras, .h5, .json)";
        Err(Error::Unsupported(format!("{}, {}: {message}", path.display(), weights.display())))
    }
}

#[cfg(feature = "keras")]
fn is_keras(path: &Path) -> bool {
    crate::keras::is_npz(path)
        || path
            .extension()
            .is_some_and(|ending| KERAS.iter().any(|own| ending.eq_ignore_ascii_case(own)))
}

fn reader(path: &Path) -> Option<Reader> {
    #[cfg(feature = "keras")]
    if crate::keras::is_npz(path) {
        return Some(crate::keras::open);
    }
    let found = path.extension()?.to_str()?;
    let named = |endings: &[&str]| endings.iter().any(|ending| found.eq_ignore_ascii_case(ending));
    FORMATS.iter().find(|(endings, _)| named(endings)).map(|&(_, read)| read)
}
