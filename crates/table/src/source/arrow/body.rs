//! A batch's body: buffers, decompressed where they are compressed, to values.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};

use super::metadata::{Batch, Compression, Dictionary, Field, Kind, Layout};
use crate::table::{Integers, Numbers, TextValues, Values};

/// The values of each dictionary that was read so far.
pub(super) type Dictionaries = HashMap<i64, Values>;

type Result<T> = std::result::Result<T, String>;

/// Walks over the buffers of a batch, column by column.
pub(super) struct Body<'a> {
    batch: &'a Batch,
    bytes: &'a [u8],
    nulls: &'a [String],
    /// Whether texts are documents, of which broken ones are missing, with what can be read of
    /// them.
    documents: bool,
    place: Layout,
    /// Whether a column of bytes held some that are no text.
    pub(super) unread: bool,
}

/// The bits of the rows that have a value; `None` where all have one.
type Valid<'a> = Option<Cow<'a, [u8]>>;

impl<'a> Body<'a> {
    pub(super) fn new(batch: &'a Batch, bytes: &'a [u8], nulls: &'a [String]) -> Self {
        Self { batch, bytes, nulls, documents: false, place: Layout::default(), unread: false }
    }

    /// The same for a column of documents.
    pub(super) fn of_documents(mut self, documents: bool) -> Self {
        self.documents = documents;
        self
    }

    /// Passes over a column.
    pub(super) fn skip(&mut self, field: &Field) -> Result<()> {
        let layout = field.in_batch();
        self.place.nodes += layout.nodes;
        self.place.buffers += layout.buffers;
        for _ in 0..layout.variadic {
            self.place.buffers += self.variadic()?;
        }
        Ok(())
    }

    /// Reads a column of a record batch; `None` for one that is all null, whatever its rows.
    pub(super) fn column(
        &mut self,
        field: &Field,
        dictionaries: &Dictionaries,
    ) -> Result<Option<Values>> {
        match field.dictionary {
            Some(dictionary) => self.looked_up(dictionary, dictionaries).map(Some),
            None => self.values(field.kind),
        }
    }

    /// Reads values of a kind; `None` where all are null.
    pub(super) fn values(&mut self, kind: Kind) -> Result<Option<Values>> {
        let valid = match kind {
            Kind::Null => {
                self.place.nodes += 1;
                return Ok(None);
            }
            _ => self.valid()?,
        };
        let rows = self.batch.rows;
        Ok(Some(match kind {
            Kind::Bool => {
                let bits = self.buffer(rows.div_ceil(8))?;
                let bit = |row| is_valid(&valid, row).then(|| is_set(&bits, row));
                Values::Bool((0..rows).map(bit).collect())
            }
            Kind::Integer { size, .. } | Kind::Decimal { size, .. } if kind.is_long() => {
                // Half of these do not fit 64 signed bits; as text they stay exact.
                let bytes = self.cells(size)?;
                let signed = matches!(kind, Kind::Decimal { .. });
                let cell = |row: usize| long(&bytes[row * size..(row + 1) * size], signed);
                let mut texts = TextValues::default();
                for row in 0..rows {
                    if is_valid(&valid, row) {
                        texts.push(&cell(row).to_string());
                    } else {
                        texts.push_missing("");
                    }
                }
                Values::Text(texts)
            }
            Kind::Integer { size, signed } => {
                let bytes = self.cells(size)?;
                let cells = bytes.chunks_exact(size).enumerate();
                let cell = |(row, bytes)| is_valid(&valid, row).then(|| integer(bytes, signed));
                Values::Integer(cells.map(cell).collect::<Integers>())
            }
            Kind::Float { size: 8 } => {
                let bytes = self.cells(8)?;
                let number = |row| f64::from_le_bytes(cell(&bytes, row));
                let cell = |row| if is_valid(&valid, row) { number(row) } else { f64::NAN };
                (0..rows).map(cell).collect::<Vec<_>>().into()
            }
            Kind::Float { size } => {
                let bytes = self.cells(size)?;
                let number = |row| match size {
                    4 => f32::from_le_bytes(cell(&bytes, row)),
                    _ => half::f16::from_le_bytes(cell(&bytes, row)).to_f32(),
                };
                let cell = |row| if is_valid(&valid, row) { number(row) } else { f32::NAN };
                (0..rows).map(cell).collect::<Vec<_>>().into()
            }
            Kind::Decimal { size, scale } => {
                let unit = 10f64.powi(scale);
                let numbers = self.scaled(size, &valid, |x| x / unit)?;
                Values::Number(Numbers::F64(numbers))
            }
            Kind::Time { size, per_second } => {
                let numbers = self.scaled(size, &valid, |x| x / per_second)?;
                Values::Number(Numbers::F64(numbers))
            }
            Kind::Date { size, per_second } => {
                let seconds = |x| if per_second < 0.0 { x * -per_second } else { x / per_second };
                Values::Date(self.scaled(size, &valid, seconds)?)
            }
            Kind::Text { wide, bytes } => Values::Text(self.texts(wide, bytes, &valid)?),
            Kind::View { bytes } => Values::Text(self.views(bytes, &valid)?),
            Kind::Null | Kind::Other(_) => return Err("a type that is not read".into()),
        }))
    }

