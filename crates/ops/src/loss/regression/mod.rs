//! The mean squared error.

use crate::Reduction;
use crate::loss::{backward_elements, contract_elements, forward_elements};
use ff_graph::{Case, CaseInput, Contract, Cx, Fill, Kept, Op, Result, Slot, Spec, for_float};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The squared error, `torch.nn.functional.mse_loss`.
///
/// Forward, over rows n of weight s and outputs k:  loss = Σₙ sₙ Σₖ (xₙₖ − tₙₖ)²,  count = K Σₙ sₙ
/// Backward:  dxₙₖ = 2 sₙ (xₙₖ − tₙₖ)
///
/// The mean divides both by the count, which is PyTorch's mean over all elements where there are no weights.
///
/// Inputs: prediction x, target t, and sample weights s where there are some. Outputs: loss and count. Kept: the inputs;
/// the count for a mean.
///
/// # Shapes
/// x and t `[…, K]` (t also without the last dimension where K is 1), s `[…]` or `[N]` → loss `[1]`, count `[1]`.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Mse, Reduction};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], true)?);
/// let x = graph.variable(Tensor::from_slice(&device, &[1.0f32, 5.0], &[2, 1]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[2.0f32, 2.0], &[2, 1]).unwrap());
/// let outputs = graph.apply_all(&Mse { reduction: Reduction::Mean }.op(), &[&x, &t])?;
/// assert_eq!((outputs[0].item()?, outputs[1].item()?), (5.0, 2.0)); // (1 + 9) / 2
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mse {
    /// How rows become one number.
    pub reduction: Reduction,
}

const NAME: &str = "mse";

impl Mse {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

impl Op for Mse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        // Difference, square, sum; difference and product.
        contract_elements(NAME, x, need, self.reduction, false, [3, 2])
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _: &mut [TensorMut<'_>],
    ) -> Result<()> {
        for_float!(NAME, x[0].dtype(), T => forward_elements::<T>(NAME, cx, x, y, self.reduction, #[inline(always)] |x, t, _| (x - t) * (x - t)))
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()> {
        for_float!(NAME, kept.spec(0).dtype, T => {
            let two = T::of(2.0);
            backward_elements::<T>(NAME, cx, kept, dy, dx, self.reduction, #[inline(always)] move |x, t, _| two * (x - t))
        })
    }
}

pub(crate) fn cases() -> Vec<Case> {
    regression_cases(NAME, |reduction| Mse { reduction }.op())
}

/// The cases of a loss between predicted and true numbers.
pub(crate) fn regression_cases(name: &str, op: impl Fn(Reduction) -> Arc<dyn Op>) -> Vec<Case> {
    use Reduction::{Mean, Sum};
    let case = |variant: &str, reduction, dims: &[usize], target: &[usize], weighted: bool| {
        let mut inputs =
            vec![CaseInput::normal(dims), CaseInput::constant(target, Fill::Normal(1.0))];
        if weighted {
            let rows = dims[..dims.len() - 1].iter().product::<usize>();
            inputs.push(CaseInput::constant([rows], Fill::Values(vec![0.5, 2.0, 0.0, 1.25])));
        }
        Case::new(format!("{name}/{variant}"), op(reduction), inputs)
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
    use super::*;
    use crate::loss::testing::{Data, X, Y, assert_close, fails, run};

    #[test]
    fn values_of_pytorch() {
        // torch.nn.functional.mse_loss
        let found = run(&Mse::default().op(), &[Data::F64(&X, &[3, 2]), Data::F64(&Y, &[3, 2])]);
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
        let sum = run(&Mse { reduction: Reduction::Sum }.op(), &inputs);
        assert_eq!((sum.loss, sum.count), (14.5, 5.0)); // 2 · (1 + 4) + 0.5 · 9; 2 · (2 + 0.5)
        assert_eq!(sum.gradient, [4.0, 8.0, 0.0, 0.0, 3.0, 0.0]);
        let mean = run(&Mse::default().op(), &inputs);
        assert_close(mean.loss, 14.5 / 5.0);
    }

    #[test]
    fn nan_reaches_the_loss() {
        let inputs = [Data::F64(&[f64::NAN, 1.0], &[2, 1]), Data::F64(&[0.0, 1.0], &[2])];
        let found = run(&Mse::default().op(), &inputs);
        assert!(found.loss.is_nan() && found.gradient[0].is_nan());
        assert_eq!(found.gradient[1], 0.0);
    }

    #[test]
    fn shapes_that_would_be_stretched_elsewhere_are_refused() {
        let op = Mse::default().op();
        let one = Data::F64(&[1.0, 2.0], &[2, 1]);
        fails(
            &op,
            &[one, Data::F64(&[1.0, 2.0], &[1, 2])],
            "mse: predictions [2, 1] and targets [1, 2] must have the same shape",
        );
        fails(
            &op,
            &[one, Data::I32(&[1, 2], &[2])],
            "mse: values of type i32 are not supported here, expected targets of the predictions' type",
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
        fails(&op, &[one], "mse: expected prediction, target and perhaps weights, found 1 inputs");
    }
}
