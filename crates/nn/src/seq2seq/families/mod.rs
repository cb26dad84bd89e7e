//! The families of encoders with decoders, a file each.

mod marian;
mod t5;

use super::config::{
    EncoderDecoderConfig, EncoderDecoderDropout, EncoderDecoderFamily, Names, StackConfig,
};
use crate::ConfigError;
use crate::transformer::fields::{self, Fields, MOST_TOKENS, Result};
use serde_json::{Map, Value as Json};

static ALL: &[&EncoderDecoderFamily] = &[&marian::FAMILY, &t5::FAMILY, &t5::MULTILINGUAL];

impl EncoderDecoderFamily {
    /// Every family.
    pub fn all() -> &'static [&'static Self] {
        ALL
    }
}

impl TryFrom<Map<String, Json>> for EncoderDecoderConfig {
    type Error = ConfigError;

    fn try_from(json: Map<String, Json>) -> Result<Self> {
        let family = fields::family(&json, ALL, |family| family.name)?;
        let mut config = Fields::read(&json, |fields| {
            let mut config = Self::of(family);
            (family.read)(fields, &mut config);
            config
        })?;
        config.json = json;
        Ok(config)
    }
}

/// A token of the vocabulary; `usual` where the config has none.
fn token(fields: &Fields<'_>, key: &'static str, vocab_size: usize, usual: Option<u32>) -> u32 {
    match fields.count(key) {
        None if !fields.has(key) => {
            if usual.is_none() {
                fields.missing(key);
            }
            usual.unwrap_or(0)
        }
        Some(id) if id >= vocab_size => {
            fields.fail(key, format!("{id} is outside the vocabulary of {vocab_size} tokens"));
            0
        }
        id => id.unwrap_or(0) as u32,
    }
}

/// The size of the vocabulary.
fn vocabulary(fields: &Fields<'_>) -> usize {
    fields.required(&["vocab_size"], MOST_TOKENS)
}
