//! Tokens as they are read for training: windows of a stream that is mapped, not loaded.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::index::{Index, TextReport};
use super::shard::{Shard, ShardInfo};
use crate::error::{Result, TextError};

/// The tokens of a folder that [`tokenize`](super::tokenize) wrote, in their parts.
///
/// ```
/// use ff_text::TextData;
/// let error = TextData::open("no/tokens".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("no tokens"));
/// ```
#[derive(Clone, Debug)]
pub struct TextData {
    /// The part to train on.
    pub train: TokenData,
    /// The held-out part, if there is one.
    pub valid: Option<TokenData>,
    /// How they were made.
    pub report: TextReport,
}

impl TextData {
    /// Maps the shards of a folder.
    ///
    /// # Errors
    /// [`TextError::Tokens`] for a folder that is incomplete or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let index = Index::read(folder)?;
        let all = TokenData::of(folder, &index)?;
        let (train, valid) = (index.report.train, index.report.valid);
        let split = train.tokens;
        let part = |range: Range<u64>, bytes| TokenData { range, bytes, ..all.clone() };
        Ok(Self {
            train: part(0..split, train.bytes),
            valid: (valid.tokens > 0).then(|| part(split..split + valid.tokens, valid.bytes)),
            report: index.report,
        })
    }

    /// Reads every shard and compares it with its hash.
    ///
    /// # Errors
    /// [`TextError::Tokens`] naming the shard that is damaged.
    pub fn verify(&self) -> Result<()> {
        let stream = &self.train.stream;
        for (shard, info) in stream.shards.iter().zip(&stream.infos) {
            shard.tokens.verify(&stream.folder, info)?;
        }
        Ok(())
    }
}

/// A stream of tokens, mapped from its shards: cheap to clone, and to read at any place.
///
/// Tokens are counted from the part's first one; documents are counted in the order of the text.
#[derive(Clone, Debug)]
pub struct TokenData {
    stream: Arc<Stream>,
    range: Range<u64>,
    bytes: u64,
}

#[derive(Debug)]
struct Stream {
    folder: std::path::PathBuf,
    shards: Vec<Placed>,
    infos: Vec<ShardInfo>,
    hash: String,
    max_id: u32,
}

/// A shard and where it stands in the stream.
#[derive(Debug)]
struct Placed {
    tokens: Shard,
    first: u64,
}

