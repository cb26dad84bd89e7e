//! The files of a model's folder.

use super::gguf::GgufWeights;
use super::weights::{open_checked, write_weights};
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use ff_formats::GgufFile;
use ff_graph::{Graph, Mode, Params};
use ff_nn::Builder;
use ff_nn::models::{DecoderConfig, FileTensor};
use ff_tensor::{DType, Device};
use ff_text::Tokenizer;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const GENERATION: &str = "generation_config.json";

/// How a model is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveOptions {
    /// The size of a file from which on another one is begun.
    pub shard_bytes: usize,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { shard_bytes: 5_000_000_000 }
    }
}

/// The folder of a model: itself, or the one inside of a run; a GGUF file stands for a folder.
///
/// # Errors
/// Neither is there.
///
/// ```
/// let error = feedforward::language::model_folder("no/such/model".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("no/such/model"));
/// ```
pub fn model_folder(path: &Path) -> Result<PathBuf> {
    let inside = path.join("model");
    if GgufFile::is_at(path) {
        return Ok(path.to_owned());
    }
    for folder in [path, &inside] {
        if folder.join("config.json").exists() {
            return Ok(folder.to_owned());
        }
    }
    let message = if !path.exists() {
        "is not there; give the folder of a model or of a run"
    } else if path.is_dir() {
        "has no config.json, nor has a folder `model` in it; give the folder of a model or of a run"
    } else {
        "is no folder and no GGUF file; give a model or a run"
    };
    Err(Error::run(path, message))
}

/// Everything that is in a folder.
pub(super) fn write_folder(
    folder: &Path,
    tensors: &[FileTensor],
    params: &Params,
    (tokenizer, generation): (Option<&Tokenizer>, Option<&Map<String, Value>>),
    config: &str,
    options: SaveOptions,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(ff_formats::Error::io(folder, "making the folder"))?;
    write_weights(folder, tensors, params, options.shard_bytes)?;
    write_rest(folder, (tokenizer, generation), config)
}

/// Everything but the tensors.
pub(super) fn write_rest(
    folder: &Path,
    (tokenizer, generation): (Option<&Tokenizer>, Option<&Map<String, Value>>),
    config: &str,
) -> Result<()> {
    if let Some(tokenizer) = tokenizer {
        tokenizer.save(folder)?;
    }
    if let Some(generation) = generation.filter(|map| !map.is_empty()) {
        let json = Value::Object(generation.clone());
        write_text(&folder.join(GENERATION), &format!("{json:#}"))?;
    }
    write_text(&folder.join("config.json"), config)
}

/// The parameters of a folder, once its tensors fit those of a plan: the arena cannot be larger
/// than the files are.
pub(super) fn read_params(
    folder: &Path,
    device: &Device,
    mut builder: Builder,
    tensors: &dyn Fn(&Params) -> Vec<FileTensor>,
    ignored: &dyn Fn(&str) -> bool,
    in_file: Option<&dyn Fn(&str) -> bool>,
) -> Result<Params> {
    let planned = builder.plan()?;
    let tensors = tensors(&planned);
    let weights = open_checked(folder, &tensors, ignored)?;
    if let Some(may) = in_file {
        let names = weights.in_file(&tensors, &planned);
        builder.leave_in_file(|name| names.contains_key(name) && may(name));
    }
    let mut params = builder.build_zeroed(device, DType::F32, false)?;
    weights.read_into(&tensors, &mut params)?;
    Ok(params)
}

/// The config with what is true of the files: the class that opens them, their type, and every
/// value that a default could change.
pub(super) fn as_written(config: &DecoderConfig, dtype: &str) -> Result<DecoderConfig> {
    let mut config = config.explicit();
    if config.field("architectures").is_none() {
        config = config.with("architectures", vec![config.family.architecture])?;
    }
    // What was read from blocks is written as floats.
    config = config.with("quantization_config", Value::Null)?;
    let key = if config.field("torch_dtype").is_some() { "torch_dtype" } else { "dtype" };
    Ok(config.with(key, dtype)?)
}

/// How many tokens the comparison of logits runs on.
const PROBE: usize = 16;

/// A few tokens.
pub(super) fn probe(vocab_size: usize, positions: usize) -> Vec<u32> {
    let len = PROBE.min(positions) as u64;
    (0..len).map(|i| (i * 7919 % vocab_size as u64) as u32).collect()
}

/// Compares every parameter with the written one, and the outputs for a few tokens.
pub(super) fn read_back(
    folder: &Path,
    graph: &mut Graph,
    again: &Params,
    found: &[f32],
    outputs: impl FnOnce(&mut Graph) -> Result<Vec<f32>>,
) -> Result<()> {
    let wrong = |what: &str| {
        let message = format!(
            "what was written reads back as something else: {what}; look at the disk, and write the model to another one"
        );
        Error::run(folder, message)
    };
    // Of a model with adapters, the base model is written, whose parameters come first.
    for (id, info) in graph.params().iter().take(again.infos().len()) {
        let written = again.values::<f32>(id)?;
        let mut pairs = graph.params().values::<f32>(id)?.iter().zip(written);
        if pairs.any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Err(wrong(&format!("parameter `{}`", info.spec.name)));
        }
    }
    let mode = graph.mode();
    graph.set_mode(Mode::Eval);
    let expected = outputs(graph);
    graph.set_mode(mode);
    graph.reset();
    let same = expected?.iter().zip(found).all(|(a, b)| a.to_bits() == b.to_bits());
    if same { Ok(()) } else { Err(wrong("its logits differ")) }
}

pub(crate) fn read_tokenizer(folder: &Path, vocab_size: usize) -> Result<Option<Tokenizer>> {
    let names = ["tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model"];
    let there = names.iter().any(|name| folder.join(name).exists());
    // llama.cpp writes "none" for a model without one.
    let named = |file: GgufFile| file.text("tokenizer.ggml.model").is_some_and(|m| m != "none");
    let in_metadata = GgufFile::is_at(folder) && named(GgufFile::open(folder)?);
    if !there && !in_metadata {
        return Ok(None);
    }
    let tokenizer = Tokenizer::load(folder)?;
    // A token that was added, as one for padding, need not be known to the model.
    let mut beyond = (vocab_size as u32)..(tokenizer.vocab_size() as u32);
    if beyond.any(|id| tokenizer.token(id).is_some() && !tokenizer.is_added(id)) {
        check_vocabulary(folder, tokenizer.vocab_size(), vocab_size)?;
    }
    Ok(Some(tokenizer))
}

/// A tokenizer must not have more ids than its model.
pub(super) fn check_vocabulary(folder: &Path, tokenizer: usize, model: usize) -> Result<()> {
    if tokenizer <= model {
        return Ok(());
    }
    let message = format!(
        "the tokenizer has ids up to {}, the model only {model} tokens; they are of different models",
        tokenizer - 1
    );
    Err(Error::run(folder, message))
}

pub(crate) fn read_generation(folder: &Path) -> Result<Map<String, Value>> {
    if GgufFile::is_at(folder) {
        return Ok(GgufWeights::open(folder)?.generation());
    }
    let path = folder.join(GENERATION);
    if !path.exists() {
        return Ok(Map::new());
    }
    serde_json::from_str(&read_text(&path)?)
        .map_err(|e| Error::run(&path, format!("is not valid JSON: {e}")))
}
