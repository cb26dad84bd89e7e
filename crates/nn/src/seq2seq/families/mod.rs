//! The families of encoders with decoders, a file each.

mod marian;
mod t5;

use super::config::{EncoderDecoderConfig, EncoderDecoderFamily, Names, StackConfig};
use crate::transformer::fields::{Fields, MOST_TOKENS};

pub(super) static ALL: &[&EncoderDecoderFamily] =
    &[&marian::FAMILY, &t5::FAMILY, &t5::MULTILINGUAL];

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
