//! Binary cross-entropy of logits.

#[cfg(test)]
mod tests;

use crate::Reduction;
use crate::loss::{
    Inputs, backward_elements, contract_elements, forward_elements, sigmoids, soft_hinges,
};
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec,
};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// Cross-entropy of a sigmoid, `torch.nn.functional.binary_cross_entropy_with_logits`, for two
/// classes or for several true-or-false labels.
///
/// With σ(z) = 1 / (1 + e⁻ᶻ), positive weights p, smoothing ε and t′ = (1 − ε) t + ε/2:
///
/// Forward, over rows n of weight s and outputs k: loss = −Σₙ sₙ Σₖ (pₖ t′ ln σ(z) + (1 − t′) ln
/// σ(−z)), count = K Σₙ sₙ
/// Backward:  dz = sₙ ((1 − t′) σ(z) − pₖ t′ σ(−z))
///
/// −ln σ(−z) = max(z, 0) + ln(1 + e^−|z|) is accurate for large z of either sign. The mean divides
/// by the count; without weights, this is PyTorch's mean over all elements. Label smoothing follows
/// Keras's `BinaryCrossentropy`.
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
/// use ff_ops::BinaryCrossEntropyWithLogits;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let z = graph.variable(Tensor::from_slice(&device, &[0.0f64, 1e4], &[2, 1]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[1i32, 1], &[2]).unwrap());
/// let loss = graph.apply(&BinaryCrossEntropyWithLogits::default().op(), &[&z, &t])?;
/// assert!((loss.item()? - 2f64.ln() / 2.0).abs() < 1e-15);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BinaryCrossEntropyWithLogits {
    /// The reduction over rows.
    pub reduction: Reduction,
    /// ε, between 0 and 1.
    pub label_smoothing: f64,
    /// p, the weight of true targets: one for all outputs, or one per output; `None` for 1.
    pub positive_weight: Option<Arc<[f64]>>,
}

const NAME: &str = "binary_cross_entropy_with_logits";

impl BinaryCrossEntropyWithLogits {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// The smoothing of targets, t′ = hard · t + even.
    fn smoothing<T: Float>(&self) -> (T, T) {
        (T::of(1.0 - self.label_smoothing), T::of(0.5 * self.label_smoothing))
    }

    /// p, if shared by all outputs.
    fn one_positive_weight<T: Float>(&self) -> Option<T> {
        match self.positive_weight.as_deref() {
            None => Some(T::ONE),
            Some([one]) => Some(T::of(*one)),
            Some(_) => None,
        }
    }

    /// p of output `index`, counted over all rows, if each output has its own.
    #[inline(always)]
    fn positive_weight<T: Float>(&self, index: usize) -> T {
        match self.positive_weight.as_deref() {
            None => T::ONE,
            Some(each) => T::of(each[index % each.len()]),
        }
    }
}

/// (p t′, 1 − t′); the second is hard · (1 − t) + even.
#[inline(always)]
fn shares<T: Float>(positive: T, (hard, even): (T, T), t: T) -> (T, T) {
    (positive * (hard * t + even), hard * (T::ONE - t) + even)
}

/// The loss of a logit.
#[inline(always)]
fn loss<T: Float>(positive: T, smoothing: (T, T), z: T, t: T) -> T {
    let (positive, negative) = shares(positive, smoothing, t);
    let (of_positive, of_negative) = soft_hinges(z);
    share_of(positive, of_positive) + share_of(negative, of_negative)
}

/// The derivative of the loss of a logit.
#[inline(always)]
fn slope<T: Float>(positive: T, smoothing: (T, T), z: T, t: T) -> T {
    let (positive, negative) = shares(positive, smoothing, t);
    let (of_z, of_minus_z) = sigmoids(z);
    negative * of_z - positive * of_minus_z
}

