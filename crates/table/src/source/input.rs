//! A file or standard input as bytes: opened, recognised, hashed, decompressed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::Xxh3;

use super::gzip::{Bytes, Gzip};
use super::magic;
use super::memory::{self, InMemory};
use crate::error::{DataError, Result};
use crate::table::Table;
use ff_settings::similar;

/// An opened input.
pub struct Input {
    path: PathBuf,
    /// The name of the file inside the archive that `path` is.
    pub(super) inner: Option<String>,
    kind: Kind,
    head: Vec<u8>,
}

enum Kind {
    /// A file on disk that can be read many times.
    File(PathBuf),
    /// A stream, written to a temporary file without a name, read many times.
    Spool(File),
    /// Standard input, a pipe or a device as it comes, read once.
    Stream(Mutex<Option<Bytes>>),
    /// The bytes of a file, in memory.
    Memory(Arc<[u8]>),
    /// Columns in memory, which have no bytes.
    Columns(Arc<Table>),
}

/// The bytes that formats are told by.
const HEAD: usize = 512;

impl Input {
    /// The same without a look into archives.
    pub(super) fn opened(path: &Path, stream: bool) -> Result<Self> {
        if let Some(found) = memory::find(path) {
            let (kind, head) = match found {
                InMemory::Bytes(bytes) => {
                    let head = bytes[..bytes.len().min(HEAD)].to_vec();
                    (Kind::Memory(bytes), head)
                }
                InMemory::Columns(table) => (Kind::Columns(table), Vec::new()),
            };
            return Ok(Self { path: path.to_owned(), inner: None, kind, head });
        }
        let mut bytes: Bytes = if path.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            let mut file = File::open(path).map_err(|source| not_opened(path, source))?;
            if file.metadata().is_ok_and(|found| found.is_file()) {
                let head = head(&mut file).map_err(|e| DataError::io("read", path, e))?;
                let kind = Kind::File(path.to_owned());
                return Ok(Self { path: path.to_owned(), inner: None, kind, head });
            }
            Box::new(file)
        };
        let head = head(&mut bytes).map_err(|e| DataError::io("read", path, e))?;
        let bytes: Bytes = Box::new(Cursor::new(head.clone()).chain(bytes));
        let kind = Kind::Stream(Mutex::new(Some(bytes)));
        let input = Self { path: path.to_owned(), inner: None, kind, head };
        if stream && !magic::is_zip(&input.head) { Ok(input) } else { input.spool() }
    }

    /// The same input in a form that can be read many times.
    pub(crate) fn spool(self) -> Result<Self> {
        let Kind::Stream(stream) = &self.kind else { return Ok(self) };
        let fail = |e| DataError::io("read", &self.path, e);
        let mut bytes = take(stream).ok_or_else(|| fail(read_twice()))?;
        let mut file = tempfile::tempfile().map_err(fail)?;
        io::copy(&mut bytes, &mut file).map_err(fail)?;
        file.flush().map_err(fail)?;
        Ok(Self { kind: Kind::Spool(file), ..self })
    }

    pub(super) fn is_zip(&self) -> bool {
        magic::is_zip(&self.head)
    }

    /// Refuses what is known not to be read.
    pub(super) fn check(&self) -> Result<()> {
        magic::check(&self.head, &self.path)
    }

    /// The file of an archive in the archive's place.
    pub(super) fn with_inner(self, mut file: File, name: String) -> Result<Self> {
        let head = file.seek(SeekFrom::Start(0)).and_then(|_| head(&mut file));
        let head = head.map_err(|e| self.io(e))?;
        Ok(Self { inner: Some(name), kind: Kind::Spool(file), head, ..self })
    }

    /// The columns that it is, where it is no file.
    pub(super) fn columns(&self) -> Option<&Table> {
        match &self.kind {
            Kind::Columns(table) => Some(table),
            _ => None,
        }
    }

    /// The path it was opened by, `-` for standard input.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first bytes, decompressed.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        if let Ok(bytes) = self.decompress(Box::new(Cursor::new(self.head.clone()))) {
            // The bytes at hand end within the compressed data: what comes out before that counts.
            let _ = bytes.take(HEAD as u64).read_to_end(&mut head);
        }
        head
    }

    /// `gzip`, `zstd`, `lz4` and, where they were built in, `bzip2` and `xz`.
    pub fn compression(&self) -> Option<&'static str> {
        match self.head.as_slice() {
            [0x1f, 0x8b, ..] => Some("gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some("lz4"),
            head if cfg!(feature = "bzip2") && magic::is_bzip2(head) => Some("bzip2"),
            head if cfg!(feature = "xz") && head.starts_with(magic::XZ) => Some("xz"),
            _ => None,
        }
    }

    /// The number of elements' bytes behind `offset`, where the file's length tells it.
    pub(crate) fn bytes_after(&self, offset: u64) -> Option<u64> {
        let length = match (&self.kind, self.compression()) {
            (Kind::File(path), None) => std::fs::metadata(path).ok()?.len(),
            (Kind::Spool(file), None) => file.metadata().ok()?.len(),
            _ => return None,
        };
        Some(length.saturating_sub(offset))
    }

    /// XXH3-128 of the bytes as they are on disk, and their number.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read.
    pub fn hash(&self) -> Result<(String, u64)> {
        let raw = Raw { bytes: self.raw()?, hasher: Xxh3::new(), total: 0 };
        HashedBytes(Arc::new(Mutex::new(raw))).finish().map_err(|e| self.io(e))
    }

    /// The bytes from the start, decompressed, and what hashes them as they are read.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be opened or read.
    pub fn hashed_reader(&self) -> Result<(Bytes, HashedBytes)> {
        let raw = Raw { bytes: self.raw()?, hasher: Xxh3::new(), total: 0 };
        let hashed = HashedBytes(Arc::new(Mutex::new(raw)));
        let bytes = self.decompress(Box::new(hashed.clone())).map_err(|e| self.io(e))?;
        Ok((bytes, hashed))
    }

    /// The bytes from the start, decompressed.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be opened or read.
    pub fn reader(&self) -> Result<Bytes> {
        let raw = self.raw()?;
        self.decompress(raw).map_err(|e| self.io(e))
    }

    /// A file to seek in, for formats that begin at their end.
    pub(crate) fn seekable(&self, format: &str) -> Result<File> {
        if let Some(compression) = self.compression() {
            return Err(DataError::format(
                &self.path,
                format!("a {format} file inside {compression}"),
                format!("{format} is compressed inside already: decompress the file first."),
            ));
        }
        match &self.kind {
            Kind::File(path) => File::open(path).map_err(|e| not_opened(path, e)),
            Kind::Spool(file) => file.try_clone().map_err(|e| self.io(e)),
            Kind::Memory(bytes) => {
                let mut file = tempfile::tempfile().map_err(|e| self.io(e))?;
                let written = file.write_all(bytes).and_then(|()| file.rewind());
                written.map(|()| file).map_err(|e| self.io(e))
            }
            Kind::Stream(_) | Kind::Columns(_) => Err(self.io(read_twice())),
        }
    }

    /// A reading error as an error about this file; a compressed file that ends early is named as
    /// cut.
    pub(crate) fn io(&self, source: io::Error) -> DataError {
        io_error(&self.path, self.compression(), source)
    }

    pub(super) fn raw(&self) -> Result<Bytes> {
        match &self.kind {
            Kind::File(path) => {
                Ok(Box::new(File::open(path).map_err(|source| not_opened(path, source))?))
            }
            Kind::Spool(file) => {
                let mut file = file.try_clone().map_err(|e| self.io(e))?;
                file.seek(SeekFrom::Start(0)).map_err(|e| self.io(e))?;
                Ok(Box::new(file))
            }
            Kind::Stream(stream) => take(stream).ok_or_else(|| self.io(read_twice())),
            Kind::Memory(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Kind::Columns(_) => Ok(Box::new(io::empty())),
        }
    }

    fn decompress(&self, raw: Bytes) -> io::Result<Bytes> {
        Ok(match self.compression() {
            Some("gzip") => Box::new(Gzip::new(BufReader::with_capacity(1 << 16, raw))),
            #[cfg(feature = "bzip2")]
            Some("bzip2") => Box::new(bzip2::read::MultiBzDecoder::new(raw)),
            #[cfg(feature = "xz")]
            // Bounded by what `xz -9` needs.
            Some("xz") => Box::new(lzma_rust2::XzReader::new_mem_limit(raw, true, 1 << 18)),
            Some("lz4") => Box::new(lz4_flex::frame::FrameDecoder::new(raw)),
            Some(_) => {
                let mut decoder = zstd::stream::read::Decoder::new(raw)?;
                // What `zstd --long=31` writes needs as much.
                decoder.window_log_max(31)?;
                Box::new(decoder)
            }
            None => raw,
        })
    }
}

