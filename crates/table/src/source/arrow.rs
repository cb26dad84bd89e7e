//! Arrow's interprocess format: the file (Feather version 2) and the stream, batch by batch.
//!
//! A file is a stream between `ARROW1` and a footer. The footer says where the batches are; read in
//! order, they say so themselves, so that a compressed file or standard input is read in one pass
//! too.

use std::io::Read;
use std::path::PathBuf;

use super::format::{Blocks, Description, LeftOut, Source, SourceInfo, SourceOptions};
use super::gzip::Bytes;
use super::input::Input;
use super::names::unique;
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::table::{Column, Origin, Table, Values};

mod body;
mod flatbuffer;
mod metadata;

use body::{Body, Dictionaries};
use metadata::{Batch, Field, Header, Kind};

/// Begins a file, in 8 bytes with zeros, and ends it.
const MAGIC: &[u8; 6] = b"ARROW1";

/// Stands before each message's length.
const CONTINUES: u32 = u32::MAX;

/// Apache Arrow.
pub(super) struct Arrow;

impl Source for Arrow {
    fn description(&self) -> Description {
        Description {
            name: "arrow",
            title: "Arrow",
            about: "Apache Arrow: an IPC file (Feather) or stream, flat columns.",
            extensions: &["arrow", "feather", "ipc", "arrows"],
            documents: true,
            streams: true,
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        // A stream begins with the length of its schema, which is below 16 MiB.
        head.starts_with(MAGIC)
            || head.starts_with(b"FEA1")
            || matches!(head, [0xff, 0xff, 0xff, 0xff, _, _, _, 0, ..])
    }

    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        let mut reader = Reader::open(input, options.null_values.clone())?;
        reader.left_out = reader.fields.iter().filter_map(unread).collect();
        if let Some(left) = reader.left_out.first()
            && reader.left_out.len() == reader.fields.len()
        {
            return Err(DataError::format(
                input.path(),
                format!("column `{}` holds {}, which are not read", left.name, left.holds),
                "Write the file with flat columns, one number or text a row.",
            ));
        }
        let names =
            unique(reader.fields.iter().map(|field| field.name.as_str()), &mut reader.notes);
        for (field, name) in reader.fields.iter_mut().zip(names) {
            field.name = name;
        }
        Ok(Box::new(reader))
    }

    fn column(&self, input: &Input, name: &str) -> Result<Box<dyn Blocks>> {
        let mut reader = Reader::open(input, Vec::new())?;
        reader.only = Some(name.to_owned());
        if !reader.fields.iter().any(|field| field.name == name && unread(field).is_none()) {
            return Err(DataError::NoColumn {
                place: format!("`{}`", input.path().display()),
                column: name.to_owned(),
                role: "data.text_column".into(),
                available: reader.fields.into_iter().map(|field| field.name).collect(),
                note: String::new(),
            });
        }
        Ok(Box::new(reader))
    }
}

/// A column that is not read, and what it holds.
fn unread(field: &Field) -> Option<LeftOut> {
    match field.kind {
        Kind::Other(holds) => Some(LeftOut { name: field.name.clone(), holds: holds.into() }),
        _ => None,
    }
}

/// A file that is being read.
struct Reader {
    bytes: Bytes,
    path: PathBuf,
    compression: Option<&'static str>,
    /// Whether a footer follows the last message.
    is_file: bool,
    fields: Vec<Field>,
    /// The one column that is wanted, where it is not all.
    only: Option<String>,
    notes: Vec<Note>,
    left_out: Vec<LeftOut>,
    nulls: Vec<String>,
    dictionaries: Dictionaries,
    /// The batch that rows are given from, and how many were given.
    batch: Table,
    given: usize,
    /// The rows of the file that were given.
    row: u64,
}

