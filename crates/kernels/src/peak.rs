//! What the processor can do at most: multiply-adds on registers alone, which no kernel can be faster than.

use crate::simd::{Vector, Work, dispatch};
use ff_tensor::{CpuDevice, Isa};
use std::hint::black_box;
use std::time::Instant;

/// Sums that do not wait for each other: more than the two units of any core times their latency of four to six cycles.
const CHAINS: usize = 16;
/// Multiply-adds of one task in each chain: about 0.1 ms, so that threads that start late or end early hardly count.
const TURNS: usize = 1 << 14;
/// Tasks of one round for each thread: about 10 ms.
const TASKS: usize = 100;
/// The best of so many rounds is the peak: whatever disturbs a round makes it slower.
const ROUNDS: usize = 12;

/// The floating-point operations a second that all threads of a device reach together with nothing but f32 multiply-adds
/// on registers.
///
/// ```
/// let device = ff_tensor::Device::default();
/// assert!(ff_kernels::fma_peak(device.cpu()) > 1e8);
/// ```
pub fn fma_peak(cpu: &CpuDevice) -> f64 {
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => f32_peak::<std::arch::x86_64::__m512>(cpu),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => f32_peak::<std::arch::x86_64::__m256>(cpu),
        _ => f32_peak::<[f32; 4]>(cpu),
    }
}

/// The same for dot products of bf16 pairs added to f32; `None` where the processor has no instruction for them or the
/// device does not use AVX-512.
///
/// ```
/// let device = ff_tensor::Device::default();
/// assert!(ff_kernels::bf16_peak(device.cpu()).is_none_or(|peak| peak > 1e8));
/// ```
pub fn bf16_peak(cpu: &CpuDevice) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if cpu.isa() == Isa::Avx512 && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the processor was just found to have the instructions, and `Isa::Avx512` says that it has AVX-512.
        let task = || unsafe { bf16_chains() };
        // A register holds sixteen f32 sums, each of which takes in a pair of products.
        return Some(best_round(cpu, 2 * 16 * 2, &task));
    }
    let _ = cpu;
    None
}

fn f32_peak<V: Vector<T = f32>>(cpu: &CpuDevice) -> f64 {
    best_round(cpu, V::LANES * 2, &|| dispatch(cpu, Chains::<V>(std::marker::PhantomData)))
}

/// FLOP a second of the best round, from the FLOP of one multiply-add of registers.
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

struct Chains<V>(std::marker::PhantomData<V>);

impl<V: Vector<T = f32>> Work for Chains<V> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // x ← x · 0.5 + 0.5 stays near 1: no slow numbers, no infinities. The compiler must not know the values.
        let half = V::splat(black_box(0.5));
        let mut sums: [V; CHAINS] = std::array::from_fn(|i| V::splat(black_box(i as f32)));
        for _ in 0..TURNS {
            for sum in &mut sums {
                *sum = sum.mul_add(half, half);
            }
        }
        black_box(sums);
    }
}

/// # Safety
/// The processor has AVX-512 F and AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn bf16_chains() {
    use std::arch::x86_64::{_mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_set1_ps};
    let zero = _mm512_set1_ps(black_box(0.0));
    let (a, b) = (_mm512_cvtne2ps_pbh(zero, zero), _mm512_cvtne2ps_pbh(zero, zero));
    let mut sums: [_; CHAINS] = std::array::from_fn(|i| _mm512_set1_ps(black_box(i as f32)));
    for _ in 0..TURNS {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, b);
        }
    }
    black_box(sums);
}
