//! Measures of a tokenizer on a text.

use std::path::Path;

use serde::Serialize;

use super::config::TextConfig;
use super::documents::{Documents, files};
use super::encode::Cutter;
use super::tokenizer::Tokenizer;
use crate::error::{Result, TextError};
use ff_tensor::ThreadPool;

/// Text that is encoded at once, on all threads.
const BATCH: usize = 8 << 20;

/// Measures of a tokenizer on a text.
///
/// ```
/// let measured = ff_text::TextMeasure { bytes: 7, tokens: 2, ..Default::default() };
/// assert_eq!(measured.bytes_per_token(), 3.5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TextMeasure {
    /// The documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their characters.
    pub characters: u64,
    /// Their words, as blanks divide them.
    pub words: u64,
    /// Their tokens.
    pub tokens: u64,
    /// The distinct tokens among them.
    pub distinct: u64,
}

impl TextMeasure {
    /// The bytes of text that a token stands for, on average.
    pub fn bytes_per_token(&self) -> f64 {
        self.bytes as f64 / self.tokens.max(1) as f64
    }

    /// The tokens of a word, on average.
    pub fn tokens_per_word(&self) -> f64 {
        self.tokens as f64 / self.words.max(1) as f64
    }
}

/// Encodes all documents that a [`TextConfig`] names, and counts.
///
/// # Errors
/// [`TextError`]: text that cannot be read or encoded, no text.
pub fn measure(
    config: &TextConfig,
    base: &Path,
    tokenizer: &Tokenizer,
    threads: &ThreadPool,
) -> Result<TextMeasure> {
    config.validate()?;
    let files = files(&config.paths, base, config)?;
    let mut documents = Documents::new(&files, config, false);
    let mut cutter = Cutter::new(tokenizer);
    let mut total = TextMeasure::default();
    let mut seen = vec![false; tokenizer.vocab_size()];
    let mut ended = false;
    while !ended {
        let mut units = Vec::new();
        let mut held = 0;
        while held < BATCH {
            let Some(piece) = documents.next()? else {
                ended = true;
                break;
            };
            total.documents += u64::from(piece.first);
            held += piece.text.len();
            cutter.push(&piece, &mut units)?;
        }
        let encoded = threads.map(&units, |unit| unit.encode(tokenizer));
        for (unit, ids) in units.iter().zip(encoded) {
            let ids = ids?;
            total.bytes += unit.text().len() as u64;
            total.characters += unit.text().chars().count() as u64;
            total.words += unit.text().split_whitespace().count() as u64;
            total.tokens += ids.len() as u64;
            for id in ids {
                seen[id as usize] = true;
            }
        }
    }
    if total.bytes == 0 {
        return Err(TextError::corpus("there is no text to measure on", "Check the files."));
    }
    total.distinct = seen.iter().filter(|seen| **seen).count() as u64;
    Ok(total)
}
