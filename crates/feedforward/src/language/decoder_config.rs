//! From the table `[model]` to the config of a decoder.

use super::model::{folder_config, model_folder};
use super::tables::ModelTable;
use crate::error::{Error, Result};
use ff_nn::models::{DecoderConfig, Family};
use ff_settings::ConfigError;
use ff_text::Tokenizer;
use std::collections::BTreeSet;
use std::path::Path;

/// The size of the vocabulary before there is a tokenizer.
const VOCABULARY: usize = 1 << 10;

/// The config without the values that come from the tokenizer.
fn base_config(table: &ModelTable) -> Result<serde_json::Map<String, serde_json::Value>> {
    let mut json = match (&table.from, &table.config_file) {
        (Some(_), Some(_)) => {
            let message =
                "and model.from exclude each other: the model in model.from brings its config";
            return Err(ConfigError::new("model.config_file", message).into());
        }
        (Some(from), None) => folder_config(&model_folder(from)?)?.into(),
        (None, Some(file)) => read_object(file)?,
        (None, None) => serde_json::Map::new(),
    };
    if table.from.is_some() && !table.config.is_empty() {
        let message = "and model.from exclude each other: the weights that are there have the shapes of their config";
        return Err(ConfigError::new("model.config", message).into());
    }
    json.extend(table.config.clone());
    Ok(json)
}

fn read_object(path: &Path) -> Result<serde_json::Map<String, serde_json::Value>> {
    let text = std::fs::read_to_string(path).map_err(ff_formats::Error::io(path, "reading"))?;
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::run(path, "is no config: expected a JSON object")),
        Err(error) => Err(Error::run(path, format!("is not valid JSON: {error}"))),
    }
}

/// The family that the recipe states, if it states one of those that are supported.
fn family(table: &ModelTable) -> Option<&'static Family> {
    Family::named(table.config.get("model_type")?.as_str()?)
}

/// Refuses a key that no decoder of this family reads: it would silently have no effect.
fn refuse_unknown(table: &ModelTable) -> Result<(), ConfigError> {
    let known: BTreeSet<&str> = match family(table) {
        Some(family) => family.keys(),
        None => Family::all().iter().flat_map(|family| family.keys()).collect(),
    };
    let unknown = table.config.keys().find(|key| !known.contains(key.as_str()));
    let Some(key) = unknown else { return Ok(()) };
    let near = ff_settings::did_you_mean(key, &known.into_iter().collect::<Vec<_>>());
    let message = format!("is not a key of a decoder's config{near}");
    Err(ConfigError::new(format!("model.config.{key}"), message))
}

/// Checks the model's config as far as the recipe holds it.
///
/// # Errors
/// A field is unknown; or, where there is no other file, missing or contradicting another one.
pub(super) fn check_own(table: &ModelTable, context: usize) -> Result<(), ConfigError> {
    refuse_unknown(table)?;
    if table.from.is_none() && table.config_file.is_none() {
        let json = filled(table, context, table.config.clone(), VOCABULARY, None);
        with_key(DecoderConfig::try_from(json))?;
    }
    Ok(())
}

/// Checks the model's config before any text is read.
///
/// # Errors
/// A field is missing, unknown or contradicts another one.
pub(super) fn check(table: &ModelTable, context: usize) -> Result<()> {
    refuse_unknown(table)?;
    let json = filled(table, context, base_config(table)?, VOCABULARY, None);
    with_key(DecoderConfig::try_from(json))?;
    Ok(())
}

/// The model's config, with the tokenizer's vocabulary and the context where it does not say.
///
/// # Errors
/// A field is missing, unknown or contradicts another one; the tokenizer has more tokens than the
/// model; the context is longer than the model's positions.
pub(super) fn config(
    table: &ModelTable,
    context: usize,
    tokenizer: &Tokenizer,
) -> Result<DecoderConfig> {
    let vocab = tokenizer.vocab_size();
    let json = filled(table, context, base_config(table)?, vocab, Some(tokenizer));
    let config = with_key(DecoderConfig::try_from(json))?;
    let beyond = (config.vocab_size as u32)..(vocab as u32);
    let mut beyond = beyond.filter(|&id| tokenizer.token(id).is_some());
    // Tokens that were added to the tokenizer of a model need not occur in the text.
    if beyond.any(|id| table.from.is_none() || !tokenizer.is_added(id)) {
        return Err(ConfigError::new(
            "model.config.vocab_size",
            format!(
                "is {}, and the tokenizer has {vocab} tokens; leave it out, or take another tokenizer",
                config.vocab_size
            ),
        )
        .into());
    }
    if context > config.max_positions {
        return Err(ConfigError::new(
            "train.context",
            format!(
                "{context} tokens need as many positions, and the model has {}; take a shorter context or more positions",
                config.max_positions
            ),
        )
        .into());
    }
    Ok(config)
}

fn with_key<T>(result: Result<T, ConfigError>) -> Result<T, ConfigError> {
    result.map_err(|e| e.inside("model.config"))
}

/// Fills in the keys that a config may leave out: the vocabulary, the positions, the tokens that
/// begin and end a text.
fn filled(
    table: &ModelTable,
    context: usize,
    mut json: serde_json::Map<String, serde_json::Value>,
    vocab: usize,
    tokenizer: Option<&Tokenizer>,
) -> serde_json::Map<String, serde_json::Value> {
    let has_heads =
        family(table).is_some_and(|family| family.keys().contains("num_key_value_heads"));
    let own = has_heads && table.config_file.is_none();
    let heads = json.get("num_attention_heads").filter(|_| own).cloned();
    let mut absent = |key: &str, value: serde_json::Value| {
        json.entry(key).or_insert(value);
    };
    absent("vocab_size", vocab.into());
    if table.from.is_none() {
        // A recipe's model has as many as heads of queries, whatever its family's default is.
        if let Some(heads) = heads {
            absent("num_key_value_heads", heads);
        }
        let positions = family(table).map_or("max_position_embeddings", |f| f.positions);
        absent(positions, context.into());
    }
    if let Some(special) = tokenizer.map(Tokenizer::special) {
        let id = |id: Option<u32>| id.map_or(serde_json::Value::Null, Into::into);
        absent("bos_token_id", id(special.bos.or(special.eos)));
        absent("eos_token_id", id(special.eos));
    }
    json
}
