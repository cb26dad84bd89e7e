//! The Huber loss.

use crate::Reduction;
use crate::loss::regression::regression_cases;
use crate::loss::{backward_elements, contract_elements, forward_elements};
use ff_graph::{Case, Contract, Cx, Error, Kept, Op, Result, Slot, Spec, for_float};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The Huber loss, `torch.nn.functional.huber_loss`: squared near 0, linear beyond δ.
///
/// With e = x − t, over rows n of weight s and outputs k:
///
/// h(e) = e²/2 where |e| ≤ δ, else δ (|e| − δ/2);  loss = Σₙ sₙ Σₖ h(eₙₖ),  count = K Σₙ sₙ
/// Backward:  dxₙₖ = sₙ clamp(eₙₖ, −δ, δ)
///
/// The mean divides both by the count, which is PyTorch's mean over all elements where there are no weights.
/// `torch.nn.functional.smooth_l1_loss` with β = δ is this loss divided by δ. Source: Huber, "Robust estimation of a
/// location parameter", 1964.
///
/// Inputs: prediction x, target t, and sample weights s where there are some. Outputs: loss and count. Kept: the inputs;
/// the count for a mean.
///
/// # Shapes
/// x and t `[…, K]` (t also without the last dimension where K is 1), s `[…]` or `[N]` → loss `[1]`, count `[1]`.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Huber, Reduction};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], true)?);
/// let x = graph.variable(Tensor::from_slice(&device, &[0.5f32, 5.0], &[2, 1]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[0.0f32, 2.0], &[2, 1]).unwrap());
/// let op = Huber { delta: 1.0, reduction: Reduction::Sum }.op();
/// assert_eq!(graph.apply(&op, &[&x, &t])?.item()?, 0.125 + 2.5);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Huber {
    /// δ, where it turns linear; greater than 0.
    pub delta: f64,
    /// How rows become one number.
    pub reduction: Reduction,
}

const NAME: &str = "huber";

impl Default for Huber {
    /// PyTorch's defaults: δ = 1, the mean.
    fn default() -> Self {
        Self { delta: 1.0, reduction: Reduction::Mean }
    }
}

impl Huber {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

impl Op for Huber {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        if !(self.delta > 0.0 && self.delta.is_finite()) {
            let message = format!("delta must be greater than 0, found {}", self.delta);
            return Err(Error::shape(NAME, message));
        }
        // Difference, magnitude, comparison, two products, sum; difference, two comparisons, product.
        contract_elements(NAME, x, need, self.reduction, false, [6, 4])
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _: &mut [TensorMut<'_>],
    ) -> Result<()> {
        for_float!(NAME, x[0].dtype(), T => {
            let (delta, half) = (T::of(self.delta), T::of(0.5));
            forward_elements::<T>(NAME, cx, x, y, self.reduction, #[inline(always)] move |x, t, _| {
                let e = (x - t).abs();
                if e <= delta { half * e * e } else { delta * (e - half * delta) }
            })
        })
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()> {
        for_float!(NAME, kept.spec(0).dtype, T => {
            let delta = T::of(self.delta);
            backward_elements::<T>(NAME, cx, kept, dy, dx, self.reduction, #[inline(always)] move |x, t, _| clamp(x - t, delta))
        })
    }
}

/// e between −δ and δ; NaN for NaN.
#[inline(always)]
fn clamp<T: Float>(e: T, delta: T) -> T {
    e.minimum(delta).maximum(-delta)
}

pub(crate) fn cases() -> Vec<Case> {
    // A small δ, so that both branches are met.
    regression_cases(NAME, |reduction| Huber { delta: 0.75, reduction }.op())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::testing::{Data, X, Y, fails, run};

    const INPUTS: [Data<'_>; 2] = [Data::F64(&X, &[3, 2]), Data::F64(&Y, &[3, 2])];

    #[test]
    fn values_of_pytorch() {
        // torch.nn.functional.huber_loss(delta=0.75)
        let found = run(&Huber { delta: 0.75, ..Default::default() }.op(), &INPUTS);
        let (twelfth, eighth) = (1.0 / 12.0, 0.125);
        let gradient = [twelfth, eighth, -twelfth, 0.0, -eighth, twelfth / 2.0];
        found.assert(0.421875, 6.0, &gradient);
    }

    #[test]
    fn nan_stays_nan_and_infinity_has_a_bounded_gradient() {
        let x = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        for (i, expected) in [(1, 1.0), (2, -1.0), (3, 1.0)] {
            let inputs = [Data::F64(&x[i..=i], &[1, 1]), Data::F64(&[0.0], &[1])];
            let found = run(&Huber::default().op(), &inputs);
            assert!(found.loss >= 1e299);
            assert_eq!(found.gradient, [expected]);
        }
        let found =
            run(&Huber::default().op(), &[Data::F64(&x[..1], &[1, 1]), Data::F64(&[0.0], &[1])]);
        assert!(found.loss.is_nan() && found.gradient[0].is_nan());
    }

    #[test]
    fn delta_is_positive() {
        for (delta, found) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN")] {
            let op = Huber { delta, ..Default::default() }.op();
            fails(&op, &INPUTS, &format!("huber: delta must be greater than 0, found {found}"));
        }
    }
}
