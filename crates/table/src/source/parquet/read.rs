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

use super::super::format::{Blocks, SourceOptions};
use super::super::guard::guarded;
use super::super::input::Input;
use crate::error::{DataError, Result};
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
    let mut columns = Vec::new();
    for (index, column) in schema.columns().iter().enumerate() {
        if only.is_none_or(|only| column.path().string() == only) {
            columns.push(Leaf::new(index, column, &path)?);
        }
    }
    if let Some(only) = only.filter(|_| columns.is_empty() && schema.num_columns() > 0) {
        return Err(DataError::NoColumn {
            place: format!("`{}`", path.display()),
            column: only.to_owned(),
            role: "data.text_column".into(),
            available: schema.columns().iter().map(|column| column.path().string()).collect(),
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
    nulls: Vec<String>,
    /// Whether texts are documents, of which broken ones are missing, with what can be read of them.
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

#[derive(Clone, Copy)]
enum Meaning {
    Plain,
    Unsigned,
    Text,
    Half,
    /// Tenths to the power of the scale.
    Decimal(i32),
    /// This many units a second.
    Time(f64),
    /// This many units a second since 1970, or a negative number of seconds a unit.
    Date(f64),
}

impl Leaf {
    fn new(index: usize, column: &ColumnDescriptor, path: &Path) -> Result<Self> {
        let name = column.path().string();
        if column.max_rep_level() > 0 || column.path().parts().len() > 1 {
            return Err(DataError::format(
                path,
                format!("column `{name}` is nested: lists and structs are not read"),
                "Write the file with flat columns, one value a row.",
            ));
        }
        let meaning = Meaning::of(column).ok_or_else(|| {
            DataError::format(
                path,
                format!("column `{name}` holds {}, which is not read", column.physical_type()),
                "Write the file without it, or as numbers or texts.",
            )
        })?;
        Ok(Self { index, name, optional: column.max_def_level() > 0, meaning })
    }
}

impl Meaning {
    fn of(column: &ColumnDescriptor) -> Option<Self> {
        let unit = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => 1e3,
            TimeUnit::MICROS => 1e6,
            TimeUnit::NANOS => 1e9,
        };
        let physical = column.physical_type();
        Some(match (column.logical_type_ref(), column.converted_type(), physical) {
            (Some(LogicalType::Decimal(_)), ..) | (None, ConvertedType::DECIMAL, _) => {
                Self::Decimal(column.type_scale())
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
            (_, _, Type::BYTE_ARRAY) => Self::Text,
            (_, _, Type::FIXED_LEN_BYTE_ARRAY) => return None,
            _ => Self::Plain,
        })
    }
}

impl Blocks for Reader {
    fn next_block(&mut self, rows: usize) -> Result<Option<Table>> {
        let path = self.path.clone();
        guarded(&path, "Parquet", || self.read(rows.min(BLOCK)))
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
            let mut cells = Cells { leaf, rows, path, nulls, documents, row: self.row };
            columns.push(Column::new(leaf.name.clone(), cells.read(reader)?));
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
            (R::Int32ColumnReader(r), Meaning::Plain) => {
                Values::Integer(self.integers(r, |&x| i64::from(x))?)
            }
            (R::Int32ColumnReader(r), Meaning::Unsigned) => {
                Values::Integer(self.integers(r, |&x| i64::from(x as u32))?)
            }
            (R::Int32ColumnReader(r), _) => self.scaled(r, |&x| f64::from(x))?,
            (R::Int64ColumnReader(r), Meaning::Plain) => Values::Integer(self.integers(r, |&x| x)?),
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
        &self,
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

/// The number that bytes of two's complement stand for, the first byte the highest.
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
