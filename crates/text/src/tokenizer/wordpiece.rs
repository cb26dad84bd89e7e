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
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": flag("tokenize_chinese_chars", true.into()),
                "strip_accents": flag("strip_accents", Value::Null),
                "lowercase": flag("do_lower_case", true.into()),
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor":
                { "type": "BertProcessing", "sep": [sep, sep_id], "cls": [cls, cls_id] },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": {
                "type": "WordPiece",
                "unk_token": unk,
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": ids,
            },
        });
        Self::from_json(format!("{json:#}"), beside, &vocab.display().to_string())
    }
}
