//! Text to ids and back.

use std::sync::Arc;

use rayon::prelude::*;
use tokenizers::Tokenizer as Inner;

use crate::error::{Result, TextError};
use ff_formats::guarded_call;

mod added;
mod byte_pairs;
mod files;
mod gguf;
mod lengths;
mod marian;
mod pieces;
mod sentencepiece;
mod simple;
mod stream;
mod wordpiece;

use byte_pairs::BytePairs;
pub use marian::MarianTokenizer;
use simple::Simple;
pub(super) use simple::{added_tokens, byte_alphabet, byte_level, check_special, pretty};
pub use stream::TextStream;

/// Text to token ids and back: any `tokenizer.json`, GPT-2's `vocab.json` with `merges.txt`, BERT's
/// `vocab.txt`, a `tokenizer.model` of SentencePiece, bytes, or characters.
///
/// Whatever it is, [`Tokenizer::save`] writes a `tokenizer.json` that the crate and the Python
/// package `tokenizers` read and that gives the same ids.
///
/// ```
/// use ff_text::Tokenizer;
///
/// let tokenizer = Tokenizer::characters("to be", &["<|endoftext|>"])?;
/// assert_eq!(tokenizer.vocab_size(), 6);
/// let ids = tokenizer.encode("be to")?;
/// assert_eq!(ids, [1, 2, 0, 4, 3]);
/// assert_eq!(tokenizer.decode(&ids)?, "be to");
/// assert!(tokenizer.encode("tea").unwrap_err().to_string().contains("no token for `a`"));
/// # Ok::<(), ff_text::TextError>(())
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    fast: Option<Arc<Fast>>,
    kind: TokenizerKind,
    vocab_size: usize,
    special: SpecialTokens,
    begin: Arc<[u32]>,
    /// `tokenizer.json` as it was read or made.
    json: Arc<str>,
    /// Files that stand beside it and are written again as they were: name and text.
    beside: Arc<[(&'static str, String)]>,
    hash: Arc<str>,
    /// Where it came from, for messages.
    place: Arc<str>,
}

/// Encoders of this crate, for the kinds it knows.
enum Fast {
    Simple(Simple),
    BytePairs(Box<BytePairs>),
}

/// How a tokenizer cuts text.
///
/// ```
/// assert_eq!(ff_text::Tokenizer::bytes(&[])?.kind(), ff_text::TokenizerKind::Bytes);
/// # Ok::<(), ff_text::TextError>(())
/// ```
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerKind {
    /// Each byte of UTF-8 is a token.
    Bytes,
    /// Each character is a token.
    Characters,
    /// Byte pairs, merged in the order in which they were learned.
    Bpe,
    /// The longest piece that fits, from the left.
    Wordpiece,
    /// The likeliest pieces.
    Unigram,
    /// Whole words.
    Words,
}

impl std::fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Characters => "characters",
            Self::Bpe => "bpe",
            Self::Wordpiece => "wordpiece",
            Self::Unigram => "unigram",
            Self::Words => "words",
        })
    }
}

/// The ids that have a part of their own in a sequence.
///
/// ```
/// let tokenizer = ff_text::Tokenizer::bytes(&["<|endoftext|>"])?;
/// assert_eq!(tokenizer.special().eos, Some(256));
/// # Ok::<(), ff_text::TextError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// The token at the beginning of a sequence.
    pub bos: Option<u32>,
    /// The token at the end of a document or an answer.
    pub eos: Option<u32>,
    /// The token that pads a batch.
    pub pad: Option<u32>,
    /// The token for unknown text.
    pub unk: Option<u32>,
}

