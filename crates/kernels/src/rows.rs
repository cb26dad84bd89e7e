//! Row-wise work: each row of an output belongs to one task, so threads never write to shared data.

use crate::simd::dispatch_on;
use crate::{Float, Stored};
use ff_tensor::CpuDevice;
use std::marker::PhantomData;
use std::ops::Range;

/// The approximate number of operations that justifies a task.
pub(crate) const TASK_WORK: usize = 1 << 15;
/// Values per piece of element-wise work.
const PIECE: usize = 1 << 13;

/// A slice written by several threads, each its own part.
#[derive(Debug)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are only handed out through `range`, whose callers guarantee that they do not
// overlap.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(values: &'a mut [T]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), owner: PhantomData }
    }

    /// The start of the slice.
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// The `len` values from `start` on.
    ///
    /// # Safety
    /// No two parts that live at the same time overlap.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start, "the range exceeds the slice");
        // SAFETY: in bounds by the assertion; exclusive by the caller; `owner` holds the borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Calls `f(row, parts)` for every row, with that row's part of each output; `work` is the
/// approximate number of operations per row, from which the number of threads follows.
///
/// # Panics
/// If an output's length is not `rows` times its width.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut y = [0.0f32; 6];
/// ff_kernels::for_rows(device.cpu(), 3, 2, [(&mut y, 2)], |row, [y]| y.fill(row as f32));
/// assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
/// ```
pub fn for_rows<T: Send, const N: usize>(
    cpu: &CpuDevice,
    rows: usize,
    work: usize,
    outputs: [(&mut [T], usize); N],
    f: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let outputs = outputs.map(|(values, width)| {
        assert_eq!(values.len(), rows * width, "{rows} rows of width {width}");
        (Shared::new(values), width)
    });
    let rows_per_task = (TASK_WORK / work.max(1)).clamp(1, rows.max(1));
    let tasks = rows.div_ceil(rows_per_task);
    let task = |t: usize| {
        dispatch_on::<T, _>(
            cpu,
            #[inline(always)]
            || {
                for row in t * rows_per_task..rows.min((t + 1) * rows_per_task) {
                    // SAFETY: each row is visited once, and rows of an output do not overlap.
                    let parts = std::array::from_fn(|i| unsafe {
                        outputs[i].0.range(row * outputs[i].1, outputs[i].1)
                    });
                    f(row, parts);
                }
            },
        );
    };
    if tasks <= 1 { (0..tasks).for_each(task) } else { cpu.threads().run(tasks, &task) }
}

/// Calls `f(rows, part)` for ranges of at most `at_a_time` rows, with their part of an output
/// `width` wide; `work` is the approximate number of operations per row.
///
/// # Panics
/// If the output's length is not `rows` times its width.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut y = [0.0f32; 3];
/// let fill = |rows: std::ops::Range<usize>, y: &mut [f32]| y.fill(rows.end as f32);
/// ff_kernels::for_row_blocks(device.cpu(), [3, 1], 2, 2, &mut y, fill);
/// assert_eq!(y, [2.0, 2.0, 3.0]);
/// ```
pub fn for_row_blocks<T: Send>(
    cpu: &CpuDevice,
    [rows, width]: [usize; 2],
    at_a_time: usize,
    work: usize,
    output: &mut [T],
    f: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    assert_eq!(output.len(), rows * width, "{rows} rows of width {width}");
    let blocks = rows.div_ceil(at_a_time);
    let blocks_per_task =
        (TASK_WORK / work.saturating_mul(at_a_time).max(1)).clamp(1, blocks.max(1));
    let tasks = blocks.div_ceil(blocks_per_task);
    let output = Shared::new(output);
    let task = |t: usize| {
        dispatch_on::<T, _>(
            cpu,
            #[inline(always)]
            || {
                for block in t * blocks_per_task..blocks.min((t + 1) * blocks_per_task) {
                    let here = block * at_a_time..rows.min((block + 1) * at_a_time);
                    // SAFETY: each row is visited once.
                    let part = unsafe { output.range(here.start * width, here.len() * width) };
                    f(here, part);
                }
            },
        );
    };
    if tasks <= 1 { (0..tasks).for_each(task) } else { cpu.threads().run(tasks, &task) }
}

