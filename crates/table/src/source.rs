//! Files in, tables out: formats, compression, whole tables and blocks of rows.

use std::path::{Path, PathBuf};

use crate::config::{DataConfig, Format, default_null_values};
#[cfg(doc)]
use crate::error::DataError;
use crate::error::Result;
use crate::note::Note;
use crate::table::Table;

mod csv;
mod guard;
mod idx;
mod input;
mod jsonl;
mod npy;
mod npz;
mod parquet;
mod records;
mod sniff;

pub(crate) use guard::guarded_call;
use input::Input;
pub(crate) use input::{Bytes, Hashed, Input as InputFile, io_error, not_opened};
pub(crate) use jsonl::{Objects, kind as json_kind};

/// How to read a file; the defaults find out everything by themselves.
///
/// ```
/// let options = ff_data::SourceOptions { delimiter: Some(';'), ..Default::default() };
/// assert!(options.null_values.contains(&"NA".to_owned()));
/// ```
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The format; from the first bytes and the name by default.
    pub format: Option<Format>,
    /// The delimiter of a text table; from the first lines by default.
    pub delimiter: Option<char>,
    /// Whether a text table's first line names its columns; from the first lines by default.
    pub header: Option<bool>,
    /// The labels that belong to an IDX file of images; found by name by default.
    pub labels: Option<PathBuf>,
    /// Texts that stand for a missing value.
    pub null_values: Vec<String>,
    /// Columns of a text table that are kept as text even if they hold numbers.
    pub text_columns: Vec<String>,
    /// Read at most this many rows.
    pub max_rows: Option<usize>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            format: None,
            delimiter: None,
            header: None,
            labels: None,
            null_values: default_null_values(),
            text_columns: Vec::new(),
            max_rows: None,
        }
    }
}

impl From<&DataConfig> for SourceOptions {
    fn from(config: &DataConfig) -> Self {
        Self {
            format: config.format,
            delimiter: config.delimiter,
            header: config.header,
            labels: config.labels.clone(),
            null_values: config.null_values.clone(),
            text_columns: Vec::new(),
            max_rows: config.max_rows,
        }
    }
}

/// What was found out about a file.
///
/// ```
/// let info = ff_data::SourceInfo { delimiter: Some(','), header: Some(true), ..Default::default() };
/// assert_eq!(info.describe(), "comma, header");
/// ```
#[derive(Clone, Debug, Default)]
pub struct SourceInfo {
    /// The file, `-` for standard input.
    pub path: PathBuf,
    /// Its format.
    pub format: Option<Format>,
    /// The delimiter of a text table.
    pub delimiter: Option<char>,
    /// Whether a text table names its columns.
    pub header: Option<bool>,
    /// `gzip` or `zstd`.
    pub compression: Option<&'static str>,
    /// The file's size.
    pub bytes: u64,
    /// XXH3-128 of the file's bytes, in hexadecimal.
    pub hash: String,
    /// What is worth knowing about how it was read.
    pub notes: Vec<Note>,
}

impl SourceInfo {
    /// How the file was read, in a few words: `comma, header`, `parquet`, `gzip, tab, header`.
    pub fn describe(&self) -> String {
        let mut words: Vec<&str> = self.compression.into_iter().collect();
        match self.format {
            Some(Format::Parquet) => words.push("parquet"),
            Some(Format::Jsonl) => words.push("jsonl"),
            Some(Format::Npy) => words.push("npy"),
            Some(Format::Npz) => words.push("npz"),
            Some(Format::Idx) => words.push("idx"),
            Some(Format::Csv) | None => {}
        }
        if let Some(delimiter) = self.delimiter {
            words.push(delimiter_word(delimiter));
        }
        if let Some(header) = self.header {
            words.push(if header { "header" } else { "no header" });
        }
        words.join(", ")
    }
}

fn delimiter_word(delimiter: char) -> &'static str {
    match delimiter {
        ',' => "comma",
        ';' => "semicolon",
        '\t' => "tab",
        '|' => "bar",
        ' ' => "space",
        _ => "own delimiter",
    }
}

