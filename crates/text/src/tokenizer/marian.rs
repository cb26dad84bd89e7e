//! The files that a translation model of Marian has in place of a `tokenizer.json`.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use tokenizers::{Decoder, Tokenizer as Inner};

use super::files::{self, CONFIG};
use super::pieces;
use ff_table::DataError;

use crate::error::{Result, TextError};
use ff_formats::guarded_call;

const SOURCE: &str = "source.spm";
const TARGET: &str = "target.spm";
const VOCAB: &str = "vocab.json";
/// The files kept.
const FILES: [&str; 5] = [SOURCE, TARGET, VOCAB, CONFIG, "special_tokens_map.json"];

/// Text to ids and back as `MarianTokenizer` of `transformers` has it: `source.spm` cuts the text
/// into pieces, `vocab.json` has the ids of the pieces of both languages.
///
/// ```
/// use ff_text::MarianTokenizer;
/// assert!(!MarianTokenizer::is_at("no/such/folder".as_ref()));
/// assert!(MarianTokenizer::load("no/such/folder".as_ref()).is_err());
/// ```
#[derive(Clone)]
pub struct MarianTokenizer {
    source: Arc<Inner>,
    /// What cuts texts of the second language, once one was learned.
    target: Arc<OnceLock<Inner>>,
    ids: Arc<HashMap<String, u32>>,
    tokens: Arc<BTreeMap<u32, String>>,
    /// Tokens that are no text: the end, the padding, the unknown.
    special: [String; 3],
    end: u32,
    unknown: u32,
    files: Arc<[(&'static str, Vec<u8>)]>,
    /// Where it came from, for messages.
    place: String,
}

impl std::fmt::Debug for MarianTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MarianTokenizer({} of {})", self.ids.len(), self.place)
    }
}

impl MarianTokenizer {
    /// Whether a folder has its files.
    pub fn is_at(folder: &Path) -> bool {
        [SOURCE, VOCAB].iter().all(|name| folder.join(name).is_file())
    }

    /// Reads `source.spm` and `vocab.json`, and the names of special tokens where there are any.
    ///
    /// # Errors
    /// A file is missing or malformed; the languages have a vocabulary each.
    pub fn load(folder: &Path) -> Result<Self> {
        let mut found = Vec::new();
        for name in FILES {
            let path = folder.join(name);
            if path.is_file() || [SOURCE, VOCAB].contains(&name) {
                found.push((name, files::read_bytes(&path)?));
            }
        }
        let file = |name: &str| {
            let found = found.iter().find(|(found, _)| *found == name);
            found.map_or(&[][..], |(_, bytes)| bytes.as_slice())
        };
        let wrong = |name: &str, message: String| {
            TextError::tokenizer(
                format!("`{}`", folder.join(name).display()),
                format!("no tokenizer: {message}"),
                "Copy the folder again from its source.",
            )
        };
        let source = guarded_call(|| pieces::unigram(file(SOURCE)))
            .and_then(|inner| inner)
            .map_err(|message| wrong(SOURCE, message))?;
        let ids: HashMap<String, u32> =
            serde_json::from_slice(file(VOCAB)).map_err(|e| wrong(VOCAB, e.to_string()))?;
        let config: Map<String, Value> = serde_json::from_slice(file(CONFIG)).unwrap_or_default();
        if config.get("separate_vocabs").and_then(Value::as_bool) == Some(true) {
            return Err(TextError::tokenizer(
                format!("`{}`", folder.display()),
                "a vocabulary for each language is not supported",
                "Take a model whose languages share theirs.",
            ));
        }
        let special = [("eos_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", "<unk>")];
        let special = special.map(|(key, usual)| {
            let said = config.get(key).and_then(|v| v.as_str().or_else(|| v["content"].as_str()));
            said.unwrap_or(usual).to_owned()
        });
        let id = |token: &String| {
            let id = ids.get(token).copied();
            id.ok_or_else(|| wrong(VOCAB, format!("there is no token \"{token}\"")))
        };
        let (end, unknown) = (id(&special[0])?, id(&special[2])?);
        let tokens = ids.iter().map(|(token, id)| (*id, token.clone())).collect();
        Ok(Self {
            source: Arc::new(source),
            target: Arc::default(),
            ids: Arc::new(ids),
            tokens: Arc::new(tokens),
            special,
            end,
            unknown,
            files: found.into(),
            place: format!("`{}`", folder.display()),
        })
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.tokens.last_key_value().map_or(0, |(id, _)| *id as usize + 1)
    }

