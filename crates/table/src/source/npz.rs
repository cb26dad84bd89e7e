//! ZIP files of NumPy arrays with one row each for the same examples.

use std::io::BufReader;
use std::path::Path;

use ff_tensor::ThreadPool;

use super::format::{Blocks, Description, Source, SourceInfo, SourceOptions, Whole};
use super::guard::guarded;
use super::input::Input;
use super::npy::{Array, read_columns, read_header};
use crate::error::{DataError, Result};
use crate::table::{Column, Origin, Table, Values};

/// A ZIP of NumPy arrays.
pub(super) struct Npz;

impl Source for Npz {
    fn description(&self) -> Description {
        Description {
            name: "npz",
            title: "NPZ",
            about: "A ZIP of NumPy arrays.",
            extensions: &["npz"],
            ..Description::default()
        }
    }

    fn recognises(&self, head: &[u8]) -> bool {
        head.starts_with(b"PK\x03\x04")
    }

    fn blocks(&self, input: &Input, options: &SourceOptions) -> Result<Box<dyn Blocks>> {
        Whole::blocks(self, input, options)
    }

    /// Reads all arrays as columns: `[n]` is a column of the array's name; the one array of more
    /// dimensions gives columns `x0`, `x1`, …, and where there are several of those, each gives
    /// `name_0`, `name_1`, ….
    fn load(
        &self,
        input: &Input,
        _options: &SourceOptions,
        _info: &mut SourceInfo,
        _threads: &ThreadPool,
    ) -> Result<Table> {
        let path = input.path();
        let file = input.seekable("NPZ")?;
        guarded(path, "ZIP", || read(BufReader::new(file), path))
    }
}

fn read(file: BufReader<std::fs::File>, path: &Path) -> Result<Table> {
    let broken = |e: zip::result::ZipError| {
        DataError::format(
            path,
            format!("malformed ZIP: {e}"),
            "The file is cut or damaged: copy or write it again.",
        )
    };
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut arrays: Vec<(String, Array, Vec<Values>)> = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(broken)?;
        let Some(name) = entry.name().strip_suffix(".npy").map(String::from) else { continue };
        let claimed = entry.size();
        let array = read_header(&mut entry, path)?;
        let known = claimed.saturating_sub(array.offset);
        let values = read_columns(&array, &mut entry, Some(known), path)?;
        arrays.push((name, array, values));
    }
    let Some(rows) = arrays.first().map(|(_, array, _)| array.rows()) else {
        return Err(DataError::format(
            path,
            "the ZIP file holds no NumPy arrays (`*.npy`)",
            "Write it with numpy.savez(FILE, X=…, y=…).",
        ));
    };
    if arrays.iter().any(|(_, array, _)| array.rows() != rows || array.shape.is_empty()) {
        let shapes: Vec<_> =
            arrays.iter().map(|(name, array, _)| format!("`{name}` {:?}", array.shape)).collect();
        return Err(DataError::format(
            path,
            format!("arrays of different lengths: {}", shapes.join(", ")),
            "All arrays need one row for each example; write training and test rows to files of their \
             own (data.split.test_path).",
        ));
    }
    if rows == 0 {
        return Err(DataError::Empty { path: path.into(), header: true });
    }
    let wide = arrays.iter().filter(|(_, array, _)| array.width() > 1).count();
    let mut table = Table::default();
    for (name, _, values) in arrays {
        let single = values.len() == 1;
        for (i, values) in values.into_iter().enumerate() {
            let column = match (single, wide) {
                (true, _) => name.clone(),
                (false, 1) => format!("x{i}"),
                (false, _) => format!("{name}_{i}"),
            };
            table.push(Column::new(column, values)).map_err(|column| {
                DataError::format(
                    path,
                    format!("two columns are called `{}`", column.name),
                    "Give the arrays other names.",
                )
            })?;
        }
    }
    Ok(table.originating(Origin::rows(path, 1)))
}
