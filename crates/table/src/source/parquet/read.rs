//! Reads Parquet files of flat columns, row group by row group.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::ColumnDescriptor;

use super::super::format::{Blocks, LeftOut, SourceInfo, SourceOptions};
use super::super::guard::guarded;
use super::super::input::Input;
use super::super::names::unique;
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::table::{Column, Integers, Numbers, Origin, Table, TextValues, Values};

/// Rows that are read at once: a header's claim about more is not believed in advance.
const BLOCK: usize = 1 << 16;

pub(super) fn open(
    input: &Input,
    options: &SourceOptions,
    only: Option<&str>,
) -> Result<Box<dyn Blocks>> {
    let path = input.path().to_owned();
    let mut file = input.seekable("Parquet")?;
    check_ends(&mut file, &path).map_err(|e| e.unwrap_or_else(|e| input.io(e)))?;
    let opened = guarded(&path, "Parquet", || {
        SerializedFileReader::new(file).map_err(|e| broken(&path, &e))
    })?;
    let schema = opened.metadata().file_metadata().schema_descr();
    let (mut notes, mut left_out) = (Vec::new(), Vec::<LeftOut>::new());
    let names =
        unique(schema.root_schema().get_fields().iter().map(|field| field.name()), &mut notes);
    let mut columns = Vec::new();
    for (index, column) in schema.columns().iter().enumerate() {
        if only.is_some_and(|only| column.path().string() != only || !columns.is_empty()) {
            continue;
        }
        let name = &names[schema.get_column_root_idx(index)];
        match Leaf::new(index, name, column) {
            Ok(leaf) => columns.push(leaf),
            // A struct has several leaves.
            Err(_) if left_out.last().is_some_and(|left| left.name == *name) => {}
            Err(holds) => left_out.push(LeftOut { name: name.clone(), holds: holds.into() }),
        }
    }
    if let Some(left) = left_out.first().filter(|_| columns.is_empty()) {
        return Err(DataError::format(
            &path,
            format!("column `{}` holds {}, which are not read", left.name, left.holds),
            "Write the file with flat columns, one number or text a row.",
        ));
    }
    if let Some(only) = only.filter(|_| columns.is_empty() && schema.num_columns() > 0) {
        return Err(DataError::NoColumn {
            place: format!("`{}`", path.display()),
            column: only.to_owned(),
            role: "data.text_column".into(),
            available: schema.columns().iter().map(|column| column.path().string()).collect(),
            note: String::new(),
        });
    }
    if columns.is_empty() {
        return Err(DataError::Empty { path, header: false });
    }
    let nulls = options.null_values.clone();
    Ok(Box::new(Reader {
        file: opened,
        path,
        columns,
        notes,
        left_out,
        nulls,
        documents: only.is_some(),
        group: 0,
        open: Vec::new(),
        left: 0,
        row: 0,
    }))
}

/// A file that is being read.
struct Reader {
    file: SerializedFileReader<File>,
    path: PathBuf,
    columns: Vec<Leaf>,
    notes: Vec<Note>,
    left_out: Vec<LeftOut>,
    nulls: Vec<String>,
    /// Whether texts are documents, of which broken ones are missing, with what can be read of
    /// them.
    documents: bool,
    /// The row group that is opened next.
    group: usize,
    open: Vec<ColumnReader>,
    /// The rows left in the open row group.
    left: usize,
    row: u64,
}

/// A column and what its physical values stand for.
struct Leaf {
    /// Its place among all columns of the file.
    index: usize,
    name: String,
    optional: bool,
    meaning: Meaning,
}

#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    Plain,
    Unsigned,
    Text,
    /// Texts, unless they are no UTF-8.
    Bytes,
    Half,
    /// Decimals without decimals that a double may not hold.
    Whole,
    /// Tenths to the power of the scale.
    Decimal(i32),
    /// This many units a second.
    Time(f64),
    /// This many units a second since 1970, or a negative number of seconds a unit.
    Date(f64),
}

impl Leaf {
    /// A column, or what it holds where that is not read.
    fn new(index: usize, name: &str, column: &ColumnDescriptor) -> Result<Self, &'static str> {
        if column.path().parts().len() > 1 {
            return Err(if column.max_rep_level() > 0 { "lists" } else { "structs" });
        }
        if column.max_rep_level() > 0 {
            return Err("lists");
        }
        let meaning = Meaning::of(column)?;
        let name = name.to_owned();
        Ok(Self { index, name, optional: column.max_def_level() > 0, meaning })
    }
}

