//! Tables out to files: block by block, complete or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{DataError, Result};
use crate::source::Format;
use crate::table::Table;

mod jsonl;
mod npy;
#[cfg_attr(not(feature = "parquet"), path = "write/without_parquet.rs")]
mod parquet;
mod types;

pub use npy::ArrayWriter;
pub use types::{ColumnTypes, class_values};

/// Writes a table block by block to a CSV, Parquet or JSONL file.
///
/// Blocks go to a temporary file in the same folder; [`TableWriter::finish`] syncs it and gives it
/// its name. A writer that fails or is dropped leaves nothing behind, and a file that was there
/// stays as it was.
///
/// ```
/// use ff_table::{Column, Table, TableWriter};
///
/// let path = std::env::temp_dir().join(format!("ff-table-writer-{}.csv", std::process::id()));
/// let mut writer = TableWriter::create(&path).unwrap();
/// let block = Table::new(vec![Column::new("x", vec![1.0, 2.5].into())]).unwrap();
/// writer.write(&block).unwrap();
/// writer.finish().unwrap();
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "x\n1\n2.5\n");
/// # std::fs::remove_file(path).unwrap();
/// ```
pub struct TableWriter {
    path: PathBuf,
    sink: Sink,
    names: Option<Vec<String>>,
}

enum Sink {
    Csv { out: Box<csv::Writer<Out>> },
    Jsonl { out: BufWriter<Out> },
    Parquet { out: Option<Out>, writer: Option<Box<parquet::Writer>> },
}

/// A temporary file that gets its name at the end, or a stream that has no name.
pub(crate) enum Out {
    File(NamedTempFile),
    Stream(Box<dyn Write + Send>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

impl TableWriter {
    /// Creates a writer for a file whose extension names its format: `.csv`, `.tsv`, `.parquet` or
    /// `.jsonl`.
    ///
    /// # Errors
    /// [`DataError::Format`] for another extension, [`DataError::Io`] for a folder that cannot be
    /// written to.
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.to_string_lossy();
        let compressed = crate::source::PACKED.iter().any(|end| name.ends_with(end));
        let format = Format::from_path(&name).filter(|_| !compressed).ok_or_else(|| {
            DataError::format(
                path,
                "the extension names no format that is written",
                "Use .csv, .tsv, .parquet or .jsonl.",
            )
        })?;
        Self::new(path, open(path)?, format)
    }

    /// Creates a writer for a stream such as standard output.
    ///
    /// # Errors
    /// [`DataError::Format`] for a format that is not written.
    pub fn stream(stream: Box<dyn Write + Send>, format: Format) -> Result<Self> {
        Self::new(Path::new("-"), Out::Stream(stream), format)
    }

    fn new(path: &Path, out: Out, format: Format) -> Result<Self> {
        let extension = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
        let tabs = extension.is_some_and(|extension| extension == "tsv" || extension == "tab");
        let sink = if format == Format::CSV {
            let writer = csv::WriterBuilder::new()
                .delimiter(if tabs { b'\t' } else { b',' })
                .flexible(true)
                .buffer_capacity(1 << 16)
                .from_writer(out);
            Sink::Csv { out: Box::new(writer) }
        } else if format == Format::JSONL {
            Sink::Jsonl { out: BufWriter::with_capacity(1 << 16, out) }
        } else if format == Format::PARQUET {
            Sink::Parquet { out: Some(out), writer: None }
        } else {
            return Err(DataError::format(
                path,
                "this format is read but not written",
                "Use .csv, .tsv, .parquet or .jsonl.",
            ));
        };
        Ok(Self { path: path.into(), sink, names: None })
    }

    /// Whether values keep their types in this format: in all but text tables.
    pub fn is_typed(&self) -> bool {
        !matches!(self.sink, Sink::Csv { .. })
    }

    /// Appends the rows of a block; every block has the same columns.
    ///
    /// # Errors
    /// [`DataError::Io`] if the disk is full, [`DataError::Mismatch`] for other columns than the
    /// first block's.
    pub fn write(&mut self, block: &Table) -> Result<()> {
        let first = self.names.is_none();
        let names = self.names.get_or_insert_with(|| block.names());
        if *names != block.names() {
            return Err(DataError::Mismatch {
                place: block.source_name(),
                problems: vec!["its columns differ from those of the rows before".into()],
            });
        }
        let fail = |e| DataError::io("write", &self.path, e);
        match &mut self.sink {
            Sink::Csv { out } => write_csv(out, block, first).map_err(|e| fail(csv_error(e))),
            Sink::Jsonl { out } => jsonl::write(out, block).map_err(fail),
            Sink::Parquet { out, writer } => {
                if let Some(out) = out.take() {
                    *writer = Some(Box::new(parquet::Writer::new(out, block, &self.path)?));
                }
                writer.as_mut().map_or(Ok(()), |writer| writer.write(block, &self.path))
            }
        }
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`DataError::Io`]; then the temporary file is removed and the name is as it was.
    pub fn finish(self) -> Result<()> {
        let path = self.path;
        let fail = |action| move |e| (action, e);
        let out = match self.sink {
            Sink::Csv { out } => {
                out.into_inner().map_err(|e| fail("write")(std::io::Error::from(e.error().kind())))
            }
            Sink::Jsonl { out } => out.into_inner().map_err(|e| fail("write")(e.into_error())),
            Sink::Parquet { out: Some(out), .. } => Ok(out),
            Sink::Parquet { writer: Some(writer), .. } => writer.finish(&path).map(Ok)?,
            Sink::Parquet { .. } => return Ok(()),
        };
        finish(out.map_err(|(action, e)| DataError::io(action, &path, e))?, &path)
    }
}

/// Syncs a file and gives it its name.
fn finish(out: Out, path: &Path) -> Result<()> {
    let fail = |action| move |e| DataError::io(action, path, e);
    match out {
        Out::Stream(mut stream) => stream.flush().map_err(fail("write")),
        Out::File(mut file) => {
            file.flush().map_err(fail("write"))?;
            file.as_file().sync_all().map_err(fail("write"))?;
            file.persist(path).map_err(|e| fail("rename")(e.error))?;
            sync_folder(path);
            Ok(())
        }
    }
}

/// Opens a temporary file beside the path, or the pipe or device that it names.
fn open(path: &Path) -> Result<Out> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::IsADirectory);
        return Err(DataError::io("write", path, source));
    }
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // A pipe or a device is written to; a rename would put a file in its place.
        let out = File::options().write(true).open(path);
        let out = out.map_err(|e| DataError::io("write", path, e))?;
        return Ok(Out::Stream(Box::new(out)));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The permissions of any new file, less the user's mask.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(|e| DataError::io("write", path, e))?;
    Ok(Out::File(file))
}

/// Makes the new name last through a power failure, where the system can do that.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        // Some file systems cannot sync a folder; the file itself is synced already.
        let _ = folder.sync_all();
    }
}

fn write_csv(out: &mut csv::Writer<Out>, block: &Table, first: bool) -> Result<(), csv::Error> {
    if first {
        out.write_record(block.names())?;
    }
    for row in 0..block.rows() {
        for column in block.columns() {
            out.write_field(column.values.text(row).as_ref())?;
        }
        out.write_record(None::<&[u8]>)?;
    }
    Ok(())
}

fn csv_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}
