//! The focal loss of a softmax.

use crate::Reduction;
use crate::loss::binary_focal::check_gamma;
use crate::loss::{
    Inputs, Target, Total, check_class_weights, check_index_shapes, check_indices, check_inputs,
    class_weight, contract, log_sum_exp, rows_at_a_time, saved_row, scale, softmax_backward,
    sum_rows, take_gradient, times,
};
use crate::narrow::ROWS;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec,
};
use ff_kernels::{Float, maximum};
use ff_tensor::{DType, TensorMut, TensorRef};
use std::sync::Arc;

/// The focal loss of a softmax: cross-entropy with less weight on well-classified rows.
///
/// With the target's probability p = softmax(z)ₜ, u = ln p and q = 1 − p = −(eᵘ − 1):
///
/// Forward, over rows n of weight s:  loss = −Σₙ sₙ αₜ q^γ u,  count = Σₙ sₙ
/// Backward:  dz = sₙ D (softmax(z) − 1ₜ)  with  D = αₜ q^γ (1 − γ p u/q)  (u/q is −1 where q is 0)
///
/// The count excludes α: the mean is over rows, as in the paper. With γ = 0 and without α, it is
/// [`crate::SoftmaxCrossEntropy`]. Rows with the target `ignore_index` are excluded. Source: Lin et
/// al., "Focal loss for dense object detection", 2017; [`crate::BinaryFocal`] is the form for one
/// logit.
///
/// Inputs: logits z, targets, and sample weights s, if any. Outputs: loss and count. Kept: the
/// inputs, and ln Σ exp(z − max z), one value per row; the count for a mean.
///
/// # Shapes
/// z `[…, C]`, targets `[…]` (i32 class indices, also flat: `[N]`), s `[…]` or `[N]` → loss `[1]`,
/// count `[1]`; leading dimensions are folded.
///
/// # Errors
/// In forward: if an index is neither a class nor `ignore_index`, or a sample weight is negative or
/// not finite.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Focal;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let z = graph.variable(Tensor::from_slice(&device, &[0.0f64, 0.0], &[1, 2]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[1i32], &[1]).unwrap());
/// let loss = graph.apply(&Focal::default().op(), &[&z, &t])?;
/// assert!((loss.item()? - 2f64.ln() / 4.0).abs() < 1e-15); // q² = 1/4
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Focal {
    /// γ ≥ 0: the rate at which well-classified rows lose weight.
    pub gamma: f64,
    /// α, one per class; `None` for 1.
    pub alpha: Option<Arc<[f64]>>,
    /// The class index of excluded rows.
    pub ignore_index: i32,
    /// The reduction over rows.
    pub reduction: Reduction,
}

const NAME: &str = "focal";
/// The approximate cost of the exponential of a logit, in additions.
const WORK: usize = 8;

impl Default for Focal {
    /// The paper's γ = 2, equal class weights, −100 ignored, reduced to the mean.
    fn default() -> Self {
        Self { gamma: 2.0, alpha: None, ignore_index: -100, reduction: Reduction::Mean }
    }
}

impl Focal {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// The sample weight and the target class of a row; `None` if it is excluded.
    #[inline(always)]
    fn part<T: Float>(&self, inputs: &Inputs<'_, T>, row: usize) -> Option<(f64, usize)> {
        let Target::Integer(targets) = inputs.target else { return None };
        let weight = inputs.weight(row);
        let counts = weight != 0.0 && targets[row] != self.ignore_index;
        counts.then(|| (weight, targets[row] as usize))
    }

    /// αₜ q^γ, from −u
    #[inline(always)]
    fn focus(&self, class: usize, minus_log: f64) -> f64 {
        let q = -(-minus_log).exp_m1();
        class_weight(self.alpha.as_ref(), class) * q.powf(self.gamma)
    }
}

