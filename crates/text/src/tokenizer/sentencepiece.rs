//! `tokenizer.model` or `spiece.model`, a model of SentencePiece, as the crate's tokenizer: the
//! same ids and the same text for them.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Precompiled, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, Tokenizer as Inner};

use super::files::{beside, class, names, read_bytes, settings};
use super::pieces::{BYTE, Model, NORMAL, SPACE, UNIGRAM, UNKNOWN, USER_DEFINED, parse};
use super::{Tokenizer, files};
use crate::error::{Result, TextError};
use ff_formats::guarded_call;

const CONTROL: u64 = 3;
/// The kind of model that merges pairs of pieces.
const PAIRS: u64 = 2;
/// More tokens that stand for spans are no tokens of T5.
const MOST_SENTINELS: u64 = 1 << 16;
/// Longer pieces are no pieces of text.
const LONGEST: usize = 1 << 12;
/// Classes that put the first token before a text, and that put the last one behind it, unless
/// `tokenizer_config.json` says otherwise.
const BEGIN: [&str; 3] = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"];
const END: [&str; 2] = ["T5Tokenizer", "MT5Tokenizer"];

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Tokenizer {
    /// Reads a `tokenizer.model` of SentencePiece, of the kinds `unigram` and `bpe`.
    ///
    /// # Errors
    /// As [`Tokenizer::load`]; for models of another kind, with spaces behind words, or with
    /// pieces that are never used.
    pub fn load_sentencepiece(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = beside(folder)?;
        let config = settings(&beside);
        let class = class(folder, &config, "LlamaTokenizer");
        let named = names(&beside);
        let made = guarded_call(|| {
            let model = parse(&bytes)?;
            check(&model)?;
            let mut inner = tokenizer(&model).map_err(|e| e.to_string())?;
            sentinels(&mut inner, &config, &class).map_err(|e| e.to_string())?;
            let inner = around(inner, &model, &config, &class, &named);
            inner.and_then(|inner| inner.to_string(true)).map_err(|e| e.to_string())
        });
        let json = made.and_then(|made| made).map_err(|message| wrong(path, &message))?;
        Self::from_json(json, beside, &path.display().to_string())
    }
}

fn wrong(path: &Path, message: &str) -> TextError {
    TextError::tokenizer(
        format!("`{}`", path.display()),
        format!("no tokenizer: {message}"),
        "Copy it again from its source, with its tokenizer.json if there is one; it is a file that SentencePiece \
         wrote.",
    )
}

fn check(model: &Model<'_>) -> std::result::Result<(), String> {
    if model.pieces.is_empty() {
        return Err("it is no model of SentencePiece, which has pieces".into());
    }
    if !matches!(model.kind, UNIGRAM | PAIRS) {
        return Err(
            "only SentencePiece models of the kinds `unigram` and `bpe` are supported".into()
        );
    }
    if model.suffix || !model.escape {
        return Err("it treats spaces in a way that is not supported".into());
    }
    let mut seen = HashMap::new();
    for (id, &(text, score, kind)) in model.pieces.iter().enumerate() {
        if text.is_empty() || text.len() > LONGEST {
            return Err(format!("piece {id} has {} bytes", text.len()));
        }
        if !score.is_finite() {
            return Err(format!("the score of piece {id} is no number"));
        }
        if !matches!(kind, NORMAL | UNKNOWN | CONTROL | USER_DEFINED | BYTE) {
            return Err(format!("piece {id} is of the kind {kind}, which is not supported"));
        }
        let ends = text.starts_with(SPACE) || text.ends_with(SPACE);
        if kind == USER_DEFINED && model.kind == PAIRS && ends && (model.strip || model.prefix) {
            return Err(format!(
                "piece {id}, a given one that begins or ends with a space, is not supported"
            ));
        }
        if let Some(other) = seen.insert(text, id) {
            return Err(format!("the pieces {other} and {id} are the same"));
        }
    }
    if !model.pieces.iter().any(|piece| piece.2 == UNKNOWN) {
        return Err("it has no piece for the unknown".into());
    }
    Ok(())
}

/// The crate's tokenizer, with an id for each piece in the order of the file.
fn tokenizer(model: &Model<'_>) -> std::result::Result<Inner, Failed> {
    let mut inner =
        if model.kind == UNIGRAM { Inner::new(unigram(model)?) } else { Inner::new(pairs(model)?) };
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if !model.charsmap.is_empty() {
        normalizers.push(Precompiled::from(model.charsmap).map_err(|e| e.to_string())?.into());
    }
    let mut replace = |pattern: &str, by: &str| -> std::result::Result<(), Failed> {
        normalizers.push(Replace::new(ReplacePattern::Regex(pattern.into()), by)?.into());
        Ok(())
    };
    // The crate puts a space before a text only where there is none.
    match (model.prefix, model.strip) {
        (true, true) => {
            replace("^▁", "▁▁")?;
            replace("^ +", "▁")?;
        }
        (true, false) => replace("^[ ▁]", "▁▁")?,
        (false, true) => replace("^ +", "")?,
        (false, false) => {}
    }
    if model.strip {
        replace("[ ▁]+$", "")?;
        replace(" {2,}", " ")?;
    }
    replace(" ", "▁")?;
    inner.with_normalizer(Some(Normalizers::new(normalizers)))?;
    let scheme = if model.prefix { PrependScheme::First } else { PrependScheme::Never };
    inner.with_pre_tokenizer(Some(Metaspace::new(SPACE, scheme, false)));
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE.to_string(), " ")?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if model.prefix {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    inner.with_decoder(Some(Decoders::new(decoders)));
    let of_kind = |wanted: &'static [u64]| {
        let pieces = model.pieces.iter().filter(move |piece| wanted.contains(&piece.2));
        pieces.map(|piece| piece.0)
    };
    inner.add_special_tokens(of_kind(&[CONTROL, UNKNOWN]).map(|t| AddedToken::from(t, true)))?;
    if model.kind == PAIRS {
        // Found before pairs are merged. Among likeliest pieces their scores win.
        let token = |text| AddedToken::from(text, false).normalized(true);
        // Spaces of text are marks by then.
        let found = of_kind(&[USER_DEFINED]).filter(|text| !text.contains(' '));
        inner.add_tokens(found.map(token))?;
    }
    Ok(inner)
}

