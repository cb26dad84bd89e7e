//! A part of a text table that begins and ends with whole records, read by one thread.

use std::path::Path;

use super::super::records::{Splitter, Step, length, unclosed};
use super::{HeaderLine, Nulls, Place, not_utf8, uneven};
use crate::error::{DataError, Result};
use crate::number::scan;
use crate::table::{Cell, Lines, MISSING, TextValues, pack, pack_double};

/// The layout of the table.
pub(super) struct Layout<'a> {
    pub(super) path: &'a Path,
    pub(super) names: &'a [String],
    pub(super) delimiter: u8,
    pub(super) header: bool,
    pub(super) nulls: &'a Nulls,
    pub(super) again: Option<&'a HeaderLine>,
    /// The columns that are read as texts.
    pub(super) texts: &'a [bool],
}

/// The rows of a part.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) rows: usize,
    /// The lines that repeat the header.
    pub(super) repeated: usize,
    /// The lines that the rows start on, the part's first being line 1.
    pub(super) lines: Lines,
    /// The number of all its lines.
    pub(super) height: u64,
    pub(super) columns: Vec<Piece>,
}

/// The values of a column in the rows of a part.
pub(super) enum Piece {
    Numbers(NumberPiece),
    Texts(TextValues),
}

#[derive(Clone, Default)]
pub(super) struct NumberPiece {
    /// Packed numbers, a missing value in the place of a wide one.
    pub(super) cells: Vec<Cell>,
    /// Rows and values of numbers that do not fit into a cell.
    pub(super) wide: Vec<(usize, f64)>,
    /// Whether there is a text among them.
    pub(super) failed: bool,
}

/// Reads a part; `last` says that nothing follows it. Lines in errors count from its beginning.
pub(super) fn read(bytes: &[u8], layout: &Layout<'_>, last: bool) -> Result<Chunk> {
    let numbers = layout.texts.iter().filter(|text| !**text).count();
    let mut reader = Reader {
        bytes,
        layout,
        last,
        // Among other characters, numbers do not end where a delimiter looks like a part of them.
        quick: !layout.nulls.numbers
            && !layout.nulls.points
            && b",;\t|: ".contains(&layout.delimiter),
        splitter: Splitter::new(layout.delimiter),
        rows: 0,
        repeated: 0,
        lines: Lines::default(),
        line: 1,
        cells: Vec::with_capacity(bytes.len() / 8 + numbers),
        pieces: vec![NumberPiece::default(); numbers],
        texts: vec![TextValues::default(); layout.texts.len() - numbers],
    };
    let mut at = 0;
    while at < bytes.len() {
        let again = layout.again.is_some_and(|again| again.may_begin(&bytes[at..]));
        let plain = if again { None } else { reader.plain(at) };
        at = match plain {
            Some(next) => next,
            None => match reader.general(at)? {
                Some(next) => next,
                None => break,
            },
        };
    }
    Ok(reader.finish())
}

struct Reader<'a> {
    bytes: &'a [u8],
    layout: &'a Layout<'a>,
    last: bool,
    quick: bool,
    splitter: Splitter,
    rows: usize,
    repeated: usize,
    lines: Lines,
    line: u64,
    /// The numbers row by row.
    cells: Vec<Cell>,
    pieces: Vec<NumberPiece>,
    texts: Vec<TextValues>,
}

