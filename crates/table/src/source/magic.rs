//! Kinds of files that are told by their first bytes, and named because they are not read.

use std::path::Path;

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
