use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// The prefix and suffix of temporary file names.
pub(crate) const PREFIX: &str = ".ff-";
pub(crate) const SUFFIX: &str = ".tmp";

/// Writes a file atomically: into a temporary file in the same folder, synced, then renamed.
///
/// # Errors
/// If the folder cannot be written or the disk is full; an existing file then stays unchanged.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.txt");
/// use std::io::Write;
/// ff_formats::write_atomic(&path, |file| file.write_all(b"whole"))?;
/// assert_eq!(std::fs::read_to_string(&path)?, "whole");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> std::io::Result<()>,
) -> Result<()> {
    replace(path, |temporary| {
        let mut buffered = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
        write(&mut buffered)?;
        buffered.flush()
    })
}

/// Checks that files can be created in a folder, without leaving any.
///
/// # Errors
/// If the folder does not exist or cannot be written.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// assert!(ff_formats::check_writable(folder.path()).is_ok());
/// assert!(ff_formats::check_writable(&folder.path().join("none")).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn check_writable(folder: &Path) -> Result<()> {
    tempfile::tempfile_in(folder).map(drop).map_err(Error::io(folder, "writing"))
}

/// Removes temporary files left in a folder by killed processes. No other process may be writing
/// there.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join(".ff-a1b2.tmp"), "half")?;
/// ff_formats::remove_temporaries(folder.path());
/// assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn remove_temporaries(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            // A leftover file is harmless.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// [`write_atomic`] for a writer that needs the temporary file itself.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut NamedTempFile) -> std::io::Result<()>,
) -> Result<()> {
    replace_as(path, PREFIX, write)
}

/// The same with a temporary name that begins so.
pub(crate) fn replace_as(
    path: &Path,
    prefix: &str,
    write: impl FnOnce(&mut NamedTempFile) -> std::io::Result<()>,
) -> Result<()> {
    let io = Error::io(path, "writing");
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary =
        tempfile::Builder::new().prefix(prefix).suffix(SUFFIX).tempfile_in(folder).map_err(&io)?;
    write(&mut temporary).map_err(&io)?;
    readable_by_others(temporary.as_file()).map_err(&io)?;
    temporary.as_file().sync_all().map_err(&io)?;
    temporary.persist(path).map_err(|e| io(e.error))?;
    // The rename is durable only once the folder is synced; not every system can open folders.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Temporary files are private; the final file gets ordinary permissions.
fn readable_by_others(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, "old").unwrap();
        let result = write_atomic(&path, |file| {
            file.write_all(b"half")?;
            Err(std::io::Error::other("disk full"))
        });
        assert!(result.unwrap_err().to_string().contains("disk full"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
