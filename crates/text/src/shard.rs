//! One file of tokens: a header, the tokens, the starts of documents.
//!
//! All numbers are little endian. The header is 48 bytes: the magic, the format's version (u32),
//! the bytes of a token (u32, 2 or 4), the number of tokens (u64), the number of documents that
//! start here (u64), XXH3-64 of what follows the header (u64), and zeros. Then the tokens, zeros up
//! to a multiple of eight, and for each document two u64: the number of its first token in this
//! file, and the bytes of text of all documents before it.

use std::io::Write;
use std::path::Path;

use ff_tensor::Mapped;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use ff_table::DataError;

use crate::error::{Result, TextError};

const MAGIC: [u8; 8] = *b"FFTOKENS";
const VERSION: u32 = 1;
const HEADER: usize = 48;
/// The bytes about a document.
const ENTRY: usize = 16;

/// Tokens collected in memory until they fill a file.
pub(super) struct ShardBuffer {
    width: usize,
    tokens: Vec<u8>,
    starts: Vec<u8>,
}

/// A shard's entry in the index.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShardInfo {
    pub(super) file: String,
    pub(super) tokens: u64,
    pub(super) documents: u64,
    /// XXH3-64 of what follows the header, in hexadecimal.
    pub(super) hash: String,
}

impl ShardBuffer {
    /// For ids below `vocab_size`.
    pub(super) fn new(vocab_size: usize) -> Self {
        let width = if vocab_size <= 1 << 16 { 2 } else { 4 };
        Self { width, tokens: Vec::new(), starts: Vec::new() }
    }

    /// The bytes of a token.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len() / self.width
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.starts.is_empty()
    }

    /// A document begins here, after so many bytes of text.
    pub(super) fn start_document(&mut self, bytes_before: u64) {
        self.starts.extend((self.len() as u64).to_le_bytes());
        self.starts.extend(bytes_before.to_le_bytes());
    }

    /// Whether it holds as much as a file should.
    pub(super) fn is_full(&self, tokens: usize) -> bool {
        self.len() >= tokens || self.starts.len() / ENTRY >= tokens
    }

    pub(super) fn extend(&mut self, ids: &[u32]) {
        if self.width == 2 {
            self.tokens.extend(ids.iter().flat_map(|&id| (id as u16).to_le_bytes()));
        } else {
            self.tokens.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        }
    }

    /// Writes the file atomically and empties the buffer.
    pub(super) fn write(&mut self, folder: &Path, file: String) -> Result<ShardInfo> {
        let (tokens, documents) = (self.len() as u64, (self.starts.len() / ENTRY) as u64);
        self.tokens.resize(self.tokens.len().next_multiple_of(8), 0);
        let mut hasher = Xxh3::new();
        hasher.update(&self.tokens);
        hasher.update(&self.starts);
        let hash = hasher.digest();
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((self.width as u32).to_le_bytes());
        header.extend(tokens.to_le_bytes());
        header.extend(documents.to_le_bytes());
        header.extend(hash.to_le_bytes());
        header.resize(HEADER, 0);
        ff_formats::write_atomic(&folder.join(&file), |out| {
            out.write_all(&header)?;
            out.write_all(&self.tokens)?;
            out.write_all(&self.starts)
        })?;
        self.tokens.clear();
        self.starts.clear();
        Ok(ShardInfo { file, tokens, documents, hash: format!("{hash:016x}") })
    }
}

/// A file of tokens, mapped.
#[derive(Debug)]
pub(super) struct Shard {
    bytes: Mapped,
    width: usize,
    tokens: usize,
    starts: usize,
}

impl Shard {
    /// Maps a file and checks it against the index.
    pub(super) fn open(folder: &Path, info: &ShardInfo) -> Result<Self> {
        let path = folder.join(&info.file);
        let bytes = Mapped::open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => TextError::tokens(&path, "this shard is missing"),
            _ => DataError::io("read", &path, e).into(),
        })?;
        let damaged = |message: String| TextError::tokens(&path, message);
        let cut = || damaged(format!("this shard is cut: it has {} bytes", bytes.len()));
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let half = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes.get(..8).ok_or_else(cut)? != MAGIC {
            return Err(damaged("this is no shard of tokens".into()));
        }
        let version = half(8).ok_or_else(cut)?;
        if version != VERSION {
            return Err(damaged(format!("format {version}; this program reads {VERSION}")));
        }
        let width = half(12).ok_or_else(cut)? as usize;
        let (tokens, starts) = (word(16).ok_or_else(cut)?, word(24).ok_or_else(cut)?);
        let hash = word(32).ok_or_else(cut)?;
        let known = matches!(width, 2 | 4)
            && (tokens, starts) == (info.tokens, info.documents)
            && format!("{hash:016x}") == info.hash;
        if !known {
            return Err(damaged("this shard is not the one that the index names".into()));
        }
        let length = (tokens as u128 * width as u128).next_multiple_of(8)
            + starts as u128 * ENTRY as u128
            + HEADER as u128;
        if length != bytes.len() as u128 {
            return Err(damaged(format!(
                "this shard is cut: it has {} of {length} bytes",
                bytes.len()
            )));
        }
        Ok(Self { bytes, width, tokens: tokens as usize, starts: starts as usize })
    }

    /// Reads the whole file and compares it with its hash.
    pub(super) fn verify(&self, folder: &Path, info: &ShardInfo) -> Result<()> {
        let hash = xxh3_64(&self.bytes[HEADER..]);
        if format!("{hash:016x}") == info.hash {
            return Ok(());
        }
        Err(TextError::tokens(&folder.join(&info.file), "this shard is damaged: its hash differs"))
    }

    pub(super) fn len(&self) -> usize {
        self.tokens
    }

    pub(super) fn documents(&self) -> usize {
        self.starts
    }

    /// The tokens from `start` on.
    pub(super) fn read(&self, start: usize, out: &mut [i32]) {
        let bytes = &self.bytes[HEADER + start * self.width..][..out.len() * self.width];
        if self.width == 2 {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = i32::from(u16::from_le_bytes(*bytes));
            }
        } else {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = i32::from_le_bytes(*bytes);
            }
        }
    }

    /// The first token of a document that starts here.
    pub(super) fn start(&self, document: usize) -> u64 {
        self.word(document, 0)
    }

    /// The bytes of text of all documents before one that starts here.
    pub(super) fn bytes_before(&self, document: usize) -> u64 {
        self.word(document, 8)
    }

    fn word(&self, document: usize, offset: usize) -> u64 {
        let starts = HEADER + (self.tokens * self.width).next_multiple_of(8);
        let at = starts + document * ENTRY + offset;
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(word)
    }

    /// The number of documents that start before a token.
    pub(super) fn starts_before(&self, token: u64) -> usize {
        let (mut low, mut high) = (0, self.starts);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.start(middle) < token { low = middle + 1 } else { high = middle }
        }
        low
    }
}
