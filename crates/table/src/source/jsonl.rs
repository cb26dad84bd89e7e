//! One JSON object a line: columns are the union of the keys, in the order in which they first
//! appear.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::format::{Blocks, Description, Source, SourceInfo, SourceOptions};
use super::gzip::Bytes;
use super::input::{Input, io_error};
use super::names::unique;
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::table::{Column, Integers, Lines, Numbers, Origin, Table, TextValues, Values};

mod array;
mod row;

use row::{Cell, Row};

/// No sensible row is longer.
const MAX_LINE: usize = 64 << 20;

/// More keys than this are data, not columns.
const MAX_KEYS: usize = 20_000;

/// JSON objects, one a line.
pub(super) struct Jsonl;

impl Source for Jsonl {
    fn description(&self) -> Description {
        Description {
            name: "jsonl",
            title: "JSONL",
            about: "One JSON object a line, or an array of objects.",
            extensions: &["jsonl", "ndjson", "jsonlines", "json"],
            text: true,
            documents: true,
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        let head = head.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(head).trim_ascii_start();
        match head.split_first() {
            Some((b'{', _)) => true,
            Some((b'[', rest)) => rest.trim_ascii_start().first() == Some(&b'{'),
            _ => false,
        }
    }

    /// The keys and their types are collected in a pass of their own.
    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        let mut scan = JsonLines::open(input)?;
        let mut keys = Keys::default();
        let limit = options.max_rows.unwrap_or(usize::MAX);
        let mut rows = 0;
        while rows < limit
            && let Some(Row(cells)) = scan.row()?
        {
            rows += 1;
            keys.start();
            for (key, cell) in cells {
                let at = keys.column(&key);
                keys.seen[at].note(&cell);
            }
            if keys.seen.len() > MAX_KEYS {
                return Err(scan.error(
                    format!("more than {MAX_KEYS} different keys"),
                    "Each key is a column: write values that differ from row to row under one key.",
                ));
            }
        }
        if rows == 0 {
            return Err(DataError::Empty { path: scan.path, header: false });
        }
        if keys.seen.is_empty() {
            return Err(scan.error("every object is empty".into(), "Each key becomes a column."));
        }
        let mut notes = Vec::new();
        let names = unique(keys.names.iter().map(String::as_str), &mut notes);
        for (seen, name) in keys.seen.iter_mut().zip(&names) {
            seen.text |= options.text_columns.contains(name);
        }
        Ok(Box::new(Reader {
            objects: JsonLines::open(input)?,
            keys,
            names,
            notes,
            nulls: options.null_values.clone(),
        }))
    }
}

/// A file that is being read.
struct Reader {
    objects: JsonLines,
    keys: Keys,
    /// The names of the columns: the keys, made different.
    names: Vec<String>,
    notes: Vec<Note>,
    nulls: Vec<String>,
}

/// The keys of a file's objects in the order in which they first appear. A key that an object holds
/// twice has a column for each.
#[derive(Default)]
struct Keys {
    names: Vec<String>,
    seen: Vec<SeenTypes>,
    /// The columns of each key.
    columns: HashMap<String, Vec<usize>>,
    /// The last object that had a value for the column.
    last: Vec<usize>,
    object: usize,
}

impl Keys {
    /// Begins an object.
    fn start(&mut self) {
        self.object += 1;
    }

    /// The column of the next value under a key, a new one where there is none yet.
    fn column(&mut self, key: &str) -> usize {
        if let Some(at) = self.known(key) {
            return at;
        }
        let at = self.names.len();
        self.names.push(key.to_owned());
        self.seen.push(SeenTypes::default());
        self.last.push(self.object);
        self.columns.entry(key.to_owned()).or_default().push(at);
        at
    }

    /// The column of the next value under a key that was seen.
    fn known(&mut self, key: &str) -> Option<usize> {
        let columns = self.columns.get(key)?;
        let at = columns.iter().copied().find(|&at| self.last[at] != self.object)?;
        self.last[at] = self.object;
        Some(at)
    }
}

/// The types that were seen under a key.
#[derive(Clone, Copy, Default)]
struct SeenTypes {
    boolean: bool,
    integer: bool,
    /// Integers of 64 bits without a sign.
    large: bool,
    number: bool,
    text: bool,
}

impl SeenTypes {
    fn note(&mut self, cell: &Cell) {
        match cell {
            Cell::Json(Value::Null) => {}
            Cell::Json(Value::Bool(_)) => self.boolean = true,
            Cell::Json(Value::Number(x)) if x.is_i64() => self.integer = true,
            // As text, integers above 63 bits stay exact.
            Cell::Json(Value::Number(x)) if x.is_u64() => self.large = true,
            Cell::Json(Value::Number(_)) | Cell::Number(_) => self.number = true,
            Cell::Json(_) => self.text = true,
        }
    }

    fn empty(self) -> Values {
        match self {
            Self { boolean: true, integer: false, number: false, large: false, text: false } => {
                Values::Bool(Vec::new())
            }
            Self { text: true, .. }
            | Self { boolean: true, .. }
            | Self { large: true, number: false, .. } => Values::Text(TextValues::default()),
            Self { integer: true, number: false, .. } => Values::Integer(Integers::default()),
            _ => Vec::<f64>::new().into(),
        }
    }
}

