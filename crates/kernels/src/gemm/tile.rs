//! The register tile: a few rows of C, one or two registers wide, summed over the whole depth of
//! two panels.
//!
//! A tile of 14 × 2 registers of 16 f32 keeps sums in 28 of AVX-512's 32 registers; each step of K
//! loads two registers of B and multiplies them by 14 values of A, so that loads are a little over
//! half of the multiply-adds. Smaller tiles, for the last rows and columns and for matrices not
//! divisible by 14, are the same code with other constants.

use super::pack::Ahead;
#[cfg(target_arch = "x86_64")]
use super::sums::Pairs;
use super::sums::Sums;
use crate::Float;
use crate::simd::soon;
use crate::vector::Vector;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};

/// The operands and the destination of a tile.
pub(super) struct Tile<P, T> {
    /// Steps of K: values, or pairs of them.
    pub(super) depth: usize,
    /// The first value of A; rows are `a_row` apart (1 in a panel), steps of K `a_k`.
    pub(super) a: *const P,
    pub(super) a_row: usize,
    pub(super) a_k: usize,
    /// The first value of B; columns are contiguous, steps of K are `b_k` apart.
    pub(super) b: *const P,
    pub(super) b_k: usize,
    /// The first value of C; rows are `c_row` apart.
    pub(super) c: *mut T,
    pub(super) c_row: usize,
    /// Rows and columns of the tile.
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Whether to add to the values of C.
    pub(super) add: bool,
    /// The panel to prefetch.
    pub(super) ahead: Ahead,
}

/// The prefetch distance of a panel of B, in steps of K: it hides the latency of the L2 cache from
/// which the panel streams.
const B_AHEAD: usize = 8;
/// Steps of K between two prefetches of memory outside the panels: all at once, they would take
/// every slot for lines on their way to the L1 cache, and the panel of B would wait for them.
const GROUP: usize = 8;
/// The groups between the prefetch of the last sums and their use: about 1,300 cycles, more than
/// main memory takes.
const SUMS_AHEAD: usize = 12;

/// Computes a tile of a fixed number of rows and registers.
///
/// # Safety
/// The CPU has the instruction set; `rows` × `depth` values of A and `depth` × (registers · lanes)
/// of B can be read, `rows` × `width` of C read and written, and no other thread touches those of C
/// meanwhile.
pub(super) type Kernel<P, T> = unsafe fn(&Tile<P, T>);

/// The micro-kernels of an instruction set for one type of values.
pub(super) trait Kernels: 'static {
    /// The type of sums.
    type Sum: Float;
    /// The unit of a panel: one value, or as many as one instruction multiplies and adds.
    type Packed: Copy + Send + Sync;
    /// Steps of K per packed unit.
    const STEPS: usize;
    /// The number of packed units to a multiple of which packing pads panels with zeros.
    const GRAIN: usize = 1;
    /// Columns of a register.
    const LANES: usize;
    /// The maximum number of rows of a tile; panels of A hold a multiple of it.
    const ROWS: usize;
    const ROW_GRAIN: usize = 1;
    /// The maximum number of columns of a tile.
    const COLS: usize = 2 * Self::LANES;
    /// Whether panels of A store groups of `GRAIN` values row after row instead of step of K after
    /// step of K.
    const TILED: bool = false;
    /// The maximum number of steps of K summed before the sums go to C: a panel of A then takes
    /// half of the L1 cache.
    const CHUNK: usize;
    /// The approximate speed relative to the CPU's f32 vector multiply-adds.
    const SPEED: usize = 1;

    /// The tile of 1 to `ROWS` rows and one or two registers; `panel` if A's rows are contiguous.
    fn kernel(rows: usize, registers: usize, panel: bool) -> Kernel<Packed<Self>, Sum<Self>>;

    /// Runs the tiles of a block on this thread, with the thread state they need.
    fn with_state<R>(block: impl FnOnce() -> R) -> R {
        block()
    }

    /// The number of packed units for `steps` steps of K.
    fn packed(steps: usize) -> usize {
        steps.div_ceil(Self::STEPS).next_multiple_of(Self::GRAIN)
    }
}

/// The packed unit of an instruction set.
pub(super) type Packed<K> = <K as Kernels>::Packed;
/// The type of an instruction set's sums.
pub(super) type Sum<K> = <K as Kernels>::Sum;

/// Steps of K per chunk of register tiles: a panel of A (14 rows of f32) then takes 21 KiB of a 32
/// KiB L1 cache.
const CHUNK: usize = 384;

/// The type of a register's values.
type Value<S> = <<S as Sums>::Values as Vector>::T;

