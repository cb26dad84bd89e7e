//! Flatbuffers, as far as Arrow's metadata needs them: every offset is checked before it is
//! followed.
//!
//! A table starts with the distance back to its vtable, which holds a 16-bit offset for each field,
//! 0 for a default (<https://flatbuffers.dev/internals/>).

/// An offset or length leads out of the buffer.
#[derive(Debug)]
pub(super) struct OutOfBounds;

type Result<T> = std::result::Result<T, OutOfBounds>;

/// A table, its fields known by their numbers.
#[derive(Clone, Copy)]
pub(super) struct FlatTable<'a> {
    bytes: &'a [u8],
    start: usize,
    /// The vtable's offsets, two bytes each.
    offsets: &'a [u8],
}

/// A vector, each element of the same number of bytes.
#[derive(Clone, Copy)]
pub(super) struct FlatVector<'a> {
    bytes: &'a [u8],
    start: usize,
    size: usize,
    length: usize,
}

impl<'a> FlatTable<'a> {
    /// The table that a buffer begins with an offset to.
    pub(super) fn root(bytes: &'a [u8]) -> Result<Self> {
        Self::behind(bytes, 0)
    }

    fn behind(bytes: &'a [u8], place: usize) -> Result<Self> {
        let start = follow(bytes, place)?;
        let back = i32::from_le_bytes(array(bytes, start)?);
        let vtable = i64::try_from(start).map_err(|_| OutOfBounds)? - i64::from(back);
        let vtable = usize::try_from(vtable).map_err(|_| OutOfBounds)?;
        let size = usize::from(u16::from_le_bytes(array(bytes, vtable)?));
        let offsets = bytes.get(vtable..).and_then(|rest| rest.get(4..size)).ok_or(OutOfBounds)?;
        Ok(Self { bytes, start, offsets })
    }

    /// The place of a field; `None` where it has its default.
    fn place(&self, field: usize) -> Option<usize> {
        let offset = self.offsets.get(2 * field..2 * field + 2)?;
        let offset = usize::from(u16::from_le_bytes([offset[0], offset[1]]));
        (offset > 0).then(|| self.start + offset)
    }

    /// A signed integer of this many bytes, at most 8.
    pub(super) fn integer(&self, field: usize, size: usize, default: i64) -> Result<i64> {
        let Some(place) = self.place(field) else { return Ok(default) };
        integer(self.bytes.get(place..).and_then(|rest| rest.get(..size)))
    }

    /// Another table.
    pub(super) fn table(&self, field: usize) -> Result<Option<Self>> {
        self.place(field).map(|place| Self::behind(self.bytes, place)).transpose()
    }

    /// A string in UTF-8.
    pub(super) fn text(&self, field: usize) -> Result<Option<&'a str>> {
        if self.place(field).is_none() {
            return Ok(None);
        }
        let text = self.vector(field, 1)?;
        let bytes = self.bytes.get(text.start..text.start + text.length).ok_or(OutOfBounds)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| OutOfBounds)
    }

    /// A vector of elements of `size` bytes; empty where the field is left out.
    pub(super) fn vector(&self, field: usize, size: usize) -> Result<FlatVector<'a>> {
        let bytes = self.bytes;
        let Some(place) = self.place(field) else {
            return Ok(FlatVector { bytes, start: 0, size, length: 0 });
        };
        let start = follow(bytes, place)?;
        let length = u32::from_le_bytes(array(bytes, start)?) as usize;
        let start = start + 4;
        let there = bytes.len().checked_sub(start).ok_or(OutOfBounds)?;
        if length.checked_mul(size).is_none_or(|taken| taken > there) {
            return Err(OutOfBounds);
        }
        Ok(FlatVector { bytes, start, size, length })
    }
}

impl<'a> FlatVector<'a> {
    /// The elements as tables; `size` is 4, the offsets that lead to them.
    pub(super) fn tables(self) -> impl Iterator<Item = Result<FlatTable<'a>>> {
        (0..self.length).map(move |i| FlatTable::behind(self.bytes, self.start + i * self.size))
    }

    /// The elements as 64-bit integers; `size` is 8, or a multiple for structs of several.
    pub(super) fn integers(self) -> impl Iterator<Item = i64> {
        let bytes = &self.bytes[self.start..self.start + self.length * self.size];
        bytes.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word))
    }
}

/// The place that an unsigned offset leads to, counted from the offset itself.
fn follow(bytes: &[u8], place: usize) -> Result<usize> {
    let offset = u32::from_le_bytes(array(bytes, place)?) as usize;
    place.checked_add(offset).ok_or(OutOfBounds)
}

fn array<const N: usize>(bytes: &[u8], place: usize) -> Result<[u8; N]> {
    bytes.get(place..).and_then(|rest| rest.first_chunk()).copied().ok_or(OutOfBounds)
}

fn integer(bytes: Option<&[u8]>) -> Result<i64> {
    let bytes = bytes.filter(|bytes| (1..=8).contains(&bytes.len())).ok_or(OutOfBounds)?;
    let unsigned = bytes.iter().rev().fold(0, |sum: u64, &byte| sum << 8 | u64::from(byte));
    let shift = 64 - 8 * bytes.len() as u32;
    Ok(((unsigned << shift) as i64) >> shift)
}
