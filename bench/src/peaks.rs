//! The limits of the machine, measured beside the works.

use crate::work::Arithmetic;
use ff_kernels::{bf16_peak, dispatch, fma_peak, sum_of};
use ff_tensor::Device;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The ceilings for comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peaks {
    pub(crate) threads: usize,
    pub(crate) isa: ff_tensor::Isa,
    /// f32 multiply-adds on registers, FLOP per second of all threads.
    pub(crate) f32: f64,
    /// Dot products of bf16 pairs, if there is an instruction for them.
    pub(crate) bf16: Option<f64>,
    /// Seconds to transfer a cache line from one core to another.
    pub(crate) core_to_core: f64,
}

impl Peaks {
    pub(crate) fn measure(device: &Device) -> Self {
        let cpu = device.cpu();
        Self {
            threads: cpu.threads().count(),
            isa: cpu.path(),
            f32: fma_peak(cpu),
            bf16: bf16_peak(cpu),
            core_to_core: core_to_core(),
        }
    }

    /// The peak for a kind of work. Without bf16 instructions, bf16 is computed in f32.
    pub(crate) fn of(&self, arithmetic: Arithmetic) -> f64 {
        match arithmetic {
            Arithmetic::F32 => self.f32,
            Arithmetic::Bf16 => self.bf16.unwrap_or(self.f32),
        }
    }
}

/// The memory bandwidth of all threads in bytes per second: the best of several passes over more
/// than any cache holds.
pub(crate) fn bandwidth(device: &Device) -> f64 {
    const VALUES: usize = 1 << 26;
    const PIECE: usize = 1 << 16;
    let values = vec![1.0f32; VALUES];
    let cpu = device.cpu();
    let pass = |_| {
        let start = Instant::now();
        cpu.threads().run(VALUES / PIECE, &|i| {
            let piece = &values[i * PIECE..(i + 1) * PIECE];
            black_box(dispatch(
                cpu,
                #[inline(always)]
                || sum_of(piece, f64::from),
            ));
        });
        size_of_val(values.as_slice()) as f64 / start.elapsed().as_secs_f64()
    };
    (0..6).map(pass).fold(0.0, f64::max)
}

/// Seconds to transfer a cache line from one core to another: two threads pass a number back and
/// forth. The median of several rounds, without the first, which wakes the second core.
///
/// Virtual CPUs migrate: on two cores that share a last-level cache a transfer takes 40 ns, on two
/// that do not 130 to 300, and work that passes small pieces between threads is slower by up to
/// half.
///
/// The measurement ends after a tenth of a second with the rounds completed so far: two threads on
/// one core pass the number once per time slice.
pub(crate) fn core_to_core() -> f64 {
    const ROUNDS: usize = 9;
    const TURNS: usize = 2000;
    const MOST: Duration = Duration::from_millis(100);
    let end = Instant::now() + MOST;
    let (turn, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    // The turns passed before the end.
    let hand_over = |from: usize| {
        for turns in 0..TURNS {
            let mut spins = 0u32;
            while turn.load(Ordering::Acquire) % 2 != from {
                spin_loop();
                spins += 1;
                if spins.is_multiple_of(1 << 10) {
                    if over.load(Ordering::Relaxed) || Instant::now() > end {
                        over.store(true, Ordering::Relaxed);
                        return turns;
                    }
                    std::thread::yield_now();
                }
            }
            turn.fetch_add(1, Ordering::AcqRel);
        }
        TURNS
    };
    let mut rounds: Vec<f64> = std::thread::scope(|scope| {
        scope.spawn(|| (0..=ROUNDS).for_each(|_| _ = hand_over(1)));
        let round = |_| {
            let start = Instant::now();
            let turns = hand_over(0).max(1);
            start.elapsed().as_secs_f64() / (2 * turns) as f64
        };
        let whole = |_: &f64| !over.load(Ordering::Relaxed);
        let rounds: Vec<f64> = (0..=ROUNDS).map(round).take_while(whole).collect();
        // Without a whole round: the whole time for one turn.
        if rounds.len() > 1 { rounds[1..].to_vec() } else { vec![MOST.as_secs_f64()] }
    });
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where another process or a single core keeps the two threads from running together.
    #[test]
    fn the_probe_ends() {
        let start = Instant::now();
        let took = core_to_core();
        assert!(took > 0.0 && start.elapsed() < Duration::from_secs(5), "{took}");
    }
}
