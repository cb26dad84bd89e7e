//! The options of `feedforward export`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};
use feedforward::formats::GgufFileType;

use super::Machine;

/// The format of an exported model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// A folder with config.json, safetensors and tokenizer.json
    #[cfg(feature = "language")]
    Huggingface,
    /// One file, for llama.cpp and programs built on it
    #[cfg(feature = "language")]
    Gguf,
    /// One file, a language model with its cache, an encoder, or the model of a table with its
    /// preprocessing, for ONNX Runtime and others
    #[cfg(feature = "onnx")]
    Onnx,
    /// One file, the model of a table on float32, for TensorFlow Lite
    #[cfg(feature = "onnx")]
    Tflite,
    /// One file, the model of a table with its preprocessing, for Keras 3; its weights alone where
    /// --out ends in .weights.h5
    #[cfg(feature = "keras")]
    Keras,
}

/// The types of exported weights; `q4_k` is `q4_k_m`, as in llama.cpp.
fn types() -> impl TypedValueParser<Value = GgufFileType> {
    let value = |kind: &GgufFileType| {
        let value = PossibleValue::new(kind.name());
        kind.name().strip_suffix("_m").map_or(value.clone(), |short| value.alias(short))
    };
    PossibleValuesParser::new(GgufFileType::ALL.iter().map(value))
        .try_map(|name| name.parse::<GgufFileType>())
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A Hugging Face folder, a GGUF file, or a run
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub(crate) model: PathBuf,
    /// The format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) to: To,
    /// The folder or the file, which must not exist; for models of tables RUN.onnx, RUN.keras or
    /// RUN.tflite by default
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath,
          required_if_eq_any([("to", "huggingface"), ("to", "gguf")]))]
    pub(crate) out: Option<PathBuf>,
    /// The type of a language model's weights, f32 by default; quantised ones for GGUF
    #[arg(long = "type", value_parser = types(), value_name = "TYPE")]
    pub(crate) weights: Option<GgufFileType>,
    /// Write the adapter of a run or of PEFT's folder alone, for llama.cpp, and not merged into its
    /// base model (with --to gguf)
    #[cfg(feature = "language")]
    #[arg(long)]
    pub(crate) adapter_only: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
