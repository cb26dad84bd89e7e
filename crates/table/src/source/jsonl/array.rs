//! The objects of one JSON array, cut out of it one by one.

use std::io::BufRead;

use super::{JsonLines, MAX_LINE};
use crate::error::{DataError, Result};
use crate::source::io_error;

impl JsonLines {
    /// Whether the file is an array; then the next byte is the first one behind its bracket.
    pub(super) fn enter_array(&mut self) -> Result<bool> {
        let mut marked = 0;
        loop {
            match self.peek()? {
                Some(byte) if [0xef, 0xbb, 0xbf].get(marked) == Some(&byte) => marked += 1,
                Some(b'[') => {
                    self.bytes.consume(1);
                    self.line += 1;
                    return Ok(true);
                }
                Some(byte) if byte.is_ascii_whitespace() => {
                    self.line += u64::from(byte == b'\n');
                }
                _ => return Ok(false),
            }
            self.bytes.consume(1);
        }
    }

    /// Moves to the next element; `false` at the array's end.
    pub(super) fn next_element(&mut self) -> Result<bool> {
        self.buffer.clear();
        loop {
            match self.peek()? {
                None => return Err(self.cut()),
                Some(b']') => return Ok(false),
                Some(b'{' | b'[') => return self.nested().map(|()| true),
                Some(byte) if byte.is_ascii_whitespace() || byte == b',' => {
                    self.line += u64::from(byte == b'\n');
                    self.bytes.consume(1);
                }
                Some(_) => return self.scalar().map(|()| true),
            }
        }
    }

    /// Reads an object or array into the buffer, whatever is in it.
    fn nested(&mut self) -> Result<()> {
        let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
        loop {
            let Some(byte) = self.take()? else { return Err(self.cut()) };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Reads up to the next comma or bracket into the buffer.
    fn scalar(&mut self) -> Result<()> {
        while let Some(byte) = self.peek()? {
            if matches!(byte, b',' | b']') {
                return Ok(());
            }
            self.take()?;
        }
        Err(self.cut())
    }

    fn take(&mut self) -> Result<Option<u8>> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.bytes.consume(1);
            self.buffer.push(byte);
            self.line += u64::from(byte == b'\n');
            if self.buffer.len() > MAX_LINE {
                return Err(self.error(
                    format!("an object of more than {} MiB", MAX_LINE >> 20),
                    "Is it a table? An array is read object by object.",
                ));
            }
        }
        Ok(byte)
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            match self.bytes.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io_error(&self.path, self.compression, e)),
            }
        }
    }

    fn cut(&self) -> DataError {
        self.error(
            "the JSON array ends within its elements".into(),
            "The file is cut: copy it again.",
        )
    }
}
