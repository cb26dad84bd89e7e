//! Products with a matrix in the form of its file.
//!
//! With few rows of x, as in generation, a product reads the matrix once, as it is: 32 weights
//! become registers, which serve up to eight rows. A value is one sum for each lane of these
//! registers, added at the end, for any number of rows, threads and forms: the result is bit for
//! bit that with the same values as f32. With more rows, panels become f32 for the usual product.

mod decode;
mod few;
mod k_quants;
mod levels;
#[cfg(test)]
mod tests;

pub use few::{dot_rows, sum_rows};

use crate::rows::Shared;
use crate::simd::{Work, dispatch};
use crate::vector::Vector;
use crate::{Bf16Operand, Epilogue, MatRef, Stored, gemm, gemm_bf16};
use decode::{Bf16, Decode, F16, F32, Q4, Q8};
use ff_tensor::{CpuDevice, FileForm, FileMatrix, Isa};
use k_quants::{Q2K, Q3K, Q5, Q6K, Q45K};
use levels::Levels;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

/// Weights decoded together.
const BLOCK: usize = 32;
/// The most rows of x for which reading the matrix as it is, once for eight of them, is faster than
/// the product that packs it.
const FEW: usize = 48;
/// Multiply-adds of a task, some microseconds.
const TASK: usize = 1 << 17;
/// The most values of a panel: those of usual layers are one.
const PANEL: usize = 1 << 22;