    /// The values of a dictionary at the indices of a column.
    fn looked_up(&mut self, by: Dictionary, dictionaries: &Dictionaries) -> Result<Values> {
        let valid = self.valid()?;
        let bytes = self.cells(by.size)?;
        let values = dictionaries.get(&by.id);
        let length = values.map_or(0, Values::len);
        let mut indices = Vec::with_capacity(self.batch.rows);
        for (row, bytes) in bytes.chunks_exact(by.size).enumerate() {
            let index = is_valid(&valid, row).then(|| integer(bytes, by.signed));
            indices.push(match index.map(usize::try_from) {
                None => None,
                Some(Ok(index)) if index < length => Some(index),
                Some(_) => {
                    return Err(format!(
                        "row {} of the batch has entry {} of a dictionary of {length}",
                        row + 1,
                        index.unwrap_or_default()
                    ));
                }
            });
        }
        let values = values.ok_or("its dictionary does not come before it")?;
        Ok(taken(values, &indices))
    }

    /// The bitmap of a column's node.
    fn valid(&mut self) -> Result<Valid<'a>> {
        let at = 2 * self.place.nodes;
        self.place.nodes += 1;
        let Some(&[length, nulls]) = self.batch.nodes.get(at..at + 2) else {
            return Err("the batch has fewer columns than the schema".into());
        };
        if usize::try_from(length) != Ok(self.batch.rows) {
            return Err(format!("it has {length} rows, the batch has {}", self.batch.rows));
        }
        let bitmap = self.next()?;
        if bitmap.is_empty() {
            return if nulls == 0 {
                Ok(None)
            } else {
                Err("its bitmap of nulls is missing".into())
            };
        }
        enough(&bitmap, self.batch.rows.div_ceil(8))?;
        Ok(Some(bitmap))
    }

    /// The numbers of a column, `size` bytes each.
    fn cells(&mut self, size: usize) -> Result<Cow<'a, [u8]>> {
        let bytes = self.batch.rows.checked_mul(size).ok_or("it has too many rows")?;
        let mut cells = self.buffer(bytes)?;
        match &mut cells {
            Cow::Borrowed(cells) => *cells = &cells[..bytes],
            Cow::Owned(cells) => cells.truncate(bytes),
        }
        Ok(cells)
    }

    fn scaled(
        &mut self,
        size: usize,
        valid: &Valid<'_>,
        of: impl Fn(f64) -> f64,
    ) -> Result<Vec<f64>> {
        let cells = self.cells(size)?;
        let cells = cells.chunks_exact(size).enumerate();
        let number = |bytes: &[u8]| match size {
            ..=8 => integer(bytes, true) as f64,
            _ => wide(bytes),
        };
        let cell = |(row, bytes)| if is_valid(valid, row) { of(number(bytes)) } else { f64::NAN };
        Ok(cells.map(cell).collect())
    }

    fn texts(&mut self, wide: bool, any_bytes: bool, valid: &Valid<'_>) -> Result<TextValues> {
        let rows = self.batch.rows;
        let size = if wide { 8 } else { 4 };
        let mut texts = TextValues::default();
        let offsets = self.next()?;
        let data = self.next()?;
        // Writers leave the offsets of no rows out.
        if rows > 0 {
            let needed = (rows + 1).checked_mul(size).ok_or("it has too many rows")?;
            enough(&offsets, needed)?;
        }
        let offset = |row: usize| integer(&offsets[row * size..(row + 1) * size], true);
        for row in 0..rows {
            if !is_valid(valid, row) {
                texts.push_missing("");
                continue;
            }
            let bounds = usize::try_from(offset(row))
                .and_then(|start| usize::try_from(offset(row + 1)).map(|end| start..end));
            let bytes = bounds.ok().and_then(|bounds| data.get(bounds));
            self.text(&mut texts, bytes, any_bytes, row)?;
        }
        Ok(texts)
    }

    /// Views: a length, then up to 12 bytes of the text itself, or its first 4, a buffer and an
    /// offset.
    fn views(&mut self, any_bytes: bool, valid: &Valid<'_>) -> Result<TextValues> {
        let views = self.cells(16)?;
        let count = self.variadic()?;
        let data: Vec<Cow<'_, [u8]>> = (0..count).map(|_| self.next()).collect::<Result<_>>()?;
        let mut texts = TextValues::default();
        for (row, view) in views.chunks_exact(16).enumerate() {
            if !is_valid(valid, row) {
                texts.push_missing("");
                continue;
            }
            let word = |at: usize| usize::try_from(integer(&view[at..at + 4], true)).ok();
            let bytes = match word(0) {
                Some(length @ ..=12) => view.get(4..4 + length),
                Some(length) => word(8)
                    .zip(word(12))
                    .and_then(|(buffer, start)| data.get(buffer)?.get(start..)?.get(..length)),
                None => None,
            };
            self.text(&mut texts, bytes, any_bytes, row)?;
        }
        Ok(texts)
    }

    /// Adds the text of a row; `bytes` is `None` where it would lie outside of its buffer.
    /// Bytes that are no text are noted where the column may hold `any_bytes`.
    fn text(
        &mut self,
        texts: &mut TextValues,
        bytes: Option<&[u8]>,
        any_bytes: bool,
        row: usize,
    ) -> Result<()> {
        let bytes = bytes.ok_or_else(|| {
            format!("row {} of the batch has a text that lies outside of its buffer", row + 1)
        })?;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) if self.documents => {
                texts.push_missing(&String::from_utf8_lossy(bytes));
                return Ok(());
            }
            Err(_) if any_bytes => {
                self.unread = true;
                ""
            }
            Err(_) => {
                return Err(format!(
                    "row {} of the batch holds bytes that are no UTF-8 text",
                    row + 1
                ));
            }
        };
        texts.push_if(text, self.nulls.iter().any(|null| null == text));
        Ok(())
    }

    fn variadic(&mut self) -> Result<usize> {
        let count = self.batch.variadic.get(self.place.variadic).copied();
        self.place.variadic += 1;
        let count = count.and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count <= self.batch.buffers.len());
        count.ok_or_else(|| "the batch does not tell how many buffers its texts take".into())
    }

    /// The next buffer, of at least this many bytes.
    fn buffer(&mut self, bytes: usize) -> Result<Cow<'a, [u8]>> {
        let buffer = self.next()?;
        enough(&buffer, bytes)?;
        Ok(buffer)
    }

    fn next(&mut self) -> Result<Cow<'a, [u8]>> {
        let at = 2 * self.place.buffers;
        self.place.buffers += 1;
        let Some(&[offset, length]) = self.batch.buffers.get(at..at + 2) else {
            return Err("the batch has fewer buffers than the schema asks for".into());
        };
        let bounds = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
        let bytes = bounds.and_then(|(start, length)| self.bytes.get(start..)?.get(..length));
        let bytes = bytes.ok_or_else(|| {
            format!(
                "a buffer of {length} bytes at {offset} lies outside of the batch's {}",
                self.bytes.len()
            )
        })?;
        match self.batch.compression {
            Some(how) if !bytes.is_empty() => decompressed(bytes, how),
            _ => Ok(Cow::Borrowed(bytes)),
        }
    }
}

