//! Products of blocks in the L1 or L2 cache, on the calling thread: the building blocks of
//! operations such as attention with other work between their products.

use super::amx;
use super::pack::{Operand, Panel};
use super::rounded::Rounded;
use super::tile::{self, Kernels, Packed, Sum, Tile};
use super::{MatRef, same};
use crate::{MatMut, Stored, dispatch};
use ff_tensor::{Bf16Kernels, CpuDevice, Isa, bf16};
use std::mem::MaybeUninit;
use std::ops::Range;

/// The multiple to which the columns of a packed block are rounded up.
pub const BLOCK_WIDTH: usize = 32;

/// A diagonal band of a block: the values (i, j) with i + `low` ≤ j < i + `high`.
///
/// ```
/// use ff_kernels::Band;
/// let causal = Band { high: 1, ..Band::ALL };
/// assert_eq!(causal.columns(2..3, 8), 0..3);
/// assert_eq!(causal.t().columns(2..3, 8), 2..8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// The first j of row 0.
    pub low: isize,
    /// One past the last j of row 0.
    pub high: isize,
}

impl Band {
    /// The whole block.
    pub const ALL: Self = Self { low: isize::MIN / 4, high: isize::MAX / 4 };

    /// The same band, relative to a sub-block at row `i` and column `j`.
    #[must_use]
    pub fn at(self, i: usize, j: usize) -> Self {
        let shift = i as isize - j as isize;
        Self { low: self.low + shift, high: self.high + shift }
    }

    /// The band of the transpose.
    #[must_use]
    pub fn t(self) -> Self {
        Self { low: 1 - self.high, high: 1 - self.low }
    }

    /// The range of columns, out of `cols`, inside the band for any of `rows`.
    #[inline(always)]
    pub fn columns(self, rows: Range<usize>, cols: usize) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let bound = |j: isize| j.clamp(0, cols as isize) as usize;
        let start = bound(rows.start as isize + self.low);
        start..bound(rows.end as isize - 1 + self.high).max(start)
    }
}

/// The part of a product A · B that a band leaves to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockTrim {
    /// Only values of C in the band are needed; the others may or may not be written.
    Output(Band),
    /// A is zero outside the band.
    Depth(Band),
}

