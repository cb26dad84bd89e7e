//! The types of rules' arithmetic, with their matrix products.

use ff_kernels::{Epilogue, Float, MatRef, gemm, gemm_bf16};
use ff_tensor::CpuDevice;

/// A type of parameters.
pub(super) trait Product: Float {
    /// C = A · B, or C += A · B if `accumulate` is set; `bf16` rounds the operands if there are
    /// kernels for it.
    fn product(
        how: (&CpuDevice, bool),
        a: MatRef<Self>,
        b: MatRef<Self>,
        c: &mut [Self],
        accumulate: bool,
    );
}

impl Product for f32 {
    fn product(
        (cpu, bf16): (&CpuDevice, bool),
        a: MatRef<f32>,
        b: MatRef<f32>,
        c: &mut [f32],
        accumulate: bool,
    ) {
        if bf16 {
            gemm_bf16(cpu, a, b, c, accumulate, Epilogue::default());
        } else {
            gemm(cpu, a, b, c, accumulate);
        }
    }
}

impl Product for f64 {
    fn product(
        (cpu, _): (&CpuDevice, bool),
        a: MatRef<f64>,
        b: MatRef<f64>,
        c: &mut [f64],
        accumulate: bool,
    ) {
        gemm(cpu, a, b, c, accumulate);
    }
}