thread_local! {
    /// Padded rows of x, or a panel.
    static VALUES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// y = x Wᵀ + b.
///
/// # Shapes
/// x `[M, in]`, W `[out, in]`, b `[out]` → y `[M, out]`
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_tensor::{Device, FileForm, FileMatrix};
/// let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let w = FileMatrix::new(FileForm::F32, [1, 2], std::sync::Arc::new(bytes), 0)?;
/// let mut y = [0.0];
/// ff_kernels::file_product(Device::default().cpu(), &[3.0, 4.0], &w, Some(&[0.5]), &mut y);
/// assert_eq!(y, [11.5]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
pub fn file_product(
    cpu: &CpuDevice,
    x: &[f32],
    w: &FileMatrix,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (out, depth) = (w.rows(), w.cols());
    let m = y.len().checked_div(out).unwrap_or(0);
    assert!(
        y.len() == m * out && x.len() == m * depth && bias.is_none_or(|bias| bias.len() == out),
        "a product of {} values and [{out}, {depth}] into {}",
        x.len(),
        y.len()
    );
    if m == 0 {
        return;
    }
    if m <= FEW {
        return few::file_rows_product(cpu, x, m, w, bias, y);
    }
    let mut part = Vec::new();
    panels(cpu, w, |rows, w| {
        let x = MatRef::new(x, m, depth);
        if rows.len() == out {
            return gemm(cpu, x, w.t(), y, false);
        }
        let part = sized(&mut part, m * rows.len(), 0.0);
        gemm(cpu, x, w.t(), part, false);
        put_columns(y, out, rows, part);
    });
    if let Some(bias) = bias {
        for y in y.chunks_exact_mut(out) {
            y.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
        }
    }
}

/// dx = dy W, or dx += dy W.
///
/// # Shapes
/// dy `[M, out]`, W `[out, in]` → dx `[M, in]`
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_tensor::{Device, FileForm, FileMatrix};
/// let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let w = FileMatrix::new(FileForm::F32, [1, 2], std::sync::Arc::new(bytes), 0)?;
/// let mut dx = [1.0, 1.0];
/// ff_kernels::file_product_back(Device::default().cpu(), &[3.0], &w, &mut dx, true);
/// assert_eq!(dx, [4.0, 7.0]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
pub fn file_product_back(
    cpu: &CpuDevice,
    dy: &[f32],
    w: &FileMatrix,
    dx: &mut [f32],
    accumulate: bool,
) {
    let (out, depth) = (w.rows(), w.cols());
    let m = dx.len().checked_div(depth).unwrap_or(0);
    if out == 0 && !accumulate {
        dx.fill(0.0);
    }
    panels(cpu, w, |rows, w| {
        let dy = MatRef::strided(&dy[rows.start..], m, rows.len(), out, 1);
        gemm(cpu, dy, w, dx, accumulate || rows.start > 0);
    });
}

/// [`file_product`] with an epilogue, y = f(x Wᵀ + b), operands rounded to bf16 and sums in f32.
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_kernels::{Epilogue, file_product_bf16};
/// use ff_tensor::{Device, FileForm, FileMatrix, bf16};
/// let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let w = FileMatrix::new(FileForm::F32, [1, 2], std::sync::Arc::new(bytes), 0)?;
/// let mut y = [bf16::ZERO];
/// file_product_bf16(Device::default().cpu(), &[3.0f32, 4.0], &w, &mut y, Epilogue::default());
/// assert_eq!(y[0].to_f32(), 11.0);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
pub fn file_product_bf16<A: Bf16Operand, C: Stored<Compute = f32>>(
    cpu: &CpuDevice,
    x: &[A],
    w: &FileMatrix,
    y: &mut [C],
    mut epilogue: Epilogue<'_, C>,
) {
    let (out, depth) = (w.rows(), w.cols());
    let m = y.len().checked_div(out).unwrap_or(0);
    let (mut part, mut part_z) = (Vec::new(), Vec::new());
    panels(cpu, w, |rows, w| {
        let x = MatRef::new(x, m, depth);
        let z = epilogue.z.as_deref_mut();
        let bias = epilogue.bias.map(|bias| &bias[rows.clone()]);
        if rows.len() == out {
            return gemm_bf16(cpu, x, w.t(), y, false, Epilogue { bias, z, f: epilogue.f });
        }
        let (n, zero) = (m * rows.len(), C::from_compute(0.0));
        let part = sized(&mut part, n, zero);
        let mut part_z = z.is_some().then(|| sized(&mut part_z, n, zero));
        let parts = Epilogue { bias, z: part_z.as_deref_mut(), f: epilogue.f };
        gemm_bf16(cpu, x, w.t(), part, false, parts);
        put_columns(y, out, rows.clone(), part);
        if let (Some(z), Some(part)) = (z, part_z) {
            put_columns(z, out, rows, part);
        }
    });
}

/// [`file_product_back`] with operands rounded to bf16 and sums in f32.
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_tensor::{Device, FileForm, FileMatrix};
/// let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let w = FileMatrix::new(FileForm::F32, [1, 2], std::sync::Arc::new(bytes), 0)?;
/// let mut dx = [1.0f32, 1.0];
/// ff_kernels::file_product_back_bf16(Device::default().cpu(), &[3.0f32], &w, &mut dx, true);
/// assert_eq!(dx, [4.0, 7.0]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
pub fn file_product_back_bf16<A: Bf16Operand, C: Stored<Compute = f32>>(
    cpu: &CpuDevice,
    dy: &[A],
    w: &FileMatrix,
    dx: &mut [C],
    accumulate: bool,
) {
    let (out, depth) = (w.rows(), w.cols());
    let m = dx.len().checked_div(depth).unwrap_or(0);
    if out == 0 && !accumulate {
        dx.fill(C::from_compute(0.0));
    }
    // A sum over several panels is rounded once.
    let mut sums = if panel_rows(w) < out { vec![0.0f32; dx.len()] } else { Vec::new() };
    panels(cpu, w, |rows, w| {
        let dy = MatRef::strided(&dy[rows.start..], m, rows.len(), out, 1);
        if rows.len() == out {
            gemm_bf16(cpu, dy, w, dx, accumulate, Epilogue::default());
        } else {
            gemm_bf16(cpu, dy, w, &mut sums, rows.start > 0, Epilogue::default());
        }
    });
    for (dx, sum) in dx.iter_mut().zip(sums) {
        let there = if accumulate { dx.compute() } else { 0.0 };
        *dx = C::from_compute(there + sum);
    }
}

/// Calls `f` with panels of the matrix as f32, and their rows.
fn panels(cpu: &CpuDevice, w: &FileMatrix, mut f: impl FnMut(Range<usize>, MatRef<'_, f32>)) {
    let (out, panel) = (w.rows(), panel_rows(w));
    VALUES.with_borrow_mut(|values| {
        for first in (0..out).step_by(panel) {
            let rows = first..out.min(first + panel);
            let values = panel_of(cpu, w, rows.clone(), values);
            f(rows.clone(), MatRef::new(values, rows.len(), w.cols()));
        }
    });
}

/// Puts a product into some columns of `y`, which has `width`.
fn put_columns<C: Copy>(y: &mut [C], width: usize, columns: Range<usize>, part: &[C]) {
    for (y, part) in y.chunks_exact_mut(width).zip(part.chunks_exact(columns.len())) {
        y[columns.clone()].copy_from_slice(part);
    }
}

/// Some rows of a matrix as f32.
///
/// # Panics
/// If there are fewer rows, or `to` has another size.
///
/// ```
/// use ff_tensor::{Device, FileForm, FileMatrix};
/// let bytes = std::sync::Arc::new(vec![0, 0, 0x80, 0x3f]);
/// let w = FileMatrix::new(FileForm::BF16, [2, 1], bytes, 0)?;
/// let mut row = [0.0];
/// ff_kernels::file_rows(Device::default().cpu(), &w, 1..2, &mut row);
/// assert_eq!(row, [1.0]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
pub fn file_rows(cpu: &CpuDevice, w: &FileMatrix, rows: Range<usize>, to: &mut [f32]) {
    assert!(rows.end <= w.rows() && to.len() == rows.len() * w.cols(), "rows of a matrix");
    if to.is_empty() {
        return;
    }
    let part = |to: &Shared<'_, f32>, part: Range<usize>| {
        let from = &w.bytes()[(rows.start + part.start) * w.row_bytes()..];
        let from = &from[..part.len() * w.row_bytes()];
        // SAFETY: each part is written by one task.
        let to = unsafe { to.range(part.start * w.cols(), part.len() * w.cols()) };
        on_isa(cpu, w.form(), Copying { from, row: w.row_bytes(), to, cols: w.cols() });
    };
    let (n, to) = (rows.len(), Shared::new(to));
    in_tasks(cpu, n, w.cols(), &|range| part(&to, range));
}

/// The rows of a panel.
fn panel_rows(w: &FileMatrix) -> usize {
    if floats(w).is_some() { w.rows().max(1) } else { (PANEL / w.cols().max(1)).max(1) }
}

/// Some rows as f32: the file's own, or `values`.
fn panel_of<'a>(
    cpu: &CpuDevice,
    w: &'a FileMatrix,
    rows: Range<usize>,
    values: &'a mut Vec<f32>,
) -> &'a [f32] {
    if let Some(floats) = floats(w) {
        return &floats[rows.start * w.cols()..rows.end * w.cols()];
    }
    let values = sized(values, rows.len() * w.cols(), 0.0);
    file_rows(cpu, w, rows, values);
    values
}

