//! The options of `feedforward import`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Machine;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// An .onnx, .tflite, .keras or .h5 file, weights of Keras (.weights.h5, .weights.npz,
    /// .weights.json), or variables of TensorFlow (the folder of a SavedModel, or an .index file)
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) file: PathBuf,
    /// Weights for the layers of a Keras model (.keras, or the .json of model.to_json())
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) weights: Option<PathBuf>,
    /// The folder, which must not exist; the file's name without its ending by default
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
