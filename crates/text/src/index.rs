//! The files beside shards: their index, and the report of how they were made.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::shard::ShardInfo;
use ff_table::DataError;

use crate::error::{Result, TextError};

pub(super) const FILE: &str = "index.json";
pub(super) const FORMAT: u32 = 1;

/// The index of a folder of shards; it is written last, so that where it stands, all stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    pub(super) format: u32,
    /// The hash of text, settings and tokenizer, which determine the tokens.
    pub(super) key: String,
    /// The bytes of a token.
    pub(super) width: usize,
    pub(super) report: TextReport,
    pub(super) shards: Vec<ShardInfo>,
}

/// A summary of reading and tokenising the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextReport {
    /// The hash of all files that were read, as they are on disk.
    pub data: String,
    /// The files that were read.
    pub files: usize,
    /// Their bytes on disk.
    pub file_bytes: u64,
    /// The hash of the tokenizer.
    pub tokenizer: String,
    /// The tokenizer's number of ids.
    pub vocab_size: usize,
    /// The largest id among the tokens.
    pub max_id: u32,
    /// Documents read, kept and dropped; they add up.
    pub documents: DocumentCounts,
    /// The part to train on.
    pub train: PartReport,
    /// The held-out part; of no tokens if there is none.
    pub valid: PartReport,
    /// Whether the tokens were there already and nothing was done.
    #[serde(skip)]
    pub reused: bool,
}

/// Documents read, kept and dropped: `read = kept + Σ dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentCounts {
    /// All documents.
    pub read: u64,
    /// Those that became tokens.
    pub kept: u64,
    /// The dropped documents, counted by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The places of the first few of them.
    pub examples: BTreeMap<String, Vec<String>>,
    /// Personal data masked in the others: kinds and counts.
    pub masked: BTreeMap<String, u64>,
}

/// A part of the tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartReport {
    /// The documents that start in it.
    pub documents: u64,
    /// Its tokens, those that end documents included.
    pub tokens: u64,
    /// The bytes of text that they stand for, for bits per byte.
    pub bytes: u64,
}

impl Index {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => TextError::tokens(
                folder,
                "no tokens: the index is missing, so the text was not tokenised to its end",
            ),
            _ => DataError::io("read", &path, e).into(),
        })?;
        let index: Self = serde_json::from_str(&text)
            .map_err(|e| TextError::tokens(&path, format!("the index is damaged: {e}")))?;
        if index.format != FORMAT {
            let message = format!("format {}; this program reads {FORMAT}", index.format);
            return Err(TextError::tokens(&path, message));
        }
        let (train, valid) = (&index.report.train, &index.report.valid);
        let total: u128 = index.shards.iter().map(|shard| u128::from(shard.tokens)).sum();
        let plain = |shard: &ShardInfo| {
            Path::new(&shard.file).file_name().is_some_and(|name| name == shard.file.as_str())
        };
        if total != u128::from(train.tokens) + u128::from(valid.tokens)
            || !index.shards.iter().all(plain)
        {
            return Err(TextError::tokens(
                &path,
                "the index is damaged: its numbers do not add up",
            ));
        }
        Ok(index)
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| DataError::io("write", &path, e.into()))?;
        ff_formats::write_atomic(&path, |file| file.write_all(text.as_bytes()))?;
        Ok(())
    }
}
