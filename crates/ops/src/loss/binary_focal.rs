//! The binary focal loss.

use crate::Reduction;
use crate::loss::binary_cross_entropy_with_logits::binary_cases;
use crate::loss::{
    Inputs, backward_elements, contract_elements, forward_elements, sigmoids, soft_hinges,
};
use ff_graph::{Case, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The focal loss of a sigmoid, `torchvision.ops.sigmoid_focal_loss`: well-classified rows count
/// less.
///
/// With the binary cross-entropy c(z, t), the miss q = (1 − t) σ(z) + t σ(−z) and αₜ = α t + (1 −
/// α)(1 − t):
///
/// Forward, over rows n of weight s and outputs k:  loss = Σₙ sₙ Σₖ αₜ q^γ c,  count = K Σₙ sₙ
/// Backward:  dz = sₙ αₜ q^γ (σ(z) − t + γ c q′/q)  with  q′ = (1 − 2t) σ(z) σ(−z)
///
/// q′/q is −σ(z) for t = 1 and σ(−z) for t = 0, which avoids a division by q = 0. With γ = 0 and
/// without α, it is the binary cross-entropy. Source: Lin et al., "Focal loss for dense object
/// detection", 2017.
///
/// Inputs: logits z, targets t, and sample weights s, if any. Outputs: loss and count. Kept: the
/// inputs; the count for a mean.
///
/// # Shapes
/// z and t `[…, K]` (t also without the last dimension if K is 1; f32 between 0 and 1, or i32, 0 or
/// 1), s `[…]` or `[N]` → loss `[1]`, count `[1]`.
///
/// # Errors
/// In forward: if a target is not between 0 and 1, or a sample weight is negative or not finite.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::BinaryFocal;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let z = graph.variable(Tensor::from_slice(&device, &[0.0f64], &[1, 1]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[1i32], &[1]).unwrap());
/// let loss = graph.apply(&BinaryFocal { alpha: None, ..Default::default() }.op(), &[&z, &t])?;
/// assert!((loss.item()? - 2f64.ln() / 4.0).abs() < 1e-15); // q² = 1/4
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryFocal {
    /// γ ≥ 0: the rate at which well-classified rows lose weight.
    pub gamma: f64,
    /// α, between 0 and 1: the weight of true targets, with 1 − α for false ones; `None` for a
    /// weight of 1 for both.
    pub alpha: Option<f64>,
    /// The reduction over rows.
    pub reduction: Reduction,
}

const NAME: &str = "binary_focal";

impl Default for BinaryFocal {
    /// The paper's γ = 2 and α = 0.25, reduced to the mean.
    fn default() -> Self {
        Self { gamma: 2.0, alpha: Some(0.25), reduction: Reduction::Mean }
    }
}

impl BinaryFocal {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// αₜ for t = 1 and t = 0.
    fn alphas<T: Float>(&self) -> Option<(T, T)> {
        self.alpha.map(|alpha| (T::of(alpha), T::of(1.0 - alpha)))
    }

    fn run_forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        power: impl Fn(T) -> T + Sync + Copy,
    ) -> OpResult {
        Inputs::<T>::given(x)?.check_between_0_and_1("targets")?;
        let alphas = self.alphas();
        forward_elements::<T>(
            cx,
            x,
            y,
            self.reduction,
            #[inline(always)]
            move |z, t, _| alpha(alphas, t) * power(miss(t, sigmoids(z))) * cross_entropy(z, t),
        )
    }

    fn run_backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
        power: impl Fn(T) -> T + Sync + Copy,
    ) -> OpResult {
        let (alphas, gamma, two) = (self.alphas(), T::of(self.gamma), T::of(2.0));
        backward_elements::<T>(
            cx,
            kept,
            dy,
            dx,
            self.reduction,
            #[inline(always)]
            move |z, t, _| {
                let (s, n) = sigmoids(z);
                let q = miss(t, (s, n));
                let between = (T::ONE - two * t) * s * n / q;
                let slope = if t == T::ZERO { n } else { between };
                let slope = if t == T::ONE { -s } else { slope };
                let dc = (T::ONE - t) * s - t * n;
                alpha(alphas, t) * power(q) * (dc + gamma * cross_entropy(z, t) * slope)
            },
        )
    }
}

/// αₜ
#[inline(always)]
fn alpha<T: Float>(alphas: Option<(T, T)>, t: T) -> T {
    match alphas {
        None => T::ONE,
        Some((one, zero)) => one * t + zero * (T::ONE - t),
    }
}