impl Blocks for Reader {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        let mut columns: Vec<Values> = self.keys.seen.iter().map(|seen| seen.empty()).collect();
        let mut lines = Lines::default();
        let mut count = 0;
        let mut cells: Vec<Option<Cell>> = vec![None; self.names.len()];
        while count < rows
            && let Some(Row(row)) = self.objects.row()?
        {
            lines.push(self.objects.line);
            count += 1;
            cells.fill(None);
            self.keys.start();
            for (key, cell) in row {
                // The first pass saw every key, unless the file grew since.
                if let Some(at) = self.keys.known(&key) {
                    cells[at] = Some(cell);
                }
            }
            for (values, cell) in columns.iter_mut().zip(&mut cells) {
                push(values, cell.take().unwrap_or(Cell::Json(Value::Null)), &self.nulls);
            }
        }
        if count == 0 {
            return Ok(None);
        }
        let named = self.names.iter().zip(columns);
        let columns = named.map(|(name, values)| Column::new(name.clone(), values)).collect();
        let origin = Origin::lines(&self.objects.path, lines);
        Ok(Some(Table::with_origin(columns, count, origin)))
    }

    fn describe(&mut self, info: &mut SourceInfo) -> Vec<String> {
        info.notes.append(&mut self.notes);
        Vec::new()
    }
}

fn push(values: &mut Values, cell: Cell, nulls: &[String]) {
    let cell = match (values, cell) {
        (Values::Number(Numbers::F64(values)), cell) => return values.push(cell.number()),
        (Values::Text(texts), Cell::Number(x)) => return texts.push(&x.to_string()),
        (values, cell) => (values, cell.json()),
    };
    match cell {
        (Values::Bool(values), cell) => values.push(cell.as_bool()),
        (Values::Integer(values), cell) => values.push(cell.as_i64()),
        (Values::Text(texts), Value::Null) => texts.push_missing(""),
        (Values::Text(texts), Value::String(text)) => texts.push_if(&text, nulls.contains(&text)),
        // A number or a nested value among texts is kept as its JSON.
        (Values::Text(texts), other) => texts.push(&other.to_string()),
        _ => {}
    }
}

/// The objects of a file, one a line; blank lines are passed over.
pub struct JsonLines {
    bytes: BufReader<Bytes>,
    path: PathBuf,
    compression: Option<&'static str>,
    line: u64,
    buffer: Vec<u8>,
    /// Whether the objects are elements of an array; `None` before the first byte.
    array: Option<bool>,
}

impl JsonLines {
    pub(super) fn open(input: &Input) -> Result<Self> {
        Ok(Self::new(input, input.reader()?))
    }

    /// The objects in the bytes of an input.
    pub fn new(input: &Input, bytes: Bytes) -> Self {
        Self {
            bytes: BufReader::with_capacity(1 << 18, bytes),
            path: input.path().to_owned(),
            compression: input.compression(),
            line: 0,
            buffer: Vec::new(),
            array: None,
        }
    }

    /// The next object of the lines, or of the array that the file is.
    fn row(&mut self) -> Result<Option<Row>> {
        if self.line == 0 && self.array.is_none() {
            self.array = Some(self.enter_array()?);
        }
        let found = if self.array == Some(true) { self.next_element()? } else { self.advance()? };
        if !found {
            return Ok(None);
        }
        let bytes = self.content();
        let row = serde_json::from_slice::<Row>(bytes).or_else(|error| {
            // Python's json writes NaN and Infinity, which JSON has not.
            row::without_nan(bytes).map_or(Err(error), |plain| serde_json::from_slice(&plain))
        });
        match row {
            Ok(row) => Ok(Some(row)),
            // Says what is there in place of an object.
            Err(_) => self.object(serde_json::from_slice(bytes)).map(|object| {
                let cells = object.into_iter().map(|(key, value)| (key, Cell::Json(value)));
                Some(Row(cells.collect()))
            }),
        }
    }

    /// The line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line that is not blank.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read, or is too long to be one.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>> {
        Ok(if self.advance()? { Some(self.content()) } else { None })
    }

    /// Moves to the next line that is not blank; `false` at the end.
    fn advance(&mut self) -> Result<bool> {
        while self.read_line()? {
            if !self.content().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The current line without blanks around it.
    fn content(&self) -> &[u8] {
        let bytes = self.buffer.as_slice();
        let marked = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).filter(|_| self.line == 1);
        marked.unwrap_or(bytes).trim_ascii()
    }

    /// The object that the current line was parsed to.
    ///
    /// # Errors
    /// [`DataError::Format`] with the line.
    pub fn object(&self, parsed: serde_json::Result<Value>) -> Result<Map<String, Value>> {
        match parsed {
            Ok(Value::Object(object)) => Ok(object),
            _ if self.line == 1 && self.content().starts_with(b"[") => Err(self.error(
                "the file is a JSON array, not JSONL".into(),
                "Write one object a line: jq -c '.[]' FILE > FILE.jsonl.",
            )),
            Ok(other) => Err(self.error(
                format!("an object is expected, found {}", kind(&other)),
                "Each line is one row: {\"column\": value, …}.",
            )),
            Err(e) => Err(self.error(
                format!("no JSON object: {e}"),
                "Each line is one row: {\"column\": value, …}; if it is the last line, the file may be cut.",
            )),
        }
    }

    /// Reads a line of limited length into the buffer; `false` at the end.
    fn read_line(&mut self) -> Result<bool> {
        self.buffer.clear();
        self.line += 1;
        loop {
            let bytes = match self.bytes.fill_buf() {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(io_error(&self.path, self.compression, e)),
            };
            if bytes.is_empty() {
                return Ok(!self.buffer.is_empty());
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            self.buffer.extend_from_slice(&bytes[..taken]);
            self.bytes.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(self.error(
                    format!("a line of more than {} MiB", MAX_LINE >> 20),
                    "Is it JSONL? A single JSON array has to be written as one object a line.",
                ));
            }
        }
    }

    /// An error about the line that was read last.
    pub fn error(&self, message: String, hint: &str) -> DataError {
        let path: &Path = &self.path;
        DataError::Format { path: path.into(), line: Some(self.line), message, hint: hint.into() }
    }
}

/// The type of a JSON value, in words.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