impl Meaning {
    fn of(column: &ColumnDescriptor) -> Result<Self, &'static str> {
        let unit = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => 1e3,
            TimeUnit::MICROS => 1e6,
            TimeUnit::NANOS => 1e9,
        };
        let physical = column.physical_type();
        Ok(match (column.logical_type_ref(), column.converted_type(), physical) {
            (Some(LogicalType::Decimal(_)), ..) | (None, ConvertedType::DECIMAL, _) => {
                match column.type_scale() {
                    0 if column.type_precision() > 15 => Self::Whole,
                    scale => Self::Decimal(scale),
                }
            }
            (Some(LogicalType::Date), ..) | (None, ConvertedType::DATE, _) => Self::Date(-86_400.0),
            (Some(LogicalType::Timestamp(t)), ..) => Self::Date(unit(&t.unit)),
            (None, ConvertedType::TIMESTAMP_MILLIS, _) => Self::Date(1e3),
            (None, ConvertedType::TIMESTAMP_MICROS, _) | (_, _, Type::INT96) => Self::Date(1e6),
            (Some(LogicalType::Time(t)), ..) => Self::Time(unit(&t.unit)),
            (None, ConvertedType::TIME_MILLIS, _) => Self::Time(1e3),
            (None, ConvertedType::TIME_MICROS, _) => Self::Time(1e6),
            (Some(LogicalType::Integer(t)), ..) if !t.is_signed => Self::Unsigned,
            (
                None,
                ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64,
                _,
            ) => Self::Unsigned,
            (Some(LogicalType::Float16), _, Type::FIXED_LEN_BYTE_ARRAY) => Self::Half,
            (
                Some(LogicalType::String | LogicalType::Enum | LogicalType::Json),
                _,
                Type::BYTE_ARRAY,
            )
            | (_, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON, _) => Self::Text,
            (_, _, Type::BYTE_ARRAY) => Self::Bytes,
            (Some(LogicalType::Uuid), ..) => return Err("UUIDs"),
            (_, ConvertedType::INTERVAL, _) => return Err("intervals"),
            (_, _, Type::FIXED_LEN_BYTE_ARRAY) => return Err("bytes of a fixed length"),
            _ => Self::Plain,
        })
    }
}

impl Blocks for Reader {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        let path = self.path.clone();
        guarded(&path, "Parquet", || self.read(rows.min(BLOCK)))
    }

    fn describe(&mut self, info: &mut SourceInfo) -> Vec<String> {
        info.notes.append(&mut self.notes);
        info.left_out.append(&mut self.left_out);
        let whole = |leaf: &&Leaf| matches!(leaf.meaning, Meaning::Whole | Meaning::Unsigned);
        self.columns.iter().filter(whole).map(|leaf| leaf.name.clone()).collect()
    }
}

impl Reader {
    fn read(&mut self, rows: usize) -> Result<Option<Table>> {
        while self.left == 0 {
            if self.group == self.file.num_row_groups() {
                return Ok(None);
            }
            self.open_group()?;
        }
        let rows = rows.min(self.left);
        let mut columns = Vec::with_capacity(self.columns.len());
        for (leaf, reader) in self.columns.iter().zip(&mut self.open) {
            let (path, nulls, documents) = (&self.path, &self.nulls, self.documents);
            let row = self.row;
            let mut cells = Cells { leaf, rows, path, nulls, documents, row, unread: false };
            columns.push(Column::new(leaf.name.clone(), cells.read(reader)?));
            if cells.unread && self.left_out.iter().all(|left| left.name != leaf.name) {
                let holds = "bytes that are no UTF-8 text".into();
                self.left_out.push(LeftOut { name: leaf.name.clone(), holds });
            }
        }
        let origin = Origin::rows(&self.path, self.row + 1);
        self.left -= rows;
        self.row += rows as u64;
        Ok(Some(Table::with_origin(columns, rows, origin)))
    }

    fn open_group(&mut self) -> Result<()> {
        let group = self.file.get_row_group(self.group).map_err(|e| broken(&self.path, &e))?;
        let rows = group.metadata().num_rows();
        self.left = usize::try_from(rows).map_err(|_| {
            DataError::format(&self.path, format!("a row group of {rows} rows"), DAMAGED)
        })?;
        let leaves = self.columns.iter();
        self.open = leaves
            .map(|leaf| group.get_column_reader(leaf.index).map_err(|e| broken(&self.path, &e)))
            .collect::<Result<_>>()?;
        self.group += 1;
        Ok(())
    }
}

/// The next cells of one column.
struct Cells<'a> {
    leaf: &'a Leaf,
    rows: usize,
    path: &'a Path,
    nulls: &'a [String],
    documents: bool,
    row: u64,
    /// Whether bytes were met that are no text.
    unread: bool,
}