/// Reads a whole file (`-` for standard input) into a table.
///
/// # Errors
/// [`DataError`], with the line where the format has lines.
pub fn read_table(path: &Path, options: &SourceOptions) -> Result<Table> {
    load(path, options).map(|(table, _)| table)
}

/// Reads a whole file, and tells what was found out about it.
///
/// # Errors
/// [`DataError`], with the line where the format has lines.
pub fn load(path: &Path, options: &SourceOptions) -> Result<(Table, SourceInfo)> {
    let input = Input::open(path, false)?;
    let format = options.format.unwrap_or(input.format());
    let mut info = SourceInfo {
        path: path.to_owned(),
        format: Some(format),
        compression: input.compression(),
        ..SourceInfo::default()
    };
    if format != Format::Csv {
        (info.hash, info.bytes) = input.hash()?;
    }
    let mut table = match format {
        Format::Csv => csv::load(&input, options, &mut info)?,
        Format::Jsonl => jsonl::load(&input, options)?,
        Format::Parquet => parquet::load(&input, options)?,
        Format::Npy => npy::load(&input)?,
        Format::Npz => npz::load(&input)?,
        Format::Idx => idx::load(&input, options, &mut info)?,
    };
    if let Some(rows) = options.max_rows {
        table.truncate(rows);
    }
    Ok((table, info))
}

/// Reads a file (`-` for standard input) block by block, so that it may be larger than memory.
///
/// The columns of a text table are given as text, exactly as they stand in the file.
///
/// ```
/// use ff_data::{BlockReader, SourceOptions};
///
/// let file = std::env::temp_dir().join(format!("ff-data-doc-{}.csv", std::process::id()));
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
}

/// A format's way to give its rows in blocks.
trait Blocks: Send {
    /// The next rows, at most `rows`; `None` after the last.
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>>;
}

impl BlockReader {
    /// Opens a file to be read in blocks of at most `rows` rows.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be opened or its beginning is malformed.
    pub fn open(path: &Path, options: &SourceOptions, rows: usize) -> Result<Self> {
        let probe = Input::open(path, true)?;
        let format = options.format.unwrap_or(probe.format());
        let input = if format == Format::Csv { probe } else { probe.spool()? };
        let blocks: Box<dyn Blocks> = match format {
            Format::Csv => Box::new(csv::blocks(&input, options)?),
            Format::Jsonl => Box::new(jsonl::blocks(&input, options)?),
            Format::Parquet => Box::new(parquet::blocks(&input, options)?),
            Format::Npy => Box::new(Whole::new(npy::load(&input)?)),
            Format::Npz => Box::new(Whole::new(npz::load(&input)?)),
            Format::Idx => {
                Box::new(Whole::new(idx::load(&input, options, &mut SourceInfo::default())?))
            }
        };
        let left = options.max_rows.unwrap_or(usize::MAX);
        Ok(Self { blocks, rows: rows.max(1), left, format })
    }

    /// Opens a Parquet file for the values of one column alone; other columns may be of any kind.
    pub(crate) fn parquet_column(path: &Path, column: &str, rows: usize) -> Result<Self> {
        let options = SourceOptions { null_values: Vec::new(), ..SourceOptions::default() };
        let input = Input::open(path, false)?;
        let blocks = Box::new(parquet::column(&input, &options, column)?);
        Ok(Self { blocks, rows: rows.max(1), left: usize::MAX, format: Format::Parquet })
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
        if let Some(block) = &block {
            self.left -= block.rows();
        }
        Ok(block)
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }
}

/// A table that is in memory already, given once: arrays do not come row by row.
struct Whole {
    table: Option<Table>,
}

impl Whole {
    fn new(table: Table) -> Self {
        Self { table: Some(table) }
    }
}

impl Blocks for Whole {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        let Some(table) = self.table.take() else { return Ok(None) };
        let (first, rest) = table.split_at(rows);
        self.table = rest;
        Ok(Some(first))
    }
}
