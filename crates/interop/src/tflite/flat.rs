//! Flatbuffers, read in place: every offset is checked before its use.
//!
//! Source: "FlatBuffer Binary Format", <https://flatbuffers.dev/internals/>.

/// What is wrong with a place.
pub(super) type Checked<T> = Result<T, String>;

/// A table: a record whose fields may be absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the offsets of the fields are, and how many.
    fields: usize,
    count: usize,
}

/// A list of elements of a fixed size.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    bytes: &'a [u8],
    at: usize,
    len: usize,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Checked<[u8; N]> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or_else(|| format!("offset {at} lies outside of the file"))
}

fn u32_at(bytes: &[u8], at: usize) -> Checked<usize> {
    Ok(u32::from_le_bytes(array(bytes, at)?) as usize)
}

fn u16_at(bytes: &[u8], at: usize) -> Checked<usize> {
    Ok(usize::from(u16::from_le_bytes(array(bytes, at)?)))
}

/// The place that an offset points to.
fn follow(bytes: &[u8], at: usize) -> Checked<usize> {
    at.checked_add(u32_at(bytes, at)?).ok_or_else(|| "an offset is too large".into())
}

impl<'a> Table<'a> {
    /// The outermost table of a file.
    pub(super) fn root(bytes: &'a [u8]) -> Checked<Self> {
        Self::at(bytes, follow(bytes, 0)?)
    }

    fn at(bytes: &'a [u8], at: usize) -> Checked<Self> {
        let back = i64::from(i32::from_le_bytes(array(bytes, at)?));
        let fields =
            usize::try_from(at as i64 - back).map_err(|_| "a table lies before the file")?;
        let size = u16_at(bytes, fields)?;
        Ok(Self { bytes, at, fields, count: (size / 2).saturating_sub(2) })
    }

    /// Where a field's value is.
    fn field(&self, i: usize) -> Checked<Option<usize>> {
        if i >= self.count {
            return Ok(None);
        }
        let offset = u16_at(self.bytes, self.fields + 4 + 2 * i)?;
        Ok((offset > 0).then(|| self.at + offset))
    }

    pub(super) fn byte(&self, i: usize) -> Checked<u8> {
        let at = self.field(i)?;
        Ok(at.map(|at| array::<1>(self.bytes, at)).transpose()?.map_or(0, |[byte]| byte))
    }

    pub(super) fn flag(&self, i: usize) -> Checked<bool> {
        Ok(self.byte(i)? != 0)
    }

    pub(super) fn int(&self, i: usize, default: i32) -> Checked<i32> {
        let at = self.field(i)?;
        Ok(at.map(|at| array(self.bytes, at)).transpose()?.map_or(default, i32::from_le_bytes))
    }

    pub(super) fn long(&self, i: usize) -> Checked<u64> {
        let at = self.field(i)?;
        Ok(at.map(|at| array(self.bytes, at)).transpose()?.map_or(0, u64::from_le_bytes))
    }

    pub(super) fn float(&self, i: usize) -> Checked<f32> {
        let at = self.field(i)?;
        Ok(at.map(|at| array(self.bytes, at)).transpose()?.map_or(0.0, f32::from_le_bytes))
    }

    pub(super) fn table(&self, i: usize) -> Checked<Option<Table<'a>>> {
        let at = self.field(i)?;
        at.map(|at| Table::at(self.bytes, follow(self.bytes, at)?)).transpose()
    }

    /// A list of elements of so many bytes; empty where there is none.
    pub(super) fn list(&self, i: usize, size: usize) -> Checked<List<'a>> {
        let Some(at) = self.field(i)? else {
            return Ok(List { bytes: self.bytes, at: 0, len: 0 });
        };
        let at = follow(self.bytes, at)?;
        let len = u32_at(self.bytes, at)?;
        let end = len.checked_mul(size).and_then(|n| n.checked_add(at + 4));
        if end.is_none_or(|end| end > self.bytes.len()) {
            return Err(format!("a list of {len} elements is longer than the file"));
        }
        Ok(List { bytes: self.bytes, at: at + 4, len })
    }

    pub(super) fn bytes(&self, i: usize) -> Checked<&'a [u8]> {
        let list = self.list(i, 1)?;
        Ok(&list.bytes[list.at..list.at + list.len])
    }

    pub(super) fn text(&self, i: usize) -> Checked<&'a str> {
        std::str::from_utf8(self.bytes(i)?).map_err(|_| "a text is not in UTF-8".into())
    }

    pub(super) fn ints(&self, i: usize) -> Checked<Vec<i32>> {
        let list = self.list(i, 4)?;
        (0..list.len).map(|k| Ok(i32::from_le_bytes(array(list.bytes, list.at + 4 * k)?))).collect()
    }

    pub(super) fn longs(&self, i: usize) -> Checked<Vec<i64>> {
        let list = self.list(i, 8)?;
        (0..list.len).map(|k| Ok(i64::from_le_bytes(array(list.bytes, list.at + 8 * k)?))).collect()
    }

    pub(super) fn floats(&self, i: usize) -> Checked<Vec<f32>> {
        let list = self.list(i, 4)?;
        (0..list.len).map(|k| Ok(f32::from_le_bytes(array(list.bytes, list.at + 4 * k)?))).collect()
    }

    /// The tables of a list, at most so many.
    pub(super) fn tables(&self, i: usize, most: usize) -> Checked<Vec<Table<'a>>> {
        let list = self.list(i, 4)?;
        if list.len > most {
            return Err(format!("a list has {} elements; {most} are read", list.len));
        }
        let at = |k| Table::at(list.bytes, follow(list.bytes, list.at + 4 * k)?);
        (0..list.len).map(at).collect()
    }
}
