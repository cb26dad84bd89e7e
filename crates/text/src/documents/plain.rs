//! Plain text, decoded as it is read and cut at separators.

use std::io::Read;
use std::path::PathBuf;

use super::{MAX_DOCUMENT, Piece, Place, UTF8_HINT, utf16};
use ff_table::DataError;

use crate::config::{BrokenText, TextConfig};
use crate::error::Result;
use crate::floor_boundary;
use ff_table::source::{Bytes, Input, io_error};

/// The bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// A file of plain text.
pub(super) struct PlainText {
    bytes: Bytes,
    path: PathBuf,
    compression: Option<&'static str>,
    separator: Option<String>,
    utf8: BrokenText,
    whole: bool,
    /// Bytes that were read but not decoded: the beginning of a character.
    raw: Vec<u8>,
    /// The place of `raw` in the file.
    offset: u64,
    /// Text that was decoded; given up to `start`, without a separator up to `searched`.
    text: String,
    start: usize,
    searched: usize,
    /// The places in `text` that could not be decoded.
    broken: Vec<usize>,
    /// The line of `text[start]`, and of the text's end.
    line: u64,
    last_line: u64,
    ended: bool,
    given: Emitted,
}

/// The output so far.
#[derive(PartialEq)]
enum Emitted {
    Nothing,
    Pieces,
    Documents,
    All,
}

impl PlainText {
    pub(super) fn new(input: &Input, bytes: Bytes, config: &TextConfig, whole: bool) -> Self {
        Self {
            bytes,
            path: input.path().to_owned(),
            compression: input.compression(),
            separator: config.document_separator.clone(),
            utf8: config.clean.utf8,
            whole: whole || config.clean.utf8 == BrokenText::Drop,
            raw: Vec::new(),
            offset: 0,
            text: String::new(),
            start: 0,
            searched: 0,
            broken: Vec::new(),
            line: 1,
            last_line: 1,
            ended: false,
            given: Emitted::Nothing,
        }
    }

    pub(super) fn next(&mut self, file: usize) -> Result<Option<Piece>> {
        if self.given == Emitted::All {
            return Ok(None);
        }
        loop {
            if let Some(separator) = &self.separator {
                let length = separator.len();
                if let Some(found) = self.text[self.searched..].find(separator.as_str()) {
                    let end = self.searched + found;
                    let piece = self.take(file, end, end + length, true);
                    self.given = Emitted::Documents;
                    return Ok(Some(piece));
                }
                let from = self.text.len().saturating_sub(length - 1).max(self.searched);
                self.searched = floor_boundary(&self.text, from);
            } else if !self.whole && !self.ended {
                // Masked data never crosses the end of a line, so pieces end there where they
                // can.
                let line = self.text[self.start..].rfind('\n').map(|at| self.start + at + 1);
                let long = (self.text.len() - self.start >= BLOCK).then_some(self.text.len());
                if let Some(end) = line.or(long) {
                    let piece = self.take(file, end, end, false);
                    self.given = Emitted::Pieces;
                    return Ok(Some(piece));
                }
            }
            if self.ended {
                // Text behind the last separator is a document only if it is not empty.
                let rest = self.text.len() > self.start;
                let piece = (rest || self.given != Emitted::Documents)
                    .then(|| self.take(file, self.text.len(), self.text.len(), true));
                self.given = Emitted::All;
                return Ok(piece);
            }
            self.fill()?;
            if self.text.len() - self.start > MAX_DOCUMENT {
                return Err(DataError::Format {
                    path: self.path.clone(),
                    line: Some(self.line),
                    message: format!("a document of more than {} MiB", MAX_DOCUMENT >> 20),
                    hint: "Say what stands between documents (data.document_separator), or read the file \
                           as one text, without the settings of data.clean that judge documents."
                        .into(),
                }
                .into());
            }
        }
    }

    /// Gives the text up to `end` and continues at `next`.
    fn take(&mut self, file: usize, end: usize, next: usize, last: bool) -> Piece {
        let text = self.text[self.start..end].to_owned();
        let place = Place { file, word: "line", line: self.line };
        self.line += lines(&self.text[self.start..next]);
        let broken = self.broken.partition_point(|&at| at < next);
        self.broken.drain(..broken);
        (self.start, self.searched) = (next, next);
        let first = self.given != Emitted::Pieces;
        Piece { text, first, last, broken: broken > 0 && self.utf8 == BrokenText::Drop, place }
    }

    /// Reads and decodes more.
    fn fill(&mut self) -> Result<()> {
        self.text.drain(..self.start);
        self.searched -= self.start;
        self.broken.iter_mut().for_each(|at| *at -= self.start);
        self.start = 0;
        let held = self.raw.len();
        self.raw.resize(held + BLOCK, 0);
        let mut end = held;
        while end < self.raw.len() {
            match self.bytes.read(&mut self.raw[end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => end += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io_error(&self.path, self.compression, e).into()),
            }
        }
        self.raw.truncate(end);
        if self.offset == 0
            && let Some(encoding) = utf16(&self.raw)
        {
            return Err(DataError::Format {
                path: self.path.clone(),
                line: None,
                message: encoding.message(),
                hint: encoding.hint(),
            }
            .into());
        }
        let mut from =
            if self.offset == 0 && self.raw.starts_with(&[0xef, 0xbb, 0xbf]) { 3 } else { 0 };
        loop {
            let rest = &self.raw[from..];
            let (valid, bad) = match std::str::from_utf8(rest) {
                Ok(text) => (text, None),
                Err(e) => {
                    let text = std::str::from_utf8(&rest[..e.valid_up_to()]).unwrap_or_default();
                    // A character that the block's end cuts is complete in the next block.
                    let bad = e.error_len().or_else(|| self.ended.then(|| rest.len() - text.len()));
                    (text, bad)
                }
            };
            self.text.push_str(valid);
            self.last_line += lines(valid);
            from += valid.len();
            let Some(bad) = bad else { break };
            if self.utf8 == BrokenText::Error {
                return Err(DataError::Format {
                    path: self.path.clone(),
                    line: Some(self.last_line),
                    message: format!(
                        "byte {:#04x} at offset {} is not UTF-8",
                        self.raw[from],
                        self.offset + from as u64
                    ),
                    hint: UTF8_HINT.into(),
                }
                .into());
            }
            self.broken.push(self.text.len());
            self.text.push(char::REPLACEMENT_CHARACTER);
            from += bad;
        }
        self.offset += from as u64;
        self.raw.drain(..from);
        Ok(())
    }
}

fn lines(text: &str) -> u64 {
    text.bytes().filter(|&byte| byte == b'\n').count() as u64
}
