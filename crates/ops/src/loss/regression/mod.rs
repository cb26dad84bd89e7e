//! Regression losses: the operation over the table.

mod table;

pub use table::RegressionLoss;

use crate::Reduction;
use crate::loss::{backward_elements, contract_elements, forward_elements};
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec,
};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;
#[allow(clippy::wildcard_imports)] // The rows of the table expand here, with their helpers.
use table::*;

/// A loss ℓ between predicted and true numbers, summed or averaged.
///
/// Forward, over rows n of weight s and outputs k:  loss = Σₙ sₙ Σₖ ℓ(xₙₖ, tₙₖ),  count = K Σₙ sₙ
/// Backward:  dxₙₖ = sₙ ℓ′(xₙₖ, tₙₖ)
///
/// The mean divides both by the count; without weights, this is PyTorch's mean over all elements.
///
/// Inputs: prediction x, target t, and sample weights s, if any. Outputs: loss and count. Kept: the
/// inputs; the count for a mean.
///
/// # Shapes
/// x and t `[…, K]` (t also without the last dimension if K is 1), s `[…]` or `[N]` → loss `[1]`,
/// count `[1]`.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Reduction, RegressionLoss};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], true)?);
/// let x = graph.variable(Tensor::from_slice(&device, &[1.0f32, 5.0], &[2, 1]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[2.0f32, 2.0], &[2, 1]).unwrap());
/// let outputs = graph.apply_all(&RegressionLoss::Mse.op(Reduction::Mean), &[&x, &t])?;
/// assert_eq!((outputs[0].item()?, outputs[1].item()?), (5.0, 2.0)); // (1 + 9) / 2
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Regression {
    /// ℓ.
    pub loss: RegressionLoss,
    /// The reduction over rows.
    pub reduction: Reduction,
}

impl RegressionLoss {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self, reduction: Reduction) -> Arc<dyn Op> {
        Arc::new(Regression { loss: self, reduction })
    }
}

impl FloatOp for Regression {
    fn name(&self) -> &'static str {
        self.loss.name()
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        self.loss.validate().map_err(OpError::Shape)?;
        contract_elements(x, need, self.reduction, false, self.loss.columns().flops)
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _: &mut [TensorMut<'_>],
    ) -> OpResult {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, _) = ($f, $df);
                forward_elements::<T>(
                    cx,
                    x,
                    y,
                    self.reduction,
                    #[inline(always)]
                    move |x, t, _| f(x, t),
                )
            }};
        }
        with_functions!(self.loss, T, go)
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (_, df) = ($f, $df);
                backward_elements::<T>(
                    cx,
                    kept,
                    dy,
                    dx,
                    self.reduction,
                    #[inline(always)]
                    move |x, t, _| df(x, t),
                )
            }};
        }
        with_functions!(self.loss, T, go)
    }
}

pub(crate) fn cases(loss: RegressionLoss) -> Vec<Case> {
    use Reduction::{Mean, Sum};
    let case = |variant: &str, reduction, dims: &[usize], target: &[usize], weighted: bool| {
        let mut inputs =
            vec![CaseInput::normal(dims), CaseInput::constant(target, Fill::Normal(1.0))];
        if weighted {
            let rows = dims[..dims.len() - 1].iter().product::<usize>();
            inputs.push(CaseInput::constant([rows], Fill::Values(vec![0.5, 2.0, 0.0, 1.25])));
        }
        Case::new(format!("{}/{variant}", loss.name()), loss.op(reduction), inputs)
    };
    vec![
        case("mean", Mean, &[5, 3], &[5, 3], false),
        case("sum", Sum, &[5, 3], &[5, 3], false),
        case("weighted_mean", Mean, &[5, 3], &[5, 3], true),
        case("weighted_sum", Sum, &[5, 3], &[5, 3], true),
        case("one_output", Mean, &[7, 1], &[7], true),
        case("folded", Sum, &[2, 3, 9], &[2, 3, 9], true),
        case("many_rows", Sum, &[131, 2], &[131, 2], false),
        case("no_rows", Mean, &[0, 3], &[0, 3], false),
    ]
}

#[cfg(test)]
mod tests {
    use super::RegressionLoss::{Huber, Mae, Mse};
    use crate::Reduction::{Mean, Sum};
    use crate::loss::testing::{Data, X, Y, assert_close, fails, run};

