//! Column-wise work: each column of an output belongs to one task, which traverses the rows in
//! order. Sums over rows therefore need no per-thread partial results, and their order is that of
//! the rows.

use crate::rows::{Shared, TASK_WORK};
use crate::simd::dispatch_on;
use crate::{Float, Stored, for_pieces, sum_columns};
use ff_tensor::CpuDevice;
use std::ops::Range;

/// The maximum number of columns per task of [`for_columns`], which bounds its sums on the stack. A
/// row's part is then four cache lines of f32.
pub const MAX_COLUMNS: usize = 64;
/// One cache line of f32, so that no two tasks write to the same line of an aligned matrix.
const MIN_COLUMNS: usize = 16;
/// Values of a block.
const BLOCK: usize = 4 * MAX_COLUMNS;

/// A range of columns of a row-major matrix, writable by one task.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut y = [0.0f32; 6];
/// ff_kernels::for_columns(device.cpu(), 3, 2, [&mut y], |columns, [mut y]| {
///     for i in 0..y.rows() {
///         y.row(i).fill(i as f32);
///     }
///     assert_eq!(columns, 0..3);
/// });
/// assert_eq!(y, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
/// ```
#[derive(Debug)]
pub struct Columns<'a, T> {
    matrix: &'a Shared<'a, T>,
    rows: usize,
    cols: usize,
    start: usize,
    width: usize,
}

impl<T> Columns<'_, T> {
    /// The number of rows: 1 for a vector, 0 for an omitted output.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// This task's columns of row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: tasks have disjoint columns (see `for_columns`), and `&mut self` allows one row
        // at a time.
        unsafe { self.matrix.range(i * self.cols + self.start, self.width) }
    }
}

impl<T: Float> Columns<'_, T> {
    /// Writes the sums of this task's columns to a vector, or adds them if `accumulate` is set;
    /// does nothing for an omitted vector.
    ///
    /// ```
    /// let mut db = [1.0f32, 1.0];
    /// ff_kernels::for_columns(ff_tensor::Device::default().cpu(), 2, 1, [&mut db], |_, [mut db]| {
    ///     db.put(&[2.0, 3.0], true);
    /// });
    /// assert_eq!(db, [3.0, 4.0]);
    /// ```
    #[inline(always)]
    pub fn put(&mut self, sums: &[f64], accumulate: bool) {
        if self.rows > 0 {
            for (out, &sum) in self.row(0).iter_mut().zip(sums) {
                *out = if accumulate { *out + T::of(sum) } else { T::of(sum) };
            }
        }
    }
}

