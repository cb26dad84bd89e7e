//! Tokenizers in the metadata of GGUF files.

mod write;

use std::collections::HashMap;

use ff_formats::{GgufFile, GgufValue};
use serde_json::{Map, Value, json};

use super::files::{CONFIG, TEMPLATE};
use super::wordpiece::{PREFIX, word_pieces};
use super::{Tokenizer, byte_level};
use crate::bpe::Pretokenizer;
use crate::error::{Result, TextError};

/// The space of SentencePiece.
const SPACE: &str = "▁";
/// The kinds of tokens that stand in texts as they are.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
/// The key of a special token's id, and its name in `tokenizer_config.json`.
const SPECIAL: [(&str, &str); 7] = [
    ("bos_token_id", "bos_token"),
    ("cls_token_id", "cls_token"),
    ("eos_token_id", "eos_token"),
    ("padding_token_id", "pad_token"),
    ("unknown_token_id", "unk_token"),
    ("seperator_token_id", "sep_token"),
    ("mask_token_id", "mask_token"),
];

/// The words of llama.cpp's pre-tokenizers, by their names: expressions that cut one after another.
fn words(name: &str) -> Option<Vec<&'static str>> {
    const DIGIT: &str = r"\p{N}";
    let gpt2 = Pretokenizer::Gpt2.pattern();
    Some(match name {
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es" | "jina-v2-de"
        | "a.x-4.0" | "mellum" | "modern-bert" | "jina-v1-en" | "jina-v2-code" | "roberta-bpe"
        | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4" => vec![gpt2],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => {
            vec![DIGIT, gpt2]
        }
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" | "jina-v5-nano" | "dbrx" | "smaug-bpe" | "chatglm-bpe" | "glm4" | "glm5" => {
            vec![Pretokenizer::Llama3.pattern()]
        }
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2" | "hunyuan"
        | "solar-open" | "grok-2" => vec![Pretokenizer::Qwen2.pattern()],
        "qwen35" => vec![
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        "tekken" => vec![
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        "falcon" => vec![r"[\p{P}\$\+<=>\^~\|`]+", gpt2, "[0-9][0-9][0-9]"],
        // Characters that tools turn into others (NFC) stand as numbers.
        "deepseek-llm" => vec![
            r"[\r\n]",
            r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1f7d}ᾀ-ᾴᾶ-ᾼ\x{1fbe}ῂ-ῄῆ-ῌῐ-\x{1fd3}ῖ-\x{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            r"[一-龥ࠀ-一가-퟿]+",
            r"\p{N}+",
        ],
        "deepseek-coder" => vec![r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", DIGIT],
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => vec![
            r"\p{N}{1,3}",
            "[一-龥぀-ゟ゠-ヿ]+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        ],
        "bloom" | "poro-chat" | "gpt3-finnish" => vec![r" ?[^(\s|.,!?…。，、।۔،)]+"],
        "viking" => vec![r" ?[^(\s|.,!?…。，、।۔،)]+", DIGIT],
        "default" => vec![r"[\p{P}\$\+<=>\^~\|]+", gpt2, r"\p{N}+", "[0-9][0-9][0-9]"],
        _ => return None,
    })
}

/// Those whose words may be tokens that no merges make.
const WHOLE_WORDS: [&str; 15] = [
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "tekken",
    "glm4",
    "glm5",
    "chatglm-bpe",
    "youtu",
    "minicpm5",
];
/// Those that put the first token before a text unless the file says otherwise.
const BEGIN: [&str; 10] = [
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "tekken",
];

impl Tokenizer {
    /// The tokenizer in the metadata of a GGUF file, with its chat template: byte pairs (`gpt2`,
    /// and `gemma4` without bytes as characters), SentencePiece's (`llama`) and WordPiece (`bert`).
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the file has none, or one of another kind, by name.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        Metadata { file }.tokenizer()
    }
}

struct Metadata<'a> {
    file: &'a GgufFile,
}

