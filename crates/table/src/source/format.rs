//! A format: its names, how its files are recognised and read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ff_tensor::ThreadPool;
use serde::{Deserialize, Serialize, Serializer};

use super::input::Input;
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::table::{Column, Table, Values};

/// A file format that tables are read from: one file of this folder and one line of the registry.
pub(super) trait Source: Sync {
    /// Its names and traits.
    fn description(&self) -> Description;

    /// Whether a file that begins with these bytes is likely of this format.
    fn recognises(&self, head: &[u8]) -> bool;

    /// Opens a file to be read in blocks of rows.
    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>>;

    /// Opens a file for one of its columns; others may be of kinds that are not read.
    fn column(&self, input: &Input, _name: &str) -> Result<Box<dyn Blocks>> {
        let options =
            SourceOptions { header: Some(true), null_values: Vec::new(), ..Default::default() };
        self.blocks(input, &options)
    }

    /// Reads a whole file; records in `info` the facts detected about it.
    fn load(
        &self,
        input: &Input,
        options: &SourceOptions,
        info: &mut SourceInfo,
        _threads: &ThreadPool,
    ) -> Result<Table> {
        let mut blocks = self.blocks(input, options)?;
        let limit = options.max_rows.unwrap_or(usize::MAX);
        let mut table: Option<Table> = None;
        while table.as_ref().map_or(0, Table::rows) < limit
            && let Some(block) = blocks.next_block(limit)?
        {
            match &mut table {
                None => table = Some(block),
                Some(table) => table.extend(&block),
            }
        }
        let whole = blocks.describe(info);
        let empty = || DataError::Empty { path: input.path().to_owned(), header: true };
        let mut table = table.map(Table::compact).ok_or_else(empty)?;
        table.leave_out(|name| info.left_out.iter().any(|left| left.name == name));
        table.convert(|column| match &mut column.values {
            Values::Text(texts) if whole.contains(&column.name) => {
                Some(std::mem::take(texts).integers())
            }
            _ => None,
        });
        Ok(table)
    }
}

/// A format's names and traits.
#[derive(Clone, Copy, Default)]
pub(super) struct Description {
    /// The value of `data.format`.
    pub(super) name: &'static str,
    /// The name as people write it.
    pub(super) title: &'static str,
    /// A sentence for the recipe's schema and the program's help.
    pub(super) about: &'static str,
    /// Extensions of file names, in lower case and without the dot.
    pub(super) extensions: &'static [&'static str],
    /// Whether it is text: a file's extension then counts more than its first bytes.
    pub(super) text: bool,
    /// Whether text is read from its columns too.
    pub(super) documents: bool,
    /// Whether blocks are read in one pass, so that standard input needs no temporary file.
    pub(super) streams: bool,
}

/// The rows of an open file, in blocks.
pub(super) trait Blocks: Send {
    /// The next rows, at most `rows`; `None` after the last.
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>>;

    /// Adds the facts found while reading: notes, and columns that are left out. Gives the columns
    /// whose texts are whole numbers, some of which may not fit 64 bits.
    fn describe(&mut self, _info: &mut SourceInfo) -> Vec<String> {
        Vec::new()
    }
}

/// The blocks of a table that is in memory already: arrays do not come row by row.
pub(super) struct Whole(Option<Table>);

impl Whole {
    /// The blocks of a format that is read whole.
    pub(super) fn blocks(
        source: &dyn Source,
        input: &Input,
        options: &SourceOptions,
    ) -> Result<Box<dyn Blocks>> {
        let table = source.load(input, options, &mut SourceInfo::default(), &ThreadPool::new(1))?;
        Ok(Box::new(Self(Some(table))))
    }
}

impl Blocks for Whole {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        let Some(table) = self.0.take() else { return Ok(None) };
        let (first, rest) = table.split_at(rows);
        self.0 = rest;
        Ok(Some(first))
    }
}