impl Reader<'_> {
    /// Reads a record without quotes on a line of its own; `None`, and nothing read, if it is not
    /// that plain.
    #[inline]
    fn plain(&mut self, mut at: usize) -> Option<usize> {
        let (bytes, delimiter) = (self.bytes, self.layout.delimiter);
        if matches!(bytes.get(at)?, b'\n' | b'\r') {
            return None;
        }
        let last = self.layout.texts.len() - 1;
        let (mut number, mut text) = (0, 0);
        for (column, &is_text) in self.layout.texts.iter().enumerate() {
            let end = if is_text {
                text += 1;
                self.text_at(at, text - 1)
            } else {
                number += 1;
                self.number_at(at, number - 1)
            };
            let Some(end) = end else {
                self.take_back();
                return None;
            };
            match bytes.get(end) {
                Some(&byte) if byte == delimiter && column < last => at = end + 1,
                Some(&byte) if byte != delimiter && column == last => {
                    let pair = byte == b'\r' && bytes.get(end + 1) == Some(&b'\n');
                    return Some(self.row(end + 1 + usize::from(pair), 1));
                }
                None if column == last => return Some(self.row(end, 1)),
                _ => {
                    self.take_back();
                    return None;
                }
            }
        }
        None
    }

    /// Reads the number of a plain field; gives the field's end, `None` for a quoted field.
    #[inline]
    fn number_at(&mut self, at: usize, number: usize) -> Option<usize> {
        if self.quick
            && let Some(found) = scan(self.bytes, at)
        {
            let delimiter = self.layout.delimiter;
            let end = *self.bytes.get(found.end)?;
            if end == delimiter || end == b'\n' || end == b'\r' {
                let cell = u32::try_from(found.decimals)
                    .ok()
                    .and_then(|decimals| pack(found.negative, found.digits, decimals));
                if let Some(cell) = cell {
                    self.cells.push(cell);
                    return Some(found.end);
                }
                if let Some(value) = found.value() {
                    self.push(number, value);
                    return Some(found.end);
                }
            }
        }
        let end = self.field_end(at)?;
        self.push_field(number, at, end);
        Some(end)
    }

    #[cold]
    fn push_field(&mut self, number: usize, at: usize, end: usize) {
        let value = self.layout.nulls.number(&self.bytes[at..end]);
        self.pieces[number].failed |= value.is_none();
        self.push(number, value.unwrap_or(f64::NAN));
    }

    fn push(&mut self, number: usize, value: f64) {
        let cell = pack_double(value);
        if cell.is_none() {
            self.pieces[number].wide.push((self.rows, value));
        }
        self.cells.push(cell.unwrap_or(MISSING));
    }

    fn text_at(&mut self, at: usize, text: usize) -> Option<usize> {
        let end = self.field_end(at)?;
        let field = &self.bytes[at..end];
        let missing = self.layout.nulls.contains(field);
        self.texts[text].push_if(std::str::from_utf8(field).ok()?, missing);
        Some(end)
    }

    /// The end of a field; `None` if it is quoted.
    fn field_end(&self, at: usize) -> Option<usize> {
        let bytes = &self.bytes[at..];
        (bytes.first() != Some(&b'"')).then(|| at + length(bytes, self.layout.delimiter))
    }

    /// Takes what was read of a record back.
    fn take_back(&mut self) {
        self.cells.truncate(self.rows * self.pieces.len());
        for piece in &mut self.pieces {
            while piece.wide.last().is_some_and(|(row, _)| *row == self.rows) {
                piece.wide.pop();
            }
        }
        self.texts.iter_mut().for_each(|texts| texts.truncate(self.rows));
    }

    fn row(&mut self, next: usize, lines: u64) -> usize {
        self.lines.push(self.line);
        self.line += lines;
        self.rows += 1;
        next
    }

    /// Reads any record, or skips a blank line; `None` at the end.
    fn general(&mut self, at: usize) -> Result<Option<usize>> {
        let layout = self.layout;
        let (next, lines) = match self.splitter.step(self.bytes, at, true) {
            Step::Record { next, lines } => (next, lines),
            Step::Blank { next } => {
                self.line += 1;
                return Ok(Some(next));
            }
            Step::More { quote: Some(below) } => {
                return Err(unclosed(layout.path, self.line + below));
            }
            Step::More { quote: None } => return Ok(None),
        };
        let place = Place { path: layout.path, line: self.line };
        let (expected, found) = (layout.names.len(), self.splitter.len());
        if found != expected {
            let last = self.last && next == self.bytes.len();
            return Err(uneven(place, layout.delimiter, layout.header, expected, found, last));
        }
        let fields = (0..found).map(|column| self.splitter.field(self.bytes, column));
        if layout.again.is_some_and(|again| again.is(fields)) {
            self.line += lines;
            self.repeated += 1;
            return Ok(Some(next));
        }
        let (mut number, mut text) = (0, 0);
        for (column, &is_text) in layout.texts.iter().enumerate() {
            let field = self.splitter.field(self.bytes, column);
            if is_text {
                let raw = std::str::from_utf8(field)
                    .map_err(|e| not_utf8(place, column, &layout.names[column], field, e))?;
                self.texts[text].push_if(raw, layout.nulls.contains(field));
                text += 1;
            } else {
                let value = layout.nulls.number(field);
                self.pieces[number].failed |= value.is_none();
                self.push(number, value.unwrap_or(f64::NAN));
                number += 1;
            }
        }
        Ok(Some(self.row(next, lines)))
    }

    /// The rows column by column.
    fn finish(mut self) -> Chunk {
        let numbers = self.pieces.len();
        for (i, piece) in self.pieces.iter_mut().enumerate() {
            piece.cells = self.cells.iter().skip(i).step_by(numbers).copied().collect();
        }
        let (mut numbers, mut texts) = (self.pieces.into_iter(), self.texts.into_iter());
        let columns = self.layout.texts.iter().filter_map(|&is_text| {
            if is_text {
                texts.next().map(Piece::Texts)
            } else {
                numbers.next().map(Piece::Numbers)
            }
        });
        let columns = columns.collect();
        Chunk {
            rows: self.rows,
            repeated: self.repeated,
            lines: self.lines,
            height: self.line - 1,
            columns,
        }
    }
}

/// Moves the line that an error names down.
pub(super) fn shift(mut error: DataError, above: u64) -> DataError {
    match &mut error {
        DataError::Fields { line, .. }
        | DataError::Utf8 { line, .. }
        | DataError::Format { line: Some(line), .. } => *line += above,
        _ => {}
    }
    error
}
