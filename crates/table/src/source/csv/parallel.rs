//! A whole text table, read part by part on several threads.
//!
//! Taking the next part from the input is quick and done by one thread at a time; what is in it is
//! read by whoever took it. Parts are put together in the order of the file, so the table and the
//! first error are those of a single thread.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ff_tensor::ThreadPool;

use super::super::gzip::Bytes;
use super::super::input::Input;
use super::super::records::{MAX_RECORD, Rest, Splitter, Step, last_border, too_long};
use super::chunk::{self, Chunk, Layout, NumberPiece, Piece};
use super::{Outcome, Reader};
use crate::error::{DataError, Result};
use crate::table::{Column, Decimals, Lines, Numbers, Origin, Table, TextValues, Values, unpack};

/// The bytes of a part: few enough for a cache, enough to make taking one cheap.
const PART: usize = 1 << 19;

/// Reads all rows, the columns of `texts` as text and the others as numbers.
pub(super) fn read(
    reader: Reader,
    input: &Input,
    texts: &[bool],
    threads: &ThreadPool,
) -> Result<Outcome> {
    let Reader { records, path, names, delimiter, header, header_pending, again, nulls, .. } =
        reader;
    let Rest { bytes, stream, line } = records.into_rest(header_pending);
    let again = again.as_ref();
    let layout =
        Layout { path: &path, names: &names, delimiter, header, nulls: &nulls, again, texts };
    let source = Mutex::new(Source { input, stream, carry: bytes, ended: false, taken: 0 });
    let merged = Mutex::new(Merged::new(texts, line - 1));
    let work = || {
        let mut buffer = Vec::new();
        loop {
            // The lock is given back before the part is read.
            let taken = lock(&source).next(&mut buffer, &layout);
            let Some((number, part)) = taken else { break };
            let chunk =
                part.and_then(|part| chunk::read(&buffer[..part.length], &layout, part.last));
            let more = lock(&merged).add(number, chunk);
            if !more {
                lock(&source).ended = true;
            }
        }
    };
    threads.run(threads.count(), &|_| work());
    let merged = merged.into_inner().unwrap_or_else(PoisonError::into_inner);
    merged.finish(&layout)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the whole reading: nobody sees the state behind a poisoned lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The input that parts are taken from.
struct Source<'a> {
    input: &'a Input,
    stream: Bytes,
    /// Bytes that were read already, from the beginning of a record.
    carry: Vec<u8>,
    ended: bool,
    taken: usize,
}

struct Part {
    length: usize,
    /// Whether nothing follows it.
    last: bool,
}

impl Source<'_> {
    /// Takes the next part into `buffer`; its number among the parts.
    fn next(&mut self, buffer: &mut Vec<u8>, layout: &Layout<'_>) -> Option<(usize, Result<Part>)> {
        if self.ended {
            return None;
        }
        let part = self.fill(buffer, layout);
        self.ended |= part.as_ref().map_or(true, |part| part.last);
        self.taken += 1;
        Some((self.taken - 1, part))
    }

    fn fill(&mut self, buffer: &mut Vec<u8>, layout: &Layout<'_>) -> Result<Part> {
        let mut length = self.carry.len();
        if buffer.len() < length + PART {
            buffer.resize(length + PART, 0);
        }
        buffer[..length].copy_from_slice(&self.carry);
        self.carry.clear();
        loop {
            let mut ended = false;
            while length < buffer.len() && !ended {
                match self.stream.read(&mut buffer[length..]) {
                    Ok(0) => ended = true,
                    Ok(n) => length += n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(self.input.io(e)),
                }
            }
            if ended {
                return Ok(Part { length, last: true });
            }
            if let Some(border) = last_border(&buffer[..length], layout.delimiter) {
                self.carry.extend_from_slice(&buffer[border..length]);
                return Ok(Part { length: border, last: false });
            }
            if length >= MAX_RECORD {
                let step = Splitter::new(layout.delimiter).step(&buffer[..length], 0, false);
                let quote = if let Step::More { quote } = step { quote } else { None };
                return Err(too_long(layout.path, 1, quote));
            }
            buffer.resize(2 * length, 0);
        }
    }
}

