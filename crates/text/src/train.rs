//! Tokenizers, learned from text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::bpe::{Merges, Pretokenizer, Units, WordCounts, learn, word_border};
use super::config::TextConfig;
use super::documents::{Documents, files};
use super::tokenize::TextProgress;
use super::tokenizer::{
    Tokenizer, TokenizerKind, added_tokens, byte_alphabet, byte_level, check_special, pretty,
};
use ff_table::DataError;

use crate::error::{Result, TextError};
use ff_tensor::ThreadPool;

mod library;

/// Text that is held at once, for all threads.
const BATCH: usize = 16 << 20;

/// The length at which text is given to a thread.
const PART: usize = 1 << 18;

/// The longest word.
const LONGEST_WORD: usize = 4 << 20;

/// Distinct words that a thread collects before it hands them over: about 100 MiB.
const THREAD_WORDS: usize = 1 << 20;

/// The most tokens that a vocabulary may have.
const MAX_VOCABULARY: usize = 1 << 24;

/// The kind and size of a tokenizer that is learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// How it cuts text; whole words are not learned.
    pub kind: TokenizerKind,
    /// The number of tokens, special ones included; bytes and characters have as many as there are.
    pub vocab_size: usize,
    /// Tokens that no text is cut into, such as `<|endoftext|>`.
    pub special: Vec<String>,
    /// How text is divided into words, for byte pairs.
    pub pretokenizer: Pretokenizer,
    /// Pairs that occur less often are not merged.
    pub min_frequency: u64,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::Bpe,
            vocab_size: 32_768,
            special: Vec::new(),
            pretokenizer: Pretokenizer::Gpt2,
            min_frequency: 2,
        }
    }
}

/// A tokenizer and the text that it was learned from.
#[derive(Clone, Debug)]
pub struct TrainedTokenizer {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The documents that were read.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The distinct words, for byte pairs.
    pub words: Option<u64>,
}

/// Learns a tokenizer from the documents that a [`TextConfig`] names.
///
/// Byte pairs are learned by this crate: words are counted on all threads, then the most frequent
/// pair is merged again and again, of equally frequent ones the greater by the bytes of its left
/// and then of its right token. WordPiece is learned in the same way. Unigram is learned by the
/// crate `tokenizers`, on one thread. Special tokens are cut out of the text before. The result
/// does not depend on the number of threads.
///
/// # Errors
/// [`TextError`]: text that cannot be read, no text, a vocabulary that is too small for its kind.
pub fn train_tokenizer(
    config: &TextConfig,
    base: &Path,
    options: &TokenizerOptions,
    threads: &ThreadPool,
    progress: &mut dyn FnMut(&TextProgress),
) -> Result<TrainedTokenizer> {
    config.validate()?;
    let special: Vec<&str> = options.special.iter().map(String::as_str).collect();
    check_special(&special)?;
    if options.vocab_size > MAX_VOCABULARY {
        return Err(too_large(options.vocab_size));
    }
    let files = files(&config.paths, base, config)?;
    let mut text = Text::new(&files, config, &special, progress);
    let (tokenizer, words) = match options.kind {
        TokenizerKind::Bytes => (Tokenizer::bytes(&special)?, None),
        TokenizerKind::Characters => {
            let mut found = BTreeSet::new();
            while text.fill()? {
                let parts = threads.map(&text.parts, |part| characters(part, &special));
                found.extend(parts.into_iter().flatten());
            }
            (Tokenizer::from_characters(&found, &special)?, None)
        }
        TokenizerKind::Bpe => {
            let room = options.vocab_size.checked_sub(special.len()).filter(|room| *room >= 256);
            let Some(room) = room else {
                return Err(too_small(options.vocab_size, 256 + special.len()));
            };
            let how = options.pretokenizer;
            let words = count(&mut text, &special, threads, &|text, add| {
                how.words(text).for_each(add);
                Ok(())
            })?;
            let total = room as u64;
            let mut told = |tokens: usize| {
                let (done, documents) = (tokens as u64, text.documents_read);
                let tokens = done;
                (text.progress)(&TextProgress { phase: "merging", done, total, documents, tokens });
            };
            let merges =
                learn(Units::bytes(&words), room, options.min_frequency, &special, &mut told);
            let json = bpe_json(&merges, options.pretokenizer, &special);
            let tokenizer = Tokenizer::from_json(pretty(&json), Vec::new(), "the new tokenizer")?;
            (tokenizer, Some(words.len() as u64))
        }
        TokenizerKind::Wordpiece => (library::wordpiece(&mut text, options, threads)?, None),
        TokenizerKind::Unigram => (library::unigram(&mut text, options, threads)?, None),
        TokenizerKind::Words => {
            return Err(DataError::config("kind", "whole words are not learned: take bpe").into());
        }
    };
    if text.bytes == 0 && options.kind != TokenizerKind::Bytes {
        return Err(nothing());
    }
    Ok(TrainedTokenizer { tokenizer, documents: text.documents_read, bytes: text.bytes, words })
}

