//! Operands of bf16 products: rounded during packing, two neighbours in K side by side.

use super::MatRef;
use super::pack::{Ahead, Operand, Panel, Part};
use crate::Stored;
use ff_tensor::{Bf16Kernels, CpuDevice, Isa, bf16};
use std::ops::Range;

/// A matrix to round to bf16.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounded<'a, S>(pub(super) MatRef<'a, S>);

/// An operand type of bf16 products, rounded if necessary: bf16 itself, and f32.
#[allow(private_bounds)]
pub trait Bf16Operand: Source {}
impl<S: Source> Bf16Operand for S {}

/// A type packed as bf16.
pub(super) trait Source: Stored<Compute = f32> {
    /// The vector code of the type.
    #[cfg(target_arch = "x86_64")]
    type Lanes: x86::Lanes<Value = Self> + super::pack::x86::Read<Self>;

    /// The matrix, as an operand.
    fn operand(matrix: MatRef<'_, Self>) -> AnyRounded<'_>;
}

impl Source for f32 {
    #[cfg(target_arch = "x86_64")]
    type Lanes = x86::F32;

    fn operand(matrix: MatRef<'_, Self>) -> AnyRounded<'_> {
        AnyRounded::F32(Rounded(matrix))
    }
}

impl Source for bf16 {
    #[cfg(target_arch = "x86_64")]
    type Lanes = x86::Bf16;

