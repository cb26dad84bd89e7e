//! Tokenizers from files and into folders.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Inner};
use xxhash_rust::xxh3::xxh3_128;

use super::byte_pairs::BytePairs;
use super::simple::Simple;
use super::{Fast, SpecialTokens, Tokenizer, TokenizerKind};
use ff_table::DataError;

use crate::error::{Result, TextError};
use ff_formats::{GgufFile, guarded_call};
use ff_table::source::not_opened;

/// The largest file that is read as part of a tokenizer.
const MAX_FILE: u64 = 1 << 30;

pub(super) const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_MAP: &str = "special_tokens_map.json";
pub(super) const TEMPLATE: &str = "chat_template.jinja";
/// The words of Qwen 2 and later models: GPT-4's, with each digit by itself.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names of SentencePiece's file; T5 has the second one.
const PIECES: [&str; 2] = ["tokenizer.model", "spiece.model"];

/// The files kept beside `tokenizer.json`.
const BESIDE: [&str; 3] = [CONFIG, SPECIAL_MAP, TEMPLATE];

impl Tokenizer {
    /// Reads a `tokenizer.json`, or a folder that holds one, or `vocab.json` and `merges.txt` as
    /// GPT-2 has them, or `vocab.txt` as BERT has it, or a `tokenizer.model` or `spiece.model` of
    /// SentencePiece, or the metadata of a GGUF file.
    ///
    /// # Errors
    /// [`DataError::NotFound`] where there is none, [`TextError::Tokenizer`] for a malformed one.
    pub fn load(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let json = path.join("tokenizer.json");
            if json.exists() {
                return Self::read_json(&json, beside(path)?);
            }
            let (vocab, merges) = (path.join("vocab.json"), path.join("merges.txt"));
            if vocab.exists() && merges.exists() {
                return Self::load_gpt2(&vocab, &merges);
            }
            let vocab = path.join("vocab.txt");
            if vocab.exists() {
                return Self::load_vocabulary(&vocab);
            }
            let model = PIECES.map(|name| path.join(name)).into_iter().find(|path| path.exists());
            if let Some(model) = model {
                return Self::load_sentencepiece(&model);
            }
            return Err(TextError::tokenizer(
                format!("`{}`", path.display()),
                "there is no tokenizer in this folder",
                "A tokenizer is a tokenizer.json, or vocab.json and merges.txt, or vocab.txt, or a tokenizer.model, or a spiece.model.",
            ));
        }
        if GgufFile::is_at(path) {
            return Self::from_gguf(&GgufFile::open(path)?);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        match path.file_name().and_then(|name| name.to_str()) {
            Some("vocab.json") => Self::load_gpt2(path, &folder.join("merges.txt")),
            Some("vocab.txt") => Self::load_vocabulary(path),
            _ if path.extension().is_some_and(|end| end == "model") => {
                Self::load_sentencepiece(path)
            }
            Some("merges.txt") => Self::load_gpt2(&folder.join("vocab.json"), path),
            _ => Self::read_json(path, beside(folder)?),
        }
    }

