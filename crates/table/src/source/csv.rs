//! Text tables: numbers go straight to numbers, texts to one buffer a column.

use std::collections::HashSet;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use ff_tensor::ThreadPool;

use super::format::{Blocks, Description, Source, SourceInfo, SourceOptions, delimiter_word};
use super::gzip::Bytes;
use super::input::Input;
use super::names::unique;
use super::records::Records;
use super::sniff::{self, Preamble};
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::number::{is_code, is_long, parse_number};
use crate::table::{Column, Lines, Numbers, Origin, Table, TextValues, Values};

mod chunk;
mod parallel;

/// The bytes that delimiter, header and types are guessed from.
const HEAD: u64 = 1 << 18;

/// Text tables.
pub(super) struct Csv;

impl Source for Csv {
    fn description(&self) -> Description {
        Description {
            name: "csv",
            title: "CSV",
            about: "Text with a delimiter: comma, semicolon, tab or bar.",
            extensions: &["csv", "tsv", "tab", "txt", "psv"],
            text: true,
            documents: true,
            streams: true,
        }
    }

    fn recognises(&self, _head: &[u8]) -> bool {
        false
    }

    /// Every column is given as text.
    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        Ok(Box::new(Reader::open(input, input.reader()?, options)?))
    }

    /// Hashes the file while it is read.
    fn load(
        &self,
        input: &Input,
        options: &SourceOptions,
        info: &mut SourceInfo,
        threads: &ThreadPool,
    ) -> Result<Table> {
        let (bytes, hashed) = input.hashed_reader()?;
        let mut reader = Reader::open(input, bytes, options)?;
        info.delimiter = Some(char::from(reader.delimiter));
        info.header = Some(reader.header);
        info.notes.append(&mut reader.notes);
        let mut texts = reader.guess_texts(options);
        let path = input.path();
        // A column that looked like numbers and later holds a text is read again as text; one more
        // pass finds them all.
        for _ in 0..2 {
            let header = reader.header;
            let outcome = match options.max_rows {
                Some(rows) => reader.read(rows, &texts, true)?,
                None => parallel::read(reader, input, &texts, threads)?,
            };
            if info.hash.is_empty() {
                (info.hash, info.bytes) = hashed.finish().map_err(|e| input.io(e))?;
            }
            match outcome {
                Outcome::Table(Some(mut table), again) => {
                    if again > 0 {
                        let lines = if again == 1 { "line repeats" } else { "lines repeat" };
                        let message = format!("{again} {lines} the header: left out");
                        info.notes.push(Note::warn(message));
                    }
                    // Long integers are read as text.
                    table.convert(|column| match column {
                        Column { name, values: Values::Text(texts) }
                            if options.points_are_decimal
                                && !options.text_columns.contains(name) =>
                        {
                            Some(std::mem::take(texts).numbers())
                        }
                        _ => None,
                    });
                    return Ok(table);
                }
                Outcome::Table(None, _) => {
                    return Err(DataError::Empty { path: path.to_owned(), header });
                }
                Outcome::Texts(found) => {
                    texts = found;
                    reader = Reader::open(input, input.reader()?, options)?;
                }
            }
        }
        Err(DataError::format(path, "the file changed while it was read", "Try again."))
    }
}

/// A text table that is being read.
struct Reader {
    records: Records,
    path: PathBuf,
    names: Vec<String>,
    delimiter: u8,
    header: bool,
    header_pending: bool,
    /// The header, where it is told from rows that it may stand among.
    again: Option<HeaderLine>,
    sample: sniff::Sample,
    nulls: Nulls,
    notes: Vec<Note>,
    read_any: bool,
}

/// The header of a table of several columns: a line like it among the rows is no row.
struct HeaderLine {
    fields: Vec<Vec<u8>>,
    /// What such a line begins with, behind a quote or not.
    begin: Vec<u8>,
}

impl HeaderLine {
    fn new(records: &Records, delimiter: u8) -> Option<Self> {
        let fields: Vec<_> = (0..records.len()).map(|i| records.field(i).to_vec()).collect();
        let begin = fields.first().filter(|_| fields.len() > 1)?;
        let begin = if begin.is_empty() { vec![delimiter] } else { begin.clone() };
        Some(Self { fields, begin })
    }