impl Metadata<'_> {
    fn get(&self, key: &str) -> Option<&GgufValue> {
        self.file.metadata().get(&format!("tokenizer.ggml.{key}"))
    }

    fn place(&self) -> String {
        format!("`{}`", self.file.path().display())
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        let hint = "Use the model's Hugging Face folder, with its tokenizer.json.";
        Err(TextError::tokenizer(self.place(), message, hint))
    }

    fn texts(&self, key: &str) -> Result<Vec<&str>> {
        let values = self.get(key).and_then(GgufValue::as_array);
        match values.map(|values| values.iter().map(GgufValue::as_str).collect()) {
            Some(Some(texts)) => Ok(texts),
            _ => self.fail(format!("tokenizer.ggml.{key} is no list of texts")),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    fn id(&self, key: &str) -> Option<u32> {
        u32::try_from(self.get(key)?.as_u64()?).ok()
    }

    fn tokenizer(&self) -> Result<Tokenizer> {
        let Some(kind) = self.get("model").and_then(GgufValue::as_str) else {
            return self.fail("there is no tokenizer in the metadata (tokenizer.ggml.model)");
        };
        let tokens = self.texts("tokens")?;
        if tokens.len() > u32::MAX as usize {
            return self.fail("there are too many tokens");
        }
        let mut parts = match kind {
            "gpt2" => self.byte_pairs(&tokens)?,
            "llama" => self.pieces(&tokens)?,
            "gemma4" => self.joined_pieces(&tokens)?,
            "bert" => self.word_pieces(&tokens)?,
            other => {
                return self.fail(format!("tokenizers of kind `{other}` are not read from GGUF"));
            }
        };
        parts.insert("version".into(), "1.0".into());
        parts.insert("added_tokens".into(), self.added(&tokens));
        if let Some(begin) = self.begin(kind).filter(|_| kind != "bert") {
            let Some(token) = tokens.get(begin as usize) else {
                return self.fail(format!("the first token {begin} is not in the vocabulary"));
            };
            let special = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
            let text = |id| json!({ "Sequence": { "id": id, "type_id": 0 } });
            let tokens = json!({ *token: { "id": token, "ids": [begin], "tokens": [token] } });
            parts.insert(
                "post_processor".into(),
                json!({ "type": "TemplateProcessing", "single": [special, text("A")],
                    "pair": [special, text("A"), text("B")], "special_tokens": tokens }),
            );
        }
        let mut beside = vec![(CONFIG, format!("{:#}\n", self.config(&tokens)))];
        if let Some(template) = self.file.text("tokenizer.chat_template") {
            beside.push((TEMPLATE, template.to_owned()));
        }
        let json = format!("{:#}\n", Value::Object(parts));
        Tokenizer::from_json(json, beside, &self.file.path().display().to_string())
    }

    /// The token that is put before a text.
    fn begin(&self, kind: &str) -> Option<u32> {
        let name = self.get("pre").and_then(GgufValue::as_str).unwrap_or_default();
        let usual = kind == "llama" || BEGIN.contains(&name);
        // Gemma 4 cannot do without, whatever its file says.
        let begins = kind == "gemma4" || self.flag("add_bos_token").unwrap_or(usual);
        begins.then(|| self.id("bos_token_id"))?
    }

    fn vocab(tokens: &[&str]) -> Map<String, Value> {
        tokens.iter().enumerate().map(|(id, &token)| (token.to_owned(), id.into())).collect()
    }

    fn byte_pairs(&self, tokens: &[&str]) -> Result<Map<String, Value>> {
        let name = self.get("pre").and_then(GgufValue::as_str).unwrap_or("default");
        let Some(words) = words(name) else {
            return self.fail(format!("the pre-tokenizer `{name}` is not known"));
        };
        let merges = self.merges()?;
        let pre_tokenizer = match words.as_slice() {
            [gpt2] if *gpt2 == Pretokenizer::Gpt2.pattern() => byte_level(true),
            words => {
                let split = |words: &&str| json!({ "type": "Split", "pattern": { "Regex": words }, "behavior": "Isolated", "invert": false });
                let mut parts: Vec<Value> = words.iter().map(split).collect();
                parts.push(byte_level(false));
                json!({ "type": "Sequence", "pretokenizers": parts })
            }
        };
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": WHOLE_WORDS.contains(&name), "vocab": Self::vocab(tokens), "merges": merges,
        });
        let parts = json!({
            "normalizer": null, "pre_tokenizer": pre_tokenizer, "decoder": byte_level(true), "model": model,
        });
        Ok(parts.as_object().cloned().unwrap_or_default())
    }

    fn merges(&self) -> Result<Vec<Value>> {
        let mut merges = Vec::new();
        for merge in self.texts("merges")? {
            // A token may begin with a space.
            let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
            let Some((at, _)) = space else {
                return self.fail(format!("the merge `{merge}` is no pair"));
            };
            merges.push(json!([&merge[..at], &merge[at + 1..]]));
        }
        Ok(merges)
    }

    /// Merges over a whole text whose spaces are SentencePiece's; lines of nothing are cut off.
    fn joined_pieces(&self, tokens: &[&str]) -> Result<Map<String, Value>> {
        let unknown = self.id("unknown_token_id").and_then(|id| tokens.get(id as usize));
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": Self::vocab(tokens), "merges": self.merges()?,
        });
        let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
        let lines = json!({ "type": "Split", "pattern": { "Regex": r"[^\n]+|\n+" }, "behavior": "Isolated",
            "invert": false });
        let decoders =
            [replace(SPACE, " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
        Ok(Map::from_iter([
            ("normalizer".into(), replace(" ", SPACE)),
            ("pre_tokenizer".into(), lines),
            ("decoder".into(), json!({ "type": "Sequence", "decoders": decoders })),
            ("model".into(), model),
        ]))
    }

    /// BERT's words and their pieces. In the file, a piece that begins a word has a space before it
    /// and others have no mark.
    fn word_pieces(&self, tokens: &[&str]) -> Result<Map<String, Value>> {
        let token = |keys: [&str; 2]| {
            let id = keys.iter().find_map(|key| self.id(key));
            let found = id.and_then(|id| Some((*tokens.get(id as usize)?, id)));
            found.map_or_else(|| self.fail(format!("there is no tokenizer.ggml.{}", keys[0])), Ok)
        };
        let (unk, _) = token(["unknown_token_id"; 2])?;
        let (sep, sep_id) = token(["seperator_token_id", "eos_token_id"])?;
        let (cls, cls_id) = token(["cls_token_id", "bos_token_id"])?;
        let vocab = tokens.iter().enumerate().map(|(id, token)| {
            let whole = token.starts_with('[') && token.ends_with(']');
            let piece = match token.strip_prefix(SPACE) {
                Some(word) => word.to_owned(),
                None if whole => (*token).to_owned(),
                None => format!("{PREFIX}{token}"),
            };
            (piece, id.into())
        });
        let lowercase = self.flag("normalizer.lowercase").unwrap_or(true);
        let accents = self.flag("normalizer.strip_accents").unwrap_or(lowercase);
        let normalizer = json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": accents, "lowercase": lowercase,
        });
        let ends = [(sep, sep_id.into()), (cls, cls_id.into())];
        Ok(word_pieces(vocab.collect(), unk, ends, normalizer))
    }

    /// SentencePiece joins the pair that makes the best piece; as byte pairs, those are merges in
    /// the order of the pieces' scores.
    fn pieces(&self, tokens: &[&str]) -> Result<Map<String, Value>> {
        let scores = self.get("scores").and_then(GgufValue::as_array).unwrap_or_default();
        if scores.len() != tokens.len() {
            return self.fail("the metadata has no score for each token");
        }
        let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, &t)| (t, id)).collect();
        let score = |id: usize| scores[id].as_f64().unwrap_or(f64::NEG_INFINITY);
        let mut pairs: Vec<(f64, usize, usize, usize)> = Vec::new();
        for (id, token) in tokens.iter().enumerate() {
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                    pairs.push((score(id), id, left, right));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.2, a.3).cmp(&(b.2, b.3))));
        let merges: Vec<Value> =
            pairs.iter().map(|&(_, _, left, right)| json!([tokens[left], tokens[right]])).collect();
        let prefix = self.flag("add_space_prefix").unwrap_or(true);
        let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
        let mut before = vec![replace(" ", SPACE)];
        let mut after =
            vec![replace(SPACE, " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
        if prefix {
            before.insert(0, json!({ "type": "Prepend", "prepend": SPACE }));
            after.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let unknown = self.id("unknown_token_id").and_then(|id| tokens.get(id as usize));
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": Self::vocab(tokens), "merges": merges,
        });
        let parts = json!({
            "normalizer": { "type": "Sequence", "normalizers": before }, "pre_tokenizer": null,
            "decoder": { "type": "Sequence", "decoders": after }, "model": model,
        });
        Ok(parts.as_object().cloned().unwrap_or_default())
    }

    /// The tokens that are found in a text before it is cut into words.
    fn added(&self, tokens: &[&str]) -> Value {
        let types = self.get("token_type").and_then(GgufValue::as_array).unwrap_or_default();
        let kind = |id: usize| types.get(id).and_then(GgufValue::as_u64).unwrap_or(1);
        let token = |(id, token): (usize, &&str)| {
            let special = matches!(kind(id), CONTROL | UNKNOWN);
            (special || kind(id) == USER_DEFINED).then(|| {
                json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special })
            })
        };
        tokens.iter().enumerate().filter_map(token).collect()
    }

    /// `tokenizer_config.json`.
    fn config(&self, tokens: &[&str]) -> Value {
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
        });
        for (key, name) in SPECIAL {
            if let Some(token) = self.id(key).and_then(|id| tokens.get(id as usize)) {
                config[name] = (*token).into();
            }
        }
        config
    }
}

#[cfg(test)]
mod tests;
