//! Products of bf16 in AMX tiles: one instruction multiplies two tiles of 16 rows of 64 bytes.
//!
//! Four tiles hold 32 × 32 sums. A step of 32 values of K loads two tiles of A and two of B and
//! adds four products: 64 cycles of the multiplier, 32 of the two load ports. Panels of B hold
//! pairs of K side by side, as for `vdpbf16ps`; panels of A hold 16 pairs of each row, row after
//! row.
//!
//! Each instruction has a second, bit-identical implementation in plain code, so that tests run the
//! same driver on every CPU.

use super::tile::{Kernel, Kernels, Tile};
use std::marker::PhantomData;

/// Rows of a tile, and 32-bit values of a row.
pub(super) const SIDE: usize = 16;

/// The tile instructions, on eight registers numbered by `T`.
///
/// # Safety
/// Every function needs a CPU with the implementor's instructions, inside [`Unit::configured`];
/// those with an address argument read or write 16 rows of 64 bytes there, `stride` bytes apart.
pub(super) trait Unit: Sized + 'static {
    /// The registers, unless they are the CPU's.
    fn registers() -> Self;
    /// Runs `run` with the registers configured as 16 rows of 64 bytes.
    fn configured<R>(run: impl FnOnce() -> R) -> R;
    unsafe fn zero<const T: usize>(&mut self);
    unsafe fn load<const T: usize>(&mut self, from: *const u32, stride: usize);
    unsafe fn store<const T: usize>(&self, to: *mut f32, stride: usize);
    /// C += A · B, with pairs of bf16 in A and B and sums of f32 in C: `tdpbf16ps`.
    unsafe fn dot<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// The kernels of a tile unit.
pub(super) struct Amx<U>(PhantomData<U>);

impl<U: Unit> Kernels for Amx<U> {
    type Sum = f32;
    type Packed = u32;
    const STEPS: usize = 2;
    const GRAIN: usize = SIDE;
    const LANES: usize = SIDE;
    const ROWS: usize = 2 * SIDE;
    const ROW_GRAIN: usize = SIDE;
    const TILED: bool = true;
    const CHUNK: usize = 768;
    const SPEED: usize = 8;

    fn kernel(rows: usize, registers: usize, _: bool) -> Kernel<u32, f32> {
        match (rows > SIDE, registers > 1) {
            (true, true) => compute::<U, 2, 2>,
            (true, false) => compute::<U, 2, 1>,
            (false, true) => compute::<U, 1, 2>,
            (false, false) => compute::<U, 1, 1>,
        }
    }

    fn with_state<R>(block: impl FnOnce() -> R) -> R {
        U::configured(block)
    }
}

/// A buffer of sums for tiles only partly inside C.
#[repr(align(64))]
struct Whole([f32; 4 * SIDE * SIDE]);

/// Computes `I` × `J` tiles, starting from C if `add` is set; whole tiles use C directly.
///
/// # Safety
/// As for [`Kernel`].
unsafe fn compute<U: Unit, const I: usize, const J: usize>(tile: &Tile<u32, f32>) {
    const { assert!(I <= 2 && J <= 2) };
    let whole = tile.rows == I * SIDE && tile.width == J * SIDE;
    let (rows, width) = (tile.rows.min(I * SIDE), tile.width.min(J * SIDE));
    if whole {
        // SAFETY: guaranteed by the caller: C has all rows and columns of the tiles.
        return unsafe { sum::<U, I, J>(tile, tile.c, tile.c_row) };
    }
    let mut part = Whole([0.0; 4 * SIDE * SIDE]);
    let line = J * SIDE;
    if tile.add {
        for (i, to) in part.0.chunks_exact_mut(line).enumerate().take(rows) {
            // SAFETY: guaranteed by the caller: `rows` × `width` values of C can be read.
            let from = unsafe { std::slice::from_raw_parts(tile.c.add(i * tile.c_row), width) };
            to[..width].copy_from_slice(from);
        }
    }
    // SAFETY: guaranteed by the caller; the local sums have all rows and columns of the tiles.
    unsafe { sum::<U, I, J>(tile, part.0.as_mut_ptr(), line) };
    for (i, from) in part.0.chunks_exact(line).enumerate().take(rows) {
        // SAFETY: guaranteed by the caller: `rows` × `width` values of C can be written, by this
        // thread alone.
        let to = unsafe { std::slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), width) };
        to.copy_from_slice(&from[..width]);
    }
}

