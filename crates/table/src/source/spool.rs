//! Inputs that can be read once, as files that can be read again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::input::Input;
use super::registry::extension;
use crate::error::{DataError, Result};

/// A temporary folder with copies of standard input, pipes and devices, for whoever reads a file
/// more than once. It is removed with this value.
///
/// ```
/// let mut spool = ff_table::source::Spool::default();
/// let path = std::path::Path::new("Cargo.toml");
/// assert_eq!(spool.lasting(path)?, path);
/// # Ok::<(), ff_table::DataError>(())
/// ```
#[derive(Debug, Default)]
pub struct Spool {
    folder: Option<TempDir>,
    copies: usize,
}

impl Spool {
    /// The path to read as often as needed: of a copy for `-`, a pipe or a device, and otherwise
    /// the path itself, even if nothing is there. A copy without an extension of its own gets
    /// `.jsonl` if it begins like a JSON object.
    ///
    /// # Errors
    /// [`DataError`] if the stream cannot be read, or the copy not be written.
    pub fn lasting(&mut self, path: &Path) -> Result<PathBuf> {
        let stdin = path.as_os_str() == "-";
        let lasts = |found: std::fs::Metadata| found.is_file() || found.is_dir();
        if !stdin && std::fs::metadata(path).map_or(true, lasts) {
            return Ok(path.to_owned());
        }
        let fail = |e| DataError::io("read", path, e);
        let input = Input::open(path, true)?;
        let name = input.inner.clone().or_else(|| {
            path.file_name().filter(|_| !stdin).map(|name| name.to_string_lossy().into_owned())
        });
        let mut name = name.unwrap_or_else(|| "stdin".into());
        if extension(&name).is_empty() && input.head().trim_ascii_start().starts_with(b"{") {
            name += ".jsonl";
        }
        if self.copies > 0 {
            name = format!("{}-{name}", self.copies);
        }
        let folder = match &mut self.folder {
            Some(folder) => folder,
            none => none.insert(tempfile::tempdir().map_err(fail)?),
        };
        let copy = folder.path().join(name);
        let mut file = File::create_new(&copy).map_err(fail)?;
        io::copy(&mut input.raw()?, &mut file).map_err(fail)?;
        self.copies += 1;
        Ok(copy)
    }
}