    fn operand(matrix: MatRef<'_, Self>) -> AnyRounded<'_> {
        AnyRounded::Bf16(Rounded(matrix))
    }
}

/// A matrix of either type, so that the driver is compiled once for both.
#[derive(Debug, Clone, Copy)]
pub(super) enum AnyRounded<'a> {
    F32(Rounded<'a, f32>),
    Bf16(Rounded<'a, bf16>),
}

macro_rules! either {
    ($operand:expr, $call:ident($($argument:expr),*)) => {
        match $operand {
            AnyRounded::F32(matrix) => Operand::<P>::$call(matrix, $($argument),*),
            AnyRounded::Bf16(matrix) => Operand::<P>::$call(matrix, $($argument),*),
        }
    };
}

impl<'a, P> Operand<P> for AnyRounded<'a>
where
    Rounded<'a, f32>: Operand<P>,
    Rounded<'a, bf16>: Operand<P>,
{
    fn size(&self) -> (usize, usize) {
        either!(self, size())
    }

    fn pack(&self, cpu: &CpuDevice, panel: &Panel, to: &mut [P]) {
        either!(self, pack(cpu, panel, to));
    }

    fn direct(&self) -> Option<(*const P, usize, usize)> {
        either!(self, direct())
    }

    fn strip(&self) -> usize {
        either!(self, strip())
    }

    fn lines(&self, part: &Part) -> usize {
        either!(self, lines(part))
    }

    fn ahead(&self, part: &Part, lines: Range<usize>) -> Ahead {
        either!(self, ahead(part, lines))
    }
}

/// Pairs, for CPUs with bf16 instructions.
impl<S: Source> Operand<u32> for Rounded<'_, S> {
    fn size(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn pack(&self, cpu: &CpuDevice, panel: &Panel, to: &mut [u32]) {
        let &Panel { first, rows, start, depth, width, tiled, grain } = panel;
        let (steps, whole) = (depth.div_ceil(2), depth.div_ceil(2).next_multiple_of(grain));
        let to = &mut to[..whole * width];
        #[cfg(target_arch = "x86_64")]
        if cpu.bf16() != Bf16Kernels::Widened && (self.0.col == 1 || self.0.row == 1) {
            if !tiled {
                to[steps * width..].fill(0);
            }
            let rows = x86::Rows::<S::Lanes>::new(&self.0, panel, to);
            // SAFETY: the device has bf16 instructions, and so AVX-512.
            return unsafe {
                match (tiled, self.0.col == 1) {
                    (true, true) => rows.copy_tiles(),
                    (true, false) => rows.transpose_tiles(),
                    (false, true) => rows.transpose(),
                    (false, false) => rows.interleave(),
                }
            };
        }
        let _ = cpu;
        let pair = |r: usize, k: usize| {
            let bits = |k: usize| {
                let there = r < rows && k < depth;
                if there { self.rounded(first + r, start + k).to_bits() } else { 0 }
            };
            u32::from(bits(2 * k)) | u32::from(bits(2 * k + 1)) << 16
        };
        for (place, to) in to.iter_mut().enumerate() {
            let (block, at) = (place / (grain * width), place % (grain * width));
            *to = if tiled {
                pair(at / grain, block * grain + at % grain)
            } else {
                pair(place % width, place / width)
            };
        }
    }

    fn direct(&self) -> Option<(*const u32, usize, usize)> {
        None
    }

    fn strip(&self) -> usize {
        self.0.strip()
    }

    fn lines(&self, part: &Part) -> usize {
        self.0.lines(part)
    }

    fn ahead(&self, part: &Part, lines: Range<usize>) -> Ahead {
        self.0.ahead(part, lines)
    }
}

/// The rounded values as f32, for CPUs without bf16 instructions.
impl<S: Source> Operand<f32> for Rounded<'_, S> {
    fn size(&self) -> (usize, usize) {
        self.0.shape()
    }

    fn pack(&self, cpu: &CpuDevice, panel: &Panel, to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if cpu.isa() >= Isa::Avx512 && (self.0.col == 1 || self.0.row == 1) {
            let rows = super::pack::x86::Rows::<S, S::Lanes>::new(&self.0, panel, to);
            // SAFETY: the device was opened with this instruction set, so the CPU has it.
            return unsafe { if self.0.col == 1 { rows.transpose() } else { rows.copy() } };
        }
        let _ = cpu;
        let &Panel { first, rows, start, depth, width, .. } = panel;
        for (k, step) in to.chunks_exact_mut(width).take(depth).enumerate() {
            for (r, value) in step.iter_mut().enumerate() {
                *value = if r < rows { self.rounded(first + r, start + k).compute() } else { 0.0 };
            }
        }
    }

    fn direct(&self) -> Option<(*const f32, usize, usize)> {
        None
    }

    fn strip(&self) -> usize {
        self.0.strip()
    }

    fn lines(&self, part: &Part) -> usize {
        self.0.lines(part)
    }

    fn ahead(&self, part: &Part, lines: Range<usize>) -> Ahead {
        self.0.ahead(part, lines)
    }
}

impl<S: Source> Rounded<'_, S> {
    fn rounded(&self, i: usize, k: usize) -> bf16 {
        bf16::from_compute(self.0.data[i * self.0.row + k * self.0.col].compute())
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::super::pack::x86::{AHEAD, Read, mask, transposed};
    use super::{MatRef, Panel};
    use crate::simd::soon;
    use ff_tensor::bf16;
    #[allow(clippy::wildcard_imports)]
    use std::arch::x86_64::*;
    use std::marker::PhantomData;

    const LANES: usize = 16;

    /// Reads values of a type as bf16.
    ///
    /// # Safety
    /// The CPU has AVX-512 F, BW, VL and BF16; `count` values can be read.
    pub(in super::super) trait Lanes {
        type Value;
        /// Up to 32 contiguous values as 16 pairs.
        unsafe fn pairs(from: *const Self::Value, count: usize) -> __m512i;
        /// Up to 16 values, then up to 16 others.
        unsafe fn both(
            from: *const Self::Value,
            count: usize,
            other: *const Self::Value,
            others: usize,
        ) -> __m512i;
    }

    pub(in super::super) struct F32;
    pub(in super::super) struct Bf16;

    impl Lanes for F32 {
        type Value = f32;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn pairs(from: *const f32, count: usize) -> __m512i {
            let rest = count.saturating_sub(LANES);
            // SAFETY: guaranteed by the caller.
            unsafe { Self::both(from, count, from.wrapping_add(LANES), rest) }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn both(
            from: *const f32,
            count: usize,
            other: *const f32,
            others: usize,
        ) -> __m512i {
            // SAFETY: the masks cover only readable values; both types are 64 bytes of any bits.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask(count), from);
                let high = _mm512_maskz_loadu_ps(mask(others), other);
                std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
            }
        }
    }

    impl Lanes for Bf16 {
        type Value = bf16;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn pairs(from: *const bf16, count: usize) -> __m512i {
            let there = u32::MAX.unbounded_shr(32u32.saturating_sub(count as u32));
            // SAFETY: the mask covers `count` values.
            unsafe { _mm512_maskz_loadu_epi16(there, from.cast()) }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn both(
            from: *const bf16,
            count: usize,
            other: *const bf16,
            others: usize,
        ) -> __m512i {
            // SAFETY: the masks cover only readable values.
            unsafe {
                let low = _mm256_maskz_loadu_epi16(mask(count), from.cast());
                let high = _mm256_maskz_loadu_epi16(mask(others), other.cast());
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
            }
        }
    }

    /// Rounds to nearest, ties to even, as [`crate::Stored`] does.
    impl Read<f32> for F32 {
        #[inline(always)]
        unsafe fn read(from: *const f32, there: __mmask16) -> __m512 {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let values = _mm512_maskz_loadu_ps(there, from);
                let bits = _mm512_castps_si512(values);
                let upper = _mm512_srli_epi32::<16>(bits);
                let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
                let up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
                let nearest = _mm512_add_epi32(bits, up);
                let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
                let chosen = _mm512_mask_mov_epi32(nearest, nan, quiet);
                let kept = _mm512_and_si512(chosen, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                _mm512_castsi512_ps(kept)
            }
        }
    }

    impl Read<bf16> for Bf16 {
        #[inline(always)]
        unsafe fn read(from: *const bf16, there: __mmask16) -> __m512 {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let values = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, from.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(values))
            }
        }
    }