/// The parts that were read, put together in their order.
struct Merged {
    waiting: BTreeMap<usize, Chunk>,
    next: usize,
    rows: usize,
    repeated: usize,
    lines: Lines,
    /// Lines above the part that comes next.
    above: u64,
    columns: Vec<Builder>,
    /// The first error so far, and the number of its part.
    error: Option<(usize, DataError)>,
}

/// A column while it grows.
enum Builder {
    Decimal(Decimals),
    Double(Vec<f64>),
    Texts(TextValues),
    /// A column of numbers in which a text was found.
    Failed,
}

impl Merged {
    fn new(texts: &[bool], above: u64) -> Self {
        let builder = |&text: &bool| {
            if text {
                Builder::Texts(TextValues::default())
            } else {
                Builder::Decimal(Decimals::default())
            }
        };
        Self {
            waiting: BTreeMap::new(),
            next: 0,
            rows: 0,
            repeated: 0,
            lines: Lines::default(),
            above,
            columns: texts.iter().map(builder).collect(),
            error: None,
        }
    }

    /// Adds a part; whether more are of use.
    fn add(&mut self, number: usize, chunk: Result<Chunk>) -> bool {
        match chunk {
            Ok(chunk) => {
                self.waiting.insert(number, chunk);
            }
            Err(error) => {
                if self.error.as_ref().is_none_or(|(first, _)| number < *first) {
                    self.error = Some((number, error));
                }
            }
        }
        while let Some(chunk) = self.waiting.remove(&self.next) {
            self.append(chunk);
        }
        self.error.is_none()
    }

    fn append(&mut self, chunk: Chunk) {
        self.next += 1;
        self.rows += chunk.rows;
        self.repeated += chunk.repeated;
        self.lines.append(&chunk.lines, self.above);
        self.above += chunk.height;
        for (column, piece) in self.columns.iter_mut().zip(chunk.columns) {
            if let Builder::Failed = column {
                continue;
            }
            match (column, piece) {
                (column, Piece::Numbers(piece)) if piece.failed => *column = Builder::Failed,
                (Builder::Decimal(decimals), Piece::Numbers(piece)) if piece.wide.is_empty() => {
                    decimals.extend(&piece.cells);
                }
                (column @ Builder::Decimal(_), Piece::Numbers(piece)) => {
                    if let Builder::Decimal(decimals) = &*column {
                        *column = Builder::Double(decimals.iter().collect());
                    }
                    if let Builder::Double(values) = column {
                        append_wide(values, &piece);
                    }
                }
                (Builder::Double(values), Piece::Numbers(piece)) => append_wide(values, &piece),
                (Builder::Texts(all), Piece::Texts(texts)) => all.extend(&texts),
                // A part has the columns that were asked for.
                _ => {}
            }
        }
    }

    fn finish(self, layout: &Layout<'_>) -> Result<Outcome> {
        if let Some((_, error)) = self.error {
            return Err(chunk::shift(error, self.above));
        }
        if self.columns.iter().any(|column| matches!(column, Builder::Failed)) {
            let text = |b: &Builder| matches!(b, Builder::Texts(_) | Builder::Failed);
            return Ok(Outcome::Texts(self.columns.iter().map(text).collect()));
        }
        if self.rows == 0 {
            return Ok(Outcome::Table(None, self.repeated));
        }
        let values = |builder| match builder {
            Builder::Decimal(values) => Values::Number(Numbers::Decimal(values).compact()),
            Builder::Double(values) => Values::Number(Numbers::F64(values).compact()),
            Builder::Texts(values) => Values::Text(values),
            Builder::Failed => Values::Text(TextValues::default()),
        };
        let columns = layout.names.iter().zip(self.columns);
        let columns = columns.map(|(name, builder)| Column::new(name.clone(), values(builder)));
        let origin = Origin::lines(layout.path, self.lines);
        let table = Table::with_origin(columns.collect(), self.rows, origin);
        Ok(Outcome::Table(Some(table), self.repeated))
    }
}

fn append_wide(values: &mut Vec<f64>, piece: &NumberPiece) {
    let start = values.len();
    values.extend(piece.cells.iter().map(|&cell| unpack(cell)));
    for &(row, value) in &piece.wide {
        values[start + row] = value;
    }
}
