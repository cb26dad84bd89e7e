//! Writing flatbuffers from the front: a table, then what it points to.

/// A part of a file.
pub(super) enum Part {
    /// A record; a field that is `None` has its default.
    Table(Vec<Option<Field>>),
    /// The tables of a list.
    Tables(Vec<Part>),
    Ints(Vec<i32>),
    Text(String),
    /// Bytes that begin at a multiple of 16.
    Bytes(Vec<u8>),
}

/// The value of a field.
pub(super) enum Field {
    Byte(u8),
    Int(i32),
    Float(f32),
    Part(Part),
}

impl Field {
    pub(super) fn text(text: &str) -> Self {
        Self::Part(Part::Text(text.to_owned()))
    }

    pub(super) fn ints(values: Vec<i32>) -> Self {
        Self::Part(Part::Ints(values))
    }

    pub(super) fn tables(tables: Vec<Part>) -> Self {
        Self::Part(Part::Tables(tables))
    }
}

/// The bytes of a file with this outermost table.
pub(super) fn file(root: Part, identifier: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes[4..].copy_from_slice(&identifier);
    write(&mut bytes, root, 0);
    bytes
}

fn align(bytes: &mut Vec<u8>, to: usize, ahead: usize) {
    while !(bytes.len() + ahead).is_multiple_of(to) {
        bytes.push(0);
    }
}

/// Writes a part and the offset to it at a place before it.
fn write(bytes: &mut Vec<u8>, part: Part, from: usize) {
    let point = |bytes: &mut Vec<u8>| {
        let offset = (bytes.len() - from) as u32;
        bytes[from..from + 4].copy_from_slice(&offset.to_le_bytes());
    };
    match part {
        Part::Table(fields) => {
            align(bytes, 4, 0);
            let fields_at = bytes.len();
            let stated = fields.iter().filter(|field| field.is_some()).count();
            let header = 4 + 2 * fields.len();
            bytes.extend((header as u16).to_le_bytes());
            bytes.extend((4 + 4 * stated as u16).to_le_bytes());
            let mut slot = 4u16;
            for field in &fields {
                let offset = if field.is_some() { slot } else { 0 };
                slot += if field.is_some() { 4 } else { 0 };
                bytes.extend(offset.to_le_bytes());
            }
            align(bytes, 4, 0);
            point(bytes);
            let back = (bytes.len() - fields_at) as i32;
            bytes.extend(back.to_le_bytes());
            let mut open = Vec::new();
            for field in fields.into_iter().flatten() {
                match field {
                    Field::Byte(byte) => bytes.extend([byte, 0, 0, 0]),
                    Field::Int(value) => bytes.extend(value.to_le_bytes()),
                    Field::Float(value) => bytes.extend(value.to_le_bytes()),
                    Field::Part(part) => {
                        open.push((part, bytes.len()));
                        bytes.extend([0; 4]);
                    }
                }
            }
            for (part, from) in open {
                write(bytes, part, from);
            }
        }
        Part::Tables(tables) => {
            align(bytes, 4, 0);
            point(bytes);
            bytes.extend((tables.len() as u32).to_le_bytes());
            let first = bytes.len();
            bytes.resize(first + 4 * tables.len(), 0);
            for (i, table) in tables.into_iter().enumerate() {
                write(bytes, table, first + 4 * i);
            }
        }
        Part::Ints(values) => {
            align(bytes, 4, 0);
            point(bytes);
            bytes.extend((values.len() as u32).to_le_bytes());
            bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        }
        Part::Text(text) => {
            align(bytes, 4, 0);
            point(bytes);
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        Part::Bytes(values) => {
            align(bytes, 16, 4);
            point(bytes);
            bytes.extend((values.len() as u32).to_le_bytes());
            bytes.extend(values);
        }
    }
}
