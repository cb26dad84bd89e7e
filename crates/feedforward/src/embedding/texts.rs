//! The texts of a file: a column of a table, or the lines of plain text.

use crate::error::{Error, Result};
use ff_table::source::{Input, extension};
use ff_table::{BlockReader, Column, DataError, SourceOptions, Table, TextValues, Values};
use std::borrow::Cow;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The name of the column that lines of plain text become.
const LINES: &str = "text";

/// The rows of a file, in blocks, and which column holds the texts.
pub(crate) struct TextRows {
    rows: Rows,
    first: Option<Table>,
    columns: Vec<String>,
}

enum Rows {
    Lines(Box<dyn BufRead>, std::path::PathBuf),
    Table(Box<BlockReader>),
}

impl TextRows {
    /// Opens a table, or plain text (`.txt`) whose lines are texts; `-` is standard input.
    ///
    /// # Errors
    /// The file cannot be read, is empty, or has no column of this name; without a name, if not
    /// one column alone can be meant.
    pub(super) fn open(path: &Path, column: Option<&str>, block: usize) -> Result<Self> {
        let columns: Vec<String> = column.map(str::to_owned).into_iter().collect();
        Self::open_columns(path, &columns, &[], block)
    }

    /// The same with several columns, whose texts are joined, and texts that stand for a missing
    /// one.
    ///
    /// # Errors
    /// As [`TextRows::open`].
    pub(crate) fn open_columns(
        path: &Path,
        columns: &[String],
        null_values: &[String],
        block: usize,
    ) -> Result<Self> {
        let name = path.to_string_lossy();
        let rows = if extension(&name) == "txt" {
            let bytes = Input::open(path, true)?.reader()?;
            Rows::Lines(Box::new(BufReader::new(bytes)), path.to_owned())
        } else {
            // A text may be "NA" or "None".
            let null_values = null_values.to_vec();
            let options = SourceOptions { null_values, ..SourceOptions::default() };
            Rows::Table(Box::new(BlockReader::open(path, &options, block)?))
        };
        let mut texts = Self { rows, first: None, columns: Vec::new() };
        let first = texts.block(block)?;
        let first = first.ok_or_else(|| DataError::Empty { path: path.into(), header: false })?;
        texts.columns = if columns.is_empty() {
            vec![text_column(&first, &first.columns().iter().collect::<Vec<_>>())?]
        } else {
            columns.iter().map(|name| find_column(&first, name)).collect::<Result<_>>()?
        };
        texts.first = Some(first);
        Ok(texts)
    }

    /// The columns that hold the texts, joined by commas.
    pub(crate) fn column(&self) -> String {
        self.columns.join(", ")
    }

    /// The texts of a block.
    pub(crate) fn texts<'a>(&self, block: &'a Table) -> Vec<Cow<'a, str>> {
        (0..block.rows()).map(|row| joined(block, &self.columns, row)).collect()
    }

    /// The next rows.
    ///
    /// # Errors
    /// A row is malformed.
    pub(crate) fn next(&mut self, block: usize) -> Result<Option<Table>> {
        match self.first.take() {
            None => self.block(block),
            first => Ok(first),
        }
    }

    fn block(&mut self, block: usize) -> Result<Option<Table>> {
        let (lines, path) = match &mut self.rows {
            Rows::Table(reader) => return Ok(reader.next_block()?),
            Rows::Lines(lines, path) => (lines, path),
        };
        let mut texts = TextValues::default();
        let mut line = String::new();
        while texts.len() < block && lines.read_line(&mut line).map_err(|e| not_text(path, e))? > 0
        {
            texts.push(line.trim_end_matches(['\n', '\r']));
            line.clear();
        }
        if texts.is_empty() {
            return Ok(None);
        }
        Ok(Table::new(vec![Column::new(LINES, Values::Text(texts))]))
    }
}

fn not_text(path: &Path, error: std::io::Error) -> Error {
    DataError::Io { action: "read", path: path.into(), source: error }.into()
}

/// The column of this name.
pub(super) fn find_column(table: &Table, name: &str) -> Result<String> {
    if table.column(name).is_some() {
        return Ok(name.to_owned());
    }
    Err(DataError::NoColumn {
        place: table.source_name(),
        column: name.to_owned(),
        role: "--text".into(),
        available: table.names(),
        note: String::new(),
    }
    .into())
}

/// The texts of a row's columns, joined by line breaks.
pub(crate) fn joined<'a>(table: &'a Table, columns: &[String], row: usize) -> Cow<'a, str> {
    let text = |name: &String| table.column(name).map(|column| column.values.text(row));
    match columns {
        [name] => text(name).unwrap_or_default(),
        names => names.iter().filter_map(text).collect::<Vec<_>>().join("\n").into(),
    }
}

/// The texts of a column, those missing as empty ones.
pub(super) fn texts_of<'a>(table: &'a Table, column: &str) -> Vec<Cow<'a, str>> {
    let Some(column) = table.column(column) else { return Vec::new() };
    (0..table.rows()).map(|row| column.values.text(row)).collect()
}

/// Of some columns the only one, or the only one of texts, or the only one of texts with several
/// words.
pub(super) fn text_column(table: &Table, all: &[&Column]) -> Result<String> {
    let names = |columns: &[&Column]| -> Vec<String> {
        columns.iter().map(|column| column.name.clone()).collect()
    };
    let is_text = |values: &Values| {
        (0..values.len()).any(|row| values.text(row).chars().any(char::is_alphabetic))
    };
    let texts: Vec<&Column> = all.iter().copied().filter(|c| is_text(&c.values)).collect();
    let words = |values: &Values| {
        let words: usize =
            (0..values.len()).map(|row| values.text(row).split_whitespace().count()).sum();
        words as f64 / values.len().max(1) as f64
    };
    let long: Vec<&Column> = texts.iter().copied().filter(|c| words(&c.values) >= 3.0).collect();
    let found = [all, &texts, &long].into_iter().find(|columns| columns.len() == 1);
    found.map(|columns| columns[0].name.clone()).ok_or_else(|| {
        let columns = if texts.is_empty() { names(all) } else { names(&texts) };
        let shown: Vec<&str> = columns.iter().take(30).map(String::as_str).collect();
        Error::usage(format!(
            "which column of {} holds the texts? name it with --text: {}",
            table.source_name(),
            shown.join(", ")
        ))
    })
}
