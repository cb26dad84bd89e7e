//! Narrow rows, several at a time: a row of ten classes alone would leave lanes of a register empty
//! and its latency exposed.

use ff_kernels::Float;
use std::ops::Range;

/// The maximum width of a narrow row: a register of f32 with AVX-512.
pub(crate) const NARROW: usize = 16;
/// The maximum number of rows of a block.
pub(crate) const ROWS: usize = 16;
/// Room for a whole register from the last row on.
const SPACE: usize = ROWS * NARROW + NARROW;

/// One number per row of a block.
pub(crate) type PerRow<T> = [T; ROWS];

/// Up to [`ROWS`] rows of up to [`NARROW`] values, contiguous as in memory.
pub(crate) struct Narrow<T> {
    values: [T; SPACE],
    rows: usize,
    width: usize,
}

impl<T: Float> Narrow<T> {
    /// Copies rows of a matrix.
    #[inline(always)]
    pub(crate) fn new(x: &[T], rows: Range<usize>, width: usize) -> Self {
        let mut values = [T::ZERO; SPACE];
        let part = &x[rows.start * width..rows.end * width];
        values[..part.len()].copy_from_slice(part);
        Self { values, rows: rows.len(), width }
    }

    /// A row, followed by one more value.
    #[inline(always)]
    fn row(&self, r: usize, behind: T) -> [T; NARROW] {
        let mut row = [behind; NARROW];
        let values = &self.values[r * self.width..][..NARROW];
        for i in 0..NARROW {
            row[i] = if i < self.width { values[i] } else { behind };
        }
        row
    }

    /// The greatest value of each row, NaN ignored.
    #[inline(always)]
    pub(crate) fn greatest(&self) -> PerRow<T> {
        let mut all = [T::NEG_INFINITY; ROWS];
        for (r, greatest) in all.iter_mut().enumerate().take(self.rows) {
            let mut row = self.row(r, T::NEG_INFINITY);
            let mut half = NARROW / 2;
            while half > 0 {
                for i in 0..half {
                    row[i] = if row[i + half] > row[i] { row[i + half] } else { row[i] };
                }
                half /= 2;
            }
            *greatest = row[0];
        }
        all
    }

    /// The sum of each row in f64.
    #[inline(always)]
    pub(crate) fn sums(&self) -> PerRow<f64> {
        let mut all = [0.0; ROWS];
        for (r, sum) in all.iter_mut().enumerate().take(self.rows) {
            let row = self.row(r, T::ZERO);
            let mut sums = [0.0f64; NARROW];
            for i in 0..NARROW {
                sums[i] = row[i].f64();
            }
            let mut half = NARROW / 2;
            while half > 0 {
                for i in 0..half {
                    sums[i] += sums[i + half];
                }
                half /= 2;
            }
            *sum = sums[0];
        }
        all
    }

    /// Zeroes a row.
    #[inline(always)]
    pub(crate) fn clear(&mut self, r: usize) {
        self.values[r * self.width..][..self.width].fill(T::ZERO);
    }

    /// Replaces each value x by f(x, number of its row).
    #[inline(always)]
    pub(crate) fn combine(&mut self, numbers: &PerRow<T>, f: impl Fn(T, T) -> T) {
        let (whole, spread) = (self.whole(), self.spread(numbers));
        for (value, &number) in self.values[..whole].iter_mut().zip(&spread[..whole]) {
            *value = f(*value, number);
        }
    }

    /// Replaces each value x by x − a − b, with the two numbers of its row.
    #[inline(always)]
    pub(crate) fn subtract(&mut self, a: &PerRow<T>, b: &PerRow<T>) {
        let (whole, a, b) = (self.whole(), self.spread(a), self.spread(b));
        let values = self.values[..whole].iter_mut();
        for ((value, &a), &b) in values.zip(&a[..whole]).zip(&b[..whole]) {
            *value = *value - a - b;
        }
    }

    /// The number of each row, repeated for each of its values.
    #[inline(always)]
    fn spread(&self, numbers: &PerRow<T>) -> [T; SPACE] {
        // Each number fills a whole register; the next row overwrites the excess.
        let mut spread = [T::ZERO; SPACE];
        for r in 0..self.rows {
            for value in &mut spread[r * self.width..][..NARROW] {
                *value = numbers[r];
            }
        }
        spread
    }

    /// Replaces each value by its exponential.
    #[inline(always)]
    pub(crate) fn exp(&mut self) {
        let whole = self.whole();
        for value in &mut self.values[..whole] {
            *value = value.exp();
        }
    }

    /// The number of values, rounded up to whole registers.
    #[inline(always)]
    fn whole(&self) -> usize {
        (self.rows * self.width).next_multiple_of(NARROW).min(SPACE)
    }

    /// Writes the rows to a slice, or adds them.
    #[inline(always)]
    pub(crate) fn put(&self, out: &mut [T], accumulate: bool) {
        let values = &self.values[..self.rows * self.width];
        if accumulate {
            for (out, &value) in out.iter_mut().zip(values) {
                *out += value;
            }
        } else {
            out.copy_from_slice(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_width() {
        for width in 1..=NARROW {
            for rows in [1, 2, 15, 16] {
                let x: Vec<f64> = (0..(rows + 1) * width).map(|i| (i * 7 % 23) as f64).collect();
                let mut block = Narrow::new(&x, 1..rows + 1, width);
                let (greatest, sums) = (block.greatest(), block.sums());
                for (r, row) in x[width..].chunks(width).enumerate() {
                    assert_eq!(greatest[r], row.iter().fold(0.0, |a: f64, &b| a.max(b)));
                    assert_eq!(sums[r], row.iter().sum::<f64>());
                }
                block.clear(0);
                block.combine(&greatest, |x, a| x + 100.0 * a);
                block.subtract(&sums, &greatest);
                let mut out = vec![1.0; rows * width];
                block.put(&mut out, true);
                for (i, out) in out.iter().enumerate() {
                    let (r, x) = (i / width, if i < width { 0.0 } else { x[width + i] });
                    assert_eq!(*out, 1.0 + x + 99.0 * greatest[r] - sums[r]);
                }
            }
        }
    }
}
