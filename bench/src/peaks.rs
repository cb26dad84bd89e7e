//! What the machine can do at most, measured beside the works.

use crate::work::Arithmetic;
use ff_kernels::{bf16_peak, fma_peak};
use ff_tensor::Device;

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