/// Calls `f(columns, parts)` for ranges of at most [`MAX_COLUMNS`] columns, with those columns of
/// each output.
///
/// Outputs are matrices with `cols` columns; a vector is a matrix of one row, an empty slice a
/// matrix of none. `work` is the approximate number of operations per column. The number of columns
/// per task depends on the number of threads, so the result of `f` for one column must not depend
/// on its neighbours.
///
/// # Panics
/// If an output is not a whole number of rows.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let (x, mut sum) = ([1.0f32, 2.0, 3.0, 4.0], [0.0f32; 2]);
/// ff_kernels::for_columns(device.cpu(), 2, 2, [&mut sum], |columns, [mut sum]| {
///     for row in x.chunks(2) {
///         sum.row(0).iter_mut().zip(&row[columns.clone()]).for_each(|(s, &x)| *s += x);
///     }
/// });
/// assert_eq!(sum, [4.0, 6.0]);
/// ```
pub fn for_columns<T: Send, const N: usize>(
    cpu: &CpuDevice,
    cols: usize,
    work: usize,
    outputs: [&mut [T]; N],
    f: impl Fn(Range<usize>, [Columns<'_, T>; N]) + Sync,
) {
    for_wide_columns(cpu, [cols, MAX_COLUMNS], work, outputs, f);
}

/// [`for_columns`] for ranges of at most `most` columns: where rows are long, a wide part of each
/// is read faster than a narrow one.
///
/// # Panics
/// If an output is not a whole number of rows.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut y = [0.0f32; 300];
/// ff_kernels::for_wide_columns(device.cpu(), [300, 512], 1, [&mut y], |columns, [mut y]| {
///     y.row(0).fill(columns.len() as f32);
/// });
/// assert_eq!(y, [300.0; 300]);
/// ```
pub fn for_wide_columns<T: Send, const N: usize>(
    cpu: &CpuDevice,
    [cols, most]: [usize; 2],
    work: usize,
    outputs: [&mut [T]; N],
    f: impl Fn(Range<usize>, [Columns<'_, T>; N]) + Sync,
) {
    if cols == 0 {
        return;
    }
    let outputs = outputs.map(|values| {
        assert!(values.len().is_multiple_of(cols), "not whole rows of {cols} columns");
        let rows = values.len() / cols;
        (Shared::new(values), rows)
    });
    let alone = cols.saturating_mul(work) < TASK_WORK;
    let mut most = most.max(1);
    while !alone && most > MIN_COLUMNS && cols.div_ceil(most) < cpu.threads().count() {
        most /= 2;
    }
    let task = |t: usize| {
        let start = t * most;
        let width = most.min(cols - start);
        dispatch_on::<T, _>(
            cpu,
            #[inline(always)]
            || {
                let parts = std::array::from_fn(|i| {
                    let (matrix, rows) = &outputs[i];
                    Columns { matrix, rows: *rows, cols, start, width }
                });
                f(start..start + width, parts);
            },
        );
    };
    let tasks = cols.div_ceil(most);
    if alone { (0..tasks).for_each(task) } else { cpu.threads().run(tasks, &task) }
}

/// v = v ⊙ g(x) in place, for slices x and v of one length.
type Scaling<'a, T> = &'a (dyn Fn(&[T], &mut [T]) + Sync);

/// y = y ⊙ g(x), where `scaling` computes it for the values of a block.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// let mut dy = [1.0f32, 2.0];
/// let scaling = |x: &[f32], v: &mut [f32]| v.iter_mut().zip(x).for_each(|(v, x)| *v *= 2.0 * x);
/// ff_kernels::scale_by(ff_tensor::Device::default().cpu(), &[1.0, 0.5], &mut dy, &scaling);
/// assert_eq!(dy, [2.0, 2.0]);
/// ```
pub fn scale_by<S: Stored>(
    cpu: &CpuDevice,
    x: &[S],
    y: &mut [S],
    scaling: Scaling<'_, S::Compute>,
) {
    assert_eq!(x.len(), y.len(), "scale_by: lengths");
    for_pieces(
        cpu,
        y,
        #[inline(always)]
        |start, y| {
            let x = &x[start..][..y.len()];
            if let (Some(x), Some(y)) = (S::as_compute(x), S::as_compute_mut(y)) {
                return scaling(x, y);
            }
            let mut blocks = [[S::Compute::ZERO; BLOCK]; 2];
            for (y, x) in y.chunks_mut(BLOCK).zip(x.chunks(BLOCK)) {
                let [from, to] = blocks.each_mut().map(|block| &mut block[..x.len()]);
                compute(x, from);
                compute(y, to);
                scaling(from, to);
                for (y, &new) in y.iter_mut().zip(&*to) {
                    *y = S::from_compute(new);
                }
            }
        },
    );
}

/// The values in the type of their computation.
#[inline(always)]
fn compute<S: Stored>(from: &[S], to: &mut [S::Compute]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from.compute();
    }
}

/// [`scale_by`], and out\[j\] = Σᵢ y\[i, j\] of the new values, or out += if `accumulate` is set:
/// the gradients of an activation and a bias in one pass over memory.
///
/// Rows are added in groups of 64, so that the error grows with the number of groups, not of rows.
///
/// # Panics
/// If `x` and `y` differ in length, or are not a whole number of rows of `out`'s width.
///
/// ```
/// let (mut dy, mut db) = ([1.0f32, 2.0, 3.0, 4.0], [0.0f32; 2]);
/// let device = ff_tensor::Device::default();
/// let y = [1.0, 0.0, 1.0, 1.0];
/// let product = |y: &[f32], v: &mut [f32]| v.iter_mut().zip(y).for_each(|(v, y)| *v *= y);
/// ff_kernels::scale_sum_columns(device.cpu(), &y, &mut dy, &mut db, false, &product);
/// assert_eq!((dy, db), ([1.0, 0.0, 3.0, 4.0], [4.0, 4.0]));
/// ```
pub fn scale_sum_columns<S: Stored>(
    cpu: &CpuDevice,
    x: &[S],
    y: &mut [S],
    out: &mut [S::Compute],
    accumulate: bool,
    scaling: Scaling<'_, S::Compute>,
) {
    const GROUP: usize = 64;
    /// Rows of a block.
    const ROWS: usize = BLOCK / MAX_COLUMNS;
    /// The number of values above which a matrix leaves the L2 cache and its narrow columns lie far
    /// apart in memory: two passes over whole rows are then faster.
    const FAR: usize = 1 << 17;
    assert_eq!(x.len(), y.len(), "scale_sum_columns: lengths");
    let cols = out.len();
    if x.len() > FAR {
        scale_by(cpu, x, y, scaling);
        return sum_columns(cpu, y, out, accumulate);
    }
    let rows = x.len() / cols.max(1);
    let out = Shared::new(out);
    for_columns(
        cpu,
        cols,
        rows * 4,
        [y],
        #[inline(always)]
        |columns, [mut y]| {
            let width = columns.len();
            let mut total = [S::Compute::ZERO; MAX_COLUMNS];
            let mut blocks = [[S::Compute::ZERO; BLOCK]; 2];
            for first in (0..rows).step_by(GROUP) {
                let end = rows.min(first + GROUP);
                let mut partial = [S::Compute::ZERO; MAX_COLUMNS];
                for first in (first..end).step_by(ROWS) {
                    let some = first..end.min(first + ROWS);
                    let [from, to] =
                        blocks.each_mut().map(|block| &mut block[..some.len() * width]);
                    let pairs = from.chunks_mut(width).zip(to.chunks_mut(width));
                    for (row, (from, to)) in some.clone().zip(pairs) {
                        compute(&x[row * cols + columns.start..], from);
                        compute(y.row(row), to);
                    }
                    scaling(from, to);
                    for (row, new) in some.zip(to.chunks(width)) {
                        for ((y, &new), sum) in y.row(row).iter_mut().zip(new).zip(&mut partial) {
                            *y = S::from_compute(new);
                            *sum += new;
                        }
                    }
                }
                for (total, &partial) in total.iter_mut().zip(&partial) {
                    *total += partial;
                }
            }
            // SAFETY: tasks have disjoint columns.
            let out = unsafe { out.range(columns.start, columns.len()) };
            for (out, &total) in out.iter_mut().zip(&total) {
                *out = if accumulate { *out + total } else { total };
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions};

    #[test]
    fn every_column_is_reached_once() {
        for threads in [1, 2, 4] {
            let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
            for (rows, cols) in [(0, 3), (1, 1), (3, 16), (2, 63), (2, 64), (2, 65), (1, 300)] {
                for work in [1, TASK_WORK] {
                    let (mut a, mut b) = (vec![0.0f32; rows * cols], vec![0.0f32; cols]);
                    let outputs = [&mut a[..], &mut b[..], &mut []];
                    for_columns(device.cpu(), cols, work, outputs, |columns, [mut a, mut b, c]| {
                        assert_eq!((a.rows(), b.rows(), c.rows()), (rows, 1, 0));
                        for i in 0..rows {
                            for (value, j) in a.row(i).iter_mut().zip(columns.clone()) {
                                *value += (i * cols + j) as f32;
                            }
                        }
                        b.row(0).iter_mut().for_each(|b| *b += 1.0);
                    });
                    assert!(a.iter().enumerate().all(|(i, &a)| a == i as f32));
                    assert!(b.iter().all(|&b| b == 1.0));
                }
            }
        }
    }

    #[test]
    fn sums_of_what_a_pass_leaves() {
        for threads in [1, 2] {
            let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
            for (rows, cols) in [(0, 3), (1, 1), (5, 64), (130, 65), (1000, 140)] {
                let x: Vec<f64> = (0..rows * cols).map(|i| (i % 5) as f64).collect();
                let mut y: Vec<f64> = (0..rows * cols).map(|i| (i % 17) as f64).collect();
                let product: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x * y).collect();
                let mut out = vec![2.0; cols];
                let times = |x: &[f64], v: &mut [f64]| {
                    v.iter_mut().zip(x).for_each(|(v, x)| *v *= x);
                };
                scale_sum_columns(device.cpu(), &x, &mut y, &mut out, true, &times);
                assert_eq!(y, product);
                for (j, &out) in out.iter().enumerate() {
                    let sum: f64 = (0..rows).map(|i| product[i * cols + j]).sum();
                    assert_eq!(out, 2.0 + sum); // small integers: exact
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "row 1 of 1")]
    fn a_row_that_is_not_there_is_refused() {
        let mut y = [0.0f32; 2];
        for_columns(Device::default().cpu(), 2, 1, [&mut y], |_, [mut y]| y.row(1).fill(1.0));
    }
}