/// The values of a matrix that are f32 in memory already.
fn floats(w: &FileMatrix) -> Option<&[f32]> {
    if w.form() != FileForm::F32 || cfg!(target_endian = "big") {
        return None;
    }
    // SAFETY: any bits are a valid f32.
    let (before, values, after) = unsafe { w.bytes().align_to::<f32>() };
    (before.is_empty() && after.is_empty()).then_some(values)
}

/// Room for `n` values.
fn sized<T: Copy>(values: &mut Vec<T>, n: usize, zero: T) -> &mut [T] {
    if values.len() < n {
        values.resize(n, zero);
    }
    &mut values[..n]
}

/// Calls `f` for ranges of `n` items, each of which takes so many multiply-adds.
fn in_tasks(cpu: &CpuDevice, n: usize, work: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    let tasks = (n * work).div_ceil(TASK);
    if tasks <= 1 {
        return f(0..n);
    }
    // Every thread has as many tasks as the others; four rows share the registers of x.
    let tasks = tasks.next_multiple_of(cpu.threads().count());
    let step = n.div_ceil(tasks).next_multiple_of(4);
    cpu.threads().run(n.div_ceil(step), &|t| f(t * step..n.min((t + 1) * step)));
}

/// Work that is compiled for every form.
trait Formed {
    fn run<V: Vector<T = f32>, D: Decode<V, N>, const N: usize>(self);
}

/// A form of the file, for registers `V`.
struct Run<W, V, D, const N: usize>(W, PhantomData<(V, D)>);

