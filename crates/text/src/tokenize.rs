//! From files to shards.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::clean::{Cleaner, count};
use super::config::{TextConfig, TextFormat};
use super::documents::{Documents, Piece, files};
use super::encode::{Cutter, Unit};
use super::index::{DocumentCounts, FILE, FORMAT, Index, PartReport, TextReport};
use super::shard::{ShardBuffer, ShardInfo};
use super::tokenizer::Tokenizer;
use super::tokens::{TextData, TokenData};
use ff_table::DataError;
use ff_tensor::ThreadPool;

use crate::error::{Result, TextError};
use ff_table::source::Input;

/// The tokens of a shard: 32 or 64 MiB.
const SHARD: usize = 1 << 24;

/// The text that is encoded at once, on all threads.
const BATCH: usize = 8 << 20;

/// The documents that are cleaned at once.
const MANY: usize = 1 << 16;

/// The dropped documents that are named for each reason.
const EXAMPLES: usize = 5;

/// Progress of reading, tokenising or learning.
#[derive(Clone, Copy, Debug)]
pub struct TextProgress {
    /// The current phase: `hashing`, `tokenising`, `reading`, `merging`.
    pub phase: &'static str,
    /// The amount done: bytes read from disk; tokens, while pairs are merged.
    pub done: u64,
    /// The total amount; 0 where it is unknown.
    pub total: u64,
    /// Documents that were read.
    pub documents: u64,
    /// Tokens that were made.
    pub tokens: u64,
}

/// Reads all documents, cuts them into tokens and writes these as shards into a folder; where they
/// are there already, made of the same text with the same settings and tokenizer, nothing is done.
///
/// Text is streamed: whatever its size, about 200 MiB of memory are needed, more where a document
/// is longer than 8 MiB or duplicates are looked for ([`CleanConfig`](super::CleanConfig) says how
/// much). Shards appear under their names when they are complete, and the index after all of them.
/// The result does not depend on the number of threads. Relative paths start at `base`.
///
/// # Errors
/// See [`TextError`]: a file that cannot be read, with the line where it has lines; no text; text
/// that the tokenizer cannot encode; a folder that cannot be written.
pub fn tokenize(
    config: &TextConfig,
    base: &Path,
    tokenizer: &Tokenizer,
    folder: &Path,
    threads: &ThreadPool,
    progress: &mut dyn FnMut(&TextProgress),
) -> Result<TextReport> {
    tokenize_into(config, base, tokenizer, folder, SHARD, threads, progress)
}

pub(super) fn tokenize_into(
    config: &TextConfig,
    base: &Path,
    tokenizer: &Tokenizer,
    folder: &Path,
    shard: usize,
    threads: &ThreadPool,
    progress: &mut dyn FnMut(&TextProgress),
) -> Result<TextReport> {
    config.validate()?;
    let train = files(&config.paths, base, config)?;
    let valid = files(&config.valid_paths, base, config)?;
    let hashed = hash(&train, &valid, progress)?;
    let key = key(config, tokenizer, &hashed);
    if let Ok(index) = Index::read(folder)
        && index.key == key
        && TextData::open(folder).is_ok()
    {
        return Ok(TextReport { reused: true, ..index.report });
    }
    clear(folder)?;
    let mut work = Work::new(config, tokenizer, folder, shard, threads, hashed.bytes);
    let single = single_text(config, &train)?;
    work.cutter.divide(single);
    work.read(&train, config.max_documents, progress)?;
    let mut split = work.split;
    let kept = work.counts.kept;
    if !valid.is_empty() {
        split = Some((work.tokens, work.bytes, work.starts));
        work.read(&valid, None, progress)?;
    }
    work.flush()?;
    if work.tokens == 0 {
        return Err(empty(&work.counts));
    }
    let mut report = TextReport {
        data: hashed.hash,
        files: train.len() + valid.len(),
        file_bytes: hashed.bytes,
        tokenizer: tokenizer.hash().to_owned(),
        vocab_size: tokenizer.vocab_size(),
        max_id: work.max_id,
        documents: work.counts,
        train: PartReport { documents: work.starts, tokens: work.tokens, bytes: work.bytes },
        valid: PartReport::default(),
        reused: false,
    };
    let width = work.buffer.width();
    let mut index =
        Index { format: FORMAT, key, width, report: report.clone(), shards: work.shards };
    if split.is_none() && config.valid > 0.0 {
        let documents = held_out(kept, config.valid)?;
        // The shards say where the first of those documents begins.
        let all = TokenData::of(folder, &index)?;
        split = all.begins(documents).map(|(token, bytes)| (token, bytes, documents));
    }
    if let Some((tokens, bytes, documents)) = split {
        let whole = report.train;
        report.train = PartReport { documents, tokens, bytes };
        report.valid = PartReport {
            documents: whole.documents - documents,
            tokens: whole.tokens - tokens,
            bytes: whole.bytes - bytes,
        };
    }
    if report.train.tokens == 0 {
        return Err(TextError::corpus(
            "after the held-out part there is no text left to train on",
            "Give more text, or a smaller share to data.valid.",
        ));
    }
    index.report.clone_from(&report);
    index.write(folder)?;
    Ok(report)
}