/// The sums of whole tiles; rows of C are `c_row` values apart.
///
/// # Safety
/// As for [`Kernel`], with all rows and columns of the tiles in C.
#[inline(always)]
unsafe fn sum<U: Unit, const I: usize, const J: usize>(
    tile: &Tile<u32, f32>,
    c: *mut f32,
    c_row: usize,
) {
    let stride = c_row * size_of::<f32>();
    let at = |i: usize, j: usize| c.wrapping_add(i * SIDE * c_row + j * SIDE);
    // Panels of A: 64 bytes a row; of B: two tiles side by side.
    let (a_line, b_line) = (4 * SIDE, 8 * SIDE);
    // In values of 32 bits.
    let (a_step, b_step) = (tile.a_k * SIDE, tile.b_k * SIDE);
    let mut unit = U::registers();
    // SAFETY: the CPU has the instructions; panels hold `depth` packed values, a multiple of
    // `SIDE`, of whole tiles; C has them.
    unsafe {
        if tile.add {
            unit.load::<0>(at(0, 0).cast(), stride);
            if J > 1 {
                unit.load::<1>(at(0, 1).cast(), stride);
            }
            if I > 1 {
                unit.load::<2>(at(1, 0).cast(), stride);
            }
            if I > 1 && J > 1 {
                unit.load::<3>(at(1, 1).cast(), stride);
            }
        } else {
            unit.zero::<0>();
            unit.zero::<1>();
            unit.zero::<2>();
            unit.zero::<3>();
        }
        let (mut a, mut b) = (tile.a, tile.b);
        let mut ahead = tile.ahead;
        for _ in 0..tile.depth / SIDE {
            unit.load::<4>(a, a_line);
            unit.load::<6>(b, b_line);
            unit.dot::<0, 4, 6>();
            if J > 1 {
                unit.load::<7>(b.wrapping_add(SIDE), b_line);
                unit.dot::<1, 4, 7>();
            }
            if I > 1 {
                unit.load::<5>(a.wrapping_add(SIDE * SIDE), a_line);
                unit.dot::<2, 5, 6>();
            }
            if I > 1 && J > 1 {
                unit.dot::<3, 5, 7>();
            }
            for _ in 0..AHEAD {
                ahead.ask();
            }
            a = a.wrapping_add(a_step);
            b = b.wrapping_add(b_step);
        }
        unit.store::<0>(at(0, 0), stride);
        if J > 1 {
            unit.store::<1>(at(0, 1), stride);
        }
        if I > 1 {
            unit.store::<2>(at(1, 0), stride);
        }
        if I > 1 && J > 1 {
            unit.store::<3>(at(1, 1), stride);
        }
    }
}

/// Cache lines of the next panel prefetched in a step.
const AHEAD: usize = 4;

/// Floating-point operations of one product of tiles.
#[cfg(target_arch = "x86_64")]
pub(crate) const TILE_FLOPS: usize = 2 * SIDE * SIDE * (2 * SIDE);

/// Products of tiles limited only by the multiplier, `turns` on each of four tiles of sums.
#[cfg(target_arch = "x86_64")]
pub(crate) fn tile_chains(turns: usize) {
    Hardware::configured(|| {
        let mut unit = Hardware;
        // SAFETY: a device that asks for this has the instructions; only registers are touched, and
        // any contents are valid.
        unsafe {
            unit.zero::<4>();
            unit.zero::<5>();
            unit.zero::<6>();
            unit.zero::<7>();
            for _ in 0..turns {
                unit.dot::<0, 4, 6>();
                unit.dot::<1, 4, 7>();
                unit.dot::<2, 5, 6>();
                unit.dot::<3, 5, 7>();
            }
        }
    });
}

/// The CPU's tiles.
#[cfg(target_arch = "x86_64")]
pub(super) struct Hardware;

#[cfg(target_arch = "x86_64")]
mod hardware {
    use super::{Hardware, SIDE, Unit};
    use std::arch::asm;

    /// The operand of `ldtilecfg` (Intel's manual, volume 1, section 18.2).
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes_a_row: [u16; 16],
        rows: [u8; 16],
    }

    static CONFIG: Config = Config {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// Releases the registers, so that the system need not save them at a context switch.
    struct Release;

    impl Drop for Release {
        fn drop(&mut self) {
            // SAFETY: only constructed once tiles are configured.
            unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
        }
    }

    impl Unit for Hardware {
        #[inline(always)]
        fn registers() -> Self {
            Self
        }

        fn configured<R>(run: impl FnOnce() -> R) -> R {
            const { assert!(SIDE == 16 && size_of::<Config>() == 64) };
            // SAFETY: a device has the AMX path only if the CPU has tiles and the system grants
            // them to this process.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, preserves_flags));
            }
            let _release = Release;
            run()
        }

        #[inline(always)]
        unsafe fn zero<const T: usize>(&mut self) {
            // SAFETY: guaranteed by the caller.
            unsafe { asm!("tilezero tmm{}", const T, options(nostack, preserves_flags, nomem)) };
        }

        #[inline(always)]
        unsafe fn load<const T: usize>(&mut self, from: *const u32, stride: usize) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                asm!("tileloadd tmm{t}, [{from} + {stride}]", t = const T, from = in(reg) from,
                    stride = in(reg) stride, options(nostack, preserves_flags, readonly));
            }
        }

        #[inline(always)]
        unsafe fn store<const T: usize>(&self, to: *mut f32, stride: usize) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                asm!("tilestored [{to} + {stride}], tmm{t}", t = const T, to = in(reg) to,
                    stride = in(reg) stride, options(nostack, preserves_flags));
            }
        }

        #[inline(always)]
        unsafe fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                asm!("tdpbf16ps tmm{c}, tmm{a}, tmm{b}", c = const C, a = const A, b = const B,
                    options(nostack, preserves_flags, nomem));
            }
        }
    }
}