impl Cells<'_> {
    fn read(&mut self, reader: &mut ColumnReader) -> Result<Values> {
        use ColumnReader as R;
        let meaning = self.leaf.meaning;
        Ok(match (reader, meaning) {
            (R::BoolColumnReader(r), _) => {
                let mut values = Vec::with_capacity(self.rows);
                self.each(r, |cell| values.push(cell.copied()))?;
                Values::Bool(values)
            }
            (R::Int32ColumnReader(r), Meaning::Plain | Meaning::Whole) => {
                Values::Integer(self.integers(r, |&x| i64::from(x))?)
            }
            (R::Int32ColumnReader(r), Meaning::Unsigned) => {
                Values::Integer(self.integers(r, |&x| i64::from(x as u32))?)
            }
            (R::Int32ColumnReader(r), _) => self.scaled(r, |&x| f64::from(x))?,
            (R::Int64ColumnReader(r), Meaning::Plain | Meaning::Whole) => {
                Values::Integer(self.integers(r, |&x| x)?)
            }
            (R::Int64ColumnReader(r), Meaning::Unsigned) => {
                // Half of these do not fit 64 signed bits; as text they stay exact.
                let mut texts = TextValues::default();
                self.each(r, |cell| match cell {
                    Some(&x) => texts.push(&(x as u64).to_string()),
                    None => texts.push_missing(""),
                })?;
                Values::Text(texts)
            }
            (R::Int64ColumnReader(r), _) => self.scaled(r, |&x| x as f64)?,
            (R::Int96ColumnReader(r), _) => self.scaled(r, |x| x.to_micros() as f64)?,
            (R::FloatColumnReader(r), _) => {
                let mut values = Vec::with_capacity(self.rows);
                self.each(r, |cell| values.push(cell.copied().unwrap_or(f32::NAN)))?;
                values.into()
            }
            (R::DoubleColumnReader(r), _) => {
                let mut values = Vec::with_capacity(self.rows);
                self.each(r, |cell| values.push(cell.copied().unwrap_or(f64::NAN)))?;
                values.into()
            }
            (R::ByteArrayColumnReader(r), Meaning::Whole) => self.whole(r, |x| x.data())?,
            (R::FixedLenByteArrayColumnReader(r), Meaning::Whole) => self.whole(r, |x| x.data())?,
            (R::ByteArrayColumnReader(r), Meaning::Decimal(_)) => {
                self.scaled(r, |x| big_endian(x.data()))?
            }
            (R::ByteArrayColumnReader(r), _) => self.texts(r)?,
            (R::FixedLenByteArrayColumnReader(r), Meaning::Half) => {
                let mut values = Vec::with_capacity(self.rows);
                self.each(r, |cell| {
                    let bytes = cell.and_then(|cell| <[u8; 2]>::try_from(cell.data()).ok());
                    values.push(bytes.map_or(f32::NAN, |b| half::f16::from_le_bytes(b).to_f32()));
                })?;
                values.into()
            }
            (R::FixedLenByteArrayColumnReader(r), _) => self.scaled(r, |x| big_endian(x.data()))?,
        })
    }

    /// Calls `take` with each of the next cells; `None` is null.
    fn each<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        mut take: impl FnMut(Option<&T::T>),
    ) -> Result<()> {
        let mut done = 0;
        while done < self.rows {
            let mut values = Vec::new();
            let mut levels = Vec::new();
            let wanted = self.leaf.optional.then_some(&mut levels);
            let (records, ..) = reader
                .read_records(self.rows - done, wanted, None, &mut values)
                .map_err(|e| broken(self.path, &e))?;
            let present = if self.leaf.optional {
                levels.iter().filter(|&&level| level > 0).count()
            } else {
                records
            };
            if records == 0 || present != values.len() {
                return Err(DataError::format(
                    self.path,
                    format!(
                        "column `{}` ends at row {}, before the others",
                        self.leaf.name,
                        self.row + done as u64
                    ),
                    DAMAGED,
                ));
            }
            let mut values = values.iter();
            if self.leaf.optional {
                for &level in &levels {
                    take(if level > 0 { values.next() } else { None });
                }
            } else {
                values.for_each(|value| take(Some(value)));
            }
            done += records;
        }
        Ok(())
    }

    fn integers<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        value: impl Fn(&T::T) -> i64,
    ) -> Result<Integers> {
        let mut integers = Integers::default();
        self.each(reader, |cell| integers.push(cell.map(&value)))?;
        Ok(integers)
    }

    /// Whole numbers of any length: integers, or texts where one of them takes more than 64 bits.
    fn whole<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        bytes: impl Fn(&T::T) -> &[u8],
    ) -> Result<Values> {
        let mut texts = TextValues::default();
        self.each(reader, |cell| match cell.map(|cell| whole(bytes(cell))) {
            Some(Some(x)) => texts.push(&x.to_string()),
            // Of more than 128 bits, the nearest number is left.
            Some(None) => texts.push(&cell.map_or(0.0, |cell| big_endian(bytes(cell))).to_string()),
            None => texts.push_missing(""),
        })?;
        Ok(Values::Text(texts))
    }

    /// Decimals, times and dates, each a number of units.
    fn scaled<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        units: impl Fn(&T::T) -> f64,
    ) -> Result<Values> {
        let meaning = self.leaf.meaning;
        let mut values = Vec::with_capacity(self.rows);
        self.each(reader, |cell| {
            values.push(cell.map_or(f64::NAN, |cell| match meaning {
                Meaning::Decimal(scale) => units(cell) / 10f64.powi(scale),
                Meaning::Date(per) if per < 0.0 => units(cell) * -per,
                Meaning::Date(per) | Meaning::Time(per) => units(cell) / per,
                _ => units(cell),
            }));
        })?;
        Ok(match meaning {
            Meaning::Date(_) => Values::Date(values),
            _ => Values::Number(Numbers::F64(values)),
        })
    }

    fn texts(
        &mut self,
        reader: &mut ColumnReaderImpl<::parquet::data_type::ByteArrayType>,
    ) -> Result<Values> {
        let mut texts = TextValues::default();
        let mut bad = None;
        let mut row = self.row;
        self.each(reader, |cell| {
            row += 1;
            match cell.map(|cell| std::str::from_utf8(cell.data())) {
                Some(Ok(text)) => texts.push_if(text, self.nulls.iter().any(|null| null == text)),
                Some(Err(_)) if self.documents => {
                    let bytes = cell.map_or(&[][..], |cell| cell.data());
                    texts.push_missing(&String::from_utf8_lossy(bytes));
                }
                Some(Err(_)) => {
                    bad.get_or_insert(row);
                    texts.push_missing("");
                }
                None => texts.push_missing(""),
            }
        })?;
        match bad {
            None => Ok(Values::Text(texts)),
            Some(_) if self.leaf.meaning == Meaning::Bytes && !self.documents => {
                self.unread = true;
                Ok(std::iter::repeat_n(None, self.rows).collect())
            }
            Some(row) => Err(DataError::format(
                self.path,
                format!(
                    "column `{}` holds bytes that are no UTF-8 text in row {row}",
                    self.leaf.name
                ),
                "Write the file without it, or as numbers or texts.",
            )),
        }
    }
}

