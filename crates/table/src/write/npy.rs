//! Rows of numbers as a NumPy array.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Out, finish, open};
use crate::error::{DataError, Result};

/// The bytes of the header, which does not know the number of rows until the end.
const HEADER: usize = 128;

/// Writes a NumPy array of f32 `[rows, width]`, complete or not at all.
///
/// ```
/// use ff_table::{ArrayWriter, SourceOptions, read_table};
///
/// let path = std::env::temp_dir().join(format!("ff-table-array-{}.npy", std::process::id()));
/// let mut writer = ArrayWriter::create(&path, 2).unwrap();
/// writer.write(&[1.0, 2.5, 3.0, 4.0]).unwrap();
/// writer.finish().unwrap();
/// let table = read_table(&path, &SourceOptions::default()).unwrap();
/// assert_eq!(table.row(1), ["3", "4"]);
/// # std::fs::remove_file(path).unwrap();
/// ```
pub struct ArrayWriter {
    path: PathBuf,
    out: BufWriter<Out>,
    width: usize,
    values: usize,
}

impl ArrayWriter {
    /// Creates a file whose rows have `width` numbers.
    ///
    /// # Errors
    /// [`DataError::Io`] for a folder that cannot be written to, [`DataError::Format`] for a pipe.
    pub fn create(path: &Path, width: usize) -> Result<Self> {
        let out = open(path)?;
        if matches!(out, Out::Stream(_)) {
            return Err(DataError::format(
                path,
                "the header of an array holds its number of rows, which a pipe cannot take later",
                "Write to a file, or .csv to a pipe.",
            ));
        }
        let mut out = BufWriter::with_capacity(1 << 16, out);
        out.write_all(&[0; HEADER]).map_err(|e| DataError::io("write", path, e))?;
        Ok(Self { path: path.into(), out, width: width.max(1), values: 0 })
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// [`DataError::Io`] if the disk is full.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        let fail = |e| DataError::io("write", &self.path, e);
        self.values += values.len();
        values.iter().try_for_each(|x| self.out.write_all(&x.to_le_bytes())).map_err(fail)
    }

    /// Writes the header, syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`DataError::Io`]; then the temporary file is removed and the name is as it was.
    pub fn finish(self) -> Result<()> {
        let Self { path, out, width, values } = self;
        let fail = |e| DataError::io("write", &path, e);
        let shape = format!("({}, {width})", values / width);
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(((HEADER - 10) as u16).to_le_bytes());
        header.extend(text.as_bytes());
        header.resize(HEADER - 1, b' ');
        header.push(b'\n');
        let mut out = out.into_inner().map_err(|e| fail(e.into_error()))?;
        if let Out::File(file) = &mut out {
            let file = file.as_file_mut();
            file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header)).map_err(fail)?;
        }
        finish(out, &path)
    }
}