/// An element type of block products: f32, f64, or bf16 with sums in f32.
///
/// ```
/// use ff_kernels::{Band, BlockFloat, BlockTrim, MatMut, MatRef};
/// let device = ff_tensor::Device::default();
/// let (a, b, mut c) = ([1.0f32, 2.0], [3.0, 4.0], [0.0]);
/// let mut packed = [0.0; 2 * ff_kernels::BLOCK_WIDTH];
/// f32::pack_block(device.cpu(), MatRef::new(&b, 2, 1), &mut packed);
/// let (a, whole) = (MatRef::new(&a, 1, 2), BlockTrim::Output(Band::ALL));
/// f32::multiply_block(device.cpu(), a, &packed, MatMut::new(&mut c, 1, 1), whole, false);
/// assert_eq!(c, [11.0]);
/// ```
pub trait BlockFloat: Stored {
    /// The values in the type of sums: borrowed, or copied to `scratch` of rows · columns values.
    ///
    /// # Panics
    /// If a copy is needed and the scratch is too small.
    fn widen<'a>(
        cpu: &CpuDevice,
        x: MatRef<'a, Self>,
        scratch: &'a mut [Self::Compute],
    ) -> MatRef<'a, Self::Compute>;

    /// The view itself, if this type can hold sums.
    fn sums(view: MatMut<'_, Self>) -> Option<MatMut<'_, Self::Compute>>;

    /// Packs B for this device; `to` holds the rows, rounded up to an even number, times the
    /// columns, rounded up to a multiple of [`BLOCK_WIDTH`].
    ///
    /// # Panics
    /// If `to` is too small.
    fn pack_block(cpu: &CpuDevice, b: MatRef<'_, Self::Compute>, to: &mut [Self::Compute]);

    /// C = A · B, or C += A · B, for a packed B as wide as C.
    ///
    /// # Panics
    /// If the shapes do not match.
    fn multiply_block(
        cpu: &CpuDevice,
        a: MatRef<'_, Self::Compute>,
        b: &[Self::Compute],
        c: MatMut<'_, Self::Compute>,
        trim: BlockTrim,
        add: bool,
    );
}

macro_rules! block_float {
    ($t:ty, $compute:ty, $operand:expr, $widen:expr, [$($isa:pat $(if $guard:ident)? => $kernels:ty,)*], $plain:ty) => {
        impl BlockFloat for $t {
            fn widen<'a>(
                cpu: &CpuDevice,
                x: MatRef<'a, $t>,
                scratch: &'a mut [$compute],
            ) -> MatRef<'a, $compute> {
                $widen(cpu, x, scratch)
            }

            fn sums(view: MatMut<'_, $t>) -> Option<MatMut<'_, $compute>> {
                same::<$t, $compute, _, MatMut<'_, $compute>>(view)
            }

            fn pack_block(cpu: &CpuDevice, b: MatRef<'_, $compute>, to: &mut [$compute]) {
                let _depth = b.rows;
                let b = $operand(b.t());
                #[allow(clippy::match_single_binding)]
                match cpu.isa() {
                    $(#[cfg(target_arch = "x86_64")]
                    $isa $(if $guard(cpu, _depth))? => pack::<$kernels, _>(cpu, b, to),)*
                    _ => pack::<$plain, _>(cpu, b, to),
                }
            }

            fn multiply_block(
                cpu: &CpuDevice,
                a: MatRef<'_, $compute>,
                b: &[$compute],
                c: MatMut<'_, $compute>,
                trim: BlockTrim,
                add: bool,
            ) {
                let _depth = a.cols;
                let a = $operand(a);
                #[allow(clippy::match_single_binding)]
                match cpu.isa() {
                    $(#[cfg(target_arch = "x86_64")]
                    $isa $(if $guard(cpu, _depth))? => multiply::<$kernels, _>(cpu, a, b, c, trim, add),)*
                    _ => multiply::<$plain, _>(cpu, a, b, c, trim, add),
                }
            }
        }
    };
}

block_float!(
    f32, f32, std::convert::identity, |_, x, _| x,
    [Isa::Avx512 => tile::Avx512F32, Isa::Avx2 => tile::Avx2F32,], tile::PlainF32
);
block_float!(f64, f64, std::convert::identity, |_, x, _| x, [], tile::PlainF64);
block_float!(
    bf16, f32, Rounded, widen,
    [
        Isa::Avx512 if has_tiles => amx::Amx<amx::Hardware>,
        Isa::Avx512 if has_pairs => tile::Avx512Bf16,
        Isa::Avx512 => tile::Avx512F32,
        Isa::Avx2 => tile::Avx2F32,
    ],
    tile::PlainF32
);

fn has_pairs(cpu: &CpuDevice, _: usize) -> bool {
    cpu.bf16() == Bf16Kernels::Pairs
}

/// Whether the CPU has tiles and the depth justifies them: the packed block then has room for their
/// zero padding.
fn has_tiles(cpu: &CpuDevice, depth: usize) -> bool {
    cpu.bf16() == Bf16Kernels::Tiles && depth >= amx::SIDE
}

/// A copy in f32.
fn widen<'a>(cpu: &CpuDevice, x: MatRef<'a, bf16>, scratch: &'a mut [f32]) -> MatRef<'a, f32> {
    let (rows, cols) = x.shape();
    let scratch = &mut scratch[..rows * cols];
    dispatch(
        cpu,
        #[inline(always)]
        || {
            for (i, to) in scratch.chunks_exact_mut(cols.max(1)).enumerate() {
                if x.col == 1 {
                    for (to, from) in to.iter_mut().zip(&x.data[i * x.row..]) {
                        *to = from.compute();
                    }
                } else {
                    for (j, to) in to.iter_mut().enumerate() {
                        *to = x.data[i * x.row + j * x.col].compute();
                    }
                }
            }
        },
    );
    MatRef::new(scratch, rows, cols)
}