    /// Whether a line that begins with these bytes may be one.
    #[inline]
    fn may_begin(&self, bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|first| *first == self.begin[0] || *first == b'"')
            && bytes.strip_prefix(b"\"").unwrap_or(bytes).starts_with(&self.begin)
    }

    fn is<'a>(&self, fields: impl ExactSizeIterator<Item = &'a [u8]>) -> bool {
        fields.len() == self.fields.len() && self.fields.iter().zip(fields).all(|(a, b)| a == b)
    }
}

/// The outcome of reading: a table and the lines that repeat its header, or the columns to read
/// again as text.
enum Outcome {
    Table(Option<Table>, usize),
    Texts(Vec<bool>),
}

/// The texts that stand for a missing value.
#[derive(Clone)]
struct Nulls {
    texts: HashSet<Vec<u8>>,
    longest: usize,
    /// Whether one of them is a number, so that numbers have to be looked up too.
    numbers: bool,
    /// Whether a point makes a text of a number.
    points: bool,
}

impl Nulls {
    fn new(texts: &[String]) -> Self {
        Self {
            longest: texts.iter().map(String::len).max().unwrap_or(0),
            numbers: texts.iter().any(|t| parse_number(t.as_bytes()).is_some_and(|x| !x.is_nan())),
            points: false,
            texts: texts.iter().map(|text| text.trim().as_bytes().to_vec()).collect(),
        }
    }

    fn contains(&self, bytes: &[u8]) -> bool {
        let bytes = bytes.trim_ascii();
        bytes.len() <= self.longest && self.texts.contains(bytes)
    }
}

/// A column while it is read.
enum Builder {
    Number(Vec<f64>),
    Text(TextValues),
    /// A column of numbers whose table is going to be read again: only checked.
    Checked,
    /// A column of "numbers" that holds a text.
    Failed,
}

impl Reader {
    fn open(input: &Input, mut bytes: Bytes, options: &SourceOptions) -> Result<Self> {
        let path = input.path().to_owned();
        let mut head = Vec::new();
        bytes.by_ref().take(HEAD).read_to_end(&mut head).map_err(|e| input.io(e))?;
        let whole = (head.len() as u64) < HEAD;
        if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = head.as_slice() {
            return Err(DataError::format(
                &path,
                "the text is UTF-16",
                "Save the file as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8 FILE.",
            ));
        }
        if head.starts_with(&[0xef, 0xbb, 0xbf]) {
            head.drain(..3);
        }
        if head.contains(&0) {
            return Err(DataError::format(
                &path,
                "the file holds zero bytes: it is not a text table",
                "Name its format (data.format), or save it as CSV.",
            ));
        }
        let name = path.to_string_lossy().to_lowercase();
        let given = options.delimiter.map(|delimiter| delimiter as u8);
        let preamble = Preamble::of(&head, whole, given, &name);
        head.drain(..preamble.bytes);
        let mut notes = Vec::new();
        if preamble.comments > 0 {
            let count = preamble.comments;
            let lines = if count == 1 { "line that begins" } else { "lines that begin" };
            notes.push(Note::info(format!("{count} {lines} with `#` above the table left out")));
        }
        let sniffed = || sniff::delimiter(&head, whole, &name);
        let delimiter = preamble.delimiter.unwrap_or_else(sniffed);
        let sample = sniff::sample(&head, whole, delimiter);
        let known = options.names.is_empty().then_some(false);
        let known = known.unwrap_or_else(|| {
            let first: HashSet<&str> =
                sample.first().into_iter().flatten().map(|f| f.trim()).collect();
            let different = sample.first().is_some_and(|fields| fields.len() == first.len());
            different && options.names.iter().all(|name| first.contains(name.as_str()))
        });
        let (header, why) = match options.header {
            Some(header) => (header, ""),
            None if known => (true, "it names the columns"),
            None => sniff::header(&sample),
        };
        if !header && options.header.is_none() {
            notes.push(
                Note::info(format!(
                    "no header line ({why}): columns are named column_1, column_2, …"
                ))
                .undo("data.header=true"),
            );
        }
        let bytes: Bytes = Box::new(Cursor::new(head).chain(bytes));
        let mut records = Records::new(bytes, &path, input.compression(), delimiter);
        records = records.below(preamble.lines);
        if !records.advance()? {
            return Err(DataError::Empty { path, header: false });
        }
        let again = if header { HeaderLine::new(&records, delimiter) } else { None };
        let names = if header {
            header_names(&records, &path, &mut notes)?
        } else {
            (1..=records.len()).map(|i| format!("column_{i}")).collect()
        };
        if options.blank_rows && names.len() == 1 {
            records.keep_blank();
        }
        let nulls =
            Nulls { points: !options.points_are_decimal, ..Nulls::new(&options.null_values) };
        let header_pending = !header;
        Ok(Self {
            records,
            path,
            names,
            delimiter,
            header,
            header_pending,
            again,
            sample,
            nulls,
            notes,
            read_any: false,
        })
    }