/// A file format that tables are read from.
///
/// ```
/// use ff_table::Format;
///
/// assert_eq!(Format::from_path("a/b.csv.gz"), Some(Format::CSV));
/// assert_eq!(Format::named("parquet").map(Format::title), Some("Parquet"));
/// assert!(Format::listed("or").contains("NPZ"));
/// ```
#[derive(Clone, Copy)]
pub struct Format(pub(super) &'static dyn Source);

impl Format {
    /// The value of `data.format`.
    pub fn name(self) -> &'static str {
        self.0.description().name
    }

    /// The name as people write it.
    pub fn title(self) -> &'static str {
        self.0.description().title
    }

    /// A sentence about it.
    pub fn about(self) -> &'static str {
        self.0.description().about
    }

    /// Whether text is read from its columns too.
    pub fn holds_documents(self) -> bool {
        self.0.description().documents
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, rest) = self.name().split_at(1);
        write!(f, "{}{rest}", first.to_ascii_uppercase())
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// How to read a file; by default everything is detected.
///
/// ```
/// let options = ff_table::SourceOptions { delimiter: Some(';'), ..Default::default() };
/// assert!(options.null_values.contains(&"NA".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceOptions {
    /// The format; from the first bytes and the name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The delimiter of a text table; from the first lines by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Whether a text table's first line names its columns; from the first lines by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The labels that belong to an IDX file of images; found by name by default.
    #[serde(skip)]
    pub labels: Option<PathBuf>,
    /// Texts that stand for a missing value.
    #[serde(skip)]
    pub null_values: Vec<String>,
    /// Texts that stand for a missing value in single columns, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub column_nulls: BTreeMap<String, Vec<String>>,
    /// Columns of a text table that are kept as text even if they hold numbers.
    #[serde(skip)]
    pub text_columns: Vec<String>,
    /// Whether a blank line of a text table of one column is a row without a value.
    #[serde(skip)]
    pub blank_rows: bool,
    /// Whether a point in a number of a text table stands before decimals; otherwise texts with a
    /// point stay texts.
    #[serde(skip)]
    pub points_are_decimal: bool,
    /// Names of columns: a first line that holds all of them is a header.
    #[serde(skip)]
    pub names: Vec<String>,
    /// Read at most this many rows.
    #[serde(skip)]
    pub max_rows: Option<usize>,
}

impl SourceOptions {
    /// The keys of `[data]` that say how a file is read.
    pub const KEYS: [&str; 5] = ["format", "delimiter", "header", "labels", "null_values"];
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            format: None,
            delimiter: None,
            header: None,
            labels: None,
            null_values: default_null_values(),
            column_nulls: BTreeMap::new(),
            text_columns: Vec::new(),
            blank_rows: false,
            points_are_decimal: true,
            names: Vec::new(),
            max_rows: None,
        }
    }
}

impl SourceOptions {
    /// The same with every column as text whose own null values decide what is missing.
    pub(super) fn read_as_text(&self) -> Self {
        let mut options = self.clone();
        options.text_columns.extend(self.column_nulls.keys().cloned());
        options
    }

    /// Marks the missing values of columns that have null values of their own.
    pub(super) fn mark_missing(&self, table: &mut Table, format: Format) {
        table.convert(|Column { name, values }| {
            let nulls = self.column_nulls.get(name)?;
            let Values::Text(texts) = values else { return None };
            let texts = texts.with_nulls(nulls);
            let numbers = format == Format::CSV
                && self.points_are_decimal
                && !self.text_columns.contains(name);
            Some(if numbers { texts.numbers() } else { Values::Text(texts) })
        });
    }
}

/// Facts about a file, detected while it was read.
///
/// ```
/// let info =
///     ff_table::SourceInfo { delimiter: Some(','), header: Some(true), ..Default::default() };
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
    /// Remarks on how it was read.
    pub notes: Vec<Note>,
    /// Columns of the file that the table lacks.
    pub left_out: Vec<LeftOut>,
}

/// A column of a kind that is not read.
///
/// ```
/// let left = ff_table::LeftOut { name: "tags".into(), holds: "lists".into() };
/// assert_eq!(left.note().to_string(), "tags: left out: lists are not read");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Its values, in words.
    pub holds: String,
}

impl LeftOut {
    /// The remark on it.
    pub fn note(&self) -> Note {
        Note::warn(format!("left out: {} are not read", self.holds)).column(&self.name)
    }
}

impl SourceInfo {
    /// How the file was read, in a few words: `comma, header`, `parquet`, `gzip, tab, header`.
    pub fn describe(&self) -> String {
        let mut words: Vec<&str> = self.compression.into_iter().collect();
        if let Some(format) = self.format.filter(|_| self.delimiter.is_none()) {
            words.push(format.name());
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

pub(super) fn delimiter_word(delimiter: char) -> &'static str {
    match delimiter {
        ',' => "comma",
        ';' => "semicolon",
        '\t' => "tab",
        '|' => "bar",
        ' ' => "space",
        _ => "own delimiter",
    }
}

/// The texts that stand for a missing value unless a recipe says otherwise.
pub(crate) fn default_null_values() -> Vec<String> {
    [
        "", "NA", "N/A", "n/a", "na", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT", "NULL", "null",
        "None", "\\N", "#N/A", "#N/A N/A", "#NA", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!",
        "#NULL!", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "?",
    ]
    .map(String::from)
    .to_vec()
}
