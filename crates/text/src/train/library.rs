//! WordPiece and Unigram, whose text is cut into words by the crate `tokenizers`.

use rayon::ThreadPoolBuilder;
use serde_json::{Map, Value, json};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::{Text, TokenizerOptions, count, nothing, too_small};
use crate::bpe::{Units, learn};
use crate::error::{Result, TextError};
use crate::tokenizer::{Tokenizer, added_tokens, pretty};
use ff_formats::guarded_call;
use ff_tensor::ThreadPool;

/// The special tokens of BERT; WordPiece has them unless others are named.
const BERT: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// BERT's pieces, cased: text is cleaned of control characters, words are cut at blanks and marks.
///
/// The characters come first, alone and behind a letter, then the merges, the most frequent pair
/// first; of equally frequent ones the greater, as byte pairs are learned.
pub(super) fn wordpiece(
    text: &mut Text<'_>,
    options: &TokenizerOptions,
    threads: &ThreadPool,
) -> Result<Tokenizer> {
    let mut special: Vec<&str> = options.special.iter().map(String::as_str).collect();
    if special.is_empty() {
        special.extend(BERT);
    } else if !special.contains(&"[UNK]") {
        special.push("[UNK]");
    }
    let room = room(options, special.len())?;
    let normalizer = BertNormalizer::new(true, true, Some(false), false);
    let words = count(text, &special, threads, &|text, add| {
        let mut normalized = NormalizedString::from(text);
        normalizer.normalize(&mut normalized)?;
        each_word(normalized.into(), &BertPreTokenizer, add)
    })?;
    if words.len() == 0 {
        return Err(nothing());
    }
    let units = Units::pieces(&words, "##");
    let merges = learn(units, room, options.min_frequency, &special, &mut |_| ());
    let pieces = merges.tokens.iter().map(|token| String::from_utf8_lossy(token).into_owned());
    let vocab: Map<String, Value> = special
        .iter()
        .map(|token| (*token).to_owned())
        .chain(pieces)
        .enumerate()
        .map(|(id, token)| (token, id.into()))
        .collect();
    let end = |token: &str| vocab.get(token).map(|id| json!([token, id]));
    let around = match (end("[SEP]"), end("[CLS]")) {
        (Some(sep), Some(cls)) => json!({ "type": "BertProcessing", "sep": sep, "cls": cls }),
        _ => Value::Null,
    };
    finish(&json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(&special, 0),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": false, "lowercase": false,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" }, "post_processor": around,
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    }))
}

/// Unigram pieces with a mark for blanks, as SentencePiece has them.
///
/// The library learns from sorted words on one thread, which fixes the order of its sums.
pub(super) fn unigram(
    text: &mut Text<'_>,
    options: &TokenizerOptions,
    threads: &ThreadPool,
) -> Result<Tokenizer> {
    let mut special: Vec<&str> = options.special.iter().map(String::as_str).collect();
    if !special.contains(&"<unk>") {
        special.insert(0, "<unk>");
    }
    let total = room(options, special.len())? + special.len();
    let blanks = Metaspace::new('▁', PrependScheme::Always, true);
    let words = count(text, &special, threads, &|text, add| each_word(text.into(), &blanks, add))?;
    if words.len() == 0 {
        return Err(nothing());
    }
    let sentence = |(word, count): (&[u8], u64)| {
        let word = String::from_utf8_lossy(word).into_owned();
        (word, u32::try_from(count).unwrap_or(u32::MAX))
    };
    let mut sentences: Vec<(String, u32)> = words.iter().map(sentence).collect();
    sentences.sort_unstable();
    let trainer = UnigramTrainer::builder()
        .vocab_size((total - special.len() + 1) as u32)
        .show_progress(false)
        .unk_token(Some("<unk>".into()))
        .build()
        .map_err(|e| failed(&e.to_string()))?;
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| failed(&e.to_string()))?;
    let mut model = Unigram::default();
    let trained = guarded_call(|| pool.install(|| trainer.do_train(sentences, &mut model)));
    trained.and_then(|trained| trained.map_err(|e| e.to_string())).map_err(|e| failed(&e))?;
    // The library puts the unknown first.
    let pieces: Vec<(String, f64)> = model.iter().skip(1).cloned().collect();
    let pieces = in_order(pieces);
    let special_pieces = special.iter().map(|token| ((*token).to_owned(), 0.0));
    let vocab: Vec<(String, f64)> = special_pieces.chain(pieces).collect();
    let blanks = json!({
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true,
    });
    finish(&json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(&special, 0),
        "normalizer": null, "pre_tokenizer": blanks, "post_processor": null, "decoder": blanks,
        "model": {
            "type": "Unigram", "unk_id": special.iter().position(|token| *token == "<unk>"),
            "vocab": vocab, "byte_fallback": false,
        },
    }))
}

/// The step between the scores of characters that no piece holds.
const STEP: f64 = 1e-4;

/// Pieces by their scores, of equal ones by their texts.
///
/// Characters that the learner dropped come back with the least score, each a step above the one
/// before, in an order that changes from call to call. They get these scores in the order of their
/// texts.
fn in_order(mut pieces: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let least = pieces.iter().map(|piece| piece.1).fold(f64::INFINITY, f64::min);
    let mut steps = vec![least];
    let mut above = 0.0;
    while steps.len() <= pieces.len() {
        above += STEP;
        steps.push(least + above);
    }
    let returned = |piece: &(String, f64)| {
        piece.0.chars().count() == 1
            && steps.binary_search_by(|step| step.total_cmp(&piece.1)).is_ok()
    };
    let (mut back, kept): (Vec<_>, Vec<_>) = pieces.drain(..).partition(returned);
    let mut scores: Vec<f64> = back.iter().map(|piece| piece.1).collect();
    scores.sort_unstable_by(f64::total_cmp);
    back.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    back.iter_mut().zip(scores).for_each(|(piece, score)| piece.1 = score);
    pieces = kept;
    pieces.extend(back);
    pieces.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pieces
}

/// Calls `add` with the words of a text.
fn each_word(
    mut text: PreTokenizedString,
    words: &impl PreTokenizer,
    add: &mut dyn FnMut(&str),
) -> tokenizers::Result<()> {
    words.pre_tokenize(&mut text)?;
    let all = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
    all.into_iter().map(|(word, ..)| word).filter(|word| !word.is_empty()).for_each(add);
    Ok(())
}

/// The tokens that are left for pieces.
fn room(options: &TokenizerOptions, special: usize) -> Result<usize> {
    let room = options.vocab_size.checked_sub(special).filter(|room| *room > 0);
    room.ok_or_else(|| too_small(options.vocab_size, special + 1))
}

fn finish(json: &Value) -> Result<Tokenizer> {
    Tokenizer::from_json(pretty(json), Vec::new(), "the new tokenizer")
}

pub(super) fn failed(message: &str) -> TextError {
    TextError::tokenizer(
        "the new tokenizer",
        format!("nothing could be learned: {message}"),
        "Give more text, or ask for a smaller vocabulary.",
    )
}