/// Calls `f(piece, parts)` for every piece `bounds[i]..bounds[i + 1]`, with that piece of each
/// output: passes over a flat array, cut where settings change.
///
/// # Panics
/// If `bounds` descends or reaches past the end of an output.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut y = [0.0f32; 5];
/// ff_kernels::for_ranges(device.cpu(), &[0, 2, 5], [&mut y], |piece, [y]| y.fill(piece as f32));
/// assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 1.0]);
/// ```
pub fn for_ranges<T: Send, const N: usize>(
    cpu: &CpuDevice,
    bounds: &[usize],
    outputs: [&mut [T]; N],
    f: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else { return };
    assert!(bounds.is_sorted(), "bounds ascend");
    let outputs = outputs.map(Shared::new);
    let task = |piece: usize| {
        let (start, end) = (bounds[piece], bounds[piece + 1]);
        dispatch_on::<T, _>(
            cpu,
            #[inline(always)]
            || {
                // SAFETY: the bounds ascend, so pieces do not overlap, and each is visited once.
                let parts =
                    std::array::from_fn(|i| unsafe { outputs[i].range(start, end - start) });
                f(piece, parts);
            },
        );
    };
    let pieces = bounds.len() - 1;
    if last - first < TASK_WORK {
        (0..pieces).for_each(task);
    } else {
        cpu.threads().run(pieces, &task);
    }
}

/// Calls `f(start, part)` for pieces of `y`; `start` is the offset of the part, a multiple of 8192.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut y = [0.0f32; 3];
/// ff_kernels::for_pieces(device.cpu(), &mut y, |start, part| part.fill(start as f32 + 1.0));
/// assert_eq!(y, [1.0; 3]);
/// ```
pub fn for_pieces<T: Send>(cpu: &CpuDevice, y: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    let len = y.len();
    let pieces = len.div_ceil(PIECE);
    let y = Shared::new(y);
    let task = |p: usize| {
        let start = p * PIECE;
        // SAFETY: pieces do not overlap and each is visited once.
        let part = unsafe { y.range(start, PIECE.min(len - start)) };
        dispatch_on::<T, _>(
            cpu,
            #[inline(always)]
            || f(start, part),
        );
    };
    if pieces <= 1 { (0..pieces).for_each(task) } else { cpu.threads().run(pieces, &task) }
}

/// y = f(x), element-wise.
///
/// # Panics
/// If the lengths differ.
pub fn map<S: Stored>(
    cpu: &CpuDevice,
    x: &[S],
    y: &mut [S],
    f: impl Fn(S::Compute) -> S::Compute + Sync + Copy,
) {
    assert_eq!(x.len(), y.len(), "map: lengths");
    for_pieces(
        cpu,
        y,
        #[inline(always)]
        |start, y| {
            // A local copy keeps the captures in registers, where writes to `y` cannot alias them.
            let own = f;
            for (y, &x) in y.iter_mut().zip(&x[start..]) {
                *y = S::from_compute(own(x.compute()));
            }
        },
    );
}

/// y = f(a, b), or y += f(a, b) if `accumulate` is set, element-wise.
///
/// # Panics
/// If the lengths differ.
pub fn map2<T: Float>(
    cpu: &CpuDevice,
    a: &[T],
    b: &[T],
    y: &mut [T],
    accumulate: bool,
    f: impl Fn(T, T) -> T + Sync + Copy,
) {
    assert!(a.len() == y.len() && b.len() == y.len(), "map2: lengths");
    for_pieces(
        cpu,
        y,
        #[inline(always)]
        |start, y| {
            let own = f;
            let values = y.iter_mut().zip(&a[start..]).zip(&b[start..]);
            // Loops rather than `for_each`, whose closure would not be inlined into each
            // instruction set's copy.
            if accumulate {
                for ((y, &a), &b) in values {
                    *y += own(a, b);
                }
            } else {
                for ((y, &a), &b) in values {
                    *y = own(a, b);
                }
            }
        },
    );
}

/// y = f(y, x), element-wise.
///
/// # Panics
/// If the lengths differ.
pub fn zip_into<S: Stored>(
    cpu: &CpuDevice,
    x: &[S],
    y: &mut [S],
    f: impl Fn(S::Compute, S::Compute) -> S::Compute + Sync + Copy,
) {
    assert_eq!(x.len(), y.len(), "zip_into: lengths");
    for_pieces(
        cpu,
        y,
        #[inline(always)]
        |start, y| {
            let own = f;
            for (y, &x) in y.iter_mut().zip(&x[start..]) {
                *y = S::from_compute(own(y.compute(), x.compute()));
            }
        },
    );
}