impl TokenData {
    /// Maps all tokens of a folder as one stream, both parts of it.
    ///
    /// # Errors
    /// [`TextError::Tokens`] for a folder that is incomplete or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::of(folder, &Index::read(folder)?)
    }

    pub(super) fn of(folder: &Path, index: &Index) -> Result<Self> {
        let mut first = 0;
        let mut shards = Vec::with_capacity(index.shards.len());
        for info in &index.shards {
            shards.push(Placed { tokens: Shard::open(folder, info)?, first });
            first += info.tokens;
        }
        let stream = Stream {
            folder: folder.to_owned(),
            shards,
            infos: index.shards.clone(),
            hash: index.key.clone(),
            max_id: index.report.max_id,
        };
        let bytes = index.report.train.bytes + index.report.valid.bytes;
        Ok(Self { stream: Arc::new(stream), range: 0..first, bytes })
    }

    /// The number of tokens.
    pub fn tokens(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The bytes of text that the tokens stand for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The hash of text, settings and tokenizer, which determine the tokens.
    pub fn hash(&self) -> &str {
        &self.stream.hash
    }

    /// The largest id of the whole stream.
    pub fn max_id(&self) -> u32 {
        self.stream.max_id
    }

    /// Whether a model of this vocabulary has a row for every token.
    ///
    /// # Errors
    /// [`TextError::Vocabulary`] with the largest id.
    pub fn check_vocabulary(&self, vocab_size: usize) -> Result<()> {
        if (self.max_id() as usize) < vocab_size {
            return Ok(());
        }
        Err(TextError::Vocabulary { id: self.max_id(), vocab_size })
    }

    /// Whether there is a window of `context` tokens and the token after it; `part` names what is
    /// too short.
    ///
    /// # Errors
    /// [`TextError::Corpus`] with both lengths.
    pub fn check_context(&self, context: usize, part: &str) -> Result<()> {
        if self.tokens() > context as u64 {
            return Ok(());
        }
        Err(TextError::corpus(
            format!(
                "the {part} part has {} tokens, too few for a context of {context} and the token after it",
                self.tokens()
            ),
            "Give more text, a smaller context, or another share to data.valid.",
        ))
    }

    /// The tokens from `start` on.
    ///
    /// # Errors
    /// [`TextError::Tokens`] for a window that reaches beyond the end, or an id that the index does
    /// not know of.
    pub fn read(&self, start: u64, out: &mut [i32]) -> Result<()> {
        let mut token = self.checked(start, out.len())?;
        let mut rest = &mut *out;
        let mut shard = self.shard_of(token);
        while !rest.is_empty() {
            let Placed { tokens, first } = &self.stream.shards[shard];
            let at = (token - first) as usize;
            let count = rest.len().min(tokens.len() - at);
            let (now, later) = rest.split_at_mut(count);
            tokens.read(at, now);
            (rest, token, shard) = (later, token + count as u64, shard + 1);
        }
        let largest = out.iter().map(|&id| id as u32).max();
        match largest {
            Some(id) if id > self.max_id() => Err(TextError::tokens(
                &self.stream.folder,
                format!(
                    "a shard is damaged: it holds the id {id}, the largest is {}",
                    self.max_id()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Which document each token of a window belongs to, the window's first one being 0.
    ///
    /// # Errors
    /// [`TextError::Tokens`] for a window that reaches beyond the end.
    pub fn segments(&self, start: u64, out: &mut [i32]) -> Result<()> {
        self.each_document(start, out, |document, _| document)
    }

    /// The distance of each token of a window from its document's first token in that window.
    ///
    /// # Errors
    /// [`TextError::Tokens`] for a window that reaches beyond the end.
    pub fn positions(&self, start: u64, out: &mut [i32]) -> Result<()> {
        self.each_document(start, out, |_, position| position)
    }

    /// The number of documents that start in this part.
    pub fn documents(&self) -> u64 {
        self.starts_before(self.range.end) - self.starts_before(self.range.start)
    }

    /// The first token of a document.
    pub fn document_start(&self, document: u64) -> Option<u64> {
        if document >= self.documents() {
            return None;
        }
        let start = self.start(self.starts_before(self.range.start) + document)?;
        Some(start - self.range.start)
    }

    /// Calls `of` with the number of the document in the window and the position in that document.
    fn each_document(
        &self,
        start: u64,
        out: &mut [i32],
        of: impl Fn(i32, i32) -> i32,
    ) -> Result<()> {
        let first = self.checked(start, out.len())?;
        let mut next = self.starts_before(first + 1);
        let mut document = 0;
        let mut at = 0;
        while at < out.len() {
            let begin = self.start(next).unwrap_or(u64::MAX) - first;
            let end = usize::try_from(begin).unwrap_or(usize::MAX).min(out.len());
            for (position, value) in out[at..end].iter_mut().enumerate() {
                *value = of(document, position as i32);
            }
            (at, next, document) = (end, next + 1, document + 1);
        }
        Ok(())
    }

    /// The place of a window in the whole stream.
    fn checked(&self, start: u64, count: usize) -> Result<u64> {
        let end = start.checked_add(count as u64);
        if end.is_some_and(|end| end <= self.tokens()) {
            return Ok(self.range.start + start);
        }
        Err(TextError::tokens(
            &self.stream.folder,
            format!("{count} tokens from {start} on were asked for, there are {}", self.tokens()),
        ))
    }

    /// The shard that holds a token.
    fn shard_of(&self, token: u64) -> usize {
        self.stream.shards.partition_point(|shard| shard.first <= token).saturating_sub(1)
    }

    /// The number of documents of the whole stream that start before a token.
    fn starts_before(&self, token: u64) -> u64 {
        let mut count = 0;
        for (Placed { tokens, first }, info) in self.stream.shards.iter().zip(&self.stream.infos) {
            if first + info.tokens <= token {
                count += info.documents;
            } else {
                return count + tokens.starts_before(token.saturating_sub(*first)) as u64;
            }
        }
        count
    }

    /// The first token, in the whole stream, of a document of the whole stream.
    fn start(&self, document: u64) -> Option<u64> {
        Some(self.begins(document)?.0)
    }

    /// Where a document of the whole stream begins: its first token, and the bytes of text before
    /// it.
    pub(super) fn begins(&self, mut document: u64) -> Option<(u64, u64)> {
        for Placed { tokens, first } in &self.stream.shards {
            if document < tokens.documents() as u64 {
                let at = document as usize;
                return Some((first + tokens.start(at), tokens.bytes_before(at)));
            }
            document -= tokens.documents() as u64;
        }
        None
    }
}
