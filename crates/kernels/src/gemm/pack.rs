//! Packing: the rows of a matrix side by side, step of K after step of K, so that a tile reads
//! memory in order.
//!
//! Both operands are packed by the same code: A by its rows, B by its columns, the rows of its
//! transpose.

use super::MatRef;
use crate::simd::later;
use ff_tensor::{CpuDevice, Isa};
use std::ops::Range;

/// A matrix that can be packed into panels of `P`.
pub(super) trait Operand<P>: Copy + Sync {
    /// Rows, and steps of K.
    fn size(&self) -> (usize, usize);

    /// Writes rows `panel.first..` and steps `panel.start..` to `to[k · width + row]`; missing rows
    /// are zeros.
    fn pack(&self, cpu: &CpuDevice, panel: &Panel, to: &mut [P]);

    /// The address of the values and the strides of rows and steps, if a tile can read them
    /// unpacked.
    fn direct(&self) -> Option<(*const P, usize, usize)>;

    /// The number of steps of K to pack before moving on to the next panel: a multiple of the
    /// panel's packing unit.
    fn strip(&self) -> usize;

    /// The number of cache lines of a part.
    fn lines(&self, part: &Part) -> usize;

    /// Some of those lines, to prefetch before packing.
    fn ahead(&self, part: &Part, lines: Range<usize>) -> Ahead;
}

/// Rows and steps of K of an operand.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) rows: Range<usize>,
    pub(super) steps: Range<usize>,
}

impl<T> MatRef<'_, T> {
    /// Where panels share lines and pages: few steps, to use those while they are in cache;
    /// otherwise as many as one sequential read covers.
    pub(super) fn strip(&self) -> usize {
        if self.row == 1 { 16 } else { 256 }
    }

    /// The contiguous runs of a part, and the cache lines of each.
    fn stretches(&self, part: &Part) -> (usize, usize) {
        let (rows, steps) = (part.rows.len(), part.steps.len());
        let (count, values) = if self.col == 1 { (rows, steps) } else { (steps, rows) };
        (count, (values * size_of::<T>()).div_ceil(LINE))
    }

    /// See [`Operand::lines`].
    pub(super) fn lines(&self, part: &Part) -> usize {
        let (count, lines) = self.stretches(part);
        count * lines
    }

    /// See [`Operand::ahead`].
    pub(super) fn ahead(&self, part: &Part, lines: Range<usize>) -> Ahead {
        let per_stretch = self.stretches(part).1.max(1);
        let stride = if self.col == 1 { self.row } else { self.col } * size_of::<T>();
        let (stretch, line) = (lines.start / per_stretch, lines.start % per_stretch);
        let start = part.rows.start * self.row + part.steps.start * self.col;
        Ahead {
            line: self
                .data
                .as_ptr()
                .wrapping_add(start)
                .cast::<u8>()
                .wrapping_add(stretch * stride + line * LINE),
            left: per_stretch - line,
            per_stretch,
            jump: stride.wrapping_sub((per_stretch - 1) * LINE),
            count: lines.len(),
        }
    }
}

/// Cache lines to prefetch, run after run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    line: *const u8,
    left: usize,
    per_stretch: usize,
    jump: usize,
    pub(super) count: usize,
}

impl Ahead {
    pub(super) const NOTHING: Self =
        Self { line: std::ptr::null(), left: 1, per_stretch: 1, jump: 0, count: 0 };

    /// Prefetches one more line.
    #[inline(always)]
    pub(super) fn ask(&mut self) {
        if self.count == 0 {
            return;
        }
        later(self.line);
        self.count -= 1;
        self.left -= 1;
        let last = self.left == 0;
        self.line = self.line.wrapping_add(if last { self.jump } else { LINE });
        self.left = if last { self.per_stretch } else { self.left };
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// The part of a matrix that a panel holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    /// The first row, and the number of rows.
    pub(super) first: usize,
    pub(super) rows: usize,
    /// The first step of K, and the number of steps.
    pub(super) start: usize,
    pub(super) depth: usize,
    /// The capacity of the panel in rows.
    pub(super) width: usize,
    /// Whether the panel stores groups of `grain` values row after row, see
    /// [`super::tile::Kernels::TILED`].
    pub(super) tiled: bool,
    /// The unit of the panel's depth, in packed values.
    pub(super) grain: usize,
}

impl Operand<f32> for MatRef<'_, f32> {
    fn size(&self) -> (usize, usize) {
        self.shape()
    }

