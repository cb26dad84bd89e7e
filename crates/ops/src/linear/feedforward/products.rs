//! The arithmetic of the layer, for every combination of types.

use crate::Activation;
use crate::activation::DerivativeFrom;
use ff_graph::OpResult;
use ff_kernels::{
    Bf16Operand, Epilogue, Float, MatRef, Stored, file_product, file_product_back,
    file_product_back_bf16, file_product_bf16, gemm, gemm_bf16, gemm_with, sum_columns,
};
use ff_tensor::{CpuDevice, Element, FileMatrix, TensorRef};

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

    /// C = f(A · Wᵀ + bias).
    ///
    /// # Errors
    /// Products of these types do not read the form of a file.
    fn multiply_file(
        cpu: &CpuDevice,
        a: MatRef<'_, A>,
        w: &FileMatrix,
        c: &mut [C],
        epilogue: Epilogue<'_, C>,
    ) -> OpResult;

    /// C = A · W, or +=.
    ///
    /// # Errors
    /// Products of these types do not read the form of a file.
    fn multiply_file_back(
        cpu: &CpuDevice,
        a: MatRef<'_, A>,
        w: &FileMatrix,
        c: &mut [C],
        accumulate: bool,
    ) -> OpResult;
}

/// The weight of a layer `[out, in]`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weight<'a, W> {
    Values(MatRef<'a, W>),
    /// In the form of its file.
    File(&'a FileMatrix),
}

impl<'a, W: Float> Weight<'a, W> {
    /// A matrix.
    ///
    /// # Errors
    /// It has another type.
    pub(crate) fn of(view: TensorRef<'a>) -> OpResult<Self> {
        if let Some(matrix) = view.file() {
            return Ok(Self::File(matrix));
        }
        let (rows, cols) = (view.shape().rows(), view.shape().last());
        Ok(Self::Values(MatRef::new(view.slice()?, rows, cols)))
    }

    /// [`forward`].
    ///
    /// # Errors
    /// Products of these types do not read the form of a file.
    pub(crate) fn forward<M, X, Y>(
        self,
        cpu: &CpuDevice,
        activation: Activation,
        x: MatRef<'_, X>,
        bias: Option<&[W]>,
        y: &mut [Y],
        z: Option<&mut [Y]>,
    ) -> OpResult
    where
        M: Multiply<X, W, Y>,
        Y: Stored<Compute = W>,
    {
        match self {
            Self::Values(weight) => forward::<M, X, W, Y>(cpu, activation, x, weight, bias, y, z),
            Self::File(weight) => {
                let activate = |y: &mut [W]| activation.in_place(cpu, y);
                let f = (activation != Activation::Identity).then_some(&activate as _);
                M::multiply_file(cpu, x, weight, y, Epilogue { bias, z, f })?;
            }
        }
        Ok(())
    }

    /// [`backward_input`].
    ///
    /// # Errors
    /// Products of these types do not read the form of a file.
    pub(crate) fn backward_input<M, X, Y>(
        self,
        cpu: &CpuDevice,
        dz: MatRef<'_, Y>,
        dx: &mut [X],
        accumulate: bool,
    ) -> OpResult
    where
        M: Multiply<Y, W, X>,
        X: Stored,
    {
        match self {
            Self::Values(weight) => backward_input::<M, X, W, Y>(cpu, dz, weight, dx, accumulate),
            Self::File(weight) => M::multiply_file_back(cpu, dz, weight, dx, accumulate)?,
        }
        Ok(())
    }
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

    fn multiply_file(
        cpu: &CpuDevice,
        a: MatRef<'_, T>,
        w: &FileMatrix,
        c: &mut [T],
        epilogue: Epilogue<'_, T>,
    ) -> OpResult {
        let bias = epilogue.bias.map(|bias| f32::of_slice(T::as_slice(bias))).transpose()?;
        let x = f32::of_slice(T::as_slice(a.values()))?;
        file_product(cpu, x, w, bias, f32::of_slice_mut(T::as_slice_mut(c))?);
        if let Some(z) = epilogue.z {
            z.copy_from_slice(c);
        }
        if let Some(f) = epilogue.f {
            f(c);
        }
        Ok(())
    }

    fn multiply_file_back(
        cpu: &CpuDevice,
        a: MatRef<'_, T>,
        w: &FileMatrix,
        c: &mut [T],
        accumulate: bool,
    ) -> OpResult {
        let dy = f32::of_slice(T::as_slice(a.values()))?;
        file_product_back(cpu, dy, w, f32::of_slice_mut(T::as_slice_mut(c))?, accumulate);
        Ok(())
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

    fn multiply_file(
        cpu: &CpuDevice,
        a: MatRef<'_, A>,
        w: &FileMatrix,
        c: &mut [C],
        epilogue: Epilogue<'_, C>,
    ) -> OpResult {
        file_product_bf16(cpu, a.values(), w, c, epilogue);
        Ok(())
    }

    fn multiply_file_back(
        cpu: &CpuDevice,
        a: MatRef<'_, A>,
        w: &FileMatrix,
        c: &mut [C],
        accumulate: bool,
    ) -> OpResult {
        file_product_back_bf16(cpu, a.values(), w, c, accumulate);
        Ok(())
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
