//! A place in a file; nothing is read beyond its end.

/// An address that stands for nothing.
pub(super) const UNDEFINED: u64 = u64::MAX;

/// Bytes and a place in them.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: u64) -> Result<Self, String> {
        match usize::try_from(at) {
            Ok(at) if at <= bytes.len() => Ok(Self { bytes, at }),
            _ => Err(format!("the address {at} lies outside of the file")),
        }
    }

    /// The same, behind a signature.
    pub(super) fn signed(bytes: &'a [u8], at: u64, signature: [u8; 4]) -> Result<Self, String> {
        let mut cursor = Self::new(bytes, at)?;
        if cursor.take(4)? != signature.as_slice() {
            let name = String::from_utf8_lossy(&signature).into_owned();
            return Err(format!("there is no {name} at the address {at}: the file is damaged"));
        }
        Ok(cursor)
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or("it ends in the middle of a header: the file is cut off or damaged")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, n: usize) -> Result<(), String> {
        self.take(n).map(|_| ())
    }

    /// An integer of up to eight bytes.
    pub(super) fn uint(&mut self, size: usize) -> Result<u64, String> {
        let bytes = self.take(size.min(8))?;
        Ok(bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        self.uint(1).map(|n| n as u8)
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.uint(2).map(|n| n as u16)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.uint(4).map(|n| n as u32)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.uint(8)
    }

    pub(super) fn size(&mut self) -> Result<usize, String> {
        let n = self.u64()?;
        usize::try_from(n).map_err(|_| format!("{n} is no size"))
    }

    /// A text of `n` bytes, up to its first zero.
    pub(super) fn text(&mut self, n: usize) -> Result<String, String> {
        let bytes = self.take(n)?;
        let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8(bytes.to_vec()).map_err(|_| "a name is not in UTF-8".into())
    }
}
