//! Outputs under a name that the user gives, written beside their place first. What a killed
//! process left there has the output's name, so that the next write of it can tell and remove it.

use crate::atomic::{PREFIX, SUFFIX, replace_as};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The file in a temporary folder that its process holds locked.
const LOCK: &str = ".lock";
/// The characters of an output's name in those of its temporary files: names have a bound of 255
/// bytes.
const LONGEST: usize = 30;

/// Writes a file atomically, as [`write_atomic`](crate::write_atomic) does, and removes what killed
/// writes of a file of this name left beside it.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.keras");
/// ff_formats::write_output(&path, |file| std::io::Write::write_all(file, b"whole"))?;
/// assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the folder cannot be written or the disk is full; an existing file then stays unchanged.
pub fn write_output(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> std::io::Result<()>,
) -> Result<()> {
    let (parent, prefix) = place(path)?;
    remove_left(&parent, &prefix);
    replace_as(path, &prefix, |temporary| {
        // Where there are no locks, nothing is removed later either.
        let _ = temporary.as_file().try_lock();
        let mut buffered = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
        write(&mut buffered)?;
        buffered.flush()
    })
}

/// A temporary folder beside an output, for files that become it. What killed processes left for
/// an output of this name is removed first; the folder itself goes when this is dropped.
///
/// ```
/// let outer = tempfile::tempdir()?;
/// let folder = ff_formats::OutputFolder::new(&outer.path().join("model.onnx"))?;
/// assert!(folder.path().starts_with(outer.path()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OutputFolder {
    /// Locked while the folder is in use: see [`remove_left`].
    _lock: File,
    folder: TempDir,
}

impl OutputFolder {
    /// Makes the folder.
    ///
    /// # Errors
    /// The path names no file, or its folder cannot be written.
    pub fn new(out: &Path) -> Result<Self> {
        let (parent, prefix) = place(out)?;
        remove_left(&parent, &prefix);
        let begin = || -> std::io::Result<Self> {
            let mut folder = tempfile::Builder::new();
            let folder = folder.prefix(&prefix).suffix(SUFFIX).tempdir_in(&parent)?;
            let lock = File::create_new(folder.path().join(LOCK))?;
            let _ = lock.try_lock();
            Ok(Self { _lock: lock, folder })
        };
        begin().map_err(Error::io(&parent, "writing"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The folder of an output, and the beginning of the names of its temporary files.
fn place(out: &Path) -> Result<(PathBuf, String)> {
    let name = out.file_name().ok_or_else(|| Error::Malformed {
        path: out.to_owned(),
        message: "names no file; give the output one".into(),
    })?;
    let name: String = name.to_string_lossy().chars().take(LONGEST).collect();
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")).to_owned(), format!("{PREFIX}{name}-")))
}

/// Removes temporary files and folders whose lock nobody holds.
fn remove_left(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(prefix) || !name.ends_with(SUFFIX) {
            continue;
        }
        let path = entry.path();
        let folder = path.is_dir();
        let lock = if folder { File::open(path.join(LOCK)) } else { File::open(&path) };
        let Ok(lock) = lock else { continue };
        // A file is locked before it has content: an empty one may be about to be.
        let begun = folder || lock.metadata().is_ok_and(|found| found.len() > 0);
        if begun && lock.try_lock().is_ok() {
            drop(lock);
            // What cannot be removed is harmless.
            let _ =
                if folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_write_left_is_removed_and_no_other() {
        let outer = tempfile::tempdir().unwrap();
        let out = outer.path().join("a.onnx");
        let names = || {
            let entries = std::fs::read_dir(outer.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let running = OutputFolder::new(&out).unwrap();
        for name in [".ff-a.onnx-killed.tmp", ".ff-b.onnx-killed.tmp"] {
            std::fs::create_dir(outer.path().join(name)).unwrap();
            std::fs::write(outer.path().join(name).join(LOCK), "").unwrap();
            std::fs::write(outer.path().join(name).join("a.onnx"), "half").unwrap();
        }
        for name in [".ff-a.onnx-file.tmp", ".ff-b.onnx-file.tmp"] {
            std::fs::write(outer.path().join(name), "half").unwrap();
        }
        let next = OutputFolder::new(&out).unwrap();
        assert!(running.path().exists() && next.path().exists());
        drop((running, next));
        assert_eq!(names(), [".ff-b.onnx-file.tmp", ".ff-b.onnx-killed.tmp"]);

        // One that is being written stays.
        let other = outer.path().join("b.onnx");
        write_output(&other, |file| {
            file.write_all(b"half").and_then(|()| file.flush())?;
            assert_eq!(names().len(), 1);
            write_output(&other, |inner| inner.write_all(b"inner"))
                .map_err(std::io::Error::other)?;
            assert_eq!(names().len(), 2);
            file.write_all(b" and whole")
        })
        .unwrap();
        assert_eq!(names(), ["b.onnx"]);
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "half and whole");
    }
}
