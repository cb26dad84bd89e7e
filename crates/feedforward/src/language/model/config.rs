//! The config of a decoder's folder.

use super::gguf::GgufWeights;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::files::read_text;
use ff_formats::GgufFile;
use ff_nn::ConfigError;
use ff_nn::models::{DecoderConfig, EncoderDecoderFamily, EncoderFamily};
use serde_json::{Map, Value};
use std::path::Path;

/// The key that old configs leave out.
const KV_HEADS: &str = "num_key_value_heads";

/// A folder's `config.json`, or a GGUF file's metadata as one, with what its tensors say where it
/// is silent or wrong.
///
/// Without a number of heads of keys and values, their matrix tells: `transformers` has a default
/// for each family, and early versions of this program meant as many as there are of queries. An
/// output layer that differs from the embeddings is a matrix of its own, whatever the config says,
/// as in `transformers`.
///
/// # Errors
/// The file is missing, or is no config of a decoder that is supported.
pub(crate) fn folder_config(folder: &Path) -> Result<DecoderConfig> {
    if GgufFile::is_at(folder) {
        let json = GgufWeights::open(folder)?.config()?;
        return DecoderConfig::try_from(json).map_err(|e| Error::run(folder, e.to_string()));
    }
    let path = folder.join("config.json");
    let text = read_text(&path)?;
    let fail = |error: ConfigError| Error::run(&path, error.to_string());
    let parse = |json: Map<String, Value>| DecoderConfig::try_from(json).map_err(fail);
    let Ok(Value::Object(mut json)) = serde_json::from_str(&text) else {
        // It says what is wrong with the text.
        return DecoderConfig::parse(&text).map_err(fail);
    };
    let family = json.get("model_type").and_then(Value::as_str).unwrap_or_default();
    if EncoderFamily::all().iter().any(|encoder| encoder.name == family) {
        let message = format!(
            "is of an encoder ({family}), which writes no text; `feedforward embed` makes texts vectors by it, `feedforward \
             predict` tells their classes if it has a classifier"
        );
        return Err(Error::run(&path, message));
    }
    if EncoderDecoderFamily::all().iter().any(|known| known.name == family) {
        let message = format!(
            "is of an encoder with a decoder ({family}), which `feedforward generate`, `predict`, `finetune` and `evaluate` can use so far"
        );
        return Err(Error::run(&path, message));
    }
    // A folder without its tensors is refused when they are read.
    let weights = Weights::open(folder).ok();
    if !json.contains_key(KV_HEADS)
        && let Some(heads) = weights.as_ref().and_then(|weights| kv_heads(weights, &json))
    {
        json.insert(KV_HEADS.into(), heads.into());
    }
    let config = parse(json)?;
    match weights {
        Some(weights) if config.tied && differ(&weights, &config.tied_tensors())? => {
            config.with("tie_word_embeddings", false).map_err(fail)
        }
        _ => Ok(config),
    }
}

/// The heads of keys and values by the rows of a layer's matrix.
fn kv_heads(weights: &Weights, json: &Map<String, Value>) -> Option<usize> {
    let mut json = json.clone();
    json.insert(KV_HEADS.into(), Value::Null);
    let head_dim = DecoderConfig::try_from(json).ok()?.head_dim;
    let rows = *weights.dims(weights.ending("self_attn.k_proj.weight")?)?.first()?;
    (rows >= head_dim && rows.is_multiple_of(head_dim)).then_some(rows / head_dim)
}

/// Whether the files hold an output layer beside the embeddings, with other values.
pub(super) fn differ(weights: &Weights, [embedding, output]: &[String; 2]) -> Result<bool> {
    let short = embedding.split_once('.').map_or("", |(_, rest)| rest);
    let embedding = match weights.values(embedding)? {
        None => weights.values(short)?,
        found => found,
    };
    Ok(match (embedding, weights.values(output)?) {
        (Some(embedding), Some(output)) => embedding != output,
        _ => false,
    })
}
