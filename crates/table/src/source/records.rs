//! Bytes of a delimited text into records and fields.
//!
//! The `csv` crate writes our files and is what this reader is tested against; reading is our own
//! because messages need what it does not tell: the line of a record after blank lines, the line
//! where a quote was opened that is never closed, and a limit to the length of a record, so that
//! one stray quote cannot swallow a large file.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::gzip::Bytes;
use super::input::io_error;
use crate::error::{DataError, Result};

/// No sensible record is longer; one that is has an unclosed quote, or the file is not text.
pub(super) const MAX_RECORD: usize = 64 << 20;

/// The first size of the buffer.
const BUFFER: usize = 1 << 18;

/// Splits bytes into records.
pub(super) struct Records {
    bytes: Bytes,
    path: PathBuf,
    compression: Option<&'static str>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    next_line: u64,
    line: u64,
    /// Where the current record starts.
    record: usize,
    splitter: Splitter,
    /// Whether a blank line is a record of one empty field.
    keep_blank: bool,
}

/// Splits one record after the other into fields.
pub(super) struct Splitter {
    delimiter: u8,
    fields: Vec<Field>,
    unescaped: Vec<u8>,
}

/// The rest of an input once records are no longer taken one by one.
pub(super) struct Rest {
    /// The bytes that were read already, from the beginning of a record.
    pub(super) bytes: Vec<u8>,
    /// Those that follow.
    pub(super) stream: Bytes,
    /// The line on which it begins.
    pub(super) line: u64,
}

/// A field's place, in the buffer or, if it had doubled quotes, in the text without them.
#[derive(Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    escaped: bool,
}

/// How an attempt to find a record ended.
pub(super) enum Step {
    /// A record; the next one starts there, this many lines below.
    Record { next: usize, lines: u64 },
    /// A line without anything.
    Blank { next: usize },
    /// The bytes end within the record; the line below the record's first on which a quote is open.
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
            buffer: Vec::new(),
            start: 0,
            end: 0,
            ended: false,
            next_line: 1,
            line: 1,
            record: 0,
            splitter: Splitter::new(delimiter),
            keep_blank: false,
        }
    }

    /// The same, with this many lines above the first one.
    pub(super) fn below(mut self, lines: u64) -> Self {
        self.next_line += lines;
        self
    }

    /// From here on, blank lines are records of one empty field.
    pub(super) fn keep_blank(&mut self) {
        self.keep_blank = true;
    }

    /// Moves to the next record, which is blank only if such are kept; `false` at the end.
    pub(super) fn advance(&mut self) -> Result<bool> {
        loop {
            if self.start == self.end && self.ended {
                return Ok(false);
            }
            let bytes = &self.buffer[..self.end];
            match self.splitter.step(bytes, self.start, self.ended) {
                Step::Record { next, lines } => {
                    self.record = self.start;
                    self.line = self.next_line;
                    self.next_line += lines;
                    self.start = next;
                    return Ok(true);
                }
                Step::Blank { next } => {
                    (self.record, self.line) = (self.start, self.next_line);
                    self.next_line += 1;
                    self.start = next;
                    if self.keep_blank {
                        return Ok(true);
                    }
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
        self.splitter.len()
    }

    /// A field of the record.
    #[inline]
    pub(super) fn field(&self, index: usize) -> &[u8] {
        self.splitter.field(&self.buffer, index)
    }

    /// The rest behind the current record, or from its beginning on.
    pub(super) fn into_rest(mut self, with_current: bool) -> Rest {
        let (from, line) =
            if with_current { (self.record, self.line) } else { (self.start, self.next_line) };
        self.buffer.truncate(self.end);
        self.buffer.drain(..from);
        Rest { bytes: self.buffer, stream: self.bytes, line }
    }

    /// Whether the record reaches the end of the input.
    pub(super) fn at_end(&self) -> bool {
        self.ended && self.start == self.end
    }

    /// Moves the started record to the front and reads more behind it.
    fn fill(&mut self, quote: Option<u64>) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            if self.end >= MAX_RECORD {
                return Err(too_long(&self.path, self.next_line, quote));
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
        unclosed(&self.path, line)
    }
}

impl Splitter {
    pub(super) fn new(delimiter: u8) -> Self {
        Self { delimiter, fields: Vec::new(), unescaped: Vec::new() }
    }

    /// The number of fields of the record.
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field of the record that was found in these bytes.
    #[inline]
    pub(super) fn field<'a>(&'a self, bytes: &'a [u8], index: usize) -> &'a [u8] {
        let Field { start, end, escaped } = self.fields[index];
        if escaped { &self.unescaped[start..end] } else { &bytes[start..end] }
    }

    /// Finds one record from `start`; `ended` says that nothing follows the bytes.
    pub(super) fn step(&mut self, bytes: &[u8], start: usize, ended: bool) -> Step {
        self.fields.clear();
        self.unescaped.clear();
        let delimiter = self.delimiter;
        let mut at = start;
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
                            None if !ended => return Step::More { quote: None },
                            _ => {}
                        }
                    }
                    if self.fields.len() == 1 && !quoted {
                        return Step::Blank { next };
                    }
                    return Step::Record { next, lines: lines + 1 };
                }
                None if ended && at > start => {
                    return Step::Record { next: at, lines: lines + 1 };
                }
                None => return Step::More { quote: None },
            }
        }
    }
}

