//! Bytes and characters: tokenizers without learning, and their `tokenizer.json`.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::added::Added;
use super::{Tokenizer, TokenizerKind};
use crate::error::{Result, TextError};

/// Encoder of bytes and characters without the crate, whose pieces take about a hundred bytes
/// each.
pub(super) struct Simple {
    unit: Unit,
    added: Added,
}

enum Unit {
    Bytes,
    Characters { ascii: Box<[Option<u32>; 128]>, others: HashMap<char, u32> },
}

impl Tokenizer {
    /// A token for each byte, then the special ones.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] for a special token that is empty or given twice.
    pub fn bytes(special: &[&str]) -> Result<Self> {
        check_special(special)?;
        let alphabet = byte_alphabet();
        let vocab: Map<String, Value> =
            (0..256).map(|byte| (alphabet[byte].to_string(), byte.into())).collect();
        let byte_level = byte_level(false);
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added_tokens(special, 256),
            "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": false, "vocab": vocab, "merges": [],
            },
        });
        Self::from_json(pretty(&json), Vec::new(), "the byte tokenizer")
    }

    /// A token for each character of a text, in the order of their code points, then the special
    /// ones.
    ///
    /// # Errors
    /// [`TextError::Corpus`] for a text of no characters, [`TextError::Tokenizer`] for a special
    /// token that is empty or given twice.
    pub fn characters(text: &str, special: &[&str]) -> Result<Self> {
        Self::from_characters(&text.chars().collect(), special)
    }

    /// A token for each of these characters, then the special ones.
    ///
    /// # Errors
    /// As [`Tokenizer::characters`].
    pub fn from_characters(characters: &BTreeSet<char>, special: &[&str]) -> Result<Self> {
        check_special(special)?;
        if characters.is_empty() {
            return Err(TextError::corpus(
                "there are no characters to make a tokenizer from",
                "Name a file that holds text.",
            ));
        }
        let vocab: Map<String, Value> =
            characters.iter().enumerate().map(|(id, c)| (c.to_string(), id.into())).collect();
        if let Some(token) = special.iter().find(|token| vocab.contains_key(**token)) {
            return Err(TextError::tokenizer(
                "the character tokenizer",
                format!("the special token `{token}` is a character of the text"),
                "Write it so that it does not occur in the text, as `<|endoftext|>`.",
            ));
        }
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added_tokens(special, vocab.len()),
            "normalizer": null,
            "pre_tokenizer": {
                "type": "Split", "pattern": { "Regex": ANY }, "behavior": "Isolated", "invert": false,
            },
            "post_processor": null, "decoder": { "type": "Fuse" },
            "model": { "type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN },
        });
        Self::from_json(pretty(&json), Vec::new(), "the character tokenizer")
    }
}

/// Any character, line ends too, in the regular expressions of Rust and of Python's package.
const ANY: &str = r"[\s\S]";

/// The name of the token for the unknown, which a character vocabulary does not have: unknown text
/// is an error.
const UNKNOWN: &str = "<unk>";

impl Simple {
    /// The encoder for a `tokenizer.json`, where it is one of these two.
    pub(super) fn of(json: &Value) -> Option<(Self, TokenizerKind)> {
        let model = &json["model"];
        let vocab = model["vocab"].as_object()?;
        if !json["normalizer"].is_null() {
            return None;
        }
        let (unit, kind) = if model["type"] == "WordLevel" {
            let split = &json["pre_tokenizer"];
            let each = split["type"] == "Split"
                && split["pattern"]["Regex"] == ANY
                && split["behavior"] == "Isolated";
            if !each {
                return None;
            }
            let mut ascii = [None; 128];
            let mut others = HashMap::new();
            for (token, id) in vocab {
                let mut characters = token.chars();
                let (Some(c), None) = (characters.next(), characters.next()) else { return None };
                let id = u32::try_from(id.as_u64()?).ok()?;
                match ascii.get_mut(c as usize) {
                    Some(slot) => *slot = Some(id),
                    None => drop(others.insert(c, id)),
                }
            }
            (Unit::Characters { ascii: Box::new(ascii), others }, TokenizerKind::Characters)
        } else {
            let alphabet = byte_alphabet();
            let bytes = model["type"] == "BPE"
                && model["merges"].as_array().is_some_and(Vec::is_empty)
                && vocab.len() == 256
                && (0..256)
                    .all(|byte| vocab.get(&alphabet[byte].to_string()) == Some(&byte.into()))
                && json["pre_tokenizer"]["type"] == "ByteLevel"
                && json["pre_tokenizer"]["add_prefix_space"] == false;
            if !bytes {
                return None;
            }
            (Unit::Bytes, TokenizerKind::Bytes)
        };
        Some((Self { unit, added: Added::of(json)? }, kind))
    }

    /// The ids of a text, or the first character without one.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, char> {
        let mut ids = Vec::with_capacity(text.len());
        self.added.split(text, &mut ids, |text, ids| self.encode_plain(text, ids))?;
        Ok(ids)
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), char> {
        match &self.unit {
            Unit::Bytes => ids.extend(text.bytes().map(u32::from)),
            Unit::Characters { ascii, others } => {
                for c in text.chars() {
                    let id = match ascii.get(c as usize) {
                        Some(id) => *id,
                        None => others.get(&c).copied(),
                    };
                    ids.push(id.ok_or(c)?);
                }
            }
        }
        Ok(())
    }
}

/// The characters that stand for bytes in vocabularies of the byte level: printable ones for
/// themselves, the others from U+0100 on, in order (GPT-2's `bytes_to_unicode`).
pub(crate) fn byte_alphabet() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let itself = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if itself {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}

/// The pre-tokenizer and decoder of the byte level.
pub(crate) fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

/// Special tokens as `tokenizer.json` lists them, from an id on.
pub(crate) fn added_tokens(special: &[&str], first: usize) -> Vec<Value> {
    let each = special.iter().enumerate();
    each.map(|(i, content)| {
        json!({
            "id": first + i, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    })
    .collect()
}

/// Special tokens have to be there, and apart from each other.
pub(crate) fn check_special(special: &[&str]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for token in special {
        let problem = match *token {
            "" => "an empty special token",
            token if !seen.insert(token) => "a special token that is given twice",
            _ => continue,
        };
        return Err(TextError::tokenizer(
            format!("`{token}`"),
            problem,
            "Name each special token once, as `<|endoftext|>`.",
        ));
    }
    Ok(())
}

pub(crate) fn pretty(json: &Value) -> String {
    format!("{json:#}\n")
}
