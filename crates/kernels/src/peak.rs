//! The CPU's peak rate: multiply-adds on registers alone, an upper bound for every kernel.

#[cfg(target_arch = "x86_64")]
use crate::gemm::{TILE_FLOPS, tile_chains};
use ff_tensor::{Bf16Kernels, CpuDevice, Isa};
use std::hint::black_box;
use std::time::Instant;

/// Independent sums: more than the two units of any core times their latency of four to six cycles.
const CHAINS: usize = 16;
/// Multiply-adds of one task in each chain: about 0.1 ms, so that late starts and early ends of
/// threads hardly count.
const TURNS: usize = 1 << 14;
/// Tasks per round and thread: about 10 ms.
const TASKS: usize = 100;
/// The number of rounds; the best one gives the peak, since disturbances only make a round slower.
const ROUNDS: usize = 12;

/// The floating-point operations per second of all threads of a device on f32 multiply-adds in
/// registers.
///
/// ```
/// let device = ff_tensor::Device::default();
/// assert!(ff_kernels::fma_peak(device.cpu()) > 1e8);
/// ```
pub fn fma_peak(cpu: &CpuDevice) -> f64 {
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a device is only opened with an instruction set that `Isa::detect` found on this
        // CPU.
        Isa::Avx512 => best_round(cpu, 16 * 2, &|| unsafe { x86::avx512() }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => best_round(cpu, 8 * 2, &|| unsafe { x86::avx2() }),
        _ => best_round(cpu, 4 * 2, &plain),
    }
}

/// The peak of bf16 products with f32 sums, in pairs or tiles as on the device; `None` if the
/// device widens bf16 to f32.
///
/// ```
/// let device = ff_tensor::Device::default();
/// assert!(ff_kernels::bf16_peak(device.cpu()).is_none_or(|peak| peak > 1e8));
/// ```
pub fn bf16_peak(cpu: &CpuDevice) -> Option<f64> {
    match cpu.bf16() {
        #[cfg(target_arch = "x86_64")]
        // A register holds sixteen f32 sums, and each instruction adds a pair of products to each.
        // SAFETY: a device has this path only on a CPU with the instructions.
        Bf16Kernels::Pairs => Some(best_round(cpu, 2 * 16 * 2, &|| unsafe { x86::bf16() })),
        #[cfg(target_arch = "x86_64")]
        // A tile holds 16 × 16 sums of 32 products each; a chain of tiles counts as four chains of
        // registers.
        Bf16Kernels::Tiles => Some(best_round(cpu, TILE_FLOPS / 4, &|| tile_chains(TURNS))),
        _ => None,
    }
}

/// FLOP per second of the best round, from the FLOP of one multiply-add of registers.
fn best_round(cpu: &CpuDevice, flops: usize, task: &(dyn Fn() + Sync)) -> f64 {
    let tasks = TASKS * cpu.threads().count();
    let total = (tasks * TURNS * CHAINS * flops) as f64;
    let round = |_| {
        let start = Instant::now();
        cpu.threads().run(tasks, &|_| task());
        total / start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(0.0, f64::max)
}

/// Registers of sixteen bytes, available on every current CPU.
fn plain() {
    // x ← x · 0.5 + 0.5 stays near 1: no subnormals, no infinities. `black_box` hides the values
    // from the compiler.
    let half = [black_box(0.5f32); 4];
    let mut sums: [[f32; 4]; CHAINS] = std::array::from_fn(|i| [black_box(i as f32); 4]);
    for _ in 0..TURNS {
        for sum in &mut sums {
            *sum = std::array::from_fn(|i| sum[i] * half[i] + half[i]);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, TURNS};
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_set1_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps,
        _mm512_set1_ps,
    };
    use std::hint::black_box;

    /// The chains of [`super::plain`], in an instruction set's registers.
    macro_rules! chains {
        ($name:ident, $features:literal, $splat:ident, $half:ident => $factor:expr, |$sum:ident| $fma:expr) => {
            /// # Safety
            /// The CPU has the features.
            // Where factors have the type of the sums, no conversion is needed.
            #[allow(clippy::redundant_locals)]
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name() {
                let $half = $splat(black_box(0.5));
                let $half = $factor;
                let mut sums: [_; CHAINS] = std::array::from_fn(|i| $splat(black_box(i as f32)));
                for _ in 0..TURNS {
                    for $sum in &mut sums {
                        *$sum = $fma;
                    }
                }
                black_box(sums);
            }
        };
    }
    chains!(avx512, "avx512f", _mm512_set1_ps, half => half, |s| _mm512_fmadd_ps(*s, half, half));
    chains!(avx2, "avx2,fma", _mm256_set1_ps, half => half, |s| _mm256_fmadd_ps(*s, half, half));
    // Each turn adds a half: a sum ends below ten thousand.
    chains!(bf16, "avx512f,avx512bf16", _mm512_set1_ps, half => _mm512_cvtne2ps_pbh(half, half),
        |s| _mm512_dpbf16_ps(*s, half, half));
}
