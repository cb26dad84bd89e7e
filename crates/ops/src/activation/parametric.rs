//! Activations with a learned share.

use super::{Activation, DerivativeFrom};
use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, MAX_COLUMNS, for_columns};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// An activation that each feature takes a learned share of: f for a = 1, the identity for a = 0.
///
/// Forward, with g = f(x) − x:  y = x + a ⊙ g
/// Backward:  dx = dy ⊙ (1 + a ⊙ (f′ − 1)),  da = Σ dy ⊙ g over rows
///
/// Inputs: x and a. Kept: x and a; saved: g.
///
/// # Shapes
/// x `[…, features]`, a `[features]` → y `[…, features]`
///
/// Holzmüller et al., "Better by default", 2024.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Activation, ParametricActivation};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[-4.0f32, 2.0], &[2, 1]).unwrap());
/// let share = graph.input(Tensor::from_slice(&device, &[0.25f32], &[1]).unwrap());
/// let y = graph.apply(&ParametricActivation::op(Activation::Relu), &[&x, &share])?;
/// assert_eq!(y.slice::<f32>()?, [-3.0, 2.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParametricActivation {
    /// f.
    pub activation: Activation,
}

impl ParametricActivation {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(activation: Activation) -> Arc<dyn Op> {
        Arc::new(Self { activation })
    }
}

impl FloatOp for ParametricActivation {
    fn name(&self) -> &'static str {
        "parametric_activation"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "x, share")?;
        check::float(&x[0])?;
        check::same_dtype("the share", &x[1], &x[0])?;
        self.activation.validate().map_err(OpError::Shape)?;
        let features = x[0].shape.last();
        if x[0].shape.rank() == 0 || x[1].shape.dims() != [features] {
            let message = format!(
                "the share must be [{features}], one per feature of x {}, found {}",
                x[0].shape, x[1].shape
            );
            return Err(OpError::shape(message));
        }
        let n = x[0].shape.len();
        let contract = Contract::new([x[0]]).cost(3 * n, 5 * n);
        Ok(match need {
            [false, false] => contract,
            _ => contract.keep_input(0).keep_input(1).save(x[0]),
        })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let width = x[0].shape().last();
        let (x, share) = (x[0].slice::<T>()?, x[1].slice::<T>()?);
        let gap = match saved.first_mut() {
            Some(gap) => Some(gap.slice_mut::<T>()?),
            None => None,
        };
        self.activation.parametric(cx.cpu(), (x, share), y[0].slice_mut()?, gap, width);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let (rows, width) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let (x, share) = (kept.input(0)?.slice::<T>()?, kept.input(1)?.slice::<T>()?);
        let gap = kept.saved(0)?.slice::<T>()?;
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            let values = [x, share, gap, dy];
            self.activation.parametric_backward(cx.cpu(), values, dx, accumulate, width);
        }
        if let Some((da, accumulate)) = dx[1].take::<T>()? {
            for_columns(
                cx.cpu(),
                width,
                2 * rows,
                [da],
                #[inline(always)]
                |columns, [mut da]| {
                    let mut sums = [0.0; MAX_COLUMNS];
                    for i in 0..rows {
                        let part = i * width + columns.start..i * width + columns.end;
                        let values = gap[part.clone()].iter().zip(&dy[part]);
                        sums.iter_mut()
                            .zip(values)
                            .for_each(|(s, (&gap, &dy))| *s += (gap * dy).f64());
                    }
                    da.put(&sums, accumulate);
                },
            );
        }
        Ok(())
    }
}

pub(super) fn from_output(activation: Activation) -> bool {
    activation.derivative_from() == DerivativeFrom::Output
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, activation, dims: &[usize]| {
        let features = dims.last().copied().unwrap_or(1);
        let inputs = vec![CaseInput::normal(dims), CaseInput::normal([features])];
        let name = format!("parametric_activation/{name}");
        Case::new(name, ParametricActivation::op(activation), inputs)
    };
    vec![
        case("selu", Activation::Selu, &[5, 3]),
        case("mish", Activation::Mish, &[5, 3]),
        case("folded", Activation::Tanh, &[2, 3, 4]),
        case("one", Activation::Gelu, &[1, 1]),
        case("no_rows", Activation::Mish, &[0, 3]),
        case("larger_than_a_block", Activation::Silu, &[4, 67]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn nan_stays_in_its_place_and_wrong_shapes_are_named() {
        let op = ParametricActivation::op(Activation::Selu);
        let inputs = [tensor(&[f32::NAN, -1e30, 2.0, 0.0], &[2, 2]), tensor(&[0.5f32; 2], &[2])];
        let y = Run::new(&op, &inputs).unwrap().output::<f32>(0);
        assert!(y[0].is_nan() && y[1] == -5e29 && y[2] > 2.0 && y[3] == 0.0);
        let inputs = [tensor(&[0.0f32; 4], &[2, 2]), tensor(&[0.5f32; 4], &[4])];
        let error = Run::new(&op, &inputs).err().unwrap().to_string();
        assert!(error.contains("the share must be [2]"), "{error}");
    }
}
