//! Products with few rows: the matrix is read once, as it is in memory.

use super::decode::{Decode, F32};
use super::{BLOCK, Formed, Run, VALUES, in_tasks, on_isa, sized, tail};
use crate::MatRef;
use crate::rows::Shared;
use crate::simd::{dispatch, soon};
use crate::vector::Vector;
use ff_tensor::{CpuDevice, FileMatrix, Isa};
use std::marker::PhantomData;
use std::ops::Range;

/// The rows of a matrix in memory.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    /// The bytes of a row, and those from one row to the next.
    row: usize,
    step: usize,
    /// The values of a row.
    cols: usize,
}

impl<'a> Rows<'a> {
    fn of_file(w: &'a FileMatrix) -> Self {
        Self { bytes: w.bytes(), row: w.row_bytes(), step: w.row_bytes(), cols: w.cols() }
    }

    fn of_floats(w: MatRef<'a, f32>) -> Self {
        let (values, step) = w.contiguous_rows();
        // SAFETY: the bytes of values, which have no padding.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        let cols = w.shape().1;
        Self { bytes, row: 4 * cols, step: 4 * step, cols }
    }

    #[inline(always)]
    fn get(&self, i: usize) -> &'a [u8] {
        &self.bytes[i * self.step..][..self.row]
    }
}

/// y = x Wᵀ.
pub(super) fn file_rows_product(
    cpu: &CpuDevice,
    x: &[f32],
    m: usize,
    w: &FileMatrix,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (rows, out, form) = (Rows::of_file(w), w.rows(), w.form());
    with_blocks(x, m, w.cols(), |x| {
        let y = Shared::new(y);
        in_tasks(cpu, out, w.cols() * m, &|range| {
            on_isa(cpu, form, Multiplying { x, m, w: rows, range, bias, y: &y, out });
        });
    });
}

/// y = x Wᵀ on the calling thread: the scores of few queries.
///
/// # Shapes
/// x `[M, in]`, W `[out, in]` with contiguous rows → y `[M, out]`
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_kernels::MatRef;
/// let (x, w) = ([1.0f32, 2.0], [3.0f32, 4.0, 0.0, 5.0, 6.0]);
/// let mut y = [0.0; 2];
/// let device = ff_tensor::Device::default();
/// ff_kernels::dot_rows(device.cpu(), &x, MatRef::strided(&w, 2, 2, 3, 1), &mut y);
/// assert_eq!(y, [11.0, 17.0]);
/// ```
pub fn dot_rows(cpu: &CpuDevice, x: &[f32], w: MatRef<'_, f32>, y: &mut [f32]) {
    let (out, cols) = w.shape();
    let m = y.len().checked_div(out).unwrap_or(0);
    assert!(y.len() == m * out && x.len() == m * cols, "{} values, [{out}, {cols}]", x.len());
    if m == 0 {
        return;
    }
    let w = Rows::of_floats(w);
    with_blocks(x, m, cols, |x| {
        let y = Shared::new(y);
        on_floats(cpu, Multiplying { x, m, w, range: 0..out, bias: None, y: &y, out });
    });
}

/// y = P V on the calling thread: the values of few queries, weighted. Rows of V whose weights are
/// all zero are not read.
///
/// # Shapes
/// P `[M, rows]`, V `[rows, cols]` with contiguous rows → y `[M, cols]`
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_kernels::MatRef;
/// let (p, v) = ([1.0f32, 2.0, 0.0], [3.0f32, 4.0, 5.0, 6.0, f32::NAN, 7.0]);
/// let mut y = [0.0; 2];
/// let device = ff_tensor::Device::default();
/// ff_kernels::sum_rows(device.cpu(), &p, MatRef::new(&v, 3, 2), &mut y);
/// assert_eq!(y, [13.0, 16.0]);
/// ```
pub fn sum_rows(cpu: &CpuDevice, p: &[f32], v: MatRef<'_, f32>, y: &mut [f32]) {
    let (rows, cols) = v.shape();
    let m = y.len().checked_div(cols).unwrap_or(0);
    assert!(y.len() == m * cols && p.len() == m * rows, "{} weights, [{rows}, {cols}]", p.len());
    if m > 0 {
        on_floats(cpu, Summing { p, rows, v: Rows::of_floats(v), y });
    }
}

