//! From a `config.json` to the specification of a decoder.

use super::config::{DecoderConfig, Family};
use super::families::ALL;
use crate::ConfigError;
use crate::transformer::fields::{self, Fields};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Fields without effect on the network, which other programs read.
const OTHERS: [&str; 13] = [
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "bos_token_id",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "pad_token_id",
    "pretraining_tp",
    "resid_pdrop",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

impl Family {
    /// Every family.
    pub fn all() -> &'static [&'static Self] {
        ALL
    }

    /// The family of a `model_type`.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|family| family.name == name)
    }

    /// The keys that a `config.json` of this family may have: those that reading one asks for, and
    /// those that other programs read.
    pub fn keys(&'static self) -> BTreeSet<&'static str> {
        let mut keys = Fields::keys(|fields| drop(DecoderConfig::read(self, fields)));
        keys.insert("model_type");
        keys.extend(OTHERS);
        keys
    }
}

impl DecoderConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// It is not JSON; the family is not supported; a field is missing, not in its domain, or
    /// contradicts another one.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::try_from(fields::object(text)?)
    }

    /// The same with one field set; `null` removes it.
    ///
    /// # Errors
    /// As [`DecoderConfig::parse`].
    pub fn with(&self, key: &str, value: impl Into<Value>) -> Result<Self, ConfigError> {
        let mut json = self.json.clone();
        match value.into() {
            // Order is kept, so that a diff of the two files is small.
            Value::Null => drop(json.shift_remove(key)),
            value => drop(json.insert(key.to_owned(), value)),
        }
        Self::try_from(json)
    }

    fn read(family: &'static Family, fields: &Fields<'_>) -> Self {
        let mut config = Self::of(family);
        let quantised = fields.map(&["quantization_config"]);
        // The experts of a stack are read from their blocks.
        let read = |(_, map): (&str, &Map<String, Value>)| {
            family.names.stacked_with.is_some() && map.get("quant_method") == Some(&"mxfp4".into())
        };
        if quantised.is_some_and(|found| !read(found)) {
            let message = "quantised weights are not supported; use the model in f32, bf16 or f16";
            fields.fail("quantization_config", message);
        }
        (family.read)(fields, &mut config);
        config
    }
}

impl TryFrom<Map<String, Value>> for DecoderConfig {
    type Error = ConfigError;

    fn try_from(json: Map<String, Value>) -> Result<Self, ConfigError> {
        let family = fields::family(&json, ALL, |family| family.name)?;
        let mut config = Fields::read(&json, |fields| Self::read(family, fields))?;
        config.json = json;
        Ok(config)
    }
}
