//! The mean absolute error.

use crate::Reduction;
use crate::loss::regression::regression_cases;
use crate::loss::{backward_elements, contract_elements, forward_elements};
use ff_graph::{Case, Contract, Cx, Kept, Op, Result, Slot, Spec, for_float};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The absolute error, `torch.nn.functional.l1_loss`.
///
/// Forward, over rows n of weight s and outputs k:  loss = Σₙ sₙ Σₖ |xₙₖ − tₙₖ|,  count = K Σₙ sₙ
/// Backward:  dxₙₖ = sₙ sign(xₙₖ − tₙₖ), and 0 where both are equal
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
/// use ff_ops::{Mae, Reduction};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], true)?);
/// let x = graph.variable(Tensor::from_slice(&device, &[1.0f32, 5.0], &[2, 1]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[2.0f32, 2.0], &[2, 1]).unwrap());
/// let outputs = graph.apply_all(&Mae { reduction: Reduction::Sum }.op(), &[&x, &t])?;
/// assert_eq!((outputs[0].item()?, outputs[1].item()?), (4.0, 2.0));
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mae {
    /// How rows become one number.
    pub reduction: Reduction,
}

const NAME: &str = "mae";

impl Mae {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

impl Op for Mae {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        // Difference, magnitude, sum; difference, sign, product.
        contract_elements(NAME, x, need, self.reduction, false, [3, 3])
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _: &mut [TensorMut<'_>],
    ) -> Result<()> {
        for_float!(NAME, x[0].dtype(), T => forward_elements::<T>(NAME, cx, x, y, self.reduction, #[inline(always)] |x, t, _| {
            (x - t).abs()
        }))
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()> {
        for_float!(NAME, kept.spec(0).dtype, T => {
            backward_elements::<T>(NAME, cx, kept, dy, dx, self.reduction, #[inline(always)] |x, t, _| sign(x - t))
        })
    }
}

/// −1, 0 or 1, and NaN for NaN.
#[inline(always)]
fn sign<T: Float>(d: T) -> T {
    if d > T::ZERO {
        T::ONE
    } else if d < T::ZERO {
        -T::ONE
    } else {
        d
    }
}

pub(crate) fn cases() -> Vec<Case> {
    regression_cases(NAME, |reduction| Mae { reduction }.op())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::testing::{Data, X, Y, run};

    #[test]
    fn values_of_pytorch() {
        // torch.nn.functional.l1_loss
        let found = run(&Mae::default().op(), &[Data::F64(&X, &[3, 2]), Data::F64(&Y, &[3, 2])]);
        let sixth = 1.0 / 6.0;
        found.assert(5.0 / 6.0, 6.0, &[sixth, sixth, -sixth, 0.0, -sixth, sixth]);
    }

    #[test]
    fn infinity_and_nan() {
        let x = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        let inputs = [Data::F64(&x, &[3, 1]), Data::F64(&[0.0; 3], &[3])];
        let found = run(&Mae { reduction: Reduction::Sum }.op(), &inputs);
        assert!(found.loss.is_nan() && found.gradient[2].is_nan());
        assert_eq!(found.gradient[..2], [1.0, -1.0]);
        let found = run(
            &Mae { reduction: Reduction::Sum }.op(),
            &[Data::F64(&x[..2], &[2, 1]), Data::F64(&[0.0; 2], &[2])],
        );
        assert_eq!(found.loss, f64::INFINITY);
    }
}