impl Reader {
    fn open(input: &Input, nulls: Vec<String>) -> Result<Self> {
        let mut reader = Self {
            bytes: input.reader()?,
            path: input.path().to_owned(),
            compression: input.compression(),
            is_file: false,
            fields: Vec::new(),
            only: None,
            notes: Vec::new(),
            left_out: Vec::new(),
            nulls,
            dictionaries: Dictionaries::new(),
            batch: Table::default(),
            given: 0,
            row: 0,
        };
        let mut head = reader.exactly(4)?;
        if head.is_empty() {
            return Err(DataError::Empty { path: reader.path, header: false });
        }
        if head == b"FEA1" {
            return Err(DataError::format(
                &reader.path,
                "this is Feather version 1",
                "Write it again as version 2: pyarrow.feather.write_feather(table, FILE).",
            ));
        }
        if MAGIC.starts_with(&head) {
            let rest = reader.exactly(4)?;
            if rest != [b'W', b'1', 0, 0] {
                return Err(reader.cut());
            }
            reader.is_file = true;
            head = reader.exactly(4)?;
        }
        match reader.message(&head)? {
            Some((Header::Schema { fields, little_endian: true }, _)) if !fields.is_empty() => {
                reader.fields = fields;
                Ok(reader)
            }
            Some((Header::Schema { little_endian: true, .. }, _)) => {
                Err(DataError::Empty { path: reader.path, header: false })
            }
            Some((Header::Schema { .. }, _)) => {
                Err(reader.malformed("its numbers are big-endian, which is not read"))
            }
            _ => Err(reader.malformed("it does not begin with a schema")),
        }
    }

    /// The next message and its body, after the first four bytes; `None` at the end.
    fn message(&mut self, head: &[u8]) -> Result<Option<(Header, Vec<u8>)>> {
        let word = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
        let length = match word(head) {
            Some(CONTINUES) => word(&self.exactly(4)?),
            // Before version 0.15 the length came alone.
            length => length,
        };
        match length {
            Some(0) => {
                self.check_end()?;
                return Ok(None);
            }
            // A stream may simply end.
            None if head.is_empty() && !self.is_file => return Ok(None),
            _ => {}
        }
        let length =
            length.and_then(|length| usize::try_from(length).ok()).ok_or_else(|| self.cut())?;
        let metadata = self.exactly(length)?;
        if metadata.len() < length {
            return Err(self.cut());
        }
        let Ok((header, body)) = metadata::message(&metadata) else {
            return Err(self.malformed("its metadata is damaged"));
        };
        let bytes = usize::try_from(body).ok().map(|body| self.exactly(body)).transpose()?;
        match bytes {
            Some(bytes) if bytes.len() as u64 == body => Ok(Some((header, bytes))),
            _ => Err(self.cut()),
        }
    }

    /// A file that is whole ends with its magic word.
    fn check_end(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        let read = self.bytes.read_to_end(&mut rest);
        read.map_err(|e| super::io_error(&self.path, self.compression, e))?;
        if self.is_file && !rest.ends_with(MAGIC) { Err(self.cut()) } else { Ok(()) }
    }

