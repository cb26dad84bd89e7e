use crate::{Error, Result, Shape};
use std::fmt;
use std::sync::Arc;

/// The form of the values of a [`FileMatrix`].
///
/// ```
/// use ff_tensor::FileForm;
/// assert_eq!((FileForm::Q4_1.block(), FileForm::Q4_1.bytes()), (32, 20));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum FileForm {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper halves of 32-bit floats.
    BF16,
    /// GGUF's blocks of an f16 scale d and 32 signed bytes q: d q.
    Q8_0,
    /// GGUF's blocks of an f16 scale d and 32 values q of 4 bits: d (q − 8).
    Q4_0,
    /// GGUF's blocks of an f16 scale d, an f16 minimum m and 32 values q of 4 bits: d q + m.
    Q4_1,
    /// GGUF's blocks of an f16 scale d and 32 values q of 5 bits: d (q − 16).
    Q5_0,
    /// GGUF's blocks of an f16 scale d, an f16 minimum m and 32 values q of 5 bits: d q + m.
    Q5_1,
    /// GGUF's blocks of 256 values of 2 bits, in groups of 16.
    Q2_K,
    /// GGUF's blocks of 256 values of 3 bits, in groups of 16.
    Q3_K,
    /// GGUF's blocks of 256 values of 4 bits, in groups of 32.
    Q4_K,
    /// GGUF's blocks of 256 values of 5 bits, in groups of 32.
    Q5_K,
    /// GGUF's blocks of 256 values of 6 bits, in groups of 16.
    Q6_K,
}

impl FileForm {
    /// The number of values of a block.
    pub const fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// The number of bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }
}

/// Bytes that a matrix shares with others: a mapped file, or a copy.
pub type FileBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A matrix of weights in the form of its file, row by row, read only: products read it directly,
/// so that a model takes no more memory than its file.
///
/// ```
/// use ff_tensor::{FileForm, FileMatrix};
/// let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let matrix = FileMatrix::new(FileForm::F32, [1, 2], std::sync::Arc::new(bytes), 0)?;
/// assert_eq!((matrix.rows(), matrix.cols(), matrix.bytes().len()), (1, 2, 8));
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct FileMatrix {
    form: FileForm,
    rows: usize,
    cols: usize,
    bytes: FileBytes,
    start: usize,
}

impl FileMatrix {
    /// The matrix whose first row begins at byte `start`.
    ///
    /// # Errors
    /// If a row is no whole number of blocks, or there are fewer bytes.
    pub fn new(
        form: FileForm,
        [rows, cols]: [usize; 2],
        bytes: FileBytes,
        start: usize,
    ) -> Result<Self> {
        let shape = Shape::new(&[rows, cols])?;
        let matrix = Self { form, rows, cols, bytes, start };
        let len = rows.checked_mul(matrix.row_bytes()).and_then(|len| len.checked_add(start));
        let found = (*matrix.bytes).as_ref().len();
        if !cols.is_multiple_of(form.block()) || len.is_none_or(|len| len > found) {
            return Err(Error::Length {
                shape: shape.dims().to_vec(),
                found: found.saturating_sub(start),
            });
        }
        Ok(matrix)
    }

    /// The form of the values.
    pub fn form(&self) -> FileForm {
        self.form
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The number of bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.form.block() * self.form.bytes()
    }

    /// Some of the rows.
    ///
    /// # Errors
    /// There are fewer.
    pub fn part(&self, rows: std::ops::Range<usize>) -> Result<Self> {
        let (first, len) = (rows.start.min(self.rows), rows.len());
        if rows.end > self.rows {
            let shape = Shape::new(&[len, self.cols])?;
            return Err(Error::Length {
                shape: shape.dims().to_vec(),
                found: (self.rows - first) * self.cols,
            });
        }
        let start = self.start + first * self.row_bytes();
        Ok(Self { rows: len, start, ..self.clone() })
    }

    /// All rows, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.start..][..self.rows * self.row_bytes()]
    }
}

impl fmt::Debug for FileMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileMatrix({:?} [{}, {}])", self.form, self.rows, self.cols)
    }
}

impl PartialEq for FileMatrix {
    fn eq(&self, other: &Self) -> bool {
        let parts = |m: &Self| (m.form, m.rows, m.cols);
        parts(self) == parts(other) && self.bytes() == other.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_bytes_and_broken_blocks_are_refused() {
        let bytes: FileBytes = Arc::new(vec![0u8; 44]);
        let matrix =
            |form, dims, start| FileMatrix::new(form, dims, Arc::clone(&bytes), start).is_ok();
        assert!(matrix(FileForm::Q4_1, [2, 32], 0) && matrix(FileForm::Q4_1, [2, 32], 4));
        assert!(!matrix(FileForm::Q4_1, [2, 32], 5) && !matrix(FileForm::Q4_1, [1, 40], 0));
        assert!(!matrix(FileForm::F32, [3, 4], 0) && !matrix(FileForm::F32, [1, 1], usize::MAX));
    }

    #[test]
    fn parts_have_the_bytes_of_their_rows() {
        let bytes: FileBytes = Arc::new((0..24).collect::<Vec<u8>>());
        let matrix = FileMatrix::new(FileForm::BF16, [5, 2], bytes, 4).unwrap();
        let part = matrix.part(1..3).unwrap();
        assert_eq!((part.rows(), part.bytes()), (2, &[8, 9, 10, 11, 12, 13, 14, 15][..]));
        assert_eq!(part.part(1..2).unwrap().bytes(), [12, 13, 14, 15]);
        assert!(matrix.part(5..5).unwrap().bytes().is_empty());
        assert!(matrix.part(4..6).is_err() && part.part(2..3).is_err());
    }
}
