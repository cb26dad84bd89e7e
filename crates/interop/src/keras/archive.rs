//! Archives, read within bounds.

use std::io::{Cursor, Read};

/// The largest file that is read.
pub(super) const MOST_BYTES: u64 = 1 << 31;
/// The most bytes of all arrays that a model reads.
pub(super) const MOST_WEIGHTS: usize = if cfg!(feature = "fuzzing") { 64 << 20 } else { 4 << 30 };
/// The longest configuration or vocabulary.
pub(super) const MOST_TEXT: u64 = 256 << 20;
/// The most files of an archive.
const MOST_FILES: usize = 10_000;
/// The most that one byte of an archive becomes.
const MOST_EXPANSION: u64 = 1040;

/// An archive, whose files are read within bounds.
pub(super) struct Archive<'a> {
    zip: zip::ZipArchive<Cursor<&'a [u8]>>,
    names: Vec<String>,
}

impl<'a> Archive<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, String> {
        let zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
        let names = zip.file_names().take(MOST_FILES).map(str::to_owned).collect();
        Ok(Self { zip, names })
    }

    /// The names of its files.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// A file of at most so many bytes; `None` where there is none of this name.
    pub(super) fn read(&mut self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        if !self.names.iter().any(|known| known == name) {
            return Ok(None);
        }
        let mut file = self.zip.by_name(name).map_err(|e| format!("`{name}`: {e}"))?;
        let (size, stored) = (file.size(), file.compressed_size());
        // Sizes are checked before memory is taken.
        if size > most || size > stored.saturating_mul(MOST_EXPANSION) {
            return Err(format!("`{name}` would become {size} bytes of {stored}, too many"));
        }
        let mut bytes = Vec::new();
        let end = file.by_ref().take(size).read_to_end(&mut bytes);
        end.map_err(|e| format!("`{name}` is damaged: {e}"))?;
        Ok(Some(bytes))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        let bytes = self.read(name, MOST_TEXT)?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|_| format!("`{name}` is not in UTF-8"))
    }
}

/// The weights in an archive with layers, as a file of their own (`.weights.h5`).
pub(super) fn weights_file(archive: &[u8]) -> Result<Vec<u8>, String> {
    let weights = Archive::new(archive)?.read("model.weights.h5", MOST_BYTES)?;
    weights.ok_or_else(|| "the archive has no model.weights.h5".into())
}
