//! Files in, tables out: formats, compression, whole tables and blocks of rows.

use std::path::Path;

use ff_tensor::ThreadPool;

#[cfg(doc)]
use crate::error::DataError;
use crate::error::Result;
use crate::table::Table;

mod archive;
mod arrow;
mod columns;
mod csv;
mod excel;
mod format;
mod guard;
mod gzip;
mod idx;
mod input;
mod jsonl;
mod magic;
mod memory;
mod names;
mod npy;
mod npz;
mod parquet;
mod records;
mod registry;
mod sniff;
mod spool;

use format::Blocks;
pub(crate) use format::default_null_values;
pub use format::{Format, LeftOut, SourceInfo, SourceOptions};
pub use gzip::Bytes;
pub use input::{HashedBytes, Input, io_error, not_opened};
pub use jsonl::{JsonLines, kind as json_kind};
pub(crate) use memory::is_memory;
pub use memory::{InMemory, MEMORY, with_tables};
pub(crate) use registry::PACKED;
pub use registry::{extension, listed, one_of};
pub use spool::Spool;

/// Reads a whole file (`-` for standard input) into a table, on the calling thread.
///
/// # Errors
/// [`DataError`], with the line where the format has lines.
pub fn read_table(path: &Path, options: &SourceOptions) -> Result<Table> {
    load(path, options, &ThreadPool::new(1)).map(|(table, _)| table)
}

/// Reads a whole file on these threads, with the facts detected about it.
///
/// # Errors
/// [`DataError`], with the line where the format has lines.
pub fn load(
    path: &Path,
    options: &SourceOptions,
    threads: &ThreadPool,
) -> Result<(Table, SourceInfo)> {
    let input = Input::open(path, false)?;
    let format = format_of(&input, options);
    let mut info = SourceInfo {
        path: path.to_owned(),
        format: Some(format),
        compression: input.inner.as_ref().map(|_| "zip").or(input.compression()),
        ..SourceInfo::default()
    };
    let mut table = format.0.load(&input, &options.read_as_text(), &mut info, threads)?;
    options.mark_missing(&mut table, format);
    if info.hash.is_empty() {
        (info.hash, info.bytes) = input.hash()?;
    }
    if let Some(rows) = options.max_rows {
        table.truncate(rows);
    }
    info.notes.extend(info.left_out.iter().map(LeftOut::note));
    Ok((table, info))
}

/// Reads a file (`-` for standard input) block by block, so that it may be larger than memory.
///
/// The columns of a text table are given as text, exactly as they stand in the file.
///
/// ```
/// use ff_table::{BlockReader, SourceOptions};
///
/// let file = std::env::temp_dir().join(format!("ff-table-doc-{}.csv", std::process::id()));
/// std::fs::write(&file, "x,y\n1.0,a\n2,b\n3,c\n").unwrap();
/// let mut reader = BlockReader::open(&file, &SourceOptions::default(), 2).unwrap();
/// let first = reader.next_block().unwrap().unwrap();
/// assert_eq!((first.rows(), first.row(0).join(" ")), (2, "1.0 a".to_owned()));
/// assert_eq!(reader.next_block().unwrap().unwrap().rows(), 1);
/// assert!(reader.next_block().unwrap().is_none());
/// # std::fs::remove_file(file).unwrap();
/// ```
pub struct BlockReader {
    blocks: Box<dyn Blocks>,
    rows: usize,
    left: usize,
    format: Format,
    options: SourceOptions,
}

impl BlockReader {
    /// Opens a file to be read in blocks of at most `rows` rows.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be opened or its beginning is malformed.
    pub fn open(path: &Path, options: &SourceOptions, rows: usize) -> Result<Self> {
        let probe = Input::open(path, true)?;
        let format = format_of(&probe, options);
        let source = format.0;
        let input = if source.description().streams { probe } else { probe.spool()? };
        let blocks = source.blocks(&input, options)?;
        let left = options.max_rows.unwrap_or(usize::MAX);
        Ok(Self { blocks, rows: rows.max(1), left, format, options: options.clone() })
    }

    /// Opens a file for the values of one column alone; others may be of kinds that are not read.
    ///
    /// # Errors
    /// As [`BlockReader::open`], and [`DataError::NoColumn`] where there is none of this name.
    pub fn column(path: &Path, format: Format, column: &str, rows: usize) -> Result<Self> {
        let input = Input::open(path, false)?;
        let blocks = format.0.column(&input, column)?;
        let options = SourceOptions::default();
        Ok(Self { blocks, rows: rows.max(1), left: usize::MAX, format, options })
    }

    /// The next block of rows; `None` after the last.
    ///
    /// # Errors
    /// [`DataError`] at the row that is malformed.
    pub fn next_block(&mut self) -> Result<Option<Table>> {
        if self.left == 0 {
            return Ok(None);
        }
        let block = self.blocks.next_block(self.rows.min(self.left))?;
        Ok(block.map(|mut block| {
            self.left -= block.rows();
            self.options.mark_missing(&mut block, self.format);
            block
        }))
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }
}

/// The format that is stated, else that by the first bytes and the path; a text table where both
/// say nothing. What is stated of files does not concern tables in memory.
fn format_of(input: &Input, options: &SourceOptions) -> Format {
    if input.columns().is_some() {
        return Format(&columns::Columns);
    }
    if let Some(format) = options.format.filter(|_| !is_memory(input.path())) {
        return format;
    }
    let path = input.path().to_string_lossy();
    let name = input.inner.as_deref().unwrap_or(&path);
    Format::of(&input.head(), name).unwrap_or(Format::CSV)
}
