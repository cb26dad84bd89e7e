//! Arrow's metadata: what a message is, the fields of a schema, where a batch has its buffers.
//!
//! Field numbers are those of `Message.fbs` and `Schema.fbs`
//! (<https://arrow.apache.org/docs/format/Columnar.html>).

use super::flatbuffer::{FlatTable, OutOfBounds};

type Result<T> = std::result::Result<T, OutOfBounds>;

/// Fields within fields beyond this depth are not followed, nor more fields than this altogether.
const MAX_DEPTH: usize = 32;
const MAX_FIELDS: usize = 1 << 20;

/// What a message brings.
pub(super) enum Header {
    Schema { fields: Vec<Field>, little_endian: bool },
    Dictionary { id: i64, batch: Batch, delta: bool },
    Batch(Batch),
    Other,
}

/// Reads a message's metadata: its header and the bytes of its body.
pub(super) fn message(bytes: &[u8]) -> Result<(Header, u64)> {
    let message = FlatTable::root(bytes)?;
    let body = u64::try_from(message.integer(3, 8, 0)?).map_err(|_| OutOfBounds)?;
    let header = message.table(2)?.ok_or(OutOfBounds)?;
    let header = match message.integer(1, 1, 0)? {
        1 => {
            let mut budget = MAX_FIELDS;
            let fields = header.vector(1, 4)?.tables();
            Header::Schema {
                fields: fields
                    .map(|field| Field::read(field?, 0, &mut budget))
                    .collect::<Result<_>>()?,
                little_endian: header.integer(0, 2, 0)? == 0,
            }
        }
        2 => Header::Dictionary {
            id: header.integer(0, 8, 0)?,
            batch: Batch::read(header.table(1)?.ok_or(OutOfBounds)?)?,
            delta: header.integer(2, 1, 0)? != 0,
        },
        3 => Header::Batch(Batch::read(header)?),
        _ => Header::Other,
    };
    Ok((header, body))
}

/// A column, or the child of one.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) dictionary: Option<Dictionary>,
    /// What a batch holds of its values; of a dictionary's values where there is one.
    pub(super) layout: Layout,
}

/// The dictionary whose indices a column holds.
#[derive(Clone, Copy)]
pub(super) struct Dictionary {
    pub(super) id: i64,
    /// The bytes of an index, and whether it is signed.
    pub(super) size: usize,
    pub(super) signed: bool,
}

/// How many nodes, buffers and variadic counts values take in a batch, children included.
#[derive(Clone, Copy, Default)]
pub(super) struct Layout {
    pub(super) nodes: usize,
    pub(super) buffers: usize,
    pub(super) variadic: usize,
}

/// The type of values.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Null,
    Bool,
    Integer {
        size: usize,
        signed: bool,
    },
    Float {
        size: usize,
    },
    /// Whole numbers times 10^-scale.
    Decimal {
        size: usize,
        scale: i32,
    },
    /// Whole numbers of this many units a second.
    Time {
        size: usize,
        per_second: f64,
    },
    /// The same since 1970; days are a negative number of seconds a unit.
    Date {
        size: usize,
        per_second: f64,
    },
    /// Texts or bytes behind offsets of 32 or 64 bits.
    Text {
        wide: bool,
        bytes: bool,
    },
    /// Texts or bytes behind views of 16 bytes.
    View {
        bytes: bool,
    },
    /// A type that tables do not have, in words.
    Other(&'static str),
}

impl Kind {
    /// Whether values are whole numbers that may take more than the 53 bits of a double, which are
    /// read as texts.
    pub(super) fn is_long(self) -> bool {
        matches!(
            self,
            Self::Integer { size: 8, signed: false } | Self::Decimal { size: 8 | 16, scale: 0 }
        )
    }
}

impl Field {
    fn read(field: FlatTable<'_>, depth: usize, budget: &mut usize) -> Result<Self> {
        *budget = budget.checked_sub(1).filter(|_| depth < MAX_DEPTH).ok_or(OutOfBounds)?;
        let children = field.vector(5, 4)?.tables();
        let children: Vec<Self> =
            children.map(|child| Self::read(child?, depth + 1, budget)).collect::<Result<_>>()?;
        let (kind, own) = kind(field.integer(2, 1, 0)?, field.table(3)?)?;
        let mut layout = own;
        for child in &children {
            // A child's own dictionary is a batch of its own.
            let of = if child.dictionary.is_some() { INDICES } else { child.layout };
            layout.nodes += of.nodes;
            layout.buffers += of.buffers;
            layout.variadic += of.variadic;
        }
        let dictionary = match field.table(4)? {
            None => None,
            Some(dictionary) => {
                let index = dictionary.table(1)?;
                let (size, signed) = index.map_or(Ok((4, true)), integer_type)?;
                Some(Dictionary { id: dictionary.integer(0, 8, 0)?, size, signed })
            }
        };
        let name = field.text(0)?.unwrap_or_default().to_owned();
        Ok(Self { name, kind, dictionary, layout })
    }

    /// What a record batch holds of the column.
    pub(super) fn in_batch(&self) -> Layout {
        if self.dictionary.is_some() { INDICES } else { self.layout }
    }
}