    /// Reads `vocab.json` and `merges.txt`, as GPT-2, Qwen 2 and RoBERTa have them: the class in
    /// `tokenizer_config.json`, or else the family in `config.json`, says which words they cut.
    ///
    /// # Errors
    /// As [`Tokenizer::load`]; for files of another class.
    pub fn load_gpt2(vocab: &Path, merges: &Path) -> Result<Self> {
        for path in [vocab, merges] {
            read(path)?;
        }
        let (Some(vocab_name), Some(merges_name)) = (vocab.to_str(), merges.to_str()) else {
            return Err(malformed(vocab, "the path is not UTF-8"));
        };
        let folder = vocab.parent().unwrap_or(Path::new(""));
        let beside = beside(folder)?;
        let settings = settings(&beside);
        let class = class(folder, &settings, "GPT2Tokenizer");
        let prefix = settings.get("add_prefix_space") == Some(&Value::Bool(true));
        let mut inner =
            parsed(vocab, || Ok(Inner::new(BPE::from_file(vocab_name, merges_name).build()?)))?;
        let fail = |e: Box<dyn std::error::Error + Send + Sync>| malformed(vocab, &e.to_string());
        inner.with_decoder(Some(ByteLevel::new(false, true, true)));
        match class.as_str() {
            "GPT2Tokenizer" | "PreTrainedTokenizer" | "TokenizersBackend" => {
                inner.with_pre_tokenizer(Some(ByteLevel::new(prefix, true, true)));
            }
            "RobertaTokenizer" => {
                inner.with_pre_tokenizer(Some(ByteLevel::new(prefix, true, true)));
                let id = |token: &str| inner.token_to_id(token).map(|id| (token.to_owned(), id));
                if let (Some(end), Some(begin)) = (id("</s>"), id("<s>")) {
                    let around = RobertaProcessing::new(end, begin).add_prefix_space(prefix);
                    inner.with_post_processor(Some(around));
                }
            }
            "Qwen2Tokenizer" => {
                inner.with_normalizer(Some(NFC)).map_err(fail)?;
                let pattern = SplitPattern::Regex(QWEN2.into());
                let words = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
                let words = words.map_err(fail)?.into();
                let bytes = ByteLevel::new(prefix, true, false).into();
                inner.with_pre_tokenizer(Some(Sequence::new(vec![words, bytes])));
            }
            other => {
                return Err(TextError::tokenizer(
                    format!("`{}`", folder.display()),
                    format!("vocab.json and merges.txt of a {other} do not say how it cuts text"),
                    "Save it with its tokenizer.json (in Python: \
                     AutoTokenizer.from_pretrained(folder).save_pretrained(folder)).",
                ));
            }
        }
        let mut special: Vec<String> = names(&beside).into_values().flatten().collect();
        special.push("<|endoftext|>".to_owned());
        if class == "RobertaTokenizer" {
            special.extend(["<s>", "</s>", "<unk>", "<pad>", "<mask>"].map(str::to_owned));
        }
        special.retain(|token| inner.token_to_id(token).is_some());
        let special = special.into_iter().map(|token| AddedToken::from(token, true));
        let added = inner.add_special_tokens(special);
        added.map_err(|e| malformed(vocab, &e.to_string()))?;
        let json = inner.to_string(true).map_err(|e| malformed(vocab, &e.to_string()))?;
        Self::from_json(json, beside, &vocab.display().to_string())
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into a folder, with what else belonged
    /// to it.
    ///
    /// # Errors
    /// [`DataError::Io`] if the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| DataError::io("write", folder, e))?;
        write(&folder.join("tokenizer.json"), &self.json)?;
        for (name, text) in self.beside.iter() {
            write(&folder.join(name), text)?;
        }
        if !self.beside.iter().any(|(name, _)| *name == CONFIG) {
            write(&folder.join(CONFIG), &format!("{:#}\n", self.config()))?;
        }
        Ok(())
    }

    /// The chat template that lies beside the tokenizer, and its file.
    pub(crate) fn chat_template(&self) -> Option<(String, String)> {
        let file = |name: &str| format!("{} beside {}", name, self.place);
        if let Some((_, text)) = self.beside.iter().find(|(name, _)| *name == TEMPLATE) {
            return Some((text.clone(), file(TEMPLATE)));
        }
        let found = settings(&self.beside).remove("chat_template")?;
        // Several have names; `default` is the one without tools.
        let default = |list: &Vec<Value>| {
            let named = list.iter().find(|named| named["name"] == "default").or(list.first())?;
            named["template"].as_str().map(str::to_owned)
        };
        let text = found.as_str().map(str::to_owned).or_else(|| default(found.as_array()?))?;
        Some((text, file(CONFIG)))
    }

    /// The special tokens that the files beside it name: `bos_token`, `eos_token` and others.
    pub(crate) fn special_names(&self) -> Vec<(String, String)> {
        let named = names(&self.beside).into_iter();
        named.filter_map(|(name, token)| Some((name, token?))).collect()
    }