fn characters(text: &str, special: &[&str]) -> BTreeSet<char> {
    let mut seen = [false; 128];
    let mut found = BTreeSet::new();
    for c in without(text, special).flat_map(str::chars) {
        match seen.get_mut(c as usize) {
            Some(seen) => *seen = true,
            None => drop(found.insert(c)),
        }
    }
    let ascii = (0..128u8).filter(|&byte| seen[usize::from(byte)]).map(char::from);
    found.extend(ascii);
    found
}

/// Calls its second argument with the words of a text.
type Words<'a> = dyn Fn(&str, &mut dyn FnMut(&str)) -> tokenizers::Result<()> + Sync + 'a;

/// Counts the words of all text, on all threads.
fn count(
    text: &mut Text<'_>,
    special: &[&str],
    threads: &ThreadPool,
    words: &Words<'_>,
) -> Result<WordCounts> {
    let idle: Mutex<Vec<WordCounts>> = Mutex::new(Vec::new());
    let all: Mutex<WordCounts> = Mutex::new(WordCounts::default());
    while text.fill()? {
        let counted = threads.map(&text.parts, |part| {
            let mut counts =
                idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let mut add = |word: &str| counts.add(word.as_bytes(), 1);
            let result = without(part, special).try_for_each(|text| words(text, &mut add));
            if counts.len() > THREAD_WORDS {
                all.lock().unwrap_or_else(PoisonError::into_inner).absorb(&mut counts);
            }
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(counts);
            result.map_err(|e| e.to_string())
        });
        let counted: Result<(), String> = counted.into_iter().collect();
        counted.map_err(|message| library::failed(&message))?;
    }
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    for mut counts in idle.into_inner().unwrap_or_else(PoisonError::into_inner) {
        all.absorb(&mut counts);
    }
    Ok(all)
}

/// The text between special tokens.
fn without<'a>(text: &'a str, special: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let found = special.iter().filter_map(|token| Some((text.find(token)?, token.len())));
        match found.min_by_key(|(at, length)| (*at, std::cmp::Reverse(*length))) {
            Some((at, length)) => {
                rest = Some(&text[at + length..]);
                Some(&text[..at])
            }
            None => rest.take(),
        }
    })
}

fn bpe_json(merges: &Merges, how: Pretokenizer, special: &[&str]) -> Value {
    let alphabet = byte_alphabet();
    let written: Vec<String> = merges
        .tokens
        .iter()
        .map(|token| token.iter().map(|&byte| alphabet[usize::from(byte)]).collect())
        .collect();
    let pair = |&(left, right): &(u32, u32)| {
        Value::from(format!("{} {}", written[left as usize], written[right as usize]))
    };
    let pairs: Vec<Value> = merges.pairs.iter().map(pair).collect();
    let vocab: Map<String, Value> =
        written.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added_tokens(special, vocab.len()),
        "normalizer": null, "pre_tokenizer": how.json(), "post_processor": null,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": pairs,
        },
    })
}

