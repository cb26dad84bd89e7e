//! What the machine can do at most, measured beside the works.

use crate::work::Arithmetic;
use ff_kernels::{bf16_peak, dispatch, fma_peak, sum_of};
use ff_tensor::Device;
use std::hint::black_box;
use std::time::Instant;

/// The ceilings that works are compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peaks {
    pub(crate) threads: usize,
    pub(crate) isa: ff_tensor::Isa,
    /// f32 multiply-adds on registers, FLOP a second of all threads.
    pub(crate) f32: f64,
    /// Dot products of bf16 pairs, where there is an instruction for them.
    pub(crate) bf16: Option<f64>,
}

impl Peaks {
    pub(crate) fn measure(device: &Device) -> Self {
        let cpu = device.cpu();
        Self {
            threads: cpu.threads().count(),
            isa: cpu.isa(),
            f32: fma_peak(cpu),
            bf16: bf16_peak(cpu),
        }
    }

    /// The peak for a kind of work. Without bf16 instructions bf16 is computed in f32.
    pub(crate) fn of(&self, arithmetic: Arithmetic) -> f64 {
        match arithmetic {
            Arithmetic::F32 => self.f32,
            Arithmetic::Bf16 => self.bf16.unwrap_or(self.f32),
        }
    }
}

/// Bytes a second that all threads together read from memory: the best of several passes over more than any cache holds.
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