    /// The addresses of values to pack as pairs.
    #[allow(clippy::struct_field_names)]
    pub(in super::super) struct Rows<L: Lanes> {
        from: *const L::Value,
        row: usize,
        col: usize,
        rows: usize,
        depth: usize,
        width: usize,
        to: *mut u32,
        lanes: PhantomData<L>,
    }

    impl<L: Lanes> Rows<L> {
        pub(in super::super) fn new(
            m: &MatRef<'_, L::Value>,
            panel: &Panel,
            to: &mut [u32],
        ) -> Self {
            let &Panel { first, rows, start, depth, width, tiled, grain } = panel;
            assert!(first + rows <= m.rows && start + depth <= m.cols && rows <= width);
            assert!(!tiled || grain == LANES && width.is_multiple_of(LANES), "tiles of 16");
            let steps = depth.div_ceil(2).next_multiple_of(grain);
            assert!(steps * width <= to.len(), "a panel of {depth} × {width}");
            Self {
                from: m.data.as_ptr().wrapping_add(first * m.row + start * m.col),
                row: m.row,
                col: m.col,
                rows,
                depth,
                width,
                to: to.as_mut_ptr(),
                lanes: PhantomData,
            }
        }

        /// Packs rows contiguous in memory: two steps of K become one of pairs.
        ///
        /// # Safety
        /// The CPU has AVX-512 F, BW, VL and BF16.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        pub(in super::super) unsafe fn interleave(&self) {
            if self.rows == 2 * LANES && self.width == 2 * LANES {
                // SAFETY: the CPU has the instructions; the panel is whole.
                return unsafe { self.interleave_whole() };
            }
            // Lane 2i of a result is value i of the first 16, lane 2i + 1 of the other 16.
            let lanes: [u16; 32] = std::array::from_fn(|i| i as u16 / 2 + (i as u16 % 2) * 16);
            // SAFETY: an array of 64 bytes.
            let lanes = unsafe { _mm512_loadu_epi16(lanes.as_ptr().cast()) };
            for r in (0..self.width).step_by(LANES) {
                let (count, room) = (self.rows.saturating_sub(r), mask(self.width - r));
                for k in (0..self.depth).step_by(2) {
                    let from = self.from.wrapping_add(k * self.col + r);
                    soon(from.wrapping_add(AHEAD * self.col));
                    soon(from.wrapping_add((AHEAD + 1) * self.col));
                    let next = if k + 1 < self.depth { count } else { 0 };
                    // SAFETY: only rows and steps of the matrix and room of the panel (see `new`).
                    unsafe {
                        let both = L::both(from, count, from.wrapping_add(self.col), next);
                        let to = self.to.add(k / 2 * self.width + r);
                        let pairs = _mm512_permutexvar_epi16(lanes, both);
                        _mm512_mask_storeu_epi32(to.cast(), room, pairs);
                    }
                }
            }
        }

        /// [`Rows::interleave`] for a panel of 32 rows: two steps are read whole and merged by
        /// permutations.
        ///
        /// # Safety
        /// The CPU has AVX-512 F, BW, VL and BF16; the panel has 32 rows.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn interleave_whole(&self) {
            // Lane 2i of a result is value i of the first operand, lane 2i + 1 of the second, whose
            // lanes start at 32.
            let lanes =
                |from: u16| std::array::from_fn(|i| from + i as u16 / 2 + (i as u16 % 2) * 32);
            let [low, high]: [[u16; 32]; 2] = [lanes(0), lanes(16)];
            // SAFETY: arrays of 64 bytes; a whole step of the matrix and of the panel (see `new`).
            unsafe {
                let low = _mm512_loadu_epi16(low.as_ptr().cast());
                let high = _mm512_loadu_epi16(high.as_ptr().cast());
                for k in (0..self.depth).step_by(2) {
                    let from = self.from.wrapping_add(k * self.col);
                    for ahead in [AHEAD, AHEAD + 1] {
                        let line = from.wrapping_add(ahead * self.col);
                        soon(line);
                        // 32 values of f32 take two lines.
                        soon(line.wrapping_add(LANES));
                    }
                    let even = L::pairs(from, 2 * LANES);
                    let next = if k + 1 < self.depth { 2 * LANES } else { 0 };
                    let odd = L::pairs(from.wrapping_add(self.col), next);
                    let to = self.to.add(k / 2 * self.width).cast::<i32>();
                    _mm512_storeu_epi32(to, _mm512_permutex2var_epi16(even, low, odd));
                    _mm512_storeu_epi32(to.add(LANES), _mm512_permutex2var_epi16(even, high, odd));
                }
            }
        }