    fn pack(&self, cpu: &CpuDevice, panel: &Panel, to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if cpu.isa() >= Isa::Avx512 && (self.col == 1 || self.row == 1) {
            let rows = x86::Rows::<f32, x86::AsIs>::new(self, panel, to);
            // SAFETY: the device was opened with this instruction set, so the CPU has it.
            return unsafe { if self.col == 1 { rows.transpose() } else { rows.copy() } };
        }
        pack_plain(self, panel, to);
    }

    fn direct(&self) -> Option<(*const f32, usize, usize)> {
        Some((self.data.as_ptr(), self.row, self.col))
    }

    fn strip(&self) -> usize {
        self.strip()
    }

    fn lines(&self, part: &Part) -> usize {
        self.lines(part)
    }

    fn ahead(&self, part: &Part, lines: Range<usize>) -> Ahead {
        self.ahead(part, lines)
    }
}

impl Operand<f64> for MatRef<'_, f64> {
    fn size(&self) -> (usize, usize) {
        self.shape()
    }

    fn pack(&self, _: &CpuDevice, panel: &Panel, to: &mut [f64]) {
        pack_plain(self, panel, to);
    }

    fn direct(&self) -> Option<(*const f64, usize, usize)> {
        Some((self.data.as_ptr(), self.row, self.col))
    }

    fn strip(&self) -> usize {
        self.strip()
    }

    fn lines(&self, part: &Part) -> usize {
        self.lines(part)
    }

    fn ahead(&self, part: &Part, lines: Range<usize>) -> Ahead {
        self.ahead(part, lines)
    }
}