    const INPUTS: [Data<'_>; 2] = [Data::F64(&X, &[3, 2]), Data::F64(&Y, &[3, 2])];

    #[test]
    fn mse_is_that_of_pytorch() {
        // torch.nn.functional.mse_loss
        let found = run(&Mse.op(Mean), &INPUTS);
        assert_close(found.loss, 1.2708333333333333);
        assert_eq!(found.count, 6.0);
        let expected = [1.0 / 6.0, 2.0 / 3.0, -1.0 / 6.0, 0.0, -7.0 / 12.0, 1.0 / 12.0];
        found.assert_gradient(&expected);
    }

    #[test]
    fn weights_count_outputs_and_zero_means_no_part() {
        let x = [1.0, 2.0, f64::NAN, f64::INFINITY, 3.0, 0.0];
        let t = [0.0; 6];
        let s = [2.0, 0.0, 0.5];
        let inputs = [Data::F64(&x, &[3, 2]), Data::F64(&t, &[3, 2]), Data::F64(&s, &[3])];
        let sum = run(&Mse.op(Sum), &inputs);
        assert_eq!((sum.loss, sum.count), (14.5, 5.0)); // 2 · (1 + 4) + 0.5 · 9; 2 · (2 + 0.5)
        assert_eq!(sum.gradient, [4.0, 8.0, 0.0, 0.0, 3.0, 0.0]);
        let mean = run(&Mse.op(Mean), &inputs);
        assert_close(mean.loss, 14.5 / 5.0);
    }

    #[test]
    fn nan_reaches_the_loss() {
        let inputs = [Data::F64(&[f64::NAN, 1.0], &[2, 1]), Data::F64(&[0.0, 1.0], &[2])];
        let found = run(&Mse.op(Mean), &inputs);
        assert!(found.loss.is_nan() && found.gradient[0].is_nan());
        assert_eq!(found.gradient[1], 0.0);
    }

    #[test]
    fn shapes_that_would_be_stretched_elsewhere_are_refused() {
        let op = Mse.op(Mean);
        let one = Data::F64(&[1.0, 2.0], &[2, 1]);
        fails(
            &op,
            &[one, Data::F64(&[1.0, 2.0], &[1, 2])],
            "mse: predictions [2, 1] and targets [1, 2] must have the same shape",
        );
        fails(
            &op,
            &[one, Data::I32(&[1, 2], &[2])],
            "mse: values of type i32 are not supported here, expected targets of the predictions' \
             type",
        );
        fails(
            &op,
            &[one, one, Data::F64(&[1.0; 3], &[3])],
            "mse: predictions [2, 1] need one sample weight for each of their 2 rows, found [3]",
        );
        fails(
            &op,
            &[one, one, Data::F64(&[1.0, -1.0], &[2])],
            "mse: the sample weight of row 1 is -1; weights must be finite and not negative",
        );
        fails(&op, &[one], "mse: expected prediction, target and optional weights, found 1 inputs");
    }

    #[test]
    fn mae_is_that_of_pytorch() {
        // torch.nn.functional.l1_loss
        let found = run(&Mae.op(Mean), &INPUTS);
        let sixth = 1.0 / 6.0;
        found.assert(5.0 / 6.0, 6.0, &[sixth, sixth, -sixth, 0.0, -sixth, sixth]);
    }

    #[test]
    fn mae_of_infinity_and_nan() {
        let x = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        let inputs = [Data::F64(&x, &[3, 1]), Data::F64(&[0.0; 3], &[3])];
        let found = run(&Mae.op(Sum), &inputs);
        assert!(found.loss.is_nan() && found.gradient[2].is_nan());
        assert_eq!(found.gradient[..2], [1.0, -1.0]);
        let found = run(&Mae.op(Sum), &[Data::F64(&x[..2], &[2, 1]), Data::F64(&[0.0; 2], &[2])]);
        assert_eq!(found.loss, f64::INFINITY);
    }

    #[test]
    fn huber_is_that_of_pytorch() {
        // torch.nn.functional.huber_loss(delta=0.75)
        let found = run(&Huber { delta: 0.75 }.op(Mean), &INPUTS);
        let (twelfth, eighth) = (1.0 / 12.0, 0.125);
        let gradient = [twelfth, eighth, -twelfth, 0.0, -eighth, twelfth / 2.0];
        found.assert(0.421875, 6.0, &gradient);
    }

    #[test]
    fn huber_of_infinity_and_nan() {
        let x = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        for (i, expected) in [(1, 1.0), (2, -1.0), (3, 1.0)] {
            let inputs = [Data::F64(&x[i..=i], &[1, 1]), Data::F64(&[0.0], &[1])];
            let found = run(&Huber { delta: 1.0 }.op(Mean), &inputs);
            assert!(found.loss >= 1e299);
            assert_eq!(found.gradient, [expected]);
        }
        let found = run(
            &Huber { delta: 1.0 }.op(Mean),
            &[Data::F64(&x[..1], &[1, 1]), Data::F64(&[0.0], &[1])],
        );
        assert!(found.loss.is_nan() && found.gradient[0].is_nan());
    }

    #[test]
    fn delta_is_positive() {
        for (delta, found) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN")] {
            let op = Huber { delta }.op(Mean);
            fails(&op, &INPUTS, &format!("huber: delta must be greater than 0, found {found}"));
        }
    }
}