impl FloatOp for Focal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check_inputs(x)?;
        if x[1].dtype != DType::I32 {
            let expected = "class indices (i32)";
            return Err(OpError::dtype(expected, x[1].dtype));
        }
        let classes = check_index_shapes(&x[0], &x[1])?;
        check_class_weights("alpha", self.alpha.as_ref(), classes)?;
        check_gamma(self.gamma)?;
        let flops = 4 * x[0].shape.len();
        Ok(contract(x, need, self.reduction, true, flops, flops))
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let inputs = Inputs::<T>::given(x)?;
        if let Target::Integer(targets) = inputs.target {
            check_indices(targets, inputs.width, self.ignore_index)?;
        }
        let saved = saved_row::<T>(saved)?;
        let total = sum_rows(
            cx.cpu(),
            inputs.rows,
            rows_at_a_time(inputs.width),
            inputs.width * WORK,
            saved,
            #[inline(always)]
            |rows, saved| {
                let (greatest, logs) = log_sum_exp(inputs.prediction, rows.clone(), inputs.width);
                let mut total = Total::default();
                for (r, row) in rows.enumerate() {
                    let part = self.part(&inputs, row);
                    if let Some(saved) = saved.get_mut(r) {
                        *saved = if part.is_some() { logs[r] } else { T::ZERO };
                    }
                    let Some((weight, class)) = part else { continue };
                    let minus_log = (greatest[r] - inputs.row(row)[class] + logs[r]).f64();
                    total.loss += weight * self.focus(class, minus_log) * minus_log;
                    total.count += weight;
                }
                total
            },
        );
        total.write::<T>(self.reduction, y)
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some((dz, accumulate)) = take_gradient::<T>(dx)? else { return Ok(()) };
        let inputs = Inputs::<T>::kept(kept)?;
        let log_sums = kept.saved(0)?.slice::<T>()?;
        let scale = scale::<T>(self.reduction, kept, dy)?;
        let classes = inputs.width;
        ff_kernels::for_row_blocks(
            cx.cpu(),
            [inputs.rows, classes],
            rows_at_a_time(classes),
            classes * WORK,
            dz,
            #[inline(always)]
            |rows, dz| {
                let mut scales = [None; ROWS];
                for (d, row) in scales.iter_mut().zip(rows.clone()) {
                    let Some((weight, class)) = self.part(&inputs, row) else { continue };
                    let z = inputs.row(row);
                    let minus_log = (maximum(z) - z[class] + log_sums[row]).f64();
                    let (p, q) = ((-minus_log).exp(), -(-minus_log).exp_m1());
                    let ratio = if q == 0.0 { 1.0 } else { minus_log / q };
                    let slope = self.focus(class, minus_log) * (1.0 + self.gamma * times(p, ratio));
                    *d = Some(T::of(scale * weight * slope));
                }
                let z = inputs.prediction;
                softmax_backward(z, rows.clone(), log_sums, &scales, dz, accumulate);
                for ((row, dz), d) in rows.zip(dz.chunks_exact_mut(classes)).zip(scales) {
                    if let (Some((_, class)), Some(d)) = (self.part(&inputs, row), d) {
                        dz[class] -= d;
                    }
                }
            },
        );
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    use Reduction::{Mean, Sum};
    let case = |name: &str, gamma, alpha: Option<&[f64]>, reduction, dims: &[usize], weighted| {
        let (classes, leading) = (dims[dims.len() - 1], &dims[..dims.len() - 1]);
        let mut inputs =
            vec![CaseInput::normal(dims), CaseInput::constant(leading, Fill::Integers(classes))];
        if weighted {
            let rows = leading.iter().product::<usize>();
            inputs.push(CaseInput::constant([rows], Fill::Values(vec![0.5, 2.0, 0.0, 1.25])));
        }
        // An ignored class that occurs among the targets.
        let ignore_index = if weighted { 2 } else { -100 };
        let op = Focal { gamma, alpha: alpha.map(Arc::from), ignore_index, reduction }.op();
        Case::new(format!("{NAME}/{name}"), op, inputs)
    };
    let alpha: Option<&[f64]> = Some(&[0.5, 2.0, 1.0, 1.25, 0.0]);
    vec![
        case("mean", 2.0, None, Mean, &[7, 5], false),
        case("sum", 2.0, None, Sum, &[7, 5], false),
        case("alpha", 2.0, alpha, Mean, &[7, 5], false),
        case("gamma_0", 0.0, alpha, Sum, &[7, 5], false),
        case("gamma_half", 0.5, None, Mean, &[7, 5], false),
        case("weighted_mean", 1.5, None, Mean, &[9, 5], true),
        case("weighted_sum", 2.0, alpha, Sum, &[2, 3, 5], true),
        case("one_class", 2.0, None, Sum, &[3, 1], false),
        case("no_rows", 2.0, None, Mean, &[0, 3], false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SoftmaxCrossEntropy;
    use crate::loss::testing::{Data, Z, assert_same_bits, fails, run};

    const LOGITS: Data<'_> = Data::F64(&Z, &[4, 3]);
    const TARGETS: Data<'_> = Data::I32(&[1, 2, 1, 0], &[4]);

    #[test]
    fn values_of_pytorch() {
        // (-alpha[t] * (1 - log_softmax(z)[t].exp()) ** 2 * log_softmax(z)[t]).mean() in torch's
        // f64
        let op = Focal { alpha: Some([0.5, 2.0, 1.25].into()), ..Default::default() }.op();
        run(&op, &[LOGITS, TARGETS]).assert(
            1.3093610144737482,
            4.0,
            &[
                0.03239198613650738,
                -0.039619615190671975,
                0.007227629054164609,
                0.0003114937476375444,
                8.924445289011395e-05,
                -0.0004007382005276586,
                0.45066738857364674,
                -0.5512248751597593,
                0.10055748658611245,
                -0.140625943124866,
                0.06156934248516358,
                0.07905660063970242,
            ],
        );
    }

    #[test]
    fn no_gamma_is_cross_entropy() {
        let targets = Data::I32(&[1, -100, 1, 0], &[4]);
        let weights = Data::F64(&[0.5, 1.0, 2.0, 0.0], &[4]);
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let focal = Focal { gamma: 0.0, reduction, ..Default::default() }.op();
            let expected = SoftmaxCrossEntropy { reduction, ..Default::default() }.op();
            let inputs = [LOGITS, targets, weights];
            let expected = run(&expected, &inputs);
            run(&focal, &inputs).assert(expected.loss, 2.5, &expected.gradient);
        }
    }

    #[test]
    fn extreme_logits() {
        for gamma in [0.0, 0.5, 2.0] {
            let op = Focal { gamma, reduction: Reduction::Sum, ..Default::default() }.op();
            let z = Data::F32(&[1e4, -1e4, 1e4, -1e4], &[2, 2]);
            let found = run(&op, &[z, Data::I32(&[0, 1], &[2])]);
            assert_eq!(found.loss, 2e4);
            assert_eq!(found.gradient, [0.0, 0.0, 1.0, -1.0]);
            let z = Data::F32(&[0.0, f32::NEG_INFINITY], &[1, 2]);
            let found = run(&op, &[z, Data::I32(&[1], &[1])]);
            assert_eq!((found.loss, found.gradient), (f64::INFINITY, vec![1.0, -1.0]));
            let z = Data::F32(&[0.0, f32::NAN], &[1, 2]);
            let found = run(&op, &[z, Data::I32(&[0], &[1])]);
            assert!(found.loss.is_nan() && found.gradient.iter().all(|d| d.is_nan()));
        }
    }

    #[test]
    fn any_number_of_threads() {
        let n = 5_000;
        let z: Vec<f32> = (0..3 * n).map(|i| ((i * 37) % 101) as f32 / 10.0 - 5.0).collect();
        let t: Vec<i32> = (0..n as i32).map(|i| i % 3).collect();
        assert_same_bits(&Focal::default().op(), &[Data::F32(&z, &[n, 3]), Data::I32(&t, &[n])]);
    }

    #[test]
    fn messages() {
        let op = Focal::default().op();
        fails(
            &op,
            &[LOGITS, Data::F64(&Z, &[4, 3])],
            "focal: values of type f64 are not supported here, expected class indices (i32)",
        );
        fails(
            &op,
            &[LOGITS, Data::I32(&[0, 1, -1, 0], &[4])],
            "focal: row 2 has target -1, which must lie between 0 and 2 (3 classes), or be -100 \
             to be ignored",
        );
        let op = Focal { alpha: Some([1.0].into()), ..Default::default() }.op();
        fails(&op, &[LOGITS, TARGETS], "focal: alpha has 1 weights, the logits have 3 classes");
    }
}