fn pack_plain<T: Copy + Default>(m: &MatRef<'_, T>, panel: &Panel, to: &mut [T]) {
    let &Panel { first, rows, start, depth, width, .. } = panel;
    let to = &mut to[..depth * width];
    if rows < width {
        to.fill(T::default());
    }
    let origin = first * m.row + start * m.col;
    if m.row == 1 {
        for (k, step) in to.chunks_exact_mut(width).enumerate() {
            step[..rows].copy_from_slice(&m.data[origin + k * m.col..][..rows]);
        }
    } else {
        for r in 0..rows {
            let values = m.data[origin + r * m.row..].iter().step_by(m.col.max(1));
            for (step, &value) in to.chunks_exact_mut(width).zip(values) {
                step[r] = value;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{MatRef, Panel};
    use crate::simd::soon;
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;
    use std::marker::PhantomData;

    const LANES: usize = 16;

    /// Reads sixteen values as f32.
    pub(in super::super) trait Read<T> {
        /// # Safety
        /// The CPU has AVX-512 F, BW and VL; the values of the mask can be read.
        unsafe fn read(from: *const T, there: __mmask16) -> __m512;
    }

    /// Values of f32, unconverted.
    pub(in super::super) struct AsIs;

    impl Read<f32> for AsIs {
        #[inline(always)]
        unsafe fn read(from: *const f32, there: __mmask16) -> __m512 {
            // SAFETY: guaranteed by the caller.
            unsafe { _mm512_maskz_loadu_ps(there, from) }
        }
    }

    /// The addresses of values to pack as f32.
    #[allow(clippy::struct_field_names)]
    pub(in super::super) struct Rows<T, R> {
        from: *const T,
        row: usize,
        col: usize,
        rows: usize,
        depth: usize,
        width: usize,
        to: *mut f32,
        read: PhantomData<R>,
    }

    impl<T, R: Read<T>> Rows<T, R> {
        pub(in super::super) fn new(m: &MatRef<'_, T>, panel: &Panel, to: &mut [f32]) -> Self {
            let &Panel { first, rows, start, depth, width, .. } = panel;
            assert!(first + rows <= m.rows && start + depth <= m.cols && rows <= width);
            assert!(depth * width <= to.len(), "a panel of {depth} × {width}");
            let origin = (first * m.row + start * m.col).min(m.data.len());
            Self {
                // SAFETY: at most one past the end.
                from: unsafe { m.data.as_ptr().add(origin) },
                row: m.row,
                col: m.col,
                rows,
                depth,
                width,
                to: to.as_mut_ptr(),
                read: PhantomData,
            }
        }

        /// Packs rows contiguous in memory: each step is a few registers.
        ///
        /// # Safety
        /// The CPU has AVX-512 F, BW and VL.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(in super::super) unsafe fn copy(&self) {
            if self.rows == 2 * LANES && self.width == 2 * LANES {
                for k in 0..self.depth {
                    // SAFETY: a whole step of the matrix and of the panel (see `new`).
                    unsafe {
                        let (from, to) = (self.from.add(k * self.col), self.to.add(k * self.width));
                        soon(from.wrapping_add(AHEAD * self.col));
                        soon(from.wrapping_add(AHEAD * self.col + LANES));
                        let whole = mask(LANES);
                        let (low, high) = (R::read(from, whole), R::read(from.add(LANES), whole));
                        _mm512_storeu_ps(to, low);
                        _mm512_storeu_ps(to.add(LANES), high);
                    }
                }
                return;
            }
            for r in (0..self.width).step_by(LANES) {
                let there = mask(self.rows.saturating_sub(r));
                let room = mask(self.width - r);
                for k in 0..self.depth {
                    // SAFETY: the masks cover only rows of the matrix and room of the panel (see
                    // `new`).
                    unsafe {
                        let from = self.from.wrapping_add(k * self.col + r);
                        soon(from.wrapping_add(AHEAD * self.col));
                        let values = R::read(from, there);
                        _mm512_mask_storeu_ps(self.to.add(k * self.width + r), room, values);
                    }
                }
            }
        }

        /// Packs rows with contiguous values: squares of 16 × 16 are transposed in registers.
        ///
        /// # Safety
        /// The CPU has AVX-512 F, BW and VL.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(in super::super) unsafe fn transpose(&self) {
            for r in (0..self.width).step_by(LANES) {
                let room = mask(self.width - r);
                let rows = self.rows.saturating_sub(r).min(LANES);
                for k in (0..self.depth).step_by(LANES) {
                    let steps = (self.depth - k).min(LANES);
                    let there = mask(steps);
                    // SAFETY: only rows and steps of the matrix and room of the panel (see `new`).
                    unsafe {
                        let mut square = [_mm512_setzero_si512(); LANES];
                        for (i, line) in square.iter_mut().enumerate() {
                            if i < rows {
                                let from = self.from.add((r + i) * self.row + k);
                                soon(from.wrapping_add(4 * LANES));
                                *line = _mm512_castps_si512(R::read(from, there));
                            }
                        }
                        let square = transposed(square);
                        let to = self.to.add(k * self.width + r);
                        for (i, &line) in square.iter().enumerate() {
                            if i < steps {
                                _mm512_mask_storeu_epi32(to.add(i * self.width).cast(), room, line);
                            }
                        }
                    }
                }
            }
        }
    }

    /// The prefetch distance of a source, in steps of K. Neighbouring steps lie in different pages,
    /// which the hardware prefetcher does not cross.
    pub(in super::super) const AHEAD: usize = 12;

    #[inline(always)]
    pub(in super::super) fn mask(n: usize) -> __mmask16 {
        ((1u32 << n.min(LANES)) - 1) as __mmask16
    }

    /// The transpose of 16 rows of 16 values: by pairs, by fours within quarters of a register,
    /// then quarters.
    ///
    /// # Safety
    /// The CPU has AVX-512 F.
    // Both are registers once inlined.
    #[allow(clippy::large_types_passed_by_value)]
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in super::super) unsafe fn transposed(rows: [__m512i; LANES]) -> [__m512i; LANES] {
        let mut fours = rows;
        for (four, rows) in fours.chunks_exact_mut(4).zip(rows.chunks_exact(4)) {
            let low =
                [_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])];
            let high =
                [_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])];
            four[0] = _mm512_unpacklo_epi64(low[0], low[1]);
            four[1] = _mm512_unpackhi_epi64(low[0], low[1]);
            four[2] = _mm512_unpacklo_epi64(high[0], high[1]);
            four[3] = _mm512_unpackhi_epi64(high[0], high[1]);
        }
        // Now quarter q of register 4g + c holds column 4q + c of rows 4g to 4g + 3.
        let mut columns = rows;
        for c in 0..4 {
            let even = |g: usize| _mm512_shuffle_i32x4::<0x88>(fours[g + c], fours[g + 4 + c]);
            let odd = |g: usize| _mm512_shuffle_i32x4::<0xdd>(fours[g + c], fours[g + 4 + c]);
            let (e, o) = ([even(0), even(8)], [odd(0), odd(8)]);
            columns[c] = _mm512_shuffle_i32x4::<0x88>(e[0], e[1]);
            columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(o[0], o[1]);
            columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(e[0], e[1]);
            columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(o[0], o[1]);
        }
        columns
    }
}