/// Bytes as they are on disk, hashed on their way to whoever reads them.
#[derive(Clone)]
pub struct HashedBytes(Arc<Mutex<Raw>>);

struct Raw {
    bytes: Bytes,
    hasher: Xxh3,
    total: u64,
}

impl HashedBytes {
    /// The bytes that were read so far.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Reads what nobody has read yet; XXH3-128 of all bytes, and their number.
    pub(crate) fn finish(&self) -> io::Result<(String, u64)> {
        let mut raw = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match raw.read(&mut buffer) {
                Ok(0) => return Ok((format!("{:032x}", raw.hasher.digest128()), raw.total)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Read for HashedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.total += n as u64;
        Ok(n)
    }
}

/// A reading error as an error about a file.
pub fn io_error(path: &Path, compression: Option<&str>, source: io::Error) -> DataError {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match (compression, source.kind()) {
        (Some(how), UnexpectedEof | InvalidData | InvalidInput | Other) => DataError::format(
            path,
            format!("the {how} data is cut or damaged: {source}"),
            "Copy or compress the file again.",
        ),
        _ => DataError::io("read", path, source),
    }
}

fn take(stream: &Mutex<Option<Bytes>>) -> Option<Bytes> {
    stream.lock().ok()?.take()
}

fn read_twice() -> io::Error {
    io::Error::other("the stream was read already")
}

fn head(bytes: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    bytes.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Why a file could not be opened, with similar names where there is none of this one.
pub fn not_opened(path: &Path, source: io::Error) -> DataError {
    if source.kind() != io::ErrorKind::NotFound {
        return DataError::io("read", path, source);
    }
    if memory::is_memory(path) {
        let message = "this table was in the memory of the program that trained on it";
        let hint = "Give it again, from Python: feedforward.resume(run, data=table), or \
                    run.evaluate(table).";
        return DataError::format(path, message, hint);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map(|files| {
            files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.sort();
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let near = wanted.map(|name| similar(&name, names.iter().map(String::as_str)));
    DataError::NotFound { path: path.to_owned(), nearest: near.unwrap_or_default() }
}