/// A buffer that begins with its length before compression, -1 where it is stored as it is.
fn decompressed(bytes: &[u8], how: Compression) -> Result<Cow<'_, [u8]>> {
    let (length, bytes) = bytes.split_first_chunk().ok_or("a compressed buffer has no length")?;
    let length = i64::from_le_bytes(*length);
    if length == -1 {
        return Ok(Cow::Borrowed(bytes));
    }
    let length = u64::try_from(length).map_err(|_| format!("a buffer of {length} bytes"))?;
    // Grows with the bytes present, whatever the length claims.
    let mut out = Vec::new();
    let source = Cursor::new(bytes);
    let read = match how {
        Compression::Lz4 => {
            lz4_flex::frame::FrameDecoder::new(source).take(length).read_to_end(&mut out)
        }
        Compression::Zstd => zstd::stream::read::Decoder::new(source)
            .and_then(|decoder| decoder.take(length).read_to_end(&mut out)),
    };
    match read {
        Ok(read) if read as u64 == length => Ok(Cow::Owned(out)),
        Ok(read) => Err(format!("a compressed buffer holds {read} bytes in place of {length}")),
        Err(error) => Err(format!("a compressed buffer is damaged: {error}")),
    }
}

fn enough(bytes: &[u8], needed: usize) -> Result<()> {
    if bytes.len() < needed {
        return Err(format!("a buffer has {} bytes, {needed} are needed", bytes.len()));
    }
    Ok(())
}