impl Tokenizer {
    /// The ids of a text, without tokens added around it; special tokens that stand in the text are
    /// recognised.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] for text without a token in a vocabulary that has none for the
    /// unknown.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self.fast.as_deref() {
            Some(Fast::Simple(fast)) => fast.encode(text).map_err(|c| self.no_token(c)),
            Some(Fast::BytePairs(fast)) => Ok(fast.encode(text)),
            None => self.encode_inner(text, false),
        }
    }

    /// The ids of a text as Python's `tokenizer(text)` gives them: with the tokens that the
    /// tokenizer puts around it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_inner(text, true)
    }

    /// The same for many texts, on all threads.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], for the first text without ids.
    pub fn encode_all(&self, texts: &[&str], special: bool) -> Result<Vec<Vec<u32>>> {
        texts
            .par_iter()
            .map(|text| if special { self.encode_with_special(text) } else { self.encode(text) })
            .collect()
    }

    /// The tokens that the tokenizer puts before a text, and those behind it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn around(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        let all = self.encode_with_special("")?;
        let before = self.begin.len().min(all.len());
        Ok((all[..before].to_vec(), all[before..].to_vec()))
    }

    /// The text of ids, special tokens included; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TextError::Vocabulary`] for an id that is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decode_inner(ids, false)
    }

    /// The text of ids without special tokens.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn decode_plain(&self, ids: &[u32]) -> Result<String> {
        self.decode_inner(ids, true)
    }

    /// Gives text as ids come, whole characters at a time.
    pub fn stream(&self) -> TextStream {
        TextStream::of(self.clone())
    }

    /// The same behind the ids of a prompt, whose text is not given: a first token of the stream is
    /// no first token of the text.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn stream_after(&self, prompt: &[u32]) -> Result<TextStream> {
        TextStream::new(self.clone(), prompt)
    }

    /// The ids of a prompt, which is to be continued: with the tokens that the tokenizer puts
    /// before
    /// a text, without those that it puts behind one.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.begin().to_vec();
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    /// The tokens that the tokenizer puts before a text.
    pub fn begin(&self) -> &[u32] {
        &self.begin
    }

    /// Whether an id belongs to a token that was added to the vocabulary.
    pub fn is_added(&self, id: u32) -> bool {
        self.inner.get_added_tokens_decoder().contains_key(&id)
    }

    /// Whether an id belongs to a special token, which [`Tokenizer::decode_plain`] leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// For each id below the size of a model's vocabulary, whether the tokenizer has a token for
    /// it:
    /// vocabularies are padded, and may have gaps.
    pub fn known_ids(&self, vocab_size: usize) -> Vec<bool> {
        let mut known = vec![false; vocab_size];
        for id in self.inner.get_vocab(true).into_values() {
            if let Some(known) = known.get_mut(id as usize) {
                *known = true;
            }
        }
        known
    }

    /// How it cuts text.
    pub fn kind(&self) -> TokenizerKind {
        self.kind
    }

    /// One more than the largest id, which is the least number of rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token of an id as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token as the vocabulary writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The ids with a part of their own.
    pub fn special(&self) -> SpecialTokens {
        self.special
    }

    /// All special tokens with their ids, in the order of their ids.
    pub fn special_tokens(&self) -> Vec<(String, u32)> {
        let added = self.inner.get_added_tokens_decoder();
        let special = added.into_iter().filter(|(_, token)| token.special);
        let mut tokens: Vec<_> = special.map(|(id, token)| (token.content, id)).collect();
        tokens.sort_by_key(|(_, id)| *id);
        tokens
    }

    /// XXH3-128 of `tokenizer.json`, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// `tokenizer.json` as it was read or made.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Whether each byte or character is a token, whatever is around it.
    pub(super) fn is_simple(&self) -> bool {
        matches!(self.fast.as_deref(), Some(Fast::Simple(_)))
    }

    /// The ids by the crate `tokenizers`.
    pub(super) fn encode_inner(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoded = guarded_call(|| self.inner.encode_fast(text, special));
        let encoding = encoded.and_then(|encoded| encoded.map_err(|e| e.to_string()));
        match encoding {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(message) => Err(TextError::tokenizer(
                self.place.as_ref(),
                format!("the text cannot be encoded: {message}"),
                "Train the tokenizer on text like this, or take one of the byte level (bpe, bytes).",
            )),
        }
    }

    fn decode_inner(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(TextError::Vocabulary { id, vocab_size: self.vocab_size });
        }
        let decoded = guarded_call(|| self.inner.decode(ids, skip_special));
        decoded.and_then(|decoded| decoded.map_err(|e| e.to_string())).map_err(|message| {
            TextError::tokenizer(
                self.place.as_ref(),
                format!("the ids cannot be decoded: {message}"),
                String::new(),
            )
        })
    }

    fn no_token(&self, character: char) -> TextError {
        TextError::tokenizer(
            self.place.as_ref(),
            format!("no token for `{}` (U+{:04X})", character.escape_debug(), character as u32),
            "The characters of a character tokenizer are those of the text it was made from: make it anew, or \
             take one of the byte level (bpe, bytes).",
        )
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} of {}, {})", self.kind, self.vocab_size, self.hash)
    }
}

#[cfg(test)]
mod tests;
