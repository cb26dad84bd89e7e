//! NumPy arrays: a header that is a Python literal, then the elements.

use std::io::Read;
use std::path::Path;

use ff_tensor::ThreadPool;

use super::format::{Blocks, Description, Source, SourceInfo, SourceOptions, Whole};
use super::input::Input;
use crate::error::{DataError, Result};
use crate::table::{Column, Integers, Numbers, Origin, Table, TextValues, Values};

mod header;

pub(super) use header::{Array, Element, read_header};

/// One NumPy array.
pub(super) struct Npy;

impl Source for Npy {
    fn description(&self) -> Description {
        Description {
            name: "npy",
            title: "NPY",
            about: "One NumPy array.",
            extensions: &["npy"],
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        head.starts_with(b"\x93NUMPY")
    }

    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        Whole::blocks(self, input, options)
    }

    /// Reads a file of one array: `[n]` is a column `x0`, `[n, m]` are columns `x0`, `x1`, ….
    fn load(
        &self,
        input: &Input,
        _options: &SourceOptions,
        _info: &mut SourceInfo,
        _threads: &ThreadPool,
    ) -> Result<Table> {
        let path = input.path();
        let mut bytes = input.reader()?;
        let array = read_header(&mut bytes, path)?;
        let known = input.bytes_after(array.offset);
        let names: Vec<String> = (0..array.width()).map(|i| format!("x{i}")).collect();
        let rows = array.rows();
        if rows == 0 || names.is_empty() {
            return Err(DataError::Empty { path: path.into(), header: true });
        }
        let values = read_columns(&array, &mut bytes, known, path)?;
        let columns = names.into_iter().zip(values).map(|(name, v)| Column::new(name, v)).collect();
        Ok(Table::with_origin(columns, rows, Origin::rows(path, 1)))
    }
}

/// Reads an array's elements as columns; `known` is the number of bytes that are there, where that
/// can be told.
pub(super) fn read_columns(
    array: &Array,
    bytes: &mut impl Read,
    known: Option<u64>,
    path: &Path,
) -> Result<Vec<Values>> {
    let (rows, width) = (array.rows(), array.width());
    let size = array.element.size();
    let expected = array.bytes().ok_or_else(|| {
        DataError::format(
            path,
            format!("an array of shape {:?} is too large", array.shape),
            DAMAGED,
        )
    })?;
    let cut = |found: u64| {
        DataError::format(
            path,
            format!(
                "the array is cut: shape {:?} of {} takes {expected} bytes, {found} are there",
                array.shape, array.element
            ),
            DAMAGED,
        )
    };
    if let Some(known) = known
        && known < expected
    {
        return Err(cut(known));
    }
    // Grows with the bytes present, whatever the header claims.
    let mut data = Vec::new();
    bytes.take(expected).read_to_end(&mut data).map_err(|e| DataError::io("read", path, e))?;
    if (data.len() as u64) < expected {
        return Err(cut(data.len() as u64));
    }
    let at = |row: usize, column: usize| {
        let index = if array.fortran { column * rows + row } else { row * width + column };
        &data[index * size..(index + 1) * size]
    };
    (0..width).map(|column| values(array.element, rows, |row| at(row, column), path)).collect()
}

const DAMAGED: &str = "The file is cut or damaged: copy or write it again.";

fn values<'a>(
    element: Element,
    rows: usize,
    cell: impl Fn(usize) -> &'a [u8],
    path: &Path,
) -> Result<Values> {
    let unsigned = |row: usize| {
        let fold = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
        if element.big() {
            cell(row).iter().fold(0, fold)
        } else {
            cell(row).iter().rev().fold(0, fold)
        }
    };
    let signed = |row: usize, size: usize| {
        let shift = 64 - 8 * size as u32;
        ((unsigned(row) << shift) as i64) >> shift
    };
    Ok(match element {
        Element::Bool => Values::Bool((0..rows).map(|row| Some(cell(row)[0] != 0)).collect()),
        Element::Unsigned { size: 1, .. } => {
            Values::Number(Numbers::U8((0..rows).map(|row| cell(row)[0]).collect()))
        }
        Element::Unsigned { size: 8, .. } => {
            let mut texts = TextValues::default();
            (0..rows).for_each(|row| texts.push(&unsigned(row).to_string()));
            texts.integers()
        }
        Element::Unsigned { .. } => {
            Values::Integer((0..rows).map(|row| Some(unsigned(row) as i64)).collect::<Integers>())
        }
        Element::Signed { size, .. } => {
            Values::Integer((0..rows).map(|row| Some(signed(row, size))).collect::<Integers>())
        }
        Element::Float { size: 2, .. } => (0..rows)
            .map(|row| half::f16::from_bits(unsigned(row) as u16).to_f32())
            .collect::<Vec<_>>()
            .into(),
        Element::Float { size: 4, .. } => {
            (0..rows).map(|row| f32::from_bits(unsigned(row) as u32)).collect::<Vec<_>>().into()
        }
        Element::Float { .. } => {
            (0..rows).map(|row| f64::from_bits(unsigned(row))).collect::<Vec<_>>().into()
        }
        Element::Bytes { .. } => {
            let mut texts = TextValues::default();
            for row in 0..rows {
                let bytes = cell(row);
                let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                let text = std::str::from_utf8(&bytes[..end])
                    .map_err(|_| not_text(path, row, "bytes that are no UTF-8"))?;
                texts.push_if(text, text.is_empty());
            }
            Values::Text(texts)
        }
        Element::Unicode { big, .. } => {
            let mut texts = TextValues::default();
            for row in 0..rows {
                let mut text = String::new();
                for unit in cell(row).chunks_exact(4) {
                    let unit = [unit[0], unit[1], unit[2], unit[3]];
                    let code =
                        if big { u32::from_be_bytes(unit) } else { u32::from_le_bytes(unit) };
                    text.push(
                        char::from_u32(code).ok_or_else(|| not_text(path, row, "no character"))?,
                    );
                }
                let text = text.trim_end_matches('\0');
                texts.push_if(text, text.is_empty());
            }
            Values::Text(texts)
        }
    })
}

fn not_text(path: &Path, row: usize, what: &str) -> DataError {
    DataError::format(path, format!("row {} of an array of texts holds {what}", row + 1), DAMAGED)
}