fn nothing() -> TextError {
    TextError::corpus(
        "there is no text to learn from",
        "Check the files, and the column that holds the text.",
    )
}

fn too_small(asked: usize, least: usize) -> TextError {
    DataError::config(
        "vocab_size",
        format!("{asked} tokens are too few: at least {least} are needed"),
    )
    .into()
}

fn too_large(asked: usize) -> TextError {
    DataError::config(
        "vocab_size",
        format!("{asked} tokens are too many: at most {MAX_VOCABULARY}"),
    )
    .into()
}

/// The text of documents, some at a time, in parts that are learned from one by one.
struct Text<'a> {
    documents: Documents<'a>,
    special: &'a [&'a str],
    progress: &'a mut dyn FnMut(&TextProgress),
    /// The next parts to learn from.
    parts: Vec<String>,
    /// The beginning of a document whose end was not read yet.
    open: String,
    total: u64,
    documents_read: u64,
    bytes: u64,
    left: u64,
}

impl<'a> Text<'a> {
    fn new(
        files: &'a [PathBuf],
        config: &'a TextConfig,
        special: &'a [&'a str],
        progress: &'a mut dyn FnMut(&TextProgress),
    ) -> Self {
        let sizes = files.iter().map(|path| std::fs::metadata(path).map_or(0, |m| m.len()));
        Self {
            documents: Documents::new(files, config, false),
            special,
            progress,
            parts: Vec::new(),
            open: String::new(),
            total: sizes.sum(),
            documents_read: 0,
            bytes: 0,
            left: config.max_documents.unwrap_or(u64::MAX),
        }
    }

    /// Reads more text; `false` at the end.
    fn fill(&mut self) -> Result<bool> {
        self.parts.clear();
        let mut held = 0;
        while held < BATCH
            && let Some(piece) = self.documents.next()?
        {
            if piece.first {
                if self.left == 0 {
                    break;
                }
                self.left -= 1;
                self.documents_read += 1;
            }
            held += piece.text.len();
            self.bytes += piece.text.len() as u64;
            self.open.push_str(&piece.text);
            while self.open.len() > PART
                && let Some(at) = self.border()
            {
                let rest = self.open.split_off(at);
                self.parts.push(std::mem::replace(&mut self.open, rest));
            }
            if piece.last && !self.open.is_empty() {
                self.parts.push(std::mem::take(&mut self.open));
            }
        }
        (self.progress)(&TextProgress {
            phase: "reading",
            done: self.documents.bytes(),
            total: self.total,
            documents: self.documents_read,
            tokens: 0,
        });
        Ok(!self.parts.is_empty() || held > 0)
    }

    /// The place where the open text can be cut without changing its words; any place in a word of
    /// many megabytes.
    fn border(&self) -> Option<usize> {
        let mut limit = PART;
        while limit <= self.open.len() {
            let found = word_border(&self.open, limit);
            if let Some(at) = found.filter(|at| !self.within_special(*at)) {
                return Some(at);
            }
            limit = found.unwrap_or(limit * 2 + PART / 2);
            if found.is_some() && limit < PART / 2 {
                break;
            }
        }
        let longest = super::floor_boundary(&self.open, LONGEST_WORD);
        (longest < self.open.len()).then_some(longest)
    }

    /// Whether a special token reaches over a place.
    fn within_special(&self, at: usize) -> bool {
        self.special.iter().any(|token| {
            let from = super::floor_boundary(&self.open, at.saturating_sub(token.len() - 1));
            let to = super::floor_boundary(&self.open, at + token.len() - 1);
            let mut found = self.open[from..to].match_indices(token);
            found.any(|(start, _)| {
                (from + start..from + start + token.len()).contains(&at) && from + start != at
            })
        })
    }
}

#[cfg(test)]
mod tests;
