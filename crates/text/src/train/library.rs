//! WordPiece and Unigram, learned by the crate `tokenizers`.

use std::sync::mpsc;

use tokenizers::models::TrainerWrapper;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::{Text, TokenizerOptions, nothing, too_small};
use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;
use ff_formats::guarded_call;

/// The special tokens of BERT; WordPiece has them unless others are named.
const BERT: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// BERT's pieces, cased: text is cleaned of control characters, words are cut at blanks and marks.
pub(super) fn wordpiece(
    text: &mut Text<'_>,
    options: &TokenizerOptions,
    threads: usize,
) -> Result<Tokenizer> {
    let mut special: Vec<&str> = options.special.iter().map(String::as_str).collect();
    if special.is_empty() {
        special.extend(BERT);
    } else if !special.contains(&"[UNK]") {
        special.push("[UNK]");
    }
    let trainer = WordPieceTrainer::builder()
        .vocab_size(room(options, special.len())? + special.len())
        .min_frequency(options.min_frequency)
        .show_progress(false)
        .special_tokens(added(&special))
        .build();
    let model = WordPiece::builder().unk_token("[UNK]".into()).build();
    let model = model.map_err(|e| failed(&e.to_string()))?;
    let mut inner = Inner::new(model);
    let normalizer = BertNormalizer::new(true, true, Some(false), false);
    inner.with_normalizer(Some(normalizer)).map_err(|e| failed(&e.to_string()))?;
    inner.with_pre_tokenizer(Some(BertPreTokenizer));
    inner.with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::default()));
    train(&mut inner, trainer, text, threads)?;
    if let (Some(sep), Some(cls)) = (inner.token_to_id("[SEP]"), inner.token_to_id("[CLS]")) {
        let ends = [("[SEP]".to_owned(), sep), ("[CLS]".to_owned(), cls)];
        let [sep, cls] = ends;
        inner.with_post_processor(Some(BertProcessing::new(sep, cls)));
    }
    finish(&inner)
}

/// Unigram pieces with a mark for blanks, as SentencePiece has them.
pub(super) fn unigram(
    text: &mut Text<'_>,
    options: &TokenizerOptions,
    threads: usize,
) -> Result<Tokenizer> {
    let mut special: Vec<&str> = options.special.iter().map(String::as_str).collect();
    if !special.contains(&"<unk>") {
        special.insert(0, "<unk>");
    }
    let total = room(options, special.len())? + special.len();
    let trainer = UnigramTrainer::builder()
        .vocab_size(total as u32)
        .show_progress(false)
        .special_tokens(added(&special))
        .unk_token(Some("<unk>".into()))
        .build()
        .map_err(|e| failed(&e.to_string()))?;
    let mut inner = Inner::new(Unigram::default());
    let blanks = Metaspace::new('▁', PrependScheme::Always, true);
    inner.with_pre_tokenizer(Some(blanks.clone()));
    inner.with_decoder(Some(blanks));
    train(&mut inner, trainer, text, threads)?;
    finish(&inner)
}

/// Parts of text that wait for the learner.
const PARTS: usize = 64;

/// The tokens that are left for pieces.
fn room(options: &TokenizerOptions, special: usize) -> Result<usize> {
    let room = options.vocab_size.checked_sub(special).filter(|room| *room > 0);
    room.ok_or_else(|| too_small(options.vocab_size, special + 1))
}

fn added(special: &[&str]) -> Vec<AddedToken> {
    special.iter().map(|token| AddedToken::from(*token, true)).collect()
}

/// Learns on the library's own threads, as many as asked for, while this one reads.
fn train(
    inner: &mut Inner,
    trainer: impl Into<TrainerWrapper>,
    text: &mut Text<'_>,
    threads: usize,
) -> Result<()> {
    if !text.fill()? || text.bytes == 0 {
        return Err(nothing());
    }
    let mut trainer = trainer.into();
    let (sender, parts) = mpsc::sync_channel::<String>(PARTS);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| failed(&e.to_string()))?;
    let mut trained = None;
    let mut read = Ok(());
    pool.in_place_scope(|scope| {
        scope.spawn(|_| {
            trained = Some(guarded_call(|| inner.train(&mut trainer, parts.into_iter()).map(drop)));
        });
        let mut more = true;
        while more {
            // A learner that gave up takes no more; its error is reported below.
            text.parts.drain(..).for_each(|part| drop(sender.send(part)));
            more = text.fill().unwrap_or_else(|error| {
                read = Err(error);
                false
            });
        }
        drop(sender);
    });
    read?;
    match trained {
        Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(failed(&error.to_string())),
        Some(Err(message)) => Err(failed(&message)),
        None => Err(failed("the library gave up")),
    }
}

fn finish(inner: &Inner) -> Result<Tokenizer> {
    let json = inner.to_string(true).map_err(|e| failed(&e.to_string()))?;
    Tokenizer::from_json(json + "\n", Vec::new(), "the new tokenizer")
}

fn failed(message: &str) -> TextError {
    TextError::tokenizer(
        "the new tokenizer",
        format!("nothing could be learned: {message}"),
        "Give more text, or ask for a smaller vocabulary.",
    )
}
