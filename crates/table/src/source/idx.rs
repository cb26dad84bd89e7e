//! IDX, the format of MNIST: a file of images, and a file of labels beside it.

use std::io::Read;
use std::path::{Path, PathBuf};

use ff_tensor::ThreadPool;

use super::format::{Blocks, Description, Source, SourceInfo, SourceOptions, Whole};
use super::input::Input;
use crate::error::{DataError, Result};
use crate::note::Note;
use crate::table::{Column, Numbers, Origin, Table, Values};

/// MNIST's format.
pub(super) struct Idx;

impl Source for Idx {
    fn description(&self) -> Description {
        Description {
            name: "idx",
            title: "IDX",
            about: "MNIST's format.",
            extensions: &["idx"],
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        matches!(head, [0, 0, 8 | 9 | 11..=14, 1..=8, ..])
    }

    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        Whole::blocks(self, input, options)
    }

    /// Reads images as columns `pixel0`, `pixel1`, … and, where a file of labels is named or found,
    /// a column `label`.
    fn load(
        &self,
        input: &Input,
        options: &SourceOptions,
        info: &mut SourceInfo,
        _threads: &ThreadPool,
    ) -> Result<Table> {
        let path = input.path();
        let images = read(input)?;
        let rows = images.rows();
        if rows == 0 || images.width() == 0 {
            return Err(DataError::Empty { path: path.into(), header: true });
        }
        let one_dimension = images.shape.len() == 1;
        let mut columns: Vec<Column> = if one_dimension {
            vec![Column::new("label", Values::Number(images.column(0)))]
        } else {
            (0..images.width())
                .map(|i| Column::new(format!("pixel{i}"), Values::Number(images.column(i))))
                .collect()
        };
        let labels = options.labels.clone().or_else(|| beside(path)).filter(|_| !one_dimension);
        if let Some(labels) = labels {
            let file = Input::open(&labels, false)?;
            let found = read(&file)?;
            if found.shape.len() != 1 || found.rows() != rows {
                return Err(DataError::format(
                    &labels,
                    format!("labels of shape {:?} for {rows} images", found.shape),
                    "Name the labels that belong to these images (data.labels).",
                ));
            }
            columns.push(Column::new("label", Values::Number(found.column(0))));
            if options.labels.is_none() {
                info.notes.push(Note::info(format!("labels are read from `{}`", labels.display())));
            }
            // The labels are part of the data, so they are part of its hash.
            let (of_images, bytes) = input.hash()?;
            let (of_labels, more) = file.hash()?;
            let both = format!("{of_images}{of_labels}");
            info.hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(both.as_bytes()));
            info.bytes = bytes + more;
        }
        Ok(Table::with_origin(columns, rows, Origin::rows(path, 1)))
    }
}

/// An array of numbers, the highest byte of each first.
struct Array {
    shape: Vec<usize>,
    kind: u8,
    data: Vec<u8>,
}

fn read(input: &Input) -> Result<Array> {
    let path = input.path();
    let error = |message: String| {
        DataError::format(path, message, "The file is cut or damaged, or not IDX: copy it again.")
    };
    let mut bytes = input.reader()?;
    let mut word = [0; 4];
    let mut next = |what: &str| {
        bytes
            .read_exact(&mut word)
            .map_err(|_| error(format!("the IDX file ends within its {what}")))
            .map(|()| word)
    };
    let [zero, also_zero, kind, dimensions] = next("magic number")?;
    if zero != 0 || also_zero != 0 || element_size(kind).is_none() || !(1..=8).contains(&dimensions)
    {
        return Err(error("not an IDX file: a wrong magic number".into()));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(u32::from_be_bytes(next("dimensions")?) as usize);
    }
    let size = element_size(kind).unwrap_or(1);
    let expected = shape
        .iter()
        .try_fold(size, |n, &m| n.checked_mul(m))
        .filter(|&n| isize::try_from(n).is_ok())
        .ok_or_else(|| error(format!("a shape that claims too much: {shape:?}")))?
        as u64;
    let cut = |found: u64| {
        error(format!(
            "the IDX file is cut: shape {shape:?} takes {expected} bytes, {found} are there"
        ))
    };
    if let Some(there) = input.bytes_after(4 * (1 + u64::from(dimensions)))
        && there < expected
    {
        return Err(cut(there));
    }
    // Grows with the bytes present, whatever the header claims.
    let mut data = Vec::new();
    bytes.take(expected).read_to_end(&mut data).map_err(|e| input.io(e))?;
    if (data.len() as u64) < expected {
        return Err(cut(data.len() as u64));
    }
    Ok(Array { shape, kind, data })
}

fn element_size(kind: u8) -> Option<usize> {
    match kind {
        0x08 | 0x09 => Some(1),
        0x0b => Some(2),
        0x0c | 0x0d => Some(4),
        0x0e => Some(8),
        _ => None,
    }
}

impl Array {
    fn rows(&self) -> usize {
        self.shape[0]
    }

    fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    fn column(&self, column: usize) -> Numbers {
        let (width, size) = (self.width(), element_size(self.kind).unwrap_or(1));
        let cells = self.data.chunks_exact(size).skip(column).step_by(width);
        let number = |cell: &[u8]| match (self.kind, cell) {
            (0x08, [a]) => f64::from(*a),
            (0x09, [a]) => f64::from(*a as i8),
            (0x0b, [a, b]) => f64::from(i16::from_be_bytes([*a, *b])),
            (0x0c, [a, b, c, d]) => f64::from(i32::from_be_bytes([*a, *b, *c, *d])),
            (0x0d, [a, b, c, d]) => f64::from(f32::from_be_bytes([*a, *b, *c, *d])),
            (_, cell) => {
                f64::from_bits(cell.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte)))
            }
        };
        match self.kind {
            0x08 => Numbers::U8(cells.map(|cell| cell[0]).collect()),
            0x09 | 0x0b | 0x0d => Numbers::F32(cells.map(|cell| number(cell) as f32).collect()),
            _ => Numbers::F64(cells.map(number).collect()),
        }
    }
}

/// The labels beside a file of images under MNIST's names, compressed or not.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    if !name.contains("images") {
        return None;
    }
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels).to_owned();
    [labels, format!("{plain}.gz"), plain]
        .into_iter()
        .map(|name| path.with_file_name(name))
        .find(|path| path.is_file())
}
