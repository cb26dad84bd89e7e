//! One JSON object a line: columns are the union of the keys, in the order in which they first
//! appear.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::format::{Blocks, Description, Source, SourceOptions};
use super::input::{Bytes, Input, io_error};
use crate::error::{DataError, Result};
use crate::table::{Column, Integers, Lines, Origin, Table, TextValues, Values};

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
            about: "One JSON object a line.",
            extensions: &["jsonl", "ndjson", "jsonlines"],
            text: true,
            documents: true,
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        head.trim_ascii_start().first() == Some(&b'{')
    }

    /// The keys and their types are collected in a pass of their own.
    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        let mut scan = JsonLines::open(input)?;
        let mut keys: Vec<Key> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        let limit = options.max_rows.unwrap_or(usize::MAX);
        let mut rows = 0;
        while rows < limit
            && let Some(object) = scan.next()?
        {
            rows += 1;
            for (key, value) in object {
                let at = *index.entry(key).or_insert_with_key(|key| {
                    keys.push(Key { name: key.clone(), seen: SeenTypes::default() });
                    keys.len() - 1
                });
                keys[at].seen.note(&value);
            }
            if keys.len() > MAX_KEYS {
                return Err(scan.error(
                    format!("more than {MAX_KEYS} different keys"),
                    "Each key is a column: write values that differ from row to row under one key.",
                ));
            }
        }
        if rows == 0 {
            return Err(DataError::Empty { path: scan.path, header: false });
        }
        if keys.is_empty() {
            return Err(scan.error("every object is empty".into(), "Each key becomes a column."));
        }
        for key in &mut keys {
            key.seen.text |= options.text_columns.contains(&key.name);
        }
        Ok(Box::new(Reader {
            objects: JsonLines::open(input)?,
            keys,
            index,
            nulls: options.null_values.clone(),
        }))
    }
}

/// A file that is being read.
struct Reader {
    objects: JsonLines,
    keys: Vec<Key>,
    index: HashMap<String, usize>,
    nulls: Vec<String>,
}

struct Key {
    name: String,
    seen: SeenTypes,
}

/// The types that were seen under a key.
#[derive(Clone, Copy, Default)]
struct SeenTypes {
    boolean: bool,
    integer: bool,
    number: bool,
    text: bool,
}

impl SeenTypes {
    fn note(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.boolean = true,
            Value::Number(x) if x.is_i64() => self.integer = true,
            Value::Number(_) => self.number = true,
            _ => self.text = true,
        }
    }

    fn empty(self) -> Values {
        match self {
            Self { boolean: true, integer: false, number: false, text: false } => {
                Values::Bool(Vec::new())
            }
            Self { text: true, .. } | Self { boolean: true, .. } => {
                Values::Text(TextValues::default())
            }
            Self { integer: true, number: false, .. } => Values::Integer(Integers::default()),
            _ => Vec::<f64>::new().into(),
        }
    }
}

impl Blocks for Reader {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        let mut columns: Vec<Values> = self.keys.iter().map(|key| key.seen.empty()).collect();
        let mut lines = Lines::default();
        let mut count = 0;
        let mut cells: Vec<Option<Value>> = vec![None; self.keys.len()];
        while count < rows
            && let Some(object) = self.objects.next()?
        {
            lines.push(self.objects.line);
            count += 1;
            cells.fill(None);
            for (key, value) in object {
                // The first pass saw every key, unless the file grew since.
                if let Some(&at) = self.index.get(&key) {
                    cells[at] = Some(value);
                }
            }
            for (values, cell) in columns.iter_mut().zip(&mut cells) {
                push(values, cell.take().unwrap_or(Value::Null), &self.nulls);
            }
        }
        if count == 0 {
            return Ok(None);
        }
        let named = self.keys.iter().zip(columns);
        let columns = named.map(|(key, values)| Column::new(key.name.clone(), values)).collect();
        let origin = Origin::lines(&self.objects.path, lines);
        Ok(Some(Table::with_origin(columns, count, origin)))
    }
}

fn push(values: &mut Values, cell: Value, nulls: &[String]) {
    match values {
        Values::Bool(values) => values.push(cell.as_bool()),
        Values::Integer(values) => values.push(cell.as_i64()),
        Values::Number(crate::table::Numbers::F64(values)) => {
            values.push(cell.as_f64().unwrap_or(f64::NAN));
        }
        Values::Text(texts) => match cell {
            Value::Null => texts.push_missing(""),
            Value::String(text) => texts.push_if(&text, nulls.contains(&text)),
            // A number or a nested value among texts is kept as its JSON.
            other => texts.push(&other.to_string()),
        },
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
        }
    }

    fn next(&mut self) -> Result<Option<Map<String, Value>>> {
        let Some(bytes) = self.next_line()? else { return Ok(None) };
        let parsed = serde_json::from_slice(bytes);
        self.object(parsed).map(Some)
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
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if !self.content().is_empty() {
                return Ok(Some(self.content()));
            }
        }
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
