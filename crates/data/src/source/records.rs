//! Bytes of a delimited text into records and fields.
//!
//! The `csv` crate writes our files and is what this reader is tested against; reading is our own because messages
//! need what it does not tell: the line of a record after blank lines, the line where a quote was opened that is
//! never closed, and a limit to the length of a record, so that one stray quote cannot swallow a large file.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::input::{Bytes, io_error};
use crate::error::{DataError, Result};

/// No sensible record is longer; one that is has an unclosed quote, or the file is not text.
const MAX_RECORD: usize = 64 << 20;

/// The first size of the buffer.
const BUFFER: usize = 1 << 18;

/// Splits bytes into records.
pub(super) struct Records {
    bytes: Bytes,
    path: PathBuf,
    compression: Option<&'static str>,
    delimiter: u8,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    next_line: u64,
    line: u64,
    fields: Vec<Field>,
    unescaped: Vec<u8>,
}

/// A field's place, in the buffer or, if it had doubled quotes, in the text without them.
#[derive(Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    escaped: bool,
}

/// How an attempt to find a record in the buffer ended.
enum Step {
    /// A record; the next one starts there, this many lines below.
    Record { next: usize, lines: u64 },
    /// A line without anything.
    Blank { next: usize },
    /// The buffer ends within the record; the line below the record's first on which a quote is open.
    More { quote: Option<u64> },
}

impl Records {
    pub(super) fn new(
        bytes: Bytes,
        path: &Path,
        compression: Option<&'static str>,
        delimiter: u8,
    ) -> Self {
        Self {
            bytes,
            path: path.to_owned(),
            compression,
            delimiter,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            ended: false,
            next_line: 1,
            line: 1,
            fields: Vec::new(),
            unescaped: Vec::new(),
        }
    }

    /// Moves to the next record that is not blank; `false` at the end.
    pub(super) fn advance(&mut self) -> Result<bool> {
        loop {
            if self.start == self.end && self.ended {
                return Ok(false);
            }
            match self.step() {
                Step::Record { next, lines } => {
                    self.line = self.next_line;
                    self.next_line += lines;
                    self.start = next;
                    return Ok(true);
                }
                Step::Blank { next } => {
                    self.next_line += 1;
                    self.start = next;
                }
                Step::More { quote: Some(below) } if self.ended => {
                    return Err(self.unclosed(self.next_line + below));
                }
                Step::More { .. } if self.ended => return Ok(false),
                Step::More { quote } => self.fill(quote)?,
            }
        }
    }

    /// The line that the record starts on, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The number of fields of the record.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field of the record.
    #[inline]
    pub(super) fn field(&self, index: usize) -> &[u8] {
        let Field { start, end, escaped } = self.fields[index];
        if escaped { &self.unescaped[start..end] } else { &self.buffer[start..end] }
    }

    /// Whether the record reaches the end of the input.
    pub(super) fn at_end(&self) -> bool {
        self.ended && self.start == self.end
    }

    /// Finds one record from `self.start`.
    fn step(&mut self) -> Step {
        self.fields.clear();
        self.unescaped.clear();
        let bytes = &self.buffer[..self.end];
        let delimiter = self.delimiter;
        let mut at = self.start;
        let mut lines = 0;
        loop {
            let mut field = Field { start: at, end: at, escaped: false };
            if bytes.get(at) == Some(&b'"') {
                let opened = lines;
                match quoted(bytes, at, &mut self.unescaped, &mut lines) {
                    Some((quoted, after)) => (field, at) = (quoted, after),
                    None => return Step::More { quote: Some(opened) },
                }
                // Text after the closing quote belongs to the field, as in Python's reader.
                let rest = at + length(&bytes[at..], delimiter);
                if rest > at && !bytes[at..rest].iter().all(|b| *b == b' ') {
                    if !field.escaped {
                        let from = self.unescaped.len();
                        self.unescaped.extend_from_slice(&bytes[field.start..field.end]);
                        field = Field { start: from, end: self.unescaped.len(), escaped: true };
                    }
                    self.unescaped.extend_from_slice(&bytes[at..rest]);
                    field.end = self.unescaped.len();
                }
                at = rest;
            } else {
                at += length(&bytes[at..], delimiter);
                field.end = at;
            }
            let quoted = field.start != field.end
                || field.escaped
                || bytes.get(at.wrapping_sub(1)) == Some(&b'"');
            self.fields.push(field);
            match bytes.get(at) {
                Some(&byte) if byte == delimiter => at += 1,
                Some(&byte) => {
                    let mut next = at + 1;
                    if byte == b'\r' {
                        match bytes.get(next) {
                            Some(b'\n') => next += 1,
                            None if !self.ended => return Step::More { quote: None },
                            _ => {}
                        }
                    }
                    if self.fields.len() == 1 && !quoted {
                        return Step::Blank { next };
                    }
                    return Step::Record { next, lines: lines + 1 };
                }
                None if self.ended && at > self.start => {
                    return Step::Record { next: at, lines: lines + 1 };
                }
                None => return Step::More { quote: None },
            }
        }
    }

    /// Moves the started record to the front and reads more behind it.
    fn fill(&mut self, quote: Option<u64>) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            if self.end >= MAX_RECORD {
                return Err(match quote {
                    Some(below) => self.unclosed(self.next_line + below),
                    None => self.malformed(
                        self.next_line,
                        format!("a line of more than {} MiB", MAX_RECORD >> 20),
                        "Is it a table? A binary file or a single JSON array cannot be read as one.",
                    ),
                });
            }
            self.buffer.resize((self.buffer.len() * 2).max(BUFFER), 0);
        }
        while self.end < self.buffer.len() {
            match self.bytes.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => self.end += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io_error(&self.path, self.compression, e)),
            }
        }
        Ok(())
    }

    fn unclosed(&self, line: u64) -> DataError {
        self.malformed(
            line,
            "a quote is opened here and never closed".into(),
            "Close it, or double it (\"\") if it is part of the text.",
        )
    }

    fn malformed(&self, line: u64, message: String, hint: &str) -> DataError {
        DataError::Format { path: self.path.clone(), line: Some(line), message, hint: hint.into() }
    }
}

/// The number of bytes before the next delimiter or line end.
#[inline]
fn length(bytes: &[u8], delimiter: u8) -> usize {
    bytes
        .iter()
        .position(|&byte| byte == delimiter || byte == b'\n' || byte == b'\r')
        .unwrap_or(bytes.len())
}

/// Reads a quoted field whose quote is at `open`; gives the field and the index after its closing quote.
fn quoted(
    bytes: &[u8],
    open: usize,
    unescaped: &mut Vec<u8>,
    lines: &mut u64,
) -> Option<(Field, usize)> {
    let mut from = open + 1;
    let mut copied: Option<usize> = None;
    loop {
        let close = from + bytes.get(from..)?.iter().position(|&byte| byte == b'"')?;
        *lines += bytes[from..close].iter().map(|&byte| u64::from(byte == b'\n')).sum::<u64>();
        if bytes.get(close + 1) == Some(&b'"') {
            copied.get_or_insert(unescaped.len());
            unescaped.extend_from_slice(&bytes[from..=close]);
            from = close + 2;
        } else if let Some(start) = copied {
            unescaped.extend_from_slice(&bytes[from..close]);
            return Some((Field { start, end: unescaped.len(), escaped: true }, close + 1));
        } else {
            return Some((Field { start: from, end: close, escaped: false }, close + 1));
        }
    }
}
