//! A tokenizer as metadata of a GGUF file.

use ff_formats::GgufValue;
use serde_json::Value;

use super::super::Tokenizer;
use super::{BEGIN, CONTROL, SPECIAL, USER_DEFINED, WHOLE_WORDS, words};
use crate::bpe::Pretokenizer;
use crate::error::{Result, TextError};

/// Names of pre-tokenizers that are written; the first with the same words is taken.
const NAMES: [&str; 13] = [
    "gpt-2",
    "smollm",
    "llama-bpe",
    "smaug-bpe",
    "qwen2",
    "qwen35",
    "tekken",
    "falcon",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "viking",
    "bloom",
];
/// A token that no text becomes.
const UNUSED: u64 = 5;

impl Tokenizer {
    /// The metadata of this tokenizer in a GGUF file, with its chat template; ids up to the size of
    /// the model's vocabulary that have no token get one that no text becomes.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] unless it is one of byte pairs whose words have a name in
    /// llama.cpp.
    pub fn to_gguf(&self, vocab_size: usize) -> Result<Vec<(String, GgufValue)>> {
        let json: Value = serde_json::from_str(self.json()).unwrap_or_default();
        let fail = |message: &str| {
            let hint = "Export the model as a Hugging Face folder, with its tokenizer.json.";
            TextError::tokenizer(self.place.as_ref(), message, hint)
        };
        let model = &json["model"];
        let added = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let (Some(merges), "BPE") =
            (model["merges"].as_array(), model["type"].as_str().unwrap_or_default())
        else {
            return Err(fail("only tokenizers of byte pairs are written to GGUF"));
        };
        let whole = model["ignore_merges"] == true;
        let patterns = patterns(&json["pre_tokenizer"]);
        let named = |name: &&&str| {
            patterns.as_deref() == words(name).as_deref() && WHOLE_WORDS.contains(*name) == whole
        };
        let Some(&name) = NAMES.iter().find(named) else {
            return Err(fail("it cuts text into words in a way that has no name in llama.cpp"));
        };
        let size = vocab_size.max(self.vocab_size());
        let mut tokens: Vec<String> = Vec::with_capacity(size);
        let mut types = Vec::with_capacity(size);
        for id in 0..size {
            let entry = added.iter().find(|token| token["id"].as_u64() == Some(id as u64));
            let (token, kind) = match (entry, self.token(id as u32)) {
                (Some(entry), Some(token)) if entry["special"] == true => (token, CONTROL),
                (Some(_), Some(token)) => (token, USER_DEFINED),
                (None, Some(token)) => (token, 1),
                (_, None) => (format!("[PAD{id}]"), UNUSED),
            };
            tokens.push(token);
            types.push(GgufValue::I32(kind as i32));
        }
        let pair = |merge: &Value| match merge {
            Value::String(text) => text.clone(),
            pair => {
                let part = |i: usize| pair[i].as_str().unwrap_or_default();
                format!("{} {}", part(0), part(1))
            }
        };
        let text = |text: &str| GgufValue::String(text.to_owned());
        let merges = merges.iter().map(|merge| GgufValue::String(pair(merge))).collect();
        let tokens = tokens.into_iter().map(GgufValue::String).collect();
        let mut metadata = vec![
            ("tokenizer.ggml.model".to_owned(), text("gpt2")),
            ("tokenizer.ggml.pre".to_owned(), text(name)),
            ("tokenizer.ggml.tokens".to_owned(), GgufValue::Array(tokens)),
            ("tokenizer.ggml.token_type".to_owned(), GgufValue::Array(types)),
            ("tokenizer.ggml.merges".to_owned(), GgufValue::Array(merges)),
        ];
        let names = self.special_names();
        let special = self.special();
        for (key, name) in SPECIAL {
            let named = names.iter().find(|(found, _)| found == name);
            let usual = match name {
                "bos_token" => special.bos,
                "eos_token" => special.eos,
                "pad_token" => special.pad,
                "unk_token" => special.unk,
                _ => None,
            };
            if let Some(id) = named.and_then(|(_, token)| self.id(token)).or(usual) {
                metadata.push((format!("tokenizer.ggml.{key}"), GgufValue::U32(id)));
            }
        }
        let begins = !self.begin().is_empty();
        if begins || BEGIN.contains(&name) {
            metadata.push(("tokenizer.ggml.add_bos_token".into(), GgufValue::Bool(begins)));
        }
        if let Some((template, _)) = self.chat_template() {
            metadata.push(("tokenizer.chat_template".into(), GgufValue::String(template)));
        }
        Ok(metadata)
    }
}

/// The expressions of a byte-level pre-tokenizer, one after another.
fn patterns(json: &Value) -> Option<Vec<&str>> {
    if let Some(known) = Pretokenizer::of_json(json) {
        return Some(vec![known.pattern()]);
    }
    let mut found = Vec::new();
    let (bytes, splits) = json["pretokenizers"].as_array()?.split_last()?;
    for split in splits {
        found.push(match split["type"].as_str()? {
            "Digits" if split["individual_digits"] == true => r"\p{N}",
            "Split" if split["behavior"] == "Isolated" && split["invert"] == false => {
                split["pattern"]["Regex"].as_str()?
            }
            _ => return None,
        });
    }
    let plain = bytes["type"] == "ByteLevel" && bytes["add_prefix_space"] == false;
    if plain && bytes["use_regex"].as_bool().unwrap_or(true) {
        found.push(Pretokenizer::Gpt2.pattern());
    }
    plain.then_some(found)
}