/// The error of a quote that is open where the input, or all patience, ends.
pub(super) fn unclosed(path: &Path, line: u64) -> DataError {
    let hint = "Close it, or double it (\"\") if it is part of the text.";
    malformed(path, line, "a quote is opened here and never closed".into(), hint)
}

/// The error of a record that does not end.
pub(super) fn too_long(path: &Path, line: u64, quote: Option<u64>) -> DataError {
    match quote {
        Some(below) => unclosed(path, line + below),
        None => malformed(
            path,
            line,
            format!("a line of more than {} MiB", MAX_RECORD >> 20),
            "Is it a table? A binary file or a single JSON array cannot be read as one.",
        ),
    }
}

fn malformed(path: &Path, line: u64, message: String, hint: &str) -> DataError {
    DataError::Format { path: path.to_owned(), line: Some(line), message, hint: hint.into() }
}

/// The end of the last record that is whole, if there is one; the bytes begin with a record and
/// others may follow them.
pub(super) fn last_border(bytes: &[u8], delimiter: u8) -> Option<usize> {
    let ends = |at: usize| match bytes.get(at)? {
        b'\n' => Some(at + 1),
        b'\r' => match bytes.get(at + 1)? {
            b'\n' => Some(at + 2),
            _ => Some(at + 1),
        },
        _ => None,
    };
    if !bytes.contains(&b'"') {
        let newline = bytes.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
        return newline.or_else(|| {
            let carriage = bytes[..bytes.len().max(1) - 1].iter().rposition(|&byte| byte == b'\r');
            carriage.map(|at| at + 1)
        });
    }
    let mut border = None;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            // A doubled quote closes the field and opens it again.
            while bytes.get(at) == Some(&b'"') {
                let close = bytes[at + 1..].iter().position(|&byte| byte == b'"');
                let Some(close) = close else { return border };
                at += close + 2;
            }
        }
        at += length(&bytes[at..], delimiter);
        match ends(at) {
            Some(next) => {
                border = Some(next);
                at = next;
            }
            // A delimiter, or a line end of which the second half may follow.
            None => at += 1,
        }
    }
    border
}

/// The number of bytes before the next delimiter or line end.
#[inline]
pub(super) fn length(bytes: &[u8], delimiter: u8) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The high bit of the lowest byte that equals another, and perhaps of some above it.
    let equal = |word: u64, byte: u8| {
        let differ = word ^ (ONES * u64::from(byte));
        differ.wrapping_sub(ONES) & !differ & (ONES << 7)
    };
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    for (i, word) in words.enumerate() {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        let word = u64::from_le_bytes(eight);
        let found = equal(word, delimiter) | equal(word, b'\n') | equal(word, b'\r');
        if found != 0 {
            return 8 * i + found.trailing_zeros() as usize / 8;
        }
    }
    let ends = |&byte: &u8| byte == delimiter || byte == b'\n' || byte == b'\r';
    bytes.len() - rest.len() + rest.iter().position(ends).unwrap_or(rest.len())
}

/// Reads a quoted field whose quote is at `open`; gives the field and the index after its closing
/// quote.
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_cut_at_a_border_gives_the_same_records(text in "[ab,\"\r\n]{0,60}") {
            let records = |bytes: &[u8]| {
                let bytes = Box::new(Cursor::new(bytes.to_vec()));
                let mut records = Records::new(bytes, Path::new("a"), None, b',');
                let mut found: Vec<Vec<Vec<u8>>> = Vec::new();
                while records.advance().ok()? {
                    found.push((0..records.len()).map(|i| records.field(i).to_vec()).collect());
                }
                Some(found)
            };
            let bytes = text.as_bytes();
            for end in 0..=bytes.len() {
                let Some(border) = last_border(&bytes[..end], b',') else { continue };
                prop_assert!(border > 0 && border <= end);
                let (above, below) = bytes.split_at(border);
                let Some(mut all) = records(above) else {
                    return Err(TestCaseError::fail("what is above a border is whole"));
                };
                match (records(below), records(bytes)) {
                    (Some(below), Some(whole)) => {
                        all.extend(below);
                        prop_assert_eq!(all, whole);
                    }
                    (None, None) => {}
                    _ => return Err(TestCaseError::fail("a border moved an error")),
                }
            }
        }

        #[test]
        fn lengths_are_counted_by_eights(text in "[ab,\r\n]{0,40}") {
            let bytes = text.as_bytes();
            let plain = bytes.iter().position(|b| b",\r\n".contains(b)).unwrap_or(bytes.len());
            prop_assert_eq!(length(bytes, b','), plain);
        }
    }
}