/// Packs the rows of the transpose of B.
fn pack<K: Kernels, O: Operand<Packed<K>>>(cpu: &CpuDevice, b: O, to: &mut [Sum<K>]) {
    let (cols, depth) = b.size();
    assert!(
        depth.next_multiple_of(2) * cols.next_multiple_of(BLOCK_WIDTH) <= to.len(),
        "the buffer is too small for a packed block of {depth} × {cols}"
    );
    let steps = K::packed(depth);
    // SAFETY: a pair of bf16 is as large as the f32 in whose place it lies, so it fits; any bits
    // are valid in both.
    let to = unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), to.len()) };
    for (panel, first) in (0..cols).step_by(K::COLS).enumerate() {
        let rows = K::COLS.min(cols - first);
        let to = &mut to[panel * steps * K::COLS..][..steps * K::COLS];
        b.pack(
            cpu,
            &Panel { first, rows, start: 0, depth, width: K::COLS, tiled: false, grain: K::GRAIN },
            to,
        );
    }
}

/// The maximum number of steps of K for which rows of A are packed at a time.
const CHUNK: usize = 256;
/// The maximum number of rows of a tile.
const ROWS: usize = 32;

fn multiply<K: Kernels, A: Operand<Packed<K>>>(
    cpu: &CpuDevice,
    a: A,
    b: &[Sum<K>],
    mut c: MatMut<'_, Sum<K>>,
    trim: BlockTrim,
    add: bool,
) {
    const { assert!(size_of::<Packed<K>>() == size_of::<Sum<K>>() && K::ROWS <= ROWS) };
    let ((m, depth), (c_rows, n)) = (a.size(), c.shape());
    assert!(m == c_rows, "a block of {m} rows into {c_rows}");
    let steps = K::packed(depth);
    assert!(steps * n.next_multiple_of(K::COLS) <= b.len(), "a packed block of {depth} × {n}");
    if m == 0 || n == 0 {
        return;
    }
    let mut space = [const { MaybeUninit::<Packed<K>>::uninit() }; ROWS * CHUNK];
    // Shorter tiles follow the edge of a band more closely.
    let (BlockTrim::Output(band) | BlockTrim::Depth(band)) = trim;
    let across = if matches!(trim, BlockTrim::Output(_)) { n } else { depth };
    let whole = |i: usize| band.columns(i..i + 1, across) == (0..across);
    let most = if whole(0) && whole(m - 1) {
        K::ROWS
    } else {
        (K::ROWS / 2 + 1) / K::ROW_GRAIN * K::ROW_GRAIN
    };
    let height = m.div_ceil(m.div_ceil(most)).next_multiple_of(K::ROW_GRAIN);
    K::with_state(|| {
        for first in (0..m).step_by(height) {
            let rows = height.min(m - first);
            let (columns, span) = match trim {
                BlockTrim::Output(band) => (band.columns(first..first + rows, n), 0..depth),
                BlockTrim::Depth(band) => (0..n, band.columns(first..first + rows, depth)),
            };
            let whole_steps = K::STEPS * K::GRAIN;
            let start = span.start / whole_steps * whole_steps;
            if span.is_empty() && !add {
                (first..first + rows)
                    .for_each(|i| c.row(i)[columns.clone()].fill(Sum::<K>::default()));
            }
            for chunk in (start..span.end).step_by(CHUNK) {
                let some = CHUNK.min(span.end - chunk);
                let (a_start, a_row, a_k) = if let Some((from, row, col)) = a.direct() {
                    (from.wrapping_add(first * row + chunk * col), row, col)
                } else {
                    let panel = Panel {
                        first,
                        rows,
                        start: chunk,
                        depth: some,
                        width: height,
                        tiled: K::TILED,
                        grain: K::GRAIN,
                    };
                    // SAFETY: packing writes every value of the panel read by a tile, and reads
                    // none; see `Operand`.
                    let to = unsafe {
                        let len = K::packed(some) * height;
                        std::slice::from_raw_parts_mut(space.as_mut_ptr().cast::<Packed<K>>(), len)
                    };
                    a.pack(cpu, &panel, to);
                    (to.as_ptr(), 1, height)
                };
                for column in (columns.start / K::COLS * K::COLS..columns.end).step_by(K::COLS) {
                    let registers = (columns.end - column).min(K::COLS).div_ceil(K::LANES);
                    let place = (column * steps) + chunk / K::STEPS * K::COLS;
                    let c_row = c.distance();
                    let tile = Tile {
                        depth: K::packed(some),
                        a: a_start,
                        a_row,
                        a_k,
                        b: b.as_ptr().cast::<Packed<K>>().wrapping_add(place),
                        b_k: K::COLS,
                        c: c.start().wrapping_add(first * c_row + column),
                        c_row,
                        rows,
                        width: (registers * K::LANES).min(n - column),
                        add: add || chunk > start,
                        ahead: super::pack::Ahead::NOTHING,
                    };
                    // SAFETY: the instruction set is the device's; A has these rows and steps, in
                    // place or in its panel; the panel of B holds `steps` whole steps (asserted
                    // above); the columns of C are the view's.
                    unsafe { K::kernel(rows, registers, a_row == 1)(&tile) };
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Float, gemm_reference};
    use ff_tensor::{Device, DeviceOptions, Key, Rng};

    /// Compares products of small integers, exact in every type, with the definition.
    fn exact<S: BlockFloat>(isa: Isa) {
        let device = Device::open(DeviceOptions { threads: 1, isa: Some(isa) }).unwrap();
        let cpu = device.cpu();
        let mut rng = Rng::new(Key::new(3));
        let sizes = [(1, 1, 1), (5, 3, 2), (64, 64, 64), (17, 40, 33), (13, 300, 70), (3, 1, 65)];
        let causal = Band { high: 2, ..Band::ALL };
        let bands = [Band::ALL, causal, causal.t(), Band { low: -3, high: 4 }, causal.at(20, 0)];
        for ((m, k, n), band) in sizes.into_iter().flat_map(|s| bands.map(|band| (s, band))) {
            let mut values = |n: usize| -> Vec<S::Compute> {
                (0..n).map(|_| S::Compute::of(rng.below(9) as f64 - 4.0)).collect()
            };
            let (mut a, b, old) = (values(m * k), values(k * n), values(m * n));
            let mut packed = vec![S::Compute::ZERO; (k + k % 2) * n.next_multiple_of(BLOCK_WIDTH)];
            S::pack_block(cpu, MatRef::new(&b, n, k).t(), &mut packed);
            for (depth, add) in [(false, false), (false, true), (true, false), (true, true)] {
                let trim = if depth { BlockTrim::Depth(band) } else { BlockTrim::Output(band) };
                for i in (0..m).filter(|_| depth) {
                    let inside = band.columns(i..i + 1, k);
                    let row = a[i * k..(i + 1) * k].iter_mut().enumerate();
                    row.filter(|(j, _)| !inside.contains(j))
                        .for_each(|(_, a)| *a = S::Compute::ZERO);
                }
                let (mut found, mut expected) = (old.clone(), old.clone());
                let a = MatRef::new(&a, m, k);
                S::multiply_block(cpu, a, &packed, MatMut::new(&mut found, m, n), trim, add);
                gemm_reference(a, MatRef::new(&b, n, k).t(), &mut expected, add);
                for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let (i, j) = (at / n, at % n);
                    let needed = depth || band.columns(i..i + 1, n).contains(&j);
                    assert!(
                        !needed || found == expected,
                        "{isa} {m}×{k}×{n} {trim:?} add {add}, ({i}, {j}): {found:?}, expected {expected:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn blocks_of_every_size_band_and_path() {
        for isa in Isa::ALL.into_iter().filter(|&i| i <= Isa::detect()) {
            exact::<f32>(isa);
            exact::<f64>(isa);
            exact::<bf16>(isa);
        }
    }

    #[test]
    fn the_columns_of_bands() {
        let window = Band { low: -2, high: 1 };
        assert_eq!(window.columns(0..1, 9), 0..1);
        assert_eq!(window.columns(4..6, 9), 2..6);
        assert_eq!(window.at(4, 3).columns(0..1, 9), 0..2);
        assert_eq!(window.t().columns(2..3, 9), 2..5);
        assert!(window.columns(20..21, 9).is_empty() && window.columns(3..3, 9).is_empty());
        assert_eq!(Band::ALL.at(7, 9).t().columns(1..2, 9), 0..9);
    }
}