    /// The text of a `tokenizer.json` as a tokenizer.
    pub(crate) fn from_json(
        text: String,
        beside: Vec<(&'static str, String)>,
        place: &str,
    ) -> Result<Self> {
        let path = Path::new(place);
        let (inner, changed) = parsed(path, || {
            let mut inner = Inner::from_bytes(text.as_bytes())?;
            let changed = add_tokens(&mut inner, &beside)?.then(|| inner.to_string(true));
            // Python sets both anew for each call too.
            inner.with_truncation(None)?;
            inner.with_padding(None);
            Ok((inner, changed.transpose()?))
        })?;
        let text = changed.unwrap_or(text);
        let json: Value =
            serde_json::from_str(&text).map_err(|e| malformed(path, &e.to_string()))?;
        let largest = inner.get_vocab(true).into_values().max();
        let vocab_size = largest.map_or(0, |id| id as usize + 1);
        if vocab_size == 0 {
            return Err(malformed(path, "the vocabulary is empty"));
        }
        let (fast, kind) = match Simple::of(&json) {
            Some((simple, kind)) => (Some(Fast::Simple(simple)), kind),
            None => (
                BytePairs::of(&json).map(|pairs| Fast::BytePairs(Box::new(pairs))),
                kind(inner.get_model()),
            ),
        };
        let special = special(&inner, &beside);
        let begin = begin(&inner);
        let hash = format!("{:032x}", xxh3_128(text.as_bytes()));
        Ok(Self {
            inner: Arc::new(inner),
            fast: fast.map(Arc::new),
            kind,
            vocab_size,
            special,
            begin: begin.into(),
            json: text.into(),
            beside: beside.into(),
            hash: hash.into(),
            place: format!("`{place}`").into(),
        })
    }

    fn read_json(path: &Path, beside: Vec<(&'static str, String)>) -> Result<Self> {
        Self::from_json(read(path)?, beside, &path.display().to_string())
    }

    /// `tokenizer_config.json`, which `transformers` reads beside `tokenizer.json`.
    fn config(&self) -> Value {
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
        });
        let SpecialTokens { bos, eos, pad, unk } = self.special;
        for (key, id) in
            [("bos_token", bos), ("eos_token", eos), ("pad_token", pad), ("unk_token", unk)]
        {
            if let Some(token) = id.and_then(|id| self.token(id)) {
                config[key] = token.into();
            }
        }
        config
    }
}