    /// The id of a piece that has none.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// The ids of a text of the first language, with the one that ends it. A text may begin with
    /// the code of the language that it is to be translated to, such as `>>fra<<`.
    ///
    /// # Errors
    /// The text cannot be cut into pieces.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.cut(&self.source, text)
    }

    /// The ids of a text of the second language, with the one that ends it: what a model learns to
    /// write.
    ///
    /// # Errors
    /// The folder had no `target.spm`, or the text cannot be cut into pieces.
    pub fn encode_target(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(target) = self.target.get() {
            return self.cut(target, text);
        }
        let wrong = |message: String| {
            let hint = "Copy the folder again whole from its source.";
            TextError::tokenizer(self.place.as_str(), format!("{TARGET}: {message}"), hint)
        };
        let file = self.files.iter().find(|(name, _)| *name == TARGET);
        let Some((_, bytes)) = file else {
            return Err(wrong("is missing; it cuts texts of the second language".into()));
        };
        let target = guarded_call(|| pieces::unigram(bytes)).and_then(|inner| inner);
        let target = target.map_err(wrong)?;
        self.cut(self.target.get_or_init(|| target), text)
    }

    fn cut(&self, pieces: &Inner, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut rest = text;
        if text.starts_with(">>")
            && let Some(end) = text.find("<<")
        {
            let (code, behind) = text.split_at(end + 2);
            ids.push(self.id(code));
            rest = behind;
        }
        // Special tokens that stand in the text are recognised.
        while !rest.is_empty() {
            let first = self.special.iter().filter_map(|token| Some((rest.find(token)?, token)));
            let Some((at, token)) = first.min() else {
                self.plain(pieces, rest, &mut ids)?;
                break;
            };
            self.plain(pieces, &rest[..at], &mut ids)?;
            ids.push(self.id(token));
            rest = &rest[at + token.len()..];
        }
        ids.push(self.end);
        Ok(ids)
    }

    fn plain(&self, cut: &Inner, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let pieces = guarded_call(|| cut.encode(text, false));
        let pieces = pieces.and_then(|pieces| pieces.map_err(|e| e.to_string()));
        let pieces = pieces.map_err(|message| {
            let message = format!("the text cannot be encoded: {message}");
            TextError::tokenizer(self.place.as_str(), message, String::new())
        })?;
        ids.extend(pieces.get_tokens().iter().map(|piece| self.id(piece)));
        Ok(())
    }

    fn id(&self, piece: &str) -> u32 {
        self.ids.get(piece).copied().unwrap_or(self.unknown)
    }

    /// The text of ids, without special tokens.
    ///
    /// # Errors
    /// An id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut pieces = Vec::with_capacity(ids.len());
        for &id in ids {
            let vocab_size = self.vocab_size();
            let token = self.tokens.get(&id).ok_or(TextError::Vocabulary { id, vocab_size })?;
            if !self.special.contains(token) {
                pieces.push(token.clone());
            }
        }
        let Some(decoder) = self.source.get_decoder() else { return Ok(pieces.concat()) };
        let text = guarded_call(|| decoder.decode(pieces));
        let text = text.and_then(|text| text.map_err(|e| e.to_string())).map_err(|message| {
            let message = format!("the ids cannot be decoded: {message}");
            TextError::tokenizer(self.place.as_str(), message, String::new())
        })?;
        Ok(text.trim().to_owned())
    }

    /// Writes the files that it was read from.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| DataError::io("write", folder, e))?;
        for (name, bytes) in self.files.iter() {
            ff_formats::write_atomic(&folder.join(name), |file| file.write_all(bytes))?;
        }
        Ok(())
    }
}