/// The cell of a row; the buffer was checked to have one for each.
fn cell<const N: usize>(bytes: &[u8], row: usize) -> [u8; N] {
    bytes.as_chunks().0[row]
}

fn is_valid(valid: &Valid<'_>, row: usize) -> bool {
    valid.as_ref().is_none_or(|bits| is_set(bits, row))
}

fn is_set(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}

/// A little-endian integer of at most 8 bytes.
fn integer(bytes: &[u8], signed: bool) -> i64 {
    let unsigned = bytes.iter().rev().fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte));
    let shift = if signed { 64 - 8 * bytes.len() as u32 } else { 0 };
    ((unsigned << shift) as i64) >> shift
}

/// A little-endian integer of at most 16 bytes.
fn long(bytes: &[u8], signed: bool) -> i128 {
    let sign = bytes.last().map_or(0, |byte| -i128::from(byte >> 7 & u8::from(signed)));
    bytes.iter().rev().fold(sign, |sum, &byte| sum << 8 | i128::from(byte))
}

/// A little-endian integer of any length, as the nearest number.
fn wide(bytes: &[u8]) -> f64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let magnitude = bytes
        .iter()
        .rev()
        .fold(0.0, |sum, &byte| sum * 256.0 + f64::from(if negative { !byte } else { byte }));
    if negative { -magnitude - 1.0 } else { magnitude }
}

/// The values at some indices; `None` is missing.
fn taken(values: &Values, indices: &[Option<usize>]) -> Values {
    match values {
        Values::Text(texts) => {
            let mut found = TextValues::default();
            for index in indices {
                match index {
                    Some(index) => found.push_if(texts.raw(*index), values.is_missing(*index)),
                    None => found.push_missing(""),
                }
            }
            Values::Text(found)
        }
        Values::Integer(integers) => {
            let at = |index: &Option<usize>| index.and_then(|index| integers.get(index));
            Values::Integer(indices.iter().map(at).collect())
        }
        Values::Bool(flags) => {
            Values::Bool(indices.iter().map(|index| index.and_then(|index| flags[index])).collect())
        }
        Values::Date(dates) => {
            let at = |index: &Option<usize>| index.map_or(f64::NAN, |index| dates[index]);
            Values::Date(indices.iter().map(at).collect())
        }
        Values::Number(numbers) => {
            let at = |index: &Option<usize>| index.map_or(f64::NAN, |index| numbers.get(index));
            indices.iter().map(at).collect::<Vec<f64>>().into()
        }
    }
}