/// `tokenizer_config.json`.
pub(super) fn settings(beside: &[(&'static str, String)]) -> Map<String, Value> {
    let text = beside.iter().find(|(name, _)| *name == CONFIG).map(|(_, text)| text);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The class of a folder's tokenizer, without the `Fast` of old versions; `usual` if nothing says
/// otherwise.
pub(super) fn class(folder: &Path, settings: &Map<String, Value>, usual: &str) -> String {
    if let Some(class) = settings.get("tokenizer_class").and_then(Value::as_str) {
        return class.trim_end_matches("Fast").to_owned();
    }
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    let config: Value = serde_json::from_str(&text).unwrap_or_default();
    let class = match config["model_type"].as_str() {
        Some(family) if family.starts_with("qwen") => "Qwen2Tokenizer",
        Some("roberta") => "RobertaTokenizer",
        Some("t5") => "T5Tokenizer",
        Some("mt5") => "MT5Tokenizer",
        _ => usual,
    };
    class.to_owned()
}

/// Adds the tokens of `tokenizer_config.json` that the tokenizer lacks, in the order of their ids;
/// whether there was one.
fn add_tokens(inner: &mut Inner, beside: &[(&'static str, String)]) -> tokenizers::Result<bool> {
    let settings = settings(beside);
    let listed = settings.get("added_tokens_decoder").and_then(Value::as_object);
    let mut tokens: Vec<(u32, AddedToken)> = Vec::new();
    for (id, token) in listed.into_iter().flatten() {
        let (Ok(id), Some(content)) = (id.parse(), token["content"].as_str()) else { continue };
        let flag = |key: &str| token[key] == true;
        let added = AddedToken::from(content, flag("special"))
            .single_word(flag("single_word"))
            .lstrip(flag("lstrip"))
            .rstrip(flag("rstrip"))
            .normalized(token["normalized"].as_bool().unwrap_or(!flag("special")));
        tokens.push((id, added));
    }
    tokens.sort_by_key(|(id, _)| *id);
    let known: Vec<String> =
        inner.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    tokens.retain(|(_, token)| !token.content.is_empty() && !known.contains(&token.content));
    for (id, token) in &tokens {
        let content = token.content.clone();
        inner.add_tokens([token.clone()])?;
        if inner.token_to_id(&content) != Some(*id) {
            let message = format!(
                "tokenizer_config.json gives `{content}` the id {id}, and the vocabulary would give it {}",
                inner.token_to_id(&content).unwrap_or_default()
            );
            return Err(message.into());
        }
    }
    Ok(!tokens.is_empty())
}

/// The tokens that a tokenizer puts before a text.
fn begin(inner: &Inner) -> Vec<u32> {
    if inner.get_post_processor().is_none() {
        return Vec::new();
    }
    let ids = |special: bool| -> Option<Vec<u32>> {
        let encoded = guarded_call(|| inner.encode_fast("a", special)).ok()?.ok()?;
        Some(encoded.get_ids().to_vec())
    };
    let (Some(plain), Some(all)) = (ids(false), ids(true)) else { return Vec::new() };
    let before = all.len().saturating_sub(plain.len());
    let at = (0..=before).find(|&at| all[at..].starts_with(&plain) && !plain.is_empty());
    all[..at.unwrap_or(0)].to_vec()
}

fn kind(model: &ModelWrapper) -> TokenizerKind {
    match model {
        ModelWrapper::BPE(_) => TokenizerKind::Bpe,
        ModelWrapper::WordPiece(_) => TokenizerKind::Wordpiece,
        ModelWrapper::WordLevel(_) => TokenizerKind::Words,
        ModelWrapper::Unigram(_) => TokenizerKind::Unigram,
    }
}

/// The special tokens by the files beside `tokenizer.json`, else by the names that are usual.
fn special(inner: &Inner, beside: &[(&'static str, String)]) -> SpecialTokens {
    const END: &str = "<|endoftext|>";
    let named = names(beside);
    let is_added = |id: &u32| inner.get_added_tokens_decoder().contains_key(id);
    let find = |key: &str, usual: &[&str]| match named.get(key) {
        Some(token) => token.as_ref().and_then(|token| inner.token_to_id(token)),
        None => usual.iter().filter_map(|name| inner.token_to_id(name)).find(is_added),
    };
    SpecialTokens {
        bos: find("bos_token", &["<s>", "<|begin_of_text|>", "<bos>"]),
        eos: find("eos_token", &[END, "<|end_of_text|>", "</s>", "<eos>"]),
        pad: find("pad_token", &["<pad>", "[PAD]", "<|pad|>"]),
        unk: find("unk_token", &["<unk>", "[UNK]"]),
    }
}

/// The names of special tokens in the files beside `tokenizer.json`; null is a name of none.
pub(super) fn names(beside: &[(&'static str, String)]) -> Names {
    let mut found = Names::new();
    for name in [CONFIG, SPECIAL_MAP] {
        let text = beside.iter().find(|(beside, _)| *beside == name).map(|(_, text)| text);
        let json: Option<Map<String, Value>> =
            text.and_then(|text| serde_json::from_str(text).ok());
        for (key, value) in json.into_iter().flatten() {
            let token = value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
            // Lists of further special tokens have no names.
            for (i, token) in value.as_array().into_iter().flatten().enumerate() {
                let token = token.as_str().or_else(|| token["content"].as_str());
                if key.ends_with("_special_tokens") && token.is_some() {
                    found.entry(format!("{key}.{i}")).or_insert(token.map(str::to_owned));
                }
            }
            if key.ends_with("_token") && (token.is_some() || value.is_null()) {
                found.entry(key).or_insert(token);
            }
        }
    }
    found
}

pub(super) type Names = std::collections::BTreeMap<String, Option<String>>;

pub(super) fn beside(folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for name in BESIDE {
        let path = folder.join(name);
        if path.is_file() {
            let text = read(&path)?;
            if name != BESIDE[2] {
                serde_json::from_str::<Map<String, Value>>(&text)
                    .map_err(|e| malformed(&path, &e.to_string()))?;
            }
            found.push((name, text));
        }
    }
    Ok(found)
}

pub(super) fn read(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|_| malformed(path, "it is not UTF-8"))
}

pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).map_err(|e| not_opened(path, e))?.len();
    if size > MAX_FILE {
        return Err(malformed(path, &format!("{size} bytes are too many for a tokenizer")));
    }
    Ok(std::fs::read(path).map_err(|e| not_opened(path, e))?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    ff_formats::write_atomic(path, |file| file.write_all(text.as_bytes()))?;
    Ok(())
}

fn parsed<T>(path: &Path, parse: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    let parsed = guarded_call(parse);
    parsed
        .and_then(|parsed| parsed.map_err(|e| e.to_string()))
        .map_err(|message| malformed(path, &message))
}

pub(super) fn malformed(path: &Path, message: &str) -> TextError {
    TextError::tokenizer(
        format!("`{}`", path.display()),
        format!("no tokenizer: {message}"),
        "Copy it again from its source; it is the file `tokenizer.json` of a Hugging Face folder, or one \
         that `feedforward tokenizer train` wrote.",
    )
}