impl<W: Formed, V: Vector<T = f32>, D: Decode<V, N>, const N: usize> Work for Run<W, V, D, N> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        self.0.run::<V, D, N>();
    }
}

fn on_isa<W: Formed>(cpu: &CpuDevice, form: FileForm, work: W) {
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => in_form::<W, std::arch::x86_64::__m512, 2>(cpu, form, work),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => in_form::<W, std::arch::x86_64::__m256, 4>(cpu, form, work),
        _ => in_form::<W, [f32; 4], 8>(cpu, form, work),
    }
}

#[inline(always)]
fn in_form<W: Formed, V: Levels<N>, const N: usize>(cpu: &CpuDevice, form: FileForm, work: W)
where
    F32: Decode<V, N>,
    F16: Decode<V, N>,
    Bf16: Decode<V, N>,
    Q8: Decode<V, N>,
    Q4<false>: Decode<V, N>,
    Q4<true>: Decode<V, N>,
{
    match form {
        FileForm::F32 => dispatch(cpu, Run::<W, V, F32, N>(work, PhantomData)),
        FileForm::F16 => dispatch(cpu, Run::<W, V, F16, N>(work, PhantomData)),
        FileForm::BF16 => dispatch(cpu, Run::<W, V, Bf16, N>(work, PhantomData)),
        FileForm::Q8_0 => dispatch(cpu, Run::<W, V, Q8, N>(work, PhantomData)),
        FileForm::Q4_0 => dispatch(cpu, Run::<W, V, Q4<false>, N>(work, PhantomData)),
        FileForm::Q4_1 => dispatch(cpu, Run::<W, V, Q4<true>, N>(work, PhantomData)),
        FileForm::Q5_0 => dispatch(cpu, Run::<W, V, Q5<false>, N>(work, PhantomData)),
        FileForm::Q5_1 => dispatch(cpu, Run::<W, V, Q5<true>, N>(work, PhantomData)),
        FileForm::Q2_K => dispatch(cpu, Run::<W, V, Q2K, N>(work, PhantomData)),
        FileForm::Q3_K => dispatch(cpu, Run::<W, V, Q3K, N>(work, PhantomData)),
        FileForm::Q4_K => dispatch(cpu, Run::<W, V, Q45K<false>, N>(work, PhantomData)),
        FileForm::Q5_K => dispatch(cpu, Run::<W, V, Q45K<true>, N>(work, PhantomData)),
        FileForm::Q6_K => dispatch(cpu, Run::<W, V, Q6K, N>(work, PhantomData)),
    }
}

/// Rows to copy as f32.
struct Copying<'a> {
    from: &'a [u8],
    row: usize,
    to: &'a mut [f32],
    cols: usize,
}

impl Formed for Copying<'_> {
    #[inline(always)]
    fn run<V: Vector<T = f32>, D: Decode<V, N>, const N: usize>(self) {
        let Self { from, row, to, cols } = self;
        let whole = cols / BLOCK;
        for (from, to) in from.chunks_exact(row).zip(to.chunks_exact_mut(cols)) {
            for (b, to) in to.chunks_exact_mut(BLOCK).enumerate() {
                // SAFETY: a row holds its whole blocks.
                let values =
                    unsafe { D::decode(from.as_ptr().add(b / D::PARTS * D::BYTES), b % D::PARTS) };
                for n in 0..N {
                    values[n].store(&mut to[n * V::LANES..]);
                }
            }
            if cols > whole * BLOCK {
                let last = tail::<V, D, N>(&from[whole * D::BYTES..]);
                let mut values = [0.0; BLOCK];
                for n in 0..N {
                    last[n].store(&mut values[n * V::LANES..]);
                }
                to[whole * BLOCK..].copy_from_slice(&values[..cols - whole * BLOCK]);
            }
        }
    }
}

/// The last, incomplete block of a row, with zeros behind it.
#[inline(always)]
fn tail<V: Vector<T = f32>, D: Decode<V, N>, const N: usize>(from: &[u8]) -> [V; N] {
    let mut block = [0u8; 8 * BLOCK];
    block[..from.len()].copy_from_slice(from);
    // SAFETY: no form has more bytes.
    unsafe { D::decode(block.as_ptr(), 0) }
}