impl FloatOp for BinaryCrossEntropyWithLogits {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        // Forward: exponential, logarithm, two products and two maxima with their sums; backward:
        // two sigmoids and two products.
        let contract = contract_elements(x, need, self.reduction, true, [10, 8])?;
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let message =
                format!("label_smoothing must lie between 0 and 1, found {}", self.label_smoothing);
            return Err(OpError::shape(message));
        }
        let weights = self.positive_weight.as_deref().unwrap_or(&[1.0]);
        let outputs = x[0].shape.last();
        if weights.len() != 1 && weights.len() != outputs {
            let found = weights.len();
            let message = format!("positive_weight has {found} values, expected 1 or {outputs}");
            return Err(OpError::shape(message));
        }
        if let Some(weight) = weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            let message =
                format!("positive_weight must be finite and not negative, found {weight}");
            return Err(OpError::shape(message));
        }
        Ok(contract)
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _: &mut [TensorMut<'_>],
    ) -> OpResult {
        Inputs::<T>::given(x)?.check_between_0_and_1("targets")?;
        let (smoothing, reduction) = (self.smoothing(), self.reduction);
        // With one weight for all outputs, the loop vectorises.
        if let Some(positive) = self.one_positive_weight::<T>() {
            forward_elements::<T>(
                cx,
                x,
                y,
                reduction,
                #[inline(always)]
                move |z, t, _| loss(positive, smoothing, z, t),
            )
        } else {
            forward_elements::<T>(cx, x, y, reduction, |z, t, index| {
                loss(self.positive_weight(index), smoothing, z, t)
            })
        }
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let (smoothing, reduction) = (self.smoothing(), self.reduction);
        if let Some(positive) = self.one_positive_weight::<T>() {
            backward_elements::<T>(
                cx,
                kept,
                dy,
                dx,
                reduction,
                #[inline(always)]
                move |z, t, _| slope(positive, smoothing, z, t),
            )
        } else {
            backward_elements::<T>(cx, kept, dy, dx, reduction, |z, t, index| {
                slope(self.positive_weight(index), smoothing, z, t)
            })
        }
    }
}

/// share · loss, where a share of 0 makes even an infinite loss 0.
#[inline(always)]
fn share_of<T: Float>(share: T, loss: T) -> T {
    if share == T::ZERO && !loss.is_nan() { T::ZERO } else { share * loss }
}

pub(crate) fn cases() -> Vec<Case> {
    let plain = BinaryCrossEntropyWithLogits::default();
    let sum = BinaryCrossEntropyWithLogits { reduction: Reduction::Sum, ..plain.clone() };
    let smooth = BinaryCrossEntropyWithLogits { label_smoothing: 0.1, ..plain.clone() };
    let positive = |weights: &[f64]| BinaryCrossEntropyWithLogits {
        positive_weight: Some(weights.into()),
        ..plain.clone()
    };
    binary_cases(
        NAME,
        &[
            ("mean", plain.clone().op(), &[5, 3], false),
            ("sum", sum.clone().op(), &[5, 3], false),
            ("smoothed", smooth.op(), &[5, 3], false),
            ("positive_weight", positive(&[3.0]).op(), &[5, 3], false),
            ("positive_weights", positive(&[3.0, 0.5, 0.0]).op(), &[5, 3], true),
            ("weighted_mean", plain.clone().op(), &[7, 1], true),
            ("weighted_sum", sum.clone().op(), &[3, 3, 9], true),
            ("many_rows", sum.op(), &[131, 3], false),
            ("no_rows", plain.op(), &[0, 3], false),
        ],
    )
}

/// The variant, the operation, the dimensions of the logits, and whether to add sample weights.
pub(crate) type BinaryCase<'a> = (&'a str, Arc<dyn Op>, &'a [usize], bool);

/// The cases of a loss between logits and true-or-false targets, each with float and with i32
/// targets.
pub(crate) fn binary_cases(name: &str, variants: &[BinaryCase<'_>]) -> Vec<Case> {
    let targets = [("", Fill::Uniform(0.0, 1.0)), ("_labels", Fill::Integers(2))];
    let case = |(variant, op, dims, weighted): &BinaryCase<'_>, (suffix, fill): &(&str, Fill)| {
        let mut inputs = vec![
            CaseInput::new(*dims, Fill::Normal(2.0)),
            CaseInput::constant(*dims, fill.clone()),
        ];
        if *weighted {
            let rows = dims[..dims.len() - 1].iter().product::<usize>();
            inputs.push(CaseInput::constant([rows], Fill::Values(vec![0.5, 2.0, 0.0, 1.25])));
        }
        Case::new(format!("{name}/{variant}{suffix}"), Arc::clone(op), inputs)
    };
    variants.iter().flat_map(|variant| targets.iter().map(|t| case(variant, t))).collect()
}