/// The tiles emulated in plain code.
#[cfg(test)]
pub(super) struct Emulated([[u32; SIDE * SIDE]; 8]);

#[cfg(test)]
mod emulated {
    use super::{Emulated, SIDE, Unit};

    /// Flushes subnormals to zero, in operands and results.
    fn flushed(value: f32) -> f32 {
        if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
    }

    /// The even and the odd value of a pair.
    fn pair(bits: u32) -> [f32; 2] {
        [flushed(f32::from_bits(bits << 16)), flushed(f32::from_bits(bits & 0xffff_0000))]
    }

    impl Unit for Emulated {
        fn registers() -> Self {
            Self([[0; SIDE * SIDE]; 8])
        }

        fn configured<R>(run: impl FnOnce() -> R) -> R {
            run()
        }

        unsafe fn zero<const T: usize>(&mut self) {
            self.0[T] = [0; SIDE * SIDE];
        }

        unsafe fn load<const T: usize>(&mut self, from: *const u32, stride: usize) {
            for (i, row) in self.0[T].chunks_exact_mut(SIDE).enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    // SAFETY: guaranteed by the caller.
                    *value = unsafe { from.byte_add(i * stride).add(j).read() };
                }
            }
        }

        unsafe fn store<const T: usize>(&self, to: *mut f32, stride: usize) {
            for (i, row) in self.0[T].chunks_exact(SIDE).enumerate() {
                for (j, &value) in row.iter().enumerate() {
                    // SAFETY: guaranteed by the caller.
                    unsafe { to.byte_add(i * stride).add(j).write(f32::from_bits(value)) };
                }
            }
        }

        /// Even and odd steps are summed separately from zero, each with a fused multiply-add; the
        /// two sums are added, and their sum to C (Intel's manual, `TDPBF16PS`).
        unsafe fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
            let (a, b) = (self.0[A], self.0[B]);
            for i in 0..SIDE {
                for j in 0..SIDE {
                    let mut sums = [0.0f32; 2];
                    for k in 0..SIDE {
                        let (a, b) = (pair(a[i * SIDE + k]), pair(b[k * SIDE + j]));
                        for (sum, (a, b)) in sums.iter_mut().zip(a.into_iter().zip(b)) {
                            *sum = flushed(a.mul_add(b, *sum));
                        }
                    }
                    let c = &mut self.0[C][i * SIDE + j];
                    let sum = flushed(sums[0] + sums[1]);
                    *c = flushed(flushed(f32::from_bits(*c)) + sum).to_bits();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::drive::{Product, drive};
    use super::super::finish::Finish;
    use super::super::rounded::Rounded;
    use super::super::{Epilogue, MatRef, gemm_reference};
    use super::*;
    use ff_tensor::{Device, DeviceOptions, Isa, Key, Rng, bf16};

    /// Bit patterns of bf16 of every kind: normal, subnormal, huge, zeros of both signs.
    fn bits(rng: &mut Rng, special: bool) -> u16 {
        let ordinary = bf16::from_f64(rng.uniform() * 2.0 - 1.0).to_bits();
        match rng.below(12) {
            0 if special => rng.below(0x80) as u16 | (rng.below(2) as u16) << 15,
            1 if special => 0x0080 + rng.below(0x700) as u16,
            2 if special => 0x5f00 + rng.below(0x100) as u16,
            3 => (rng.below(2) as u16) << 15,
            _ => ordinary,
        }
    }

    /// C + A · B of one tile each.
    fn one<U: Unit>(a: &[u32], b: &[u32], c: &mut [f32]) {
        U::configured(|| {
            let mut unit = U::registers();
            // SAFETY: tests call it only where the instructions exist; slices hold whole tiles.
            unsafe {
                unit.load::<0>(c.as_ptr().cast(), 64);
                unit.load::<1>(a.as_ptr(), 64);
                unit.load::<2>(b.as_ptr(), 64);
                unit.dot::<0, 1, 2>();
                unit.store::<0>(c.as_mut_ptr(), 64);
            }
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_emulation_has_the_bits_of_the_instruction() {
        if Isa::detect() < Isa::Amx {
            eprintln!("skipped: this CPU has no AMX");
            return;
        }
        let mut rng = Rng::new(Key::new(11));
        for round in 0..400 {
            let special = round % 2 == 1;
            let mut pairs = || -> Vec<u32> {
                (0..SIDE * SIDE)
                    .map(|_| {
                        u32::from(bits(&mut rng, special))
                            | u32::from(bits(&mut rng, special)) << 16
                    })
                    .collect()
            };
            let (a, b) = (pairs(), pairs());
            let c: Vec<f32> = (0..SIDE * SIDE)
                .map(|_| match rng.below(8) {
                    0 => f32::from_bits(rng.below(0x80_0000) as u32),
                    1 => -0.0,
                    _ => (rng.uniform() * 2.0 - 1.0) as f32,
                })
                .collect();
            let (mut hard, mut soft) = (c.clone(), c);
            one::<Hardware>(&a, &b, &mut hard);
            one::<Emulated>(&a, &b, &mut soft);
            for (at, (hard, soft)) in hard.iter().zip(&soft).enumerate() {
                let same = hard.to_bits() == soft.to_bits() || hard.is_nan() && soft.is_nan();
                assert!(same, "round {round} at {at}: {hard:e}, emulated {soft:e}");
            }
        }
    }

    /// The driver on a unit, with every layout, both types of C and an epilogue.
    fn products<U: Unit>(threads: usize) -> Vec<u32> {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let mut rng = Rng::new(Key::new(12));
        let mut found = Vec::new();
        for (m, n, k) in [
            (1, 1, 1),
            (2, 17, 3),
            (13, 31, 257),
            (30, 33, 385),
            (48, 64, 800),
            (65, 100, 771),
            (17, 70, 1600),
        ] {
            let mut values = |n: usize| -> Vec<f32> {
                (0..n).map(|_| (rng.uniform() * 2.0 - 1.0) as f32).collect()
            };
            let (a, b, bias, old) = (values(m * k), values(n * k), values(n), values(m * n));
            let round = |v: &[f32]| v.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>();
            let exact =
                |v: &[f32]| v.iter().map(|&v| bf16::from_f32(v).to_f64()).collect::<Vec<_>>();
            let (a16, a64, b64) = (round(&a), exact(&a), exact(&b));
            for layout in 0..4 {
                macro_rules! view {
                    ($v:expr, $rows:expr, $bit:literal) => {
                        if layout & $bit == 0 {
                            MatRef::new($v, $rows, k)
                        } else {
                            MatRef::new($v, k, $rows).t()
                        }
                    };
                }
                let mut plain: Vec<f64> = old.iter().map(|&v| f64::from(v)).collect();
                gemm_reference(view!(&a64, m, 1), view!(&b64, n, 2).t(), &mut plain, true);
                // As in the tests of `gemm`: products are exact, k + 1 additions err by at most
                // half an ulp each.
                let bound = f64::from(f32::EPSILON) * (k + 2) as f64;
                let (a, b) = (Rounded(view!(&a16, m, 1)), Rounded(view!(&b, n, 2)));
                let mut c = old.clone();
                let product = Product { a, b, accumulate: true, finish: None };
                drive::<Amx<U>, _, _, _>(device.cpu(), &product, &mut c);
                let mut c16 = vec![bf16::ZERO; m * n];
                let epilogue = Epilogue { bias: Some(&bias), ..Epilogue::default() };
                let finish = Some(Finish::new(epilogue));
                let product = Product { a, b, accumulate: false, finish };
                drive::<Amx<U>, _, _, _>(device.cpu(), &product, &mut c16);
                for i in 0..m * n {
                    assert!(
                        (f64::from(c[i]) - plain[i]).abs() <= bound,
                        "{m}×{n}×{k} layout {layout}"
                    );
                    let expected = plain[i] - f64::from(old[i]) + f64::from(bias[i % n]);
                    let error = (c16[i].to_f64() - expected).abs();
                    assert!(error <= bound + expected.abs() / 256.0, "{m}×{n}×{k} layout {layout}");
                }
                found.extend(c.iter().map(|c| c.to_bits()));
                found.extend(c16.iter().map(|c| u32::from(c.to_bits())));
            }
        }
        found
    }

    #[test]
    fn the_driver_on_tiles_agrees_with_the_definition_for_any_number_of_threads() {
        let emulated = products::<Emulated>(1);
        assert!(emulated == products::<Emulated>(3), "threads show");
        #[cfg(target_arch = "x86_64")]
        if Isa::detect() >= Isa::Amx {
            assert!(emulated == products::<Hardware>(1), "the instructions give different bits");
            assert!(emulated == products::<Hardware>(2), "threads show");
        }
    }
}
