//! BERT's `vocab.txt`: a token on each line, whose number is its id.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Tokenizer;
use super::files::{beside, class, malformed, names, read, settings};
use crate::error::{Result, TextError};

/// The classes that cut text as BERT does.
const CLASSES: [&str; 5] = [
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "MobileBertTokenizer",
    "TokenizersBackend",
];

/// What stands before pieces inside of a word.
pub(super) const PREFIX: &str = "##";

/// The special tokens where no file names others.
const SPECIAL: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("cls_token", "[CLS]"),
    ("pad_token", "[PAD]"),
    ("mask_token", "[MASK]"),
];

impl Tokenizer {
    /// Reads a `vocab.txt` with the settings beside it: WordPiece (Devlin et al., 2019) over words
    /// in lower case without accents, unless `tokenizer_config.json` says otherwise.
    ///
    /// # Errors
    /// As [`Tokenizer::load`]; for a vocabulary without the special tokens, or of another class.
    pub fn load_vocabulary(vocab: &Path) -> Result<Self> {
        let folder = vocab.parent().unwrap_or(Path::new(""));
        let beside = beside(folder)?;
        let settings = settings(&beside);
        let class = class(folder, &settings, "BertTokenizer");
        if !CLASSES.contains(&class.as_str()) {
            return Err(TextError::tokenizer(
                format!("`{}`", folder.display()),
                format!("vocab.txt of a {class} does not say how it cuts text"),
                "Save it with its tokenizer.json (in Python: \
                 AutoTokenizer.from_pretrained(folder).save_pretrained(folder)).",
            ));
        }
        let text = read(vocab)?;
        let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n');
        let lines = lines.map(|line| line.strip_suffix('\r').unwrap_or(line));
        let tokens = lines.zip(0u32..).map(|(token, id)| (token.to_owned(), id.into()));
        let ids: Map<String, Value> = tokens.collect();
        let named = names(&beside);
        let special = SPECIAL.map(|(key, usual)| match named.get(key) {
            Some(Some(token)) => token.clone(),
            _ => usual.to_owned(),
        });
        let [unk, sep, cls, ..] = &special;
        let id = |token: &String| {
            let message = format!("the vocabulary has no token `{token}`");
            ids.get(token).ok_or_else(|| malformed(vocab, &message))
        };
        id(unk)?;
        let (sep_id, cls_id) = (id(sep)?, id(cls)?);
        let flag = |key: &str, default: Value| settings.get(key).cloned().unwrap_or(default);
        let mut added: Vec<Value> = special
            .iter()
            .filter_map(|token| {
                let id = ids.get(token)?;
                Some(json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true,
                }))
            })
            .collect();
        added.sort_by_key(|token| token["id"].as_u64());
        added.dedup();
        let normalizer = json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars", true.into()),
            "strip_accents": flag("strip_accents", Value::Null),
            "lowercase": flag("do_lower_case", true.into()),
        });
        let ends = [(sep.as_str(), sep_id.clone()), (cls.as_str(), cls_id.clone())];
        let mut json = word_pieces(ids, unk, ends, normalizer);
        json.insert("version".into(), "1.0".into());
        json.insert("added_tokens".into(), added.into());
        let json = Value::Object(json);
        Self::from_json(format!("{json:#}"), beside, &vocab.display().to_string())
    }
}

/// A `tokenizer.json` of WordPiece without its added tokens: `ends` are the tokens behind and
/// before a text, with their ids.
pub(super) fn word_pieces(
    vocab: Map<String, Value>,
    unk: &str,
    [sep, cls]: [(&str, Value); 2],
    normalizer: Value,
) -> Map<String, Value> {
    let processor =
        json!({ "type": "BertProcessing", "sep": [sep.0, sep.1], "cls": [cls.0, cls.1] });
    let mut model = json!({
        "type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": PREFIX,
        "max_input_chars_per_word": 100,
    });
    model["vocab"] = vocab.into();
    Map::from_iter([
        ("normalizer".into(), normalizer),
        ("pre_tokenizer".into(), json!({ "type": "BertPreTokenizer" })),
        ("post_processor".into(), processor),
        ("decoder".into(), json!({ "type": "WordPiece", "prefix": PREFIX, "cleanup": true })),
        ("model".into(), model),
    ])
}
