//! Archives of one table.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use zip::ZipArchive;

use super::format::Format;
use super::guard::guarded;
use super::input::Input;
use super::memory::is_memory;
use crate::error::{DataError, Result};

impl Input {
    /// Opens a file, or standard input for `-`. Standard input and whatever else cannot be read
    /// twice, such as a named pipe, becomes a stream that can be read once, or a temporary file.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be opened or read.
    pub fn open(path: &Path, stream: bool) -> Result<Self> {
        let input = Self::opened(path, stream)?;
        // Columns in memory and their bytes are what they say.
        if is_memory(path) { Ok(input) } else { input.unpacked() }
    }

    /// The file inside, where it is an archive of one table.
    fn unpacked(self) -> Result<Self> {
        self.check()?;
        if !self.is_zip() {
            return Ok(self);
        }
        let Some((file, name)) = unpack(self.seekable("ZIP")?, self.path())? else {
            return Ok(self);
        };
        let inner = self.with_inner(file, name)?;
        inner.check()?;
        Ok(inner)
    }
}

/// The one table of a ZIP, in a temporary file, and its name; `None` for arrays of NumPy
/// and workbooks.
fn unpack(file: File, path: &Path) -> Result<Option<(File, String)>> {
    guarded(path, "ZIP", || {
        let broken = |e: zip::result::ZipError| {
            DataError::format(
                path,
                format!("malformed ZIP: {e}"),
                "The file is cut or damaged: copy or write it again.",
            )
        };
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
        let names: Vec<String> = archive.file_names().map(String::from).collect();
        if names.iter().any(|name| name.to_ascii_lowercase().ends_with(".npy")) {
            return Ok(None);
        }
        let Some(name) = only_table(&names, path)? else { return Ok(None) };
        let mut entry = archive.by_name(&name).map_err(broken)?;
        let fail = |e| DataError::io("read", path, e);
        let mut out = tempfile::tempfile().map_err(fail)?;
        io::copy(&mut entry, &mut out).and_then(|_| out.flush()).map_err(fail)?;
        Ok(Some((out, name)))
    })
}

/// The name of the one table among the files of an archive; `None` for a workbook or an archive of
/// NumPy's name.
fn only_table(names: &[String], path: &Path) -> Result<Option<String>> {
    let holds = |name: &str| names.iter().any(|found| found.starts_with(name));
    let error = |message: String, hint: &str| Err(DataError::format(path, message, hint));
    let spreadsheet = holds("xl/") || holds("content.xml") && !holds("word/");
    if spreadsheet {
        return Ok(None);
    }
    if holds("[Content_Types].xml") || holds("mimetype") {
        return error(
            "this is an office document, which is not read".into(),
            "Save the table as .csv first.",
        );
    }
    let hidden = |name: &&String| {
        name.starts_with("__MACOSX/") || name.rsplit('/').next().is_some_and(|n| n.starts_with('.'))
    };
    let mut tables: Vec<&String> =
        names.iter().filter(|name| !hidden(name) && Format::from_path(name).is_some()).collect();
    tables.sort_unstable();
    match tables.as_slice() {
        [table] => Ok(Some((*table).clone())),
        [] if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("npz")) => Ok(None),
        [] => error(
            "the ZIP file holds no table and no NumPy arrays (`*.npy`)".into(),
            "Its table needs an extension that names its format, such as .csv.",
        ),
        tables => {
            let shown: Vec<_> = tables.iter().take(5).map(|name| format!("`{name}`")).collect();
            let more = if tables.len() > 5 { ", …" } else { "" };
            let message =
                format!("the ZIP file holds {} tables: {}{more}", tables.len(), shown.join(", "));
            error(message, "Unpack it, and name the one to read.")
        }
    }
}