/// The indices of a dictionary: a bitmap of those that are there, and the numbers.
const INDICES: Layout = Layout { nodes: 1, buffers: 2, variadic: 0 };

/// A type by its number and attributes, and what its own values take.
fn kind(number: i64, attributes: Option<FlatTable<'_>>) -> Result<(Kind, Layout)> {
    let attributes = attributes.ok_or(OutOfBounds)?;
    let buffers = |buffers| Layout { nodes: 1, buffers, variadic: 0 };
    let bytes = |bits: i64| usize::try_from(bits / 8).map_err(|_| OutOfBounds);
    let per_second =
        |unit: i64| [1.0, 1e3, 1e6, 1e9].get(unit as usize).copied().ok_or(OutOfBounds);
    let unit = |default| attributes.integer(0, 2, default);
    Ok(match number {
        1 => (Kind::Null, buffers(0)),
        2 => {
            let (size, signed) = integer_type(attributes)?;
            (Kind::Integer { size, signed }, buffers(2))
        }
        3 => {
            let size = *[2, 4, 8].get(unit(0)? as usize).ok_or(OutOfBounds)?;
            (Kind::Float { size }, buffers(2))
        }
        4 | 5 => (Kind::Text { wide: false, bytes: number == 4 }, buffers(3)),
        6 => (Kind::Bool, buffers(2)),
        7 => {
            let size = bytes(attributes.integer(2, 4, 128)?)?;
            let scale = attributes.integer(1, 4, 0)? as i32;
            let sizes = [4, 8, 16, 32].contains(&size);
            (
                if sizes { Kind::Decimal { size, scale } } else { return Err(OutOfBounds) },
                buffers(2),
            )
        }
        8 if unit(1)? == 0 => (Kind::Date { size: 4, per_second: -86_400.0 }, buffers(2)),
        8 => (Kind::Date { size: 8, per_second: 1e3 }, buffers(2)),
        9 => {
            let size = bytes(attributes.integer(1, 4, 32)?)?;
            let sizes = size == 4 || size == 8;
            let per_second = per_second(unit(1)?)?;
            (
                if sizes { Kind::Time { size, per_second } } else { return Err(OutOfBounds) },
                buffers(2),
            )
        }
        10 => (Kind::Date { size: 8, per_second: per_second(unit(0)?)? }, buffers(2)),
        11 => (Kind::Other("intervals"), buffers(2)),
        12 | 21 => (Kind::Other("lists"), buffers(2)),
        13 => (Kind::Other("structs"), buffers(1)),
        // Before version 5 unions had a bitmap more, which no reader of theirs is left to need.
        14 => (Kind::Other("unions"), buffers(1 + usize::from(unit(0)? == 1))),
        15 => (Kind::Other("bytes of a fixed length"), buffers(2)),
        16 => (Kind::Other("lists of a fixed length"), buffers(1)),
        17 => (Kind::Other("maps"), buffers(2)),
        18 => (Kind::Time { size: 8, per_second: per_second(unit(1)?)? }, buffers(2)),
        19 | 20 => (Kind::Text { wide: true, bytes: number == 19 }, buffers(3)),
        22 => (Kind::Other("runs"), buffers(0)),
        23 | 24 => (Kind::View { bytes: number == 23 }, Layout { variadic: 1, ..buffers(2) }),
        25 | 26 => (Kind::Other("lists"), buffers(3)),
        _ => return Err(OutOfBounds),
    })
}

/// The bytes of an integer, and whether it is signed.
fn integer_type(attributes: FlatTable<'_>) -> Result<(usize, bool)> {
    let size = match attributes.integer(0, 4, 0)? {
        8 => 1,
        16 => 2,
        32 => 4,
        64 => 8,
        _ => return Err(OutOfBounds),
    };
    Ok((size, attributes.integer(1, 1, 0)? != 0))
}

/// Where the values of a batch are in its body.
pub(super) struct Batch {
    pub(super) rows: usize,
    /// For each node its length and its nulls.
    pub(super) nodes: Vec<i64>,
    /// For each buffer its offset and its bytes.
    pub(super) buffers: Vec<i64>,
    pub(super) compression: Option<Compression>,
    /// For each column of views the buffers that its views lead to.
    pub(super) variadic: Vec<i64>,
}

#[derive(Clone, Copy)]
pub(super) enum Compression {
    Lz4,
    Zstd,
}

impl Batch {
    fn read(batch: FlatTable<'_>) -> Result<Self> {
        let compression = match batch.table(3)? {
            None => None,
            Some(compression) => Some(match compression.integer(0, 1, 0)? {
                0 => Compression::Lz4,
                1 => Compression::Zstd,
                _ => return Err(OutOfBounds),
            }),
        };
        Ok(Self {
            rows: usize::try_from(batch.integer(0, 8, 0)?).map_err(|_| OutOfBounds)?,
            nodes: batch.vector(1, 16)?.integers().collect(),
            buffers: batch.vector(2, 16)?.integers().collect(),
            compression,
            variadic: batch.vector(4, 8)?.integers().collect(),
        })
    }
}
