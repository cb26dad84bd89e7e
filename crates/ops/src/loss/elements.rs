//! Losses that compare each output with a target of its own.

use super::{Inputs, Reduction, Total, check_inputs, contract, put, put_zeros, scale};
use super::{is_per_row, sum_by, sum_rows, take_gradient};
use crate::{Contract, Cx, Error, Kept, Result, Slot, Spec};
use ff_kernels::{Float, for_rows};
use ff_tensor::{DType, TensorMut, TensorRef};

/// About what a transcendental function costs against an addition.
const WORK: usize = 8;

/// Checks the shapes of an element-wise loss; `flops` are those of one element's loss and of its gradient, and `integers`
/// allows i32 targets.
pub(crate) fn contract_elements(
    name: &'static str,
    x: &[Spec],
    need: &[bool],
    reduction: Reduction,
    integers: bool,
    flops: [usize; 2],
) -> Result<Contract> {
    check_inputs(name, x)?;
    let (prediction, target) = (&x[0], &x[1]);
    if target.dtype != prediction.dtype && !(integers && target.dtype == DType::I32) {
        let expected = if integers {
            "targets of the predictions' type, or i32"
        } else {
            "targets of the predictions' type"
        };
        return Err(Error::DType { op: name, expected, found: target.dtype });
    }
    // [N, 1] against [N] is one output a row; other shapes are not stretched to fit.
    let one_output = prediction.shape.last() == 1 && is_per_row(&target.shape, &prediction.shape);
    if target.shape != prediction.shape && !one_output {
        return Err(Error::shape(
            name,
            format!(
                "predictions {} and targets {} must have the same shape",
                prediction.shape, target.shape
            ),
        ));
    }
    let [flops, dflops] = flops.map(|per_element| per_element * prediction.shape.len());
    Ok(contract(x, need, reduction, false, flops, dflops))
}

/// Σ weight · f(prediction, target, output) over rows and outputs; the count is Σ weight · outputs.
pub(crate) fn forward_elements<T: Float>(
    name: &'static str,
    cx: &Cx<'_>,
    x: &[TensorRef<'_>],
    y: &mut [TensorMut<'_>],
    reduction: Reduction,
    f: impl Fn(T, T, usize) -> T + Sync,
) -> Result<()> {
    let inputs = Inputs::<T>::given(name, x)?;
    let width = inputs.width;
    let total = sum_rows::<T>(cx.cpu(), inputs.rows, width * WORK, &mut [], |row, _| {
        let weight = inputs.weight(row);
        if weight == 0.0 {
            return Total::default();
        }
        let prediction = inputs.row(row);
        let loss = sum_by(width, |j| f(prediction[j], inputs.target.get(row * width + j), j).f64());
        Total { loss: weight * loss, count: weight * width as f64 }
    });
    total.write::<T>(name, reduction, y)
}

/// d prediction = dy · weight · df(prediction, target, output), divided by the count of a mean.
pub(crate) fn backward_elements<T: Float>(
    name: &'static str,
    cx: &Cx<'_>,
    kept: &Kept<'_>,
    dy: &mut [Option<TensorMut<'_>>],
    dx: &mut [Slot<'_>],
    reduction: Reduction,
    df: impl Fn(T, T, usize) -> T + Sync,
) -> Result<()> {
    let Some((dx, accumulate)) = take_gradient::<T>(name, dx)? else { return Ok(()) };
    let inputs = Inputs::<T>::kept(name, kept)?;
    let scale = scale::<T>(name, reduction, kept, dy)?;
    let width = inputs.width;
    for_rows(cx.cpu(), inputs.rows, width * WORK, [(dx, width)], |row, [dx]| {
        let weight = inputs.weight(row);
        if weight == 0.0 {
            return put_zeros(dx, accumulate);
        }
        let scale = T::of(scale * weight);
        for (j, (dx, &prediction)) in dx.iter_mut().zip(inputs.row(row)).enumerate() {
            put(dx, accumulate, scale * df(prediction, inputs.target.get(row * width + j), j));
        }
    });
    Ok(())
}