    /// The next bytes; fewer where the file ends.
    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        // Grows with the bytes present, whatever the length claims.
        let mut bytes = Vec::new();
        let read = self.bytes.by_ref().take(length as u64).read_to_end(&mut bytes);
        read.map_err(|e| super::io_error(&self.path, self.compression, e))?;
        Ok(bytes)
    }

    /// Reads up to the next batch of rows; whether there is one.
    fn advance(&mut self) -> Result<bool> {
        loop {
            let head = self.exactly(4)?;
            match self.message(&head)? {
                None => return Ok(false),
                Some((Header::Batch(batch), body)) => {
                    self.batch = self.table(&batch, &body)?;
                    self.given = 0;
                    if batch.rows > 0 {
                        return Ok(true);
                    }
                }
                Some((Header::Dictionary { id, batch, delta }, body)) => {
                    self.learn(id, &batch, delta, &body)?;
                }
                Some((Header::Schema { .. } | Header::Other, _)) => {
                    return Err(self.malformed("a message among the batches is no batch"));
                }
            }
        }
    }

    fn table(&mut self, batch: &Batch, bytes: &[u8]) -> Result<Table> {
        let mut bytes_left_out = Vec::new();
        let mut body = Body::new(batch, bytes, &self.nulls).of_documents(self.only.is_some());
        let mut columns = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            let wanted = self.only.as_ref().is_none_or(|only| *only == field.name);
            if !wanted || unread(field).is_some() {
                body.skip(field).map_err(|e| self.wrong(field, &e))?;
                continue;
            }
            let values = body.column(field, &self.dictionaries);
            columns.push((field, values.map_err(|e| self.wrong(field, &e))?));
            if std::mem::take(&mut body.unread) {
                if self.only.is_some() {
                    return Err(self.wrong(field, "it holds bytes that are no UTF-8 text"));
                }
                bytes_left_out.push(field.name.clone());
            }
        }
        if batch.rows > 0 && columns.iter().all(|(_, values)| values.is_none()) {
            // Without a buffer nothing shows that there are as many rows as the batch claims.
            return Err(self.malformed("no column holds a value"));
        }
        let nothing = || Values::from(vec![f64::NAN; batch.rows]);
        let columns = columns
            .into_iter()
            .map(|(field, values)| Column::new(field.name.clone(), values.unwrap_or_else(nothing)));
        let columns = columns.collect();
        for name in bytes_left_out {
            if self.left_out.iter().all(|left| left.name != name) {
                let holds = "bytes that are no UTF-8 text".into();
                self.left_out.push(LeftOut { name, holds });
            }
        }
        let origin = Origin::rows(&self.path, self.row + 1);
        Ok(Table::with_origin(columns, batch.rows, origin))
    }

    /// Reads a dictionary, or what is added to one.
    fn learn(&mut self, id: i64, batch: &Batch, delta: bool, bytes: &[u8]) -> Result<()> {
        let wanted = |field: &&Field| {
            field.dictionary.is_some_and(|dictionary| dictionary.id == id)
                && self.only.as_ref().is_none_or(|only| *only == field.name)
        };
        let Some(field) = self.fields.iter().find(wanted) else { return Ok(()) };
        let values = Body::new(batch, bytes, &self.nulls).values(field.kind);
        let values = values.map_err(|e| self.wrong(field, &e))?;
        let values = values.ok_or_else(|| self.wrong(field, "its dictionary holds nulls alone"))?;
        match self.dictionaries.get_mut(&id) {
            Some(known) if delta => known.append(&values),
            _ => {
                self.dictionaries.insert(id, values);
            }
        }
        Ok(())
    }

    fn wrong(&self, field: &Field, message: &str) -> DataError {
        self.malformed(&format!("column `{}`: {message}", field.name))
    }

    fn malformed(&self, message: &str) -> DataError {
        DataError::format(&self.path, format!("malformed Arrow: {message}"), DAMAGED)
    }

    fn cut(&self) -> DataError {
        DataError::format(&self.path, "the Arrow file is cut: it ends within its data", DAMAGED)
    }
}

const DAMAGED: &str = "The file is cut or damaged: copy or write it again.";

impl Blocks for Reader {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        while self.given == self.batch.rows() {
            if !self.advance()? {
                return Ok(None);
            }
        }
        let rows = rows.min(self.batch.rows() - self.given);
        let range = self.given..self.given + rows;
        let block = if range == (0..self.batch.rows()) {
            std::mem::take(&mut self.batch)
        } else {
            let columns = self.batch.columns().iter();
            let columns = columns
                .map(|column| Column::new(column.name.clone(), column.values.slice(range.clone())));
            Table::with_origin(columns.collect(), rows, Origin::rows(&self.path, self.row + 1))
        };
        // A batch that was given whole leaves an empty table behind.
        self.given = if self.batch.rows() == 0 { 0 } else { range.end };
        self.row += rows as u64;
        Ok(Some(block))
    }

    fn describe(&mut self, info: &mut SourceInfo) -> Vec<String> {
        info.notes.append(&mut self.notes);
        info.left_out.append(&mut self.left_out);
        let whole = self.fields.iter().filter(|field| field.kind.is_long());
        whole.map(|field| field.name.clone()).collect()
    }
}