/// The first document that is held out.
fn held_out(kept: u64, share: f64) -> Result<u64> {
    if kept < 2 {
        return Err(TextError::corpus(
            "a single document cannot be divided into parts",
            "Set data.valid to 0, name a file in data.valid_paths, or say what stands between documents \
             (data.document_separator).",
        ));
    }
    Ok(((kept as f64 * (1.0 - share)) as u64).clamp(1, kept - 1))
}

/// The character at which a single text is divided, if this is one.
fn single_text(config: &TextConfig, train: &[PathBuf]) -> Result<Option<u64>> {
    let [path] = train else { return Ok(None) };
    let by_name = || TextFormat::from_path(&path.to_string_lossy());
    let plain = config.format.unwrap_or_else(by_name) == TextFormat::Text;
    let divided = config.valid > 0.0 && config.valid_paths.is_empty();
    if !plain || !divided || config.document_separator.is_some() {
        return Ok(None);
    }
    let mut documents = Documents::new(train, config, config.clean.judges());
    let mut characters = 0;
    while let Some(piece) = documents.next()? {
        characters += Cleaner::clean(&config.clean, piece).piece.text.chars().count() as u64;
    }
    Ok(Some((characters as f64 * (1.0 - config.valid)) as u64))
}

struct FileHash {
    hash: String,
    bytes: u64,
}

/// Hashes all files in order.
fn hash(
    train: &[PathBuf],
    valid: &[PathBuf],
    progress: &mut dyn FnMut(&TextProgress),
) -> Result<FileHash> {
    let sizes =
        train.iter().chain(valid).map(|path| std::fs::metadata(path).map_or(0, |m| m.len()));
    let total = sizes.sum();
    let mut hasher = Xxh3::new();
    let mut bytes = 0;
    for part in [train, valid] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        for path in part {
            let (hash, length) = Input::open(path, false)?.hash()?;
            hasher.update(hash.as_bytes());
            bytes += length;
            progress(&TextProgress {
                phase: "hashing",
                done: bytes,
                total,
                documents: 0,
                tokens: 0,
            });
        }
    }
    Ok(FileHash { hash: format!("{:032x}", hasher.digest128()), bytes })
}

/// The hash of all that the tokens depend on.
fn key(config: &TextConfig, tokenizer: &Tokenizer, hashed: &FileHash) -> String {
    let settings = TextConfig {
        paths: Vec::new(),
        valid_paths: Vec::new(),
        documents: super::DocumentBorders::default(),
        ..config.clone()
    };
    // Formats may follow from names; a file that is renamed to another format has to be read again.
    let mut hasher = Xxh3::new();
    for part in [&FORMAT.to_string(), &hashed.hash, tokenizer.hash()] {
        hasher.update(part.as_bytes());
    }
    for path in config.paths.iter().chain(&config.valid_paths) {
        hasher.update(format!("{:?}", TextFormat::from_path(&path.to_string_lossy())).as_bytes());
    }
    hasher.update(serde_json::to_string(&settings).unwrap_or_default().as_bytes());
    format!("{:032x}", hasher.digest128())
}

/// Makes the folder, and removes the files of an earlier or interrupted call, the index first.
fn clear(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| DataError::io("write", folder, e))?;
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(DataError::io("write", path, e)),
        _ => Ok(()),
    };
    remove(&folder.join(FILE))?;
    ff_formats::remove_temporaries(folder);
    let entries = std::fs::read_dir(folder).map_err(|e| DataError::io("read", folder, e))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("shard-") && name.ends_with(".tokens") {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn empty(counts: &DocumentCounts) -> TextError {
    let dropped: Vec<String> =
        counts.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let dropped = if dropped.is_empty() { "none".into() } else { dropped.join(", ") };
    TextError::corpus(
        format!("there is no text: {} documents were read, dropped were {dropped}", counts.read),
        "Check data.paths, data.text_column and data.clean.",
    )
}

struct Work<'a> {
    config: &'a TextConfig,
    tokenizer: &'a Tokenizer,
    folder: &'a Path,
    shard: usize,
    threads: &'a ThreadPool,
    total_bytes: u64,
    cleaner: Cleaner<'a>,
    cutter: Cutter<'a>,
    split: Option<(u64, u64, u64)>,
    counts: DocumentCounts,
    starts: u64,
    tokens: u64,
    bytes: u64,
    max_id: u32,
    buffer: ShardBuffer,
    shards: Vec<ShardInfo>,
}