/// Calls `f` with rows of x that are whole blocks, with zeros behind shorter ones.
fn with_blocks(x: &[f32], m: usize, cols: usize, f: impl FnOnce(&[f32])) {
    let stride = cols.next_multiple_of(BLOCK);
    if cols == stride {
        return f(x);
    }
    VALUES.with_borrow_mut(|values| {
        let padded = sized(values, m * stride, 0.0);
        padded.fill(0.0);
        for (to, from) in padded.chunks_exact_mut(stride).zip(x.chunks_exact(cols)) {
            to[..cols].copy_from_slice(from);
        }
        f(padded);
    });
}

/// Runs work on rows of f32.
fn on_floats<W: Formed>(cpu: &CpuDevice, work: W) {
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            dispatch(cpu, Run::<W, std::arch::x86_64::__m512, F32, 2>(work, PhantomData));
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => dispatch(cpu, Run::<W, std::arch::x86_64::__m256, F32, 4>(work, PhantomData)),
        _ => dispatch(cpu, Run::<W, [f32; 4], F32, 8>(work, PhantomData)),
    }
}

/// Products of rows of x, which are whole blocks, with some rows of a matrix.
struct Multiplying<'a> {
    x: &'a [f32],
    m: usize,
    w: Rows<'a>,
    range: Range<usize>,
    bias: Option<&'a [f32]>,
    y: &'a Shared<'a, f32>,
    out: usize,
}

impl Formed for Multiplying<'_> {
    #[inline(always)]
    fn run<V: Vector<T = f32>, D: Decode<V, N>, const N: usize>(self) {
        let (first, end) = (self.range.start, self.range.end);
        let mut t = 0;
        // Sums take R · M · N registers; the matrix is read once for M rows of x.
        while t < self.m {
            let (mut r, left) = (first, self.m - t);
            let m = if left >= 8 { 8 } else { 1 << left.ilog2() };
            while r < end {
                r += match (m, end - r) {
                    // With AVX2 a block has twice as many registers, of half as many.
                    (1, 2..) if N > 2 => self.tile::<V, D, N, 2, 1>(r, t),
                    (1, 4..) => self.tile::<V, D, N, 4, 1>(r, t),
                    (2, 4..) if N <= 2 => self.tile::<V, D, N, 4, 2>(r, t),
                    (4, 2..) if N <= 2 => self.tile::<V, D, N, 2, 4>(r, t),
                    (8, _) => self.tile::<V, D, N, 1, 8>(r, t),
                    (4, _) => self.tile::<V, D, N, 1, 4>(r, t),
                    (2, _) => self.tile::<V, D, N, 1, 2>(r, t),
                    _ => self.tile::<V, D, N, 1, 1>(r, t),
                };
            }
            t += m;
        }
    }
}

impl Multiplying<'_> {
    /// `R` rows of the matrix with `M` rows of x; returns R.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    fn tile<V, D, const N: usize, const R: usize, const M: usize>(
        &self,
        r0: usize,
        t0: usize,
    ) -> usize
    where
        V: Vector<T = f32>,
        D: Decode<V, N>,
    {
        let stride = self.w.cols.next_multiple_of(BLOCK);
        let weights: [&[u8]; R] = std::array::from_fn(|r| self.w.get(r0 + r));
        let x: [&[f32]; M] = std::array::from_fn(|t| &self.x[(t0 + t) * stride..][..stride]);
        let whole = self.w.cols / BLOCK;
        // SAFETY: each row holds its whole blocks.
        let mut sums = unsafe { sums::<V, D, N, R, M>(weights.map(<[u8]>::as_ptr), x, whole) };
        if self.w.cols > whole * BLOCK {
            for r in 0..R {
                let w = tail::<V, D, N>(&weights[r][whole * D::BYTES..]);
                for t in 0..M {
                    for n in 0..N {
                        let x = V::load(&x[t][whole * BLOCK + n * V::LANES..]);
                        sums[r][t][n] = w[n].mul_add(x, sums[r][t][n]);
                    }
                }
            }
        }
        for t in 0..M {
            // SAFETY: each task has its own rows of the matrix, hence columns of y.
            let y = unsafe { self.y.range((t0 + t) * self.out + r0, R) };
            for r in 0..R {
                y[r] = total(sums[r][t]) + self.bias.map_or(0.0, |bias| bias[r0 + r]);
            }
        }
        R
    }
}