impl FloatOp for BinaryFocal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check_gamma(self.gamma)?;
        if let Some(alpha) = self.alpha
            && !(0.0..=1.0).contains(&alpha)
        {
            let message = format!("alpha must lie between 0 and 1, found {alpha}");
            return Err(OpError::shape(message));
        }
        // The binary cross-entropy, two sigmoids, their mixture, the power and α.
        contract_elements(x, need, self.reduction, true, [20, 30])
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _: &mut [TensorMut<'_>],
    ) -> OpResult {
        let gamma = T::of(self.gamma);
        // The usual γ, for which the loop vectorises.
        if self.gamma == 2.0 {
            self.run_forward::<T>(
                cx,
                x,
                y,
                #[inline(always)]
                |q| q * q,
            )
        } else {
            self.run_forward::<T>(
                cx,
                x,
                y,
                #[inline(always)]
                move |q| q.powf(gamma),
            )
        }
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let gamma = T::of(self.gamma);
        if self.gamma == 2.0 {
            self.run_backward::<T>(
                cx,
                kept,
                dy,
                dx,
                #[inline(always)]
                |q| q * q,
            )
        } else {
            self.run_backward::<T>(
                cx,
                kept,
                dy,
                dx,
                #[inline(always)]
                move |q| q.powf(gamma),
            )
        }
    }
}

/// q
#[inline(always)]
fn miss<T: Float>(t: T, (s, n): (T, T)) -> T {
    (T::ONE - t) * s + t * n
}

/// c
#[inline(always)]
fn cross_entropy<T: Float>(z: T, t: T) -> T {
    let (yes, no) = soft_hinges(z);
    let between = t * yes + (T::ONE - t) * no;
    let short_of_one = if t == T::ZERO { no } else { between };
    if t == T::ONE { yes } else { short_of_one }
}

/// Checks γ.
pub(crate) fn check_gamma(gamma: f64) -> OpResult {
    if gamma.is_finite() && gamma >= 0.0 {
        return Ok(());
    }
    Err(OpError::shape(format!("gamma must be 0 or more, found {gamma}")))
}

pub(crate) fn cases() -> Vec<Case> {
    use Reduction::{Mean, Sum};
    let op = |gamma, alpha, reduction| BinaryFocal { gamma, alpha, reduction }.op();
    binary_cases(
        NAME,
        &[
            ("mean", op(2.0, Some(0.25), Mean), &[5, 3], false),
            ("sum", op(2.0, None, Sum), &[5, 3], false),
            ("gamma_0", op(0.0, Some(0.6), Sum), &[5, 3], false),
            ("gamma_half", op(0.5, None, Mean), &[7, 1], false),
            ("weighted_mean", op(1.5, Some(0.25), Mean), &[5, 3], true),
            ("weighted_sum", op(2.0, Some(0.25), Sum), &[3, 3, 9], true),
            ("no_rows", op(2.0, None, Mean), &[0, 3], false),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BinaryCrossEntropyWithLogits;
    use crate::loss::testing::{B, Data, X, fails, run};

    const INPUTS: [Data<'_>; 2] = [Data::F64(&X, &[3, 2]), Data::F64(&B, &[3, 2])];

    #[test]
    fn values_of_pytorch() {
        // Values of torchvision.ops.sigmoid_focal_loss's formula in torch's f64, with alpha=0.25,
        // gamma=2, "mean", …
        run(&BinaryFocal::default().op(), &INPUTS).assert(
            0.1849110208467374,
            6.0,
            &[
                0.06576897773432289,
                -0.0320097801333049,
                0.03308032657172991,
                -1.3119660270344961e-05,
                -0.02707434688515849,
                0.037285849392498294,
            ],
        );
        // … and without alpha, gamma=1.5, "sum".
        let op = BinaryFocal { gamma: 1.5, alpha: None, reduction: Reduction::Sum };
        run(&op.op(), &INPUTS).assert(
            2.9856160170546544,
            6.0,
            &[
                0.5765909273887599,
                -0.7881152255980202,
                0.38368451413530863,
                -0.0012068503151430186,
                -0.6863802721081049,
                0.36057509719698944,
            ],
        );
    }

    #[test]
    fn no_gamma_is_cross_entropy() {
        let focal = BinaryFocal { gamma: 0.0, alpha: None, reduction: Reduction::Mean };
        let expected = run(&BinaryCrossEntropyWithLogits::default().op(), &INPUTS);
        run(&focal.op(), &INPUTS).assert(expected.loss, 6.0, &expected.gradient);
    }

    #[test]
    fn extreme_logits() {
        for gamma in [0.0, 0.5, 2.0] {
            let op = BinaryFocal { gamma, alpha: None, reduction: Reduction::Sum }.op();
            let z = Data::F32(&[1e4, -1e4, 1e4, -1e4], &[4, 1]);
            let found = run(&op, &[z, Data::I32(&[1, 0, 0, 1], &[4])]);
            assert_eq!(found.loss, 2e4);
            assert_eq!(found.gradient, [0.0, 0.0, 1.0, -1.0]);
            let found = run(&op, &[Data::F32(&[f32::NAN], &[1, 1]), Data::I32(&[0], &[1])]);
            assert!(found.loss.is_nan() && found.gradient[0].is_nan());
        }
    }

    #[test]
    fn messages() {
        let op = BinaryFocal { gamma: -1.0, ..Default::default() }.op();
        fails(&op, &INPUTS, "binary_focal: gamma must be 0 or more, found -1");
        let op = BinaryFocal { alpha: Some(2.0), ..Default::default() }.op();
        fails(&op, &INPUTS, "binary_focal: alpha must lie between 0 and 1, found 2");
    }
}