impl<'a> Work<'a> {
    fn new(
        config: &'a TextConfig,
        tokenizer: &'a Tokenizer,
        folder: &'a Path,
        shard: usize,
        threads: &'a ThreadPool,
        total_bytes: u64,
    ) -> Self {
        let buffer = ShardBuffer::new(tokenizer.vocab_size());
        Self {
            config,
            tokenizer,
            folder,
            shard,
            threads,
            total_bytes,
            cleaner: Cleaner::new(&config.clean),
            cutter: Cutter::new(tokenizer),
            split: None,
            counts: DocumentCounts::default(),
            starts: 0,
            tokens: 0,
            bytes: 0,
            max_id: 0,
            buffer,
            shards: Vec::new(),
        }
    }

    fn read(
        &mut self,
        files: &[PathBuf],
        limit: Option<u64>,
        progress: &mut dyn FnMut(&TextProgress),
    ) -> Result<()> {
        let clean = &self.config.clean;
        let mut documents = Documents::new(files, self.config, clean.judges());
        let mut pieces = Vec::new();
        let mut held = 0;
        let end = limit.map_or(u64::MAX, |limit| self.counts.read.saturating_add(limit));
        loop {
            let mut piece = documents.next()?;
            if piece.as_ref().is_some_and(|piece| piece.first) {
                if self.counts.read == end {
                    piece = None;
                } else {
                    self.counts.read += 1;
                }
            }
            let ended = piece.is_none();
            if let Some(piece) = piece {
                held += piece.text.len();
                pieces.push(piece);
            }
            if held >= BATCH || pieces.len() >= MANY || ended {
                self.take(&documents, &mut pieces)?;
                held = 0;
                progress(&TextProgress {
                    phase: "tokenising",
                    done: documents.bytes(),
                    total: self.total_bytes,
                    documents: self.counts.read,
                    tokens: self.tokens,
                });
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Cleans, cuts up and encodes pieces.
    fn take(&mut self, documents: &Documents<'_>, pieces: &mut Vec<Piece>) -> Result<()> {
        let clean = &self.config.clean;
        let cleaned = self.threads.map(pieces.drain(..), |piece| Cleaner::clean(clean, piece));
        let mut units = Vec::new();
        for cleaned in cleaned {
            if let Some(reason) = self.cleaner.reason_to_drop(&cleaned) {
                count(&mut self.counts.dropped, reason, 1);
                let examples = self.counts.examples.entry(reason.into()).or_default();
                if examples.len() < EXAMPLES {
                    examples.push(documents.place(cleaned.piece.place));
                }
                continue;
            }
            for (what, times) in &cleaned.masked {
                count(&mut self.counts.masked, what, *times);
            }
            self.counts.kept += u64::from(cleaned.piece.last);
            self.cutter.push(&cleaned.piece, &mut units)?;
        }
        self.encode(documents, &mut units)
    }

    /// Encodes units on all threads and writes them in order.
    fn encode(&mut self, documents: &Documents<'_>, units: &mut Vec<Unit>) -> Result<()> {
        let special = self.tokenizer.special();
        let begin = match self.config.add_bos {
            None => self.tokenizer.begin(),
            Some(true) => special.bos.as_slice(),
            Some(false) => &[],
        };
        let eos = special.eos.filter(|_| self.config.add_eos);
        let encoded = self.threads.map(&*units, |unit| unit.encode(self.tokenizer));
        for (unit, ids) in units.drain(..).zip(encoded) {
            let ids = ids.map_err(|error| match error {
                TextError::Tokenizer { message, hint, .. } => {
                    let place = format!("the document at {}", documents.place(unit.place));
                    TextError::Tokenizer { place, message, hint }
                }
                other => other,
            })?;
            if unit.begins {
                self.start_document();
                self.push(begin)?;
            }
            self.push(&ids)?;
            self.bytes += unit.text().len() as u64;
            if unit.ends {
                self.push(eos.as_slice())?;
            }
            if unit.divides {
                self.split = Some((self.tokens, self.bytes, self.starts));
                self.start_document();
            }
        }
        Ok(())
    }

    fn start_document(&mut self) {
        self.buffer.start_document(self.bytes);
        self.starts += 1;
    }

    fn push(&mut self, mut ids: &[u32]) -> Result<()> {
        self.max_id = ids.iter().copied().max().map_or(self.max_id, |id| id.max(self.max_id));
        self.tokens += ids.len() as u64;
        while !ids.is_empty() {
            let room = self.shard.saturating_sub(self.buffer.len()).max(1);
            let (now, later) = ids.split_at(room.min(ids.len()));
            self.buffer.extend(now);
            ids = later;
            if self.buffer.is_full(self.shard) {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let file = format!("shard-{:05}.tokens", self.shards.len());
        self.shards.push(self.buffer.write(self.folder, file)?);
        Ok(())
    }
}