/// # Safety
/// As for [`Kernel`].
#[inline(always)]
unsafe fn compute<S: Sums, const ROWS: usize, const REGISTERS: usize, const PANEL: bool>(
    tile: &Tile<S::Packed, Value<S>>,
) {
    let lanes = S::Values::LANES;
    let last = S::Values::mask(tile.width - (REGISTERS - 1) * lanes);
    let whole = S::Values::mask(lanes);
    // SAFETY: the caller's guarantee covers every address below: rows and registers of the tile,
    // steps of the depth.
    unsafe {
        let mut sums = [[S::zero(); REGISTERS]; ROWS];
        let (mut a, mut b) = (tile.a, tile.b);
        let (mut ahead, mut c) = (tile.ahead, tile.c.cast_const());
        let (mut steps, mut rows) = (tile.depth, ROWS);
        let mut groups = steps.div_ceil(GROUP).max(1);
        let (lines, rows_at_once) = (ahead.count.div_ceil(groups), ROWS.div_ceil(groups));
        while steps > 0 {
            if groups <= ROWS + SUMS_AHEAD {
                for _ in 0..rows_at_once.min(rows) {
                    for v in 0..REGISTERS {
                        prefetch_sums(c.wrapping_add(v * lanes));
                    }
                    c = c.wrapping_add(tile.c_row);
                }
                rows = rows.saturating_sub(rows_at_once);
            }
            for _ in 0..lines {
                ahead.ask();
            }
            for _ in 0..GROUP.min(steps) {
                for v in 0..REGISTERS {
                    soon(b.wrapping_add(B_AHEAD * tile.b_k + v * lanes));
                }
                let columns: [S::Factor; REGISTERS] =
                    std::array::from_fn(|v| S::factors(b.add(v * lanes)));
                // The compiler unrolls this loop.
                #[allow(clippy::needless_range_loop)]
                for i in 0..ROWS {
                    let value = S::splat(*a.add(if PANEL { i } else { i * tile.a_row }));
                    for v in 0..REGISTERS {
                        sums[i][v] = sums[i][v].fma(value, columns[v]);
                    }
                }
                a = a.wrapping_add(tile.a_k);
                b = b.wrapping_add(tile.b_k);
            }
            steps = steps.saturating_sub(GROUP);
            groups -= 1;
        }
        for (i, row) in sums.iter().enumerate() {
            for (v, &sum) in row.iter().enumerate() {
                let mask = if v + 1 == REGISTERS { last } else { whole };
                let c = tile.c.add(i * tile.c_row + v * lanes);
                let sum = sum.values();
                let sum = if tile.add { S::Values::read_some(c, mask).plus(sum) } else { sum };
                sum.write_some(c, mask);
            }
        }
    }
}

/// Prefetches a cache line of sums for writing.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch_sums<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; any address is allowed.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(line.cast());
    }
}

macro_rules! kernels {
    ($(#[$doc:meta])* $name:ident, $v:ty, [$($feature:literal)?], $rows:literal: $($n:literal)+) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl $name {
            /// # Safety
            /// As for [`Kernel`].
            $(#[target_feature(enable = $feature)])?
            unsafe fn run<const ROWS: usize, const REGISTERS: usize, const PANEL: bool>(
                tile: &Tile<<$v as Sums>::Packed, Value<$v>>,
            ) {
                // SAFETY: guaranteed by the caller.
                unsafe { compute::<$v, ROWS, REGISTERS, PANEL>(tile) }
            }
        }

        impl Kernels for $name {
            type Sum = Value<$v>;
            type Packed = <$v as Sums>::Packed;
            const STEPS: usize = <$v as Sums>::STEPS;
            const LANES: usize = <$v as Sums>::Values::LANES;
            const ROWS: usize = $rows;
            const CHUNK: usize = CHUNK * Self::STEPS * size_of::<f32>() / size_of::<Value<$v>>();

            fn kernel(rows: usize, registers: usize, panel: bool) -> Kernel<Packed<Self>, Sum<Self>> {
                match (rows, registers, panel) {
                    $(
                        ($n, 1, true) => Self::run::<$n, 1, true>,
                        ($n, 1, false) => Self::run::<$n, 1, false>,
                        ($n, _, true) => Self::run::<$n, 2, true>,
                        ($n, _, false) => Self::run::<$n, 2, false>,
                    )+
                    _ => unreachable!("a tile has 1 to {} rows", $rows),
                }
            }
        }
    };
}

kernels!(
    /// f32 on any CPU.
    PlainF32, [f32; 4], [], 4: 1 2 3 4
);
kernels!(
    /// f64 on any CPU.
    PlainF64, [f64; 2], [], 4: 1 2 3 4
);

#[cfg(target_arch = "x86_64")]
kernels!(
    /// f32 with AVX2: sums take 12 of 16 registers.
    Avx2F32, __m256, ["avx2,fma"], 6: 1 2 3 4 5 6
);
#[cfg(target_arch = "x86_64")]
kernels!(
    /// f32 with AVX-512.
    Avx512F32, __m512, ["avx512f"], 14: 1 2 3 4 5 6 7 8 9 10 11 12 13 14
);
#[cfg(target_arch = "x86_64")]
kernels!(
    /// f64 with AVX2.
    Avx2F64, __m256d, ["avx2,fma"], 6: 1 2 3 4 5 6
);
#[cfg(target_arch = "x86_64")]
kernels!(
    /// f64 with AVX-512.
    Avx512F64, __m512d, ["avx512f"], 14: 1 2 3 4 5 6 7 8 9 10 11 12 13 14
);
#[cfg(target_arch = "x86_64")]
kernels!(
    /// bf16 with AVX-512 BF16, summed in f32.
    Avx512Bf16, Pairs, ["avx512f,avx512bf16"], 14: 1 2 3 4 5 6 7 8 9 10 11 12 13 14
);