fn unigram(model: &Model<'_>) -> std::result::Result<Unigram, Failed> {
    let normal = || model.pieces.iter().filter(|piece| piece.2 == NORMAL).map(|piece| piece.1);
    let (lowest, highest) = (normal().fold(0.0, f64::min), normal().fold(f64::MIN, f64::max));
    let vocab = model.pieces.iter().map(|&(text, score, kind)| {
        let score = match kind {
            NORMAL => score,
            USER_DEFINED => text.len() as f64 * highest - 0.1,
            // Not found in text, or never before others.
            _ => lowest,
        };
        (text.to_owned(), score)
    });
    let unknown = model.pieces.iter().position(|piece| piece.2 == UNKNOWN);
    Unigram::from(vocab.collect(), unknown, model.bytes)
}

/// The pair that makes the best piece is joined first: merges in the order of scores.
fn pairs(model: &Model<'_>) -> std::result::Result<BPE, Failed> {
    let pieces = || model.pieces.iter().enumerate();
    let ids: HashMap<&str, usize> = pieces().map(|(id, piece)| (piece.0, id)).collect();
    let mut joined: Vec<(f64, usize, usize)> = Vec::new();
    for (_, &(text, score, _)) in pieces().filter(|(_, piece)| piece.2 == NORMAL) {
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right)) {
                joined.push((score, left, right));
            }
        }
    }
    joined.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let text = |id: usize| model.pieces[id].0;
    let merges: Vec<Value> =
        joined.iter().map(|&(_, left, right)| json!([text(left), text(right)])).collect();
    let vocab: Map<String, Value> =
        pieces().map(|(id, piece)| (piece.0.to_owned(), id.into())).collect();
    let unknown = pieces().find(|(_, piece)| piece.2 == UNKNOWN).map_or("", |(_, piece)| piece.0);
    let json = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": model.bytes, "ignore_merges": false,
        "vocab": vocab, "merges": merges,
    });
    Ok(serde_json::from_str(&json.to_string())?)
}

/// The tokens of T5 that stand for spans of a text, behind the pieces, the last one first; 100
/// unless `tokenizer_config.json` says otherwise.
fn sentinels(
    inner: &mut Inner,
    config: &Map<String, Value>,
    class: &str,
) -> std::result::Result<(), Failed> {
    if !END.contains(&class) {
        return Ok(());
    }
    let count = config.get("extra_ids").and_then(Value::as_u64).unwrap_or(100);
    if count > MOST_SENTINELS {
        return Err(format!("{count} extra_ids are more than {MOST_SENTINELS}").into());
    }
    let token = |i| AddedToken::from(format!("<extra_id_{i}>"), true);
    inner.add_special_tokens((0..count).rev().map(token))?;
    Ok(())
}

/// The tokens around a text, as the class of the tokenizer or its settings have them.
fn around(
    mut inner: Inner,
    model: &Model<'_>,
    config: &Map<String, Value>,
    class: &str,
    named: &files::Names,
) -> std::result::Result<Inner, Failed> {
    let flag = |key: &str, usual: bool| config.get(key).and_then(Value::as_bool).unwrap_or(usual);
    let token = |key: &str, id: Option<usize>| {
        let said = named.get(key).cloned().flatten();
        let own = id.and_then(|id| model.pieces.get(id)).map(|piece| piece.0.to_owned());
        let found = said.or(own)?;
        Some((found.clone(), inner.token_to_id(&found)?))
    };
    let begin =
        token("bos_token", model.begin).filter(|_| flag("add_bos_token", BEGIN.contains(&class)));
    let end = token("eos_token", model.end).filter(|_| flag("add_eos_token", END.contains(&class)));
    if begin.is_none() && end.is_none() {
        return Ok(inner);
    }
    let of = |text: &str| {
        let [begin, end] = [&begin, &end].map(|token| token.iter().map(|token| token.0.clone()));
        begin.chain([text.to_owned()]).chain(end).collect::<Vec<_>>()
    };
    let single = of("$A");
    let pair = [of("$A"), of("$B:1")].concat();
    let tokens: Vec<(String, u32)> = begin.iter().chain(&end).cloned().collect();
    let around = TemplateProcessing::builder()
        .try_single(single)?
        .try_pair(pair)?
        .special_tokens(tokens)
        .build()
        .map_err(|e| e.to_string())?;
    inner.with_post_processor(Some(around));
    Ok(inner)
}

#[cfg(test)]
mod tests;
