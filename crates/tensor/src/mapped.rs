use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// A file as bytes in memory that the system reads when they are touched and drops when memory is scarce.
///
/// The file may be larger than memory. It must stay as it is while it is mapped: the files that are mapped here are
/// written beside their name and renamed, so that a name never stands for a file that changes.
///
/// ```
/// use ff_tensor::Mapped;
/// let path = std::env::temp_dir().join(format!("ff-tensor-mapped-{}", std::process::id()));
/// std::fs::write(&path, b"tokens")?;
/// assert_eq!(&*Mapped::open(&path)?, b"tokens");
/// # std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Mapped {
    /// None for a file of no bytes, which some systems do not map.
    map: Option<Mmap>,
}

impl Mapped {
    /// Maps a whole file for reading.
    ///
    /// # Errors
    /// The file cannot be opened, or the system cannot map it.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the map is read only and lives as long as the slices that are borrowed from it. The one thing that
        // cannot be ruled out here is another process that cuts or overwrites the file in place; every writer of
        // this workspace renames a finished file instead, and the type's documentation asks the same of others.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self { map: Some(map) })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_no_bytes_and_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        std::fs::write(&path, b"").unwrap();
        assert!(Mapped::open(&path).unwrap().is_empty());
        assert!(Mapped::open(&folder.path().join("none")).is_err());
        assert!(Mapped::open(folder.path()).is_err());
    }

    #[test]
    fn a_map_outlives_the_name_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, vec![7; 10_000]).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(mapped.len() == 10_000 && mapped.iter().all(|&byte| byte == 7));
    }
}
