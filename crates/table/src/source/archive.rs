//! Archives of one table, and files that are named for what they are because they are not read.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use zip::ZipArchive;

use super::format::Format;
use super::guard::guarded;
use crate::error::{DataError, Result};

/// Whether a file begins as a ZIP does, an empty one included.
pub(super) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// How xz begins.
pub(super) const XZ: &[u8] = b"\xfd7zXZ\0";

/// Whether a file begins as bzip2 does.
pub(super) fn is_bzip2(head: &[u8]) -> bool {
    head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY")
}

/// The error for what only a feature reads.
pub(super) fn not_built_in(path: &Path, what: &str, feature: &str, instead: &str) -> DataError {
    DataError::format(
        path,
        format!("this is {what}, and this program was built without the feature `{feature}`"),
        format!("{instead}, or build the program with `--features {feature}`."),
    )
}

/// Refuses what is known not to be read.
pub(super) fn check(head: &[u8], path: &Path) -> Result<()> {
    if !cfg!(feature = "bzip2") && is_bzip2(head) {
        return Err(not_built_in(path, "compressed with bzip2", "bzip2", "Unpack it (bunzip2 -k)"));
    }
    if !cfg!(feature = "xz") && head.starts_with(XZ) {
        return Err(not_built_in(path, "compressed with xz", "xz", "Unpack it (unxz -k)"));
    }
    let unpack = |with: &str| format!("Unpack it first: {with} {}", path.display());
    let save = "Save the table as .csv first.".to_owned();
    let (what, hint) = match head {
        [0x1f, 0x9d, ..] => ("a file of `compress`", unpack("uncompress -k")),
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => ("a 7z archive", unpack("7z x")),
        [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => ("a RAR archive", unpack("unrar x")),
        [0x02, 0x21, 0x4c, 0x18, ..] => ("LZ4 in its legacy format", unpack("lz4 -d")),
        [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, ..] => {
            ("an old Excel workbook (.xls)", save)
        }
        [0x89, b'H', b'D', b'F', ..] => ("an HDF5 file", save),
        _ if head.starts_with(b"SQLite format 3\0") => ("an SQLite database", save),
        _ if head.starts_with(b"%PDF-") => ("a PDF", save),
        _ if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("br")) => {
            ("Brotli", unpack("brotli -d"))
        }
        _ => return Ok(()),
    };
    Err(DataError::format(path, format!("this is {what}, which is not read"), hint))
}

/// The one table of a ZIP, in a temporary file, and its name; `None` for arrays of NumPy
/// and workbooks.
pub(super) fn unpack(file: File, path: &Path) -> Result<Option<(File, String)>> {
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