    /// The columns that hold texts among the first rows, or that the caller wants as text.
    fn guess_texts(&self, options: &SourceOptions) -> Vec<bool> {
        let again = |row: &&Vec<String>| {
            let mut fields = self.again.iter().flat_map(|again| &again.fields);
            self.again.is_some()
                && row.iter().all(|cell| fields.next().is_some_and(|f| f == cell.as_bytes()))
        };
        let rows = self.sample.iter().skip(usize::from(self.header));
        let rows: Vec<_> = rows.filter(|row| !again(row)).collect();
        let text = |cell: &String| self.nulls.number(cell.as_bytes()).is_none() && !cell.is_empty();
        self.names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                options.text_columns.contains(name)
                    || rows.iter().any(|row| row.get(i).is_some_and(&text))
            })
            .collect()
    }

    /// Reads at most `limit` rows, the columns of `texts` as text and the others as numbers.
    fn read(&mut self, limit: usize, texts: &[bool], compact: bool) -> Result<Outcome> {
        let mut builders: Vec<Builder> = texts
            .iter()
            .map(|&text| {
                if text {
                    Builder::Text(TextValues::default())
                } else {
                    Builder::Number(Vec::new())
                }
            })
            .collect();
        let mut lines = Lines::default();
        let mut rows = 0;
        let mut repeated = 0;
        let mut failed = false;
        while rows < limit {
            if !std::mem::take(&mut self.header_pending) && !self.records.advance()? {
                break;
            }
            if self.records.len() != self.names.len() {
                return Err(self.uneven());
            }
            let fields = (0..self.records.len()).map(|i| self.records.field(i));
            if self.again.as_ref().is_some_and(|again| again.is(fields)) {
                repeated += 1;
                continue;
            }
            lines.push(self.records.line());
            rows += 1;
            for (i, builder) in builders.iter_mut().enumerate() {
                let bytes = self.records.field(i);
                match builder {
                    Builder::Number(values) => {
                        if let Some(value) = self.nulls.number(bytes) {
                            values.push(value);
                        } else {
                            *builder = Builder::Failed;
                            failed = true;
                        }
                    }
                    Builder::Text(values) => {
                        let text = std::str::from_utf8(bytes).map_err(|e| self.not_utf8(i, e))?;
                        values.push_if(text, self.nulls.contains(bytes));
                    }
                    Builder::Checked if self.nulls.number(bytes).is_none() => {
                        *builder = Builder::Failed;
                    }
                    Builder::Checked | Builder::Failed => {}
                }
            }
            if failed {
                // The table is read again: from here on, only which columns are texts matters.
                for builder in &mut builders {
                    if let Builder::Number(_) = builder {
                        *builder = Builder::Checked;
                    }
                }
            }
        }
        self.read_any |= rows > 0;
        if failed {
            let text = |b: &Builder| matches!(b, Builder::Text(_) | Builder::Failed);
            return Ok(Outcome::Texts(builders.iter().map(text).collect()));
        }
        if rows == 0 {
            return Ok(Outcome::Table(None, repeated));
        }
        let columns = self.names.iter().zip(builders).map(|(name, builder)| {
            let values = match builder {
                Builder::Number(values) if compact => {
                    Values::Number(Numbers::F64(values).compact())
                }
                Builder::Number(values) => values.into(),
                Builder::Text(values) => Values::Text(values),
                Builder::Checked | Builder::Failed => Values::Text(TextValues::default()),
            };
            Column::new(name.clone(), values)
        });
        let columns = columns.collect();
        let origin = Origin::lines(&self.path, lines);
        Ok(Outcome::Table(Some(Table::with_origin(columns, rows, origin)), repeated))
    }

    fn uneven(&self) -> DataError {
        let place = Place { path: &self.path, line: self.records.line() };
        let last = self.records.at_end();
        uneven(place, self.delimiter, self.header, self.names.len(), self.records.len(), last)
    }

    fn not_utf8(&self, column: usize, error: std::str::Utf8Error) -> DataError {
        let place = Place { path: &self.path, line: self.records.line() };
        not_utf8(place, column, &self.names[column], self.records.field(column), error)
    }
}

