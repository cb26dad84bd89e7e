//! Text files of models and runs.

use crate::error::Result;
use std::io::Write;
use std::path::Path;

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(path).map_err(ff_formats::Error::io(path, "reading"))?)
}

/// Writes a text file and a last line break, as a whole or not at all.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    Ok(ff_formats::write_atomic(path, |file| {
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    })?)
}