/// The products of whole blocks. A function of its own, whose sums stay in registers: in the middle
/// of other code, the compiler keeps them in memory at every step.
///
/// # Safety
/// Each of the weights' rows has so many blocks.
#[inline(always)]
unsafe fn sums<V, D, const N: usize, const R: usize, const M: usize>(
    weights: [*const u8; R],
    x: [&[f32]; M],
    blocks: usize,
) -> [[[V; N]; M]; R]
where
    V: Vector<T = f32>,
    D: Decode<V, N>,
{
    assert!(x.iter().all(|x| x.len() >= blocks * BLOCK));
    let mut sums = [[[V::splat(0.0); N]; M]; R];
    for b in 0..blocks {
        for r in 0..R {
            let from = weights[r].wrapping_add(b / D::PARTS * D::BYTES);
            let ahead = AHEAD + b % D::PARTS * (D::BYTES / D::PARTS);
            for line in (0..D::BYTES / D::PARTS).step_by(LINE) {
                soon(from.wrapping_add(ahead + line));
            }
            // SAFETY: guaranteed by the caller.
            let w = unsafe { D::decode(from, b % D::PARTS) };
            for t in 0..M {
                for n in 0..N {
                    // SAFETY: a row of x has whole blocks, as asserted.
                    let x = unsafe { V::read(x[t].as_ptr().add(b * BLOCK + n * V::LANES)) };
                    sums[r][t][n] = w[n].mul_add(x, sums[r][t][n]);
                }
            }
        }
    }
    sums
}

/// Sums of rows of a matrix, weighted.
struct Summing<'a> {
    p: &'a [f32],
    rows: usize,
    v: Rows<'a>,
    y: &'a mut [f32],
}

impl Formed for Summing<'_> {
    #[inline(always)]
    fn run<V: Vector<T = f32>, D: Decode<V, N>, const N: usize>(mut self) {
        let m = self.y.len() / self.v.cols;
        for block in 0..self.v.cols.div_ceil(BLOCK) {
            let mut t = 0;
            while t < m {
                t += match m - t {
                    4.. => self.block::<V, D, N, 4>(block, t),
                    2.. => self.block::<V, D, N, 2>(block, t),
                    _ => self.block::<V, D, N, 1>(block, t),
                };
            }
        }
    }
}

impl Summing<'_> {
    /// 32 columns of `M` rows of y; returns M.
    #[inline(always)]
    fn block<V, D, const N: usize, const M: usize>(&mut self, block: usize, t0: usize) -> usize
    where
        V: Vector<T = f32>,
        D: Decode<V, N>,
    {
        let (cols, rows) = (self.v.cols, self.rows);
        let p: [&[f32]; M] = std::array::from_fn(|t| &self.p[(t0 + t) * rows..][..rows]);
        let mut sums = [[V::splat(0.0); N]; M];
        let left = (cols - block * BLOCK).min(BLOCK);
        for j in 0..rows {
            if (0..M).all(|t| p[t][j] == 0.0) {
                continue;
            }
            let from = &self.v.get(j)[block * D::BYTES..];
            soon(from.as_ptr().wrapping_add(AHEAD));
            let v = if left == BLOCK {
                // SAFETY: a row holds its whole blocks.
                unsafe { D::decode(from.as_ptr(), 0) }
            } else {
                tail::<V, D, N>(from)
            };
            for t in 0..M {
                let p = V::splat(p[t][j]);
                for n in 0..N {
                    sums[t][n] = v[n].mul_add(p, sums[t][n]);
                }
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            let mut values = [0.0; BLOCK];
            for n in 0..N {
                sums[n].store(&mut values[n * V::LANES..]);
            }
            self.y[(t0 + t) * cols + block * BLOCK..][..left].copy_from_slice(&values[..left]);
        }
        M
    }
}

/// The bytes of a cache line.
const LINE: usize = 64;

/// The distance in bytes of prefetches: memory answers after some hundred nanoseconds, in which a
/// core reads a few kilobytes. The hardware's own prefetches end with a page, and so come too late.
const AHEAD: usize = 8192;

/// The sum of all lanes, by halves.
#[inline(always)]
fn total<V: Vector<T = f32>, const N: usize>(sums: [V; N]) -> f32 {
    let mut lanes = [0.0f32; BLOCK];
    for n in 0..N {
        sums[n].store(&mut lanes[n * V::LANES..]);
    }
    let mut n = BLOCK / 2;
    while n > 0 {
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
        n /= 2;
    }
    lanes[0]
}