/// y = x, or y += x if `accumulate` is set: a gradient passed through unchanged.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// let mut dx = [1.0f32, 1.0];
/// ff_kernels::copy(ff_tensor::Device::default().cpu(), &[2.0, 3.0], &mut dx, true);
/// assert_eq!(dx, [3.0, 4.0]);
/// ```
pub fn copy<T: Float>(cpu: &CpuDevice, x: &[T], y: &mut [T], accumulate: bool) {
    if accumulate {
        zip_into(cpu, x, y, |y, x| y + x);
    } else {
        map(cpu, x, y, |x| x);
    }
}

/// out\[j\] = Σᵢ x\[i, j\], or out += if `accumulate` is set: the gradient of a bias.
///
/// Rows are added in groups of 64, so that the error grows with the number of groups, not of rows.
///
/// # Panics
/// If `x` is not a whole number of rows of `out`'s width.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let mut db = [1.0f32, 1.0];
/// ff_kernels::sum_columns(device.cpu(), &[1.0f32, 2.0, 3.0, 4.0], &mut db, true);
/// assert_eq!(db, [5.0, 7.0]);
/// ```
pub fn sum_columns<S: Stored>(cpu: &CpuDevice, x: &[S], out: &mut [S::Compute], accumulate: bool) {
    const WIDTH: usize = 64;
    let cols = out.len();
    if cols == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(cols), "sum_columns: whole rows");
    let shared = Shared::new(out);
    let task = |t: usize| {
        let start = t * WIDTH;
        let width = WIDTH.min(cols - start);
        // SAFETY: tasks have disjoint columns.
        let out = unsafe { shared.range(start, width) };
        dispatch_on::<S::Compute, _>(
            cpu,
            #[inline(always)]
            || {
                if width == WIDTH {
                    return put_column_sums::<S, WIDTH>(x, cols, start, out, accumulate);
                }
                for (i, out) in out.chunks_mut(COLUMNS).enumerate() {
                    let start = start + i * COLUMNS;
                    put_column_sums::<S, COLUMNS>(x, cols, start, out, accumulate);
                }
            },
        );
    };
    let tasks = cols.div_ceil(WIDTH);
    if x.len() < TASK_WORK { (0..tasks).for_each(task) } else { cpu.threads().run(tasks, &task) }
}

/// A register of f32 with AVX-512.
const COLUMNS: usize = 16;

/// The sums of `out.len()` columns from `start`, at most `W`, kept in registers.
#[inline(always)]
fn put_column_sums<S: Stored, const W: usize>(
    x: &[S],
    cols: usize,
    start: usize,
    out: &mut [S::Compute],
    accumulate: bool,
) {
    const GROUP: usize = 64;
    let rows = x.len() / cols;
    let mut total = [S::Compute::ZERO; W];
    for group in 0..rows.div_ceil(GROUP) {
        let mut partial = [S::Compute::ZERO; W];
        for row in group * GROUP..rows.min((group + 1) * GROUP) {
            let x = &x[row * cols + start..];
            // Values past the last column go to sums that are never read.
            if let Some(x) = x.first_chunk::<W>() {
                for i in 0..W {
                    partial[i] += x[i].compute();
                }
            } else {
                for (p, &x) in partial.iter_mut().zip(x) {
                    *p += x.compute();
                }
            }
        }
        for i in 0..W {
            total[i] += partial[i];
        }
    }
    for (o, &t) in out.iter_mut().zip(&total) {
        *o = if accumulate { *o + t } else { t };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions};

    #[test]
    fn column_sums_for_every_width() {
        for threads in [1, 2] {
            let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
            for (rows, cols) in [(0, 3), (1, 1), (5, 64), (130, 65), (1000, 200)] {
                let x: Vec<f64> = (0..rows * cols).map(|i| (i % 17) as f64).collect();
                let mut out = vec![2.0; cols];
                sum_columns(device.cpu(), &x, &mut out, true);
                for (j, &out) in out.iter().enumerate() {
                    let expected = 2.0 + (0..rows).map(|i| x[i * cols + j]).sum::<f64>();
                    assert_eq!(out, expected); // small integers: exact
                }
            }
        }
    }

    #[test]
    fn maps_reach_every_value() {
        let device = Device::open(DeviceOptions { threads: 2, isa: None }).unwrap();
        for n in [0, 1, 7, PIECE, PIECE + 1, 5 * PIECE - 3] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let mut y = vec![0.0; n];
            map(device.cpu(), &x, &mut y, |v| v + 1.0);
            map2(device.cpu(), &x, &x, &mut y, true, |a, b| a - b);
            zip_into(device.cpu(), &x, &mut y, |y, x| y - x);
            assert!(y.iter().all(|&v| v == 1.0));
        }
    }
}
