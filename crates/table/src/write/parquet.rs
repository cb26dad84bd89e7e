//! Blocks as row groups of a Parquet file.

use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::types::Type;

use super::Out;
use crate::error::{DataError, Result};
use crate::table::{Numbers, Table, Values};

/// A file that is being written; its types are those of the first block.
pub(super) struct Writer {
    inner: SerializedFileWriter<Out>,
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Double,
    Single,
    Integer,
    Bool,
    Date,
}

impl Kind {
    fn of(values: &Values) -> Self {
        match values {
            Values::Text(_) => Self::Text,
            Values::Number(Numbers::F32(_)) => Self::Single,
            Values::Number(_) => Self::Double,
            Values::Integer(_) => Self::Integer,
            Values::Bool(_) => Self::Bool,
            Values::Date(_) => Self::Date,
        }
    }

    fn column(self, name: &str) -> Result<Type, ParquetError> {
        let (physical, logical) = match self {
            Self::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Self::Double => (Physical::DOUBLE, None),
            Self::Single => (Physical::FLOAT, None),
            Self::Integer => (Physical::INT64, None),
            Self::Bool => (Physical::BOOLEAN, None),
            Self::Date => (Physical::INT64, Some(LogicalType::timestamp(false, TimeUnit::MICROS))),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    }
}

impl Writer {
    pub(super) fn new(out: Out, block: &Table, path: &Path) -> Result<Self> {
        let kinds: Vec<Kind> = block.columns().iter().map(|c| Kind::of(&c.values)).collect();
        let make = || {
            let fields = block
                .columns()
                .iter()
                .zip(&kinds)
                .map(|(column, kind)| kind.column(&column.name).map(Arc::new))
                .collect::<Result<_, _>>()?;
            let schema = Type::group_type_builder("table").with_fields(fields).build()?;
            let properties =
                WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))
        };
        let inner = make().map_err(|e| failed(e, path))?;
        Ok(Self { inner, kinds })
    }

    pub(super) fn write(&mut self, block: &Table, path: &Path) -> Result<()> {
        let same = block.columns().iter().zip(&self.kinds);
        if let Some((column, _)) = same.clone().find(|(c, kind)| Kind::of(&c.values) != **kind) {
            return Err(DataError::Mismatch {
                place: block.source_name(),
                problems: vec![format!(
                    "column `{}` holds values of another type than in the rows before",
                    column.name
                )],
            });
        }
        let write = || {
            let mut group = self.inner.next_row_group()?;
            for (column, kind) in same {
                if let Some(mut writer) = group.next_column()? {
                    write_column(&mut writer, &column.values, *kind)?;
                    writer.close()?;
                }
            }
            group.close().map(|_| ())
        };
        write().map_err(|e| failed(e, path))
    }

    pub(super) fn finish(self, path: &Path) -> Result<Out> {
        self.inner.into_inner().map_err(|e| failed(e, path))
    }
}

fn write_column(
    writer: &mut SerializedColumnWriter<'_>,
    values: &Values,
    kind: Kind,
) -> Result<(), ParquetError> {
    let present = || (0..values.len()).filter(|&row| !values.is_missing(row));
    let number = |row: usize| values.number(row).unwrap_or(f64::NAN);
    match kind {
        Kind::Text => {
            let texts =
                present().map(|row| ByteArray::from(values.text(row).as_ref())).collect::<Vec<_>>();
            put::<ByteArrayType>(writer, values, &texts)
        }
        Kind::Double => {
            put::<DoubleType>(writer, values, &present().map(number).collect::<Vec<_>>())
        }
        Kind::Single => put::<FloatType>(
            writer,
            values,
            &present().map(|row| number(row) as f32).collect::<Vec<_>>(),
        ),
        Kind::Integer => {
            let Values::Integer(integers) = values else { return Ok(()) };
            put::<Int64Type>(
                writer,
                values,
                &present().filter_map(|row| integers.get(row)).collect::<Vec<_>>(),
            )
        }
        Kind::Bool => put::<BoolType>(
            writer,
            values,
            &present().map(|row| number(row) == 1.0).collect::<Vec<_>>(),
        ),
        Kind::Date => {
            let micros =
                present().map(|row| (number(row) * 1e6).round() as i64).collect::<Vec<_>>();
            put::<Int64Type>(writer, values, &micros)
        }
    }
}

fn put<T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    values: &Values,
    present: &[T::T],
) -> Result<(), ParquetError> {
    let levels: Vec<i16> =
        (0..values.len()).map(|row| i16::from(!values.is_missing(row))).collect();
    writer.typed::<T>().write_batch(present, Some(&levels), None).map(|_| ())
}

/// A full disk comes wrapped in the library's own error.
fn failed(error: ParquetError, path: &Path) -> DataError {
    let source = match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => *io,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other.to_string()),
    };
    DataError::io("write", path, source)
}