        /// Packs rows with contiguous values into tiles: 16 pairs of each row, row after row.
        ///
        /// # Safety
        /// The CPU has AVX-512 F, BW, VL and BF16; the panel is tiled by 16.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        pub(in super::super) unsafe fn copy_tiles(&self) {
            for r in 0..self.width {
                let from = self.from.wrapping_add(r * self.row);
                for k in (0..self.depth).step_by(2 * LANES) {
                    let count = (self.depth - k).min(2 * LANES);
                    let from = from.wrapping_add(k);
                    soon(from.wrapping_add(4 * LANES));
                    soon(from.wrapping_add(5 * LANES));
                    // SAFETY: only rows and steps of the matrix and room of the panel (see `new`).
                    unsafe {
                        let pairs = L::pairs(from, if r < self.rows { count } else { 0 });
                        let to = self.to.add(k / 2 * self.width + r * LANES);
                        _mm512_storeu_si512(to.cast(), pairs);
                    }
                }
            }
        }

        /// Packs rows contiguous in memory into tiles: pairs of steps are transposed in registers.
        ///
        /// # Safety
        /// The CPU has AVX-512 F, BW, VL and BF16; the panel is tiled by 16 and has a multiple of
        /// 16 rows.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        pub(in super::super) unsafe fn transpose_tiles(&self) {
            // Lane 2i of a result is value i of the first 16, lane 2i + 1 of the other 16.
            let lanes: [u16; 32] = std::array::from_fn(|i| i as u16 / 2 + (i as u16 % 2) * 16);
            // SAFETY: an array of 64 bytes.
            let lanes = unsafe { _mm512_loadu_epi16(lanes.as_ptr().cast()) };
            for k in (0..self.depth).step_by(2 * LANES) {
                for r in (0..self.width).step_by(LANES) {
                    let rows = self.rows.saturating_sub(r).min(LANES);
                    // SAFETY: only rows and steps of the matrix and room of the panel (see `new`).
                    unsafe {
                        let mut square = [_mm512_setzero_si512(); LANES];
                        for (i, pairs) in square.iter_mut().enumerate() {
                            let k = k + 2 * i;
                            let from = self.from.wrapping_add(k * self.col + r);
                            soon(from.wrapping_add(2 * LANES * self.col));
                            soon(from.wrapping_add((2 * LANES + 1) * self.col));
                            let count = |k: usize| if k < self.depth { rows } else { 0 };
                            let next = from.wrapping_add(self.col);
                            let both = L::both(from, count(k), next, count(k + 1));
                            *pairs = _mm512_permutexvar_epi16(lanes, both);
                        }
                        let to = self.to.add(k / 2 * self.width + r * LANES);
                        for (i, &line) in transposed(square).iter().enumerate() {
                            _mm512_storeu_si512(to.add(i * LANES).cast(), line);
                        }
                    }
                }
            }
        }

        /// Packs rows with contiguous values: squares of 16 × 16 pairs are transposed in registers.
        ///
        /// # Safety
        /// The CPU has AVX-512 F, BW, VL and BF16.
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        pub(in super::super) unsafe fn transpose(&self) {
            for r in (0..self.width).step_by(LANES) {
                let room = mask(self.width - r);
                let rows = self.rows.saturating_sub(r).min(LANES);
                for k in (0..self.depth).step_by(2 * LANES) {
                    let count = (self.depth - k).min(2 * LANES);
                    // SAFETY: only rows and steps of the matrix and room of the panel (see `new`).
                    unsafe {
                        let mut square = [_mm512_setzero_si512(); LANES];
                        for (i, line) in square.iter_mut().enumerate() {
                            if i < rows {
                                let from = self.from.wrapping_add((r + i) * self.row + k);
                                soon(from.wrapping_add(4 * LANES));
                                soon(from.wrapping_add(5 * LANES));
                                *line = L::pairs(from, count);
                            }
                        }
                        let square = transposed(square);
                        let to = self.to.add(k / 2 * self.width + r);
                        for (i, &line) in square.iter().enumerate() {
                            if i < count.div_ceil(2) {
                                _mm512_mask_storeu_epi32(to.add(i * self.width).cast(), room, line);
                            }
                        }
                    }
                }
            }
        }
    }
}