/// The integer that bytes of two's complement stand for, the first byte the highest.
fn whole(bytes: &[u8]) -> Option<i128> {
    let sign = bytes.first().map_or(0, |byte| -i128::from(byte >> 7));
    let fold = |sum: i128, &byte: &u8| sum << 8 | i128::from(byte);
    (bytes.len() <= 16).then(|| bytes.iter().fold(sign, fold))
}

/// The nearest number to it.
fn big_endian(bytes: &[u8]) -> f64 {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let magnitude = bytes
        .iter()
        .fold(0.0, |sum, &byte| sum * 256.0 + f64::from(if negative { !byte } else { byte }));
    if negative { -magnitude - 1.0 } else { magnitude }
}

const DAMAGED: &str = "The file is cut or damaged: copy or write it again.";

/// A whole file begins and ends with the same four bytes.
fn check_ends(file: &mut File, path: &Path) -> Result<(), Result<DataError, std::io::Error>> {
    let mut ends = [0; 8];
    let length = file.seek(SeekFrom::End(0)).map_err(Err)?;
    if length >= 8 {
        file.seek(SeekFrom::Start(0)).map_err(Err)?;
        file.read_exact(&mut ends[..4]).map_err(Err)?;
        file.seek(SeekFrom::End(-4)).map_err(Err)?;
        file.read_exact(&mut ends[4..]).map_err(Err)?;
        file.seek(SeekFrom::Start(0)).map_err(Err)?;
    }
    if length == 0 {
        return Err(Ok(DataError::Empty { path: path.into(), header: false }));
    }
    if &ends[..4] != b"PAR1" && &ends[..4] != b"PARE" {
        let message = "not a Parquet file: it does not begin with `PAR1`";
        return Err(Ok(DataError::format(path, message, "Is its name or data.format right?")));
    }
    if ends[4..] != ends[..4] {
        let message =
            format!("the Parquet file is cut: after {length} bytes its end (`PAR1`) is missing");
        return Err(Ok(DataError::format(path, message, "Copy or write the file again.")));
    }
    Ok(())
}

fn broken(path: &Path, error: &ParquetError) -> DataError {
    match error {
        ParquetError::NYI(what) => DataError::format(
            path,
            format!("a part of Parquet that is not read: {what}"),
            "Write the file again with plain settings (snappy or zstd compression).",
        ),
        _ => DataError::format(path, format!("malformed Parquet: {error}"), DAMAGED),
    }
}