/// The place of a record.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a std::path::Path,
    line: u64,
}

/// The error of a record with another number of fields than the table; `last` says that nothing
/// follows it.
fn uneven(
    place: Place<'_>,
    delimiter: u8,
    header: bool,
    expected: usize,
    found: usize,
    last: bool,
) -> DataError {
    let how = delimiter_word(char::from(delimiter));
    let hint = if found > expected {
        format!(
            "Fields are separated by {how}: a text that contains one needs quotes around it. \
             Another delimiter is chosen with data.delimiter."
        )
    } else if last {
        "It is the file's last line: the file may be cut.".into()
    } else {
        format!("Fields are separated by {how} (data.delimiter); an empty field still needs one.")
    };
    let Place { path, line } = place;
    DataError::Fields { path: path.to_owned(), line, expected, found, header, hint }
}

impl Nulls {
    /// The cell as a number, NaN if missing; `None` if it is neither.
    #[inline]
    fn number(&self, bytes: &[u8]) -> Option<f64> {
        if bytes.is_empty() {
            return Some(f64::NAN).filter(|_| self.contains(bytes));
        }
        match parse_number(bytes) {
            Some(value)
                if !is_code(bytes)
                    && !is_long(bytes)
                    && (!self.points || !bytes.contains(&b'.')) =>
            {
                Some(if self.numbers && self.contains(bytes) { f64::NAN } else { value })
            }
            _ => self.contains(bytes).then_some(f64::NAN),
        }
    }
}

impl Blocks for Reader {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        let texts = vec![true; self.names.len()];
        match self.read(rows, &texts, false)? {
            Outcome::Table(None, _) if !self.read_any => {
                Err(DataError::Empty { path: self.path.clone(), header: self.header })
            }
            Outcome::Table(table, _) => Ok(table),
            Outcome::Texts(_) => Ok(None),
        }
    }
}

fn not_utf8(
    place: Place<'_>,
    column: usize,
    name: &str,
    field: &[u8],
    error: std::str::Utf8Error,
) -> DataError {
    DataError::Utf8 {
        path: place.path.to_owned(),
        line: place.line,
        column: column + 1,
        name: name.to_owned(),
        byte: field.get(error.valid_up_to()).copied().unwrap_or(0),
    }
}

/// The names in the first record.
fn header_names(
    records: &Records,
    path: &std::path::Path,
    notes: &mut Vec<Note>,
) -> Result<Vec<String>> {
    let names = (0..records.len()).map(|i| {
        let field = records.field(i);
        std::str::from_utf8(field).map(str::trim).map_err(|e| {
            not_utf8(
                Place { path, line: records.line() },
                i,
                &format!("column {}", i + 1),
                field,
                e,
            )
        })
    });
    Ok(unique(names.collect::<Result<Vec<_>>>()?.into_iter(), notes))
}
