//! The arithmetic of the layer, for every combination of types.

use crate::Activation;
use crate::activation::DerivativeFrom;
use ff_kernels::{
    Bf16Operand, Epilogue, Float, MatRef, Stored, gemm, gemm_bf16, gemm_with, sum_columns,
};
use ff_tensor::CpuDevice;

/// The matrix product of a combination of types.
pub(crate) trait Multiply<A, B, C: Stored> {
    /// C = f(A · B + bias), or C += A · B, without an epilogue, if `accumulate` is set.
    fn multiply(
        cpu: &CpuDevice,
        a: MatRef<'_, A>,
        b: MatRef<'_, B>,
        c: &mut [C],
        accumulate: bool,
        epilogue: Epilogue<'_, C>,
    );
}

/// In the type of the values themselves.
pub(crate) struct Exact;

impl<T: Float> Multiply<T, T, T> for Exact {
    fn multiply(
        cpu: &CpuDevice,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        c: &mut [T],
        accumulate: bool,
        epilogue: Epilogue<'_, T>,
    ) {
        if accumulate || epilogue.is_nothing() {
            gemm(cpu, a, b, c, accumulate);
        } else {
            gemm_with(cpu, a, b, c, epilogue);
        }
    }
}

/// Of values rounded to bf16, with sums in f32.
pub(crate) struct Mixed;

impl<A: Bf16Operand, B: Bf16Operand, C: Stored<Compute = f32>> Multiply<A, B, C> for Mixed {
    fn multiply(
        cpu: &CpuDevice,
        a: MatRef<'_, A>,
        b: MatRef<'_, B>,
        c: &mut [C],
        accumulate: bool,
        epilogue: Epilogue<'_, C>,
    ) {
        gemm_bf16(cpu, a, b, c, accumulate, epilogue);
    }
}

/// y = f(x Wᵀ + b); z = x Wᵀ + b goes to `kept` if given.
pub(crate) fn forward<M, X, W, Y>(
    cpu: &CpuDevice,
    activation: Activation,
    x: MatRef<'_, X>,
    weight: MatRef<'_, W>,
    bias: Option<&[W]>,
    y: &mut [Y],
    z: Option<&mut [Y]>,
) where
    M: Multiply<X, W, Y>,
    W: Float,
    Y: Stored<Compute = W>,
{
    let activate = |y: &mut [W]| activation.in_place(cpu, y);
    let mut epilogue = Epilogue { bias, z, f: None };
    if activation != Activation::Identity {
        epilogue.f = Some(&activate);
    }
    M::multiply(cpu, x, weight.t(), y, false, epilogue);
}

/// dz = dy ⊙ f′ in place of dy, db = Σₙ dz; `kept` is the argument of f′.
pub(crate) fn backward_activation<W: Float, Y: Stored<Compute = W>>(
    cpu: &CpuDevice,
    activation: Activation,
    kept: Option<&[Y]>,
    dy: &mut [Y],
    dbias: Option<(&mut [W], bool)>,
) {
    match (activation.derivative_from(), kept, dbias) {
        (DerivativeFrom::Output | DerivativeFrom::Input, Some(kept), dbias) => {
            activation.backward_in_place(cpu, kept, dy, dbias);
        }
        (_, _, Some((dbias, accumulate))) => sum_columns(cpu, dy, dbias, accumulate),
        _ => {}
    }
}

/// dx = dz W, or +=.
pub(crate) fn backward_input<M, X, W, Y>(
    cpu: &CpuDevice,
    dz: MatRef<'_, Y>,
    weight: MatRef<'_, W>,
    dx: &mut [X],
    accumulate: bool,
) where
    M: Multiply<Y, W, X>,
    X: Stored,
{
    M::multiply(cpu, dz, weight, dx, accumulate, Epilogue::default());
}

/// dW = dzᵀ x, or +=.
pub(crate) fn backward_weight<M, X, W, Y>(
    cpu: &CpuDevice,
    dz: MatRef<'_, Y>,
    x: MatRef<'_, X>,
    dweight: &mut [W],
    accumulate: bool,
) where
    M: Multiply<Y, X, W>,
    W: Stored,
{
    M::multiply(cpu, dz.t(), x, dweight, accumulate, Epilogue::default());
}
