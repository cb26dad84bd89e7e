use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;

/// A memory-mapped file: the system reads its bytes on access and drops them when memory is scarce.
///
/// The file may be larger than memory. It must not change while mapped: files mapped here are
/// written to a temporary name and renamed, so that a name never refers to a changing file.
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
    /// `None` for an empty file, which some systems refuse to map.
    map: Option<Mmap>,
}

impl Mapped {
    /// Maps a whole file for reading.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the map is read-only and outlives the slices borrowed from it. The one remaining
        // hazard is another process truncating or overwriting the file in place; every writer of
        // this workspace renames a finished file instead, and the type's documentation asks the
        // same of others.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self { map: Some(map) })
    }

    /// Lets the system take back the memory of some bytes, as after copying them; they are read
    /// again from the file on the next access.
    ///
    /// # Panics
    /// If the range is not within the file.
    pub fn release(&self, bytes: Range<usize>) {
        assert!(bytes.start <= bytes.end && bytes.end <= self.len(), "bytes {bytes:?} of a file");
        #[cfg(target_os = "linux")]
        if let Some(map) = &self.map {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: pages of a read-only map have the contents of the file, before and after. An
            // error leaves them where they are.
            let _ = unsafe { map.unchecked_advise_range(advice, bytes.start, bytes.len()) };
        }
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
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
        for released in [0..0, 0..10_000, 5_000..9_999] {
            mapped.release(released);
            assert!(mapped.len() == 10_000 && mapped.iter().all(|&byte| byte == 7));
        }
    }
}
