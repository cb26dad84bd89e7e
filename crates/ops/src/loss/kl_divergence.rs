//! The Kullback–Leibler divergence of a softmax.

use crate::Reduction;
use crate::loss::{
    Inputs, Target, Total, check_inputs, check_probability_shapes, contract, log_sum_exp,
    rows_at_a_time, saved_row, scale, softmax_backward, sum_rows, take_gradient,
};
use crate::narrow::ROWS;
use ff_graph::{Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpResult, Slot, Spec};
use ff_kernels::{Float, sum, sum_of2};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The Kullback–Leibler divergence KL(t ‖ softmax(z)), for distillation from another model's
/// probabilities.
///
/// On logits, in one pass: `kl_div(log_softmax(z), t, reduction="batchmean")` of
/// `torch.nn.functional`.
///
/// Forward, over rows n of weight s: loss = Σₙ sₙ Σ_c t_c (ln t_c − ln softmax(z)_c), count = Σₙ sₙ
/// Backward:  dz = sₙ ((Σ_c t_c) softmax(z) − t)
///
/// Classes with a target of 0 add nothing. The mean divides by the count of rows: PyTorch's
/// `batchmean`, not its `mean`, which divides by rows times classes.
///
/// Inputs: logits z, probabilities t, and sample weights s, if any. Outputs: loss and count. Kept:
/// the inputs, and ln Σ exp(z − max z), one value per row; the count for a mean.
///
/// # Shapes
/// z and t `[…, C]`, s `[…]` or `[N]` → loss `[1]`, count `[1]`; leading dimensions are folded.
///
/// # Errors
/// In forward: if a probability is not between 0 and 1, or a sample weight is negative or not
/// finite.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::KlDivergence;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let z = graph.variable(Tensor::from_slice(&device, &[0.0f64, 0.0], &[1, 2]).unwrap());
/// let t = graph.input(Tensor::from_slice(&device, &[1.0f64, 0.0], &[1, 2]).unwrap());
/// let loss = graph.apply(&KlDivergence::default().op(), &[&z, &t])?;
/// assert!((loss.item()? - 2f64.ln()).abs() < 1e-15); // certain against even odds
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KlDivergence {
    /// The reduction over rows.
    pub reduction: Reduction,
}

const NAME: &str = "kl_divergence";
/// The approximate cost of an exponential and a logarithm, in additions.
const WORK: usize = 16;

impl KlDivergence {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

impl FloatOp for KlDivergence {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check_inputs(x)?;
        check_probability_shapes("probabilities of the logits' type", &x[0], &x[1])?;
        // Forward: compare, subtract, exponential, add; logarithm, add, product, add. Backward: two
        // subtractions, exponential, product, sum of the targets and its subtraction.
        let values = x[0].shape.len();
        Ok(contract(x, need, self.reduction, true, 8 * values, 6 * values))
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let inputs = Inputs::<T>::given(x)?;
        inputs.check_between_0_and_1("probabilities")?;
        let classes = inputs.width;
        let saved = saved_row::<T>(saved)?;
        let total = sum_rows(
            cx.cpu(),
            inputs.rows,
            rows_at_a_time(classes),
            classes * WORK,
            saved,
            #[inline(always)]
            |rows, saved| {
                let (greatest, logs) = log_sum_exp(inputs.prediction, rows.clone(), classes);
                let mut total = Total::default();
                for (r, row) in rows.enumerate() {
                    let weight = inputs.weight(row);
                    if let Some(saved) = saved.get_mut(r) {
                        *saved = if weight == 0.0 { T::ZERO } else { logs[r] };
                    }
                    if weight == 0.0 {
                        continue;
                    }
                    let (max, log_sum) = (greatest[r], logs[r]);
                    let divergence = sum_of2(
                        inputs.row(row),
                        probabilities(&inputs, row),
                        #[inline(always)]
                        |z, t| {
                            let minus_log = (max - z + log_sum).f64();
                            let value = t.f64() * (t.ln().f64() + minus_log);
                            if t == T::ZERO && !minus_log.is_nan() { 0.0 } else { value }
                        },
                    );
                    total.loss += weight * divergence;
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
                for (all, row) in scales.iter_mut().zip(rows.clone()) {
                    let weight = inputs.weight(row);
                    if weight != 0.0 {
                        let targets = sum(probabilities(&inputs, row));
                        *all = Some(T::of(scale * weight * targets));
                    }
                }
                let z = inputs.prediction;
                softmax_backward(z, rows.clone(), log_sums, &scales, dz, accumulate);
                for (row, dz) in rows.zip(dz.chunks_exact_mut(classes)) {
                    let weight = inputs.weight(row);
                    if weight != 0.0 {
                        let scale = T::of(scale * weight);
                        for (dz, &t) in dz.iter_mut().zip(probabilities(&inputs, row)) {
                            *dz -= scale * t;
                        }
                    }
                }
            },
        );
        Ok(())
    }
}

/// A row's targets.
#[inline(always)]
fn probabilities<'a, T: Float>(inputs: &Inputs<'a, T>, row: usize) -> &'a [T] {
    match inputs.target {
        Target::Float(values) => &values[row * inputs.width..][..inputs.width],
        Target::Integer(_) => &[], // The contract rejects them.
    }
}

pub(crate) fn cases() -> Vec<Case> {
    use Reduction::{Mean, Sum};
    let case = |name: &str, reduction, dims: &[usize], weighted| {
        let mut inputs =
            vec![CaseInput::normal(dims), CaseInput::constant(dims, Fill::Probabilities)];
        if weighted {
            let rows = dims[..dims.len() - 1].iter().product::<usize>();
            inputs.push(CaseInput::constant([rows], Fill::Values(vec![0.5, 2.0, 0.0, 1.25])));
        }
        Case::new(format!("{NAME}/{name}"), KlDivergence { reduction }.op(), inputs)
    };
    vec![
        case("mean", Mean, &[6, 5], false),
        case("sum", Sum, &[6, 9], false),
        case("weighted_mean", Mean, &[6, 5], true),
        case("weighted_sum", Sum, &[2, 3, 5], true),
        case("one_class", Sum, &[3, 1], false),
        case("no_rows", Mean, &[0, 3], false),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SoftmaxCrossEntropy;
    use crate::loss::testing::{Data, P, Z, assert_close, assert_same_bits, fails, run};

    const INPUTS: [Data<'_>; 2] = [Data::F64(&Z, &[4, 3]), Data::F64(&P, &[4, 3])];

    #[test]
    fn values_of_pytorch() {
        // torch.nn.functional.kl_div(log_softmax(z), p, reduction="batchmean")
        run(&KlDivergence::default().op(), &INPUTS).assert(
            0.26532175146124565,
            4.0,
            &[
                0.013429045408756307,
                0.0474180215311259,
                -0.06084706693988218,
                0.014767439398127559,
                0.004230942224905702,
                -0.018998381623033272,
                0.034031181078148454,
                -0.07509408798442044,
                0.04106290690627195,
                -0.013972321752450905,
                0.07962769810110296,
                -0.06565537634865207,
            ],
        );
    }

    #[test]
    fn it_is_cross_entropy_less_the_entropy_of_the_target() {
        let weights = Data::F64(&[0.5, 2.0, 0.0, 1.0], &[4]);
        let inputs = [INPUTS[0], INPUTS[1], weights];
        let divergence = run(&KlDivergence::default().op(), &inputs);
        let cross = run(&SoftmaxCrossEntropy::default().op(), &inputs);
        let entropy = |row: usize| -> f64 {
            P[3 * row..][..3].iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum()
        };
        let entropy = (0.5 * entropy(0) + 2.0 * entropy(1) + entropy(3)) / 3.5;
        assert_close(divergence.loss, cross.loss - entropy);
        divergence.assert_gradient(&cross.gradient);
        assert_eq!(divergence.count, 3.5);
    }

    #[test]
    fn extreme_logits_masked_classes_and_nan() {
        let op = KlDivergence { reduction: Reduction::Sum }.op();
        let t = Data::F32(&[1.0, 0.0, 0.0], &[1, 3]);
        let found = run(&op, &[Data::F32(&[-1e4, 1e4, f32::NEG_INFINITY], &[1, 3]), t]);
        assert_eq!((found.loss, found.gradient), (2e4, vec![-1.0, 1.0, 0.0]));
        let found = run(&op, &[Data::F32(&[0.0, 0.0, f32::NAN], &[1, 3]), t]);
        assert!(found.loss.is_nan() && found.gradient.iter().all(|d| d.is_nan()));
    }

    #[test]
    fn any_number_of_threads() {
        let n = 5_000;
        let z: Vec<f32> = (0..3 * n).map(|i| ((i * 37) % 101) as f32 / 10.0 - 5.0).collect();
        let t: Vec<f32> = (0..3 * n).map(|i| [0.5f32, 0.25, 0.25][i % 3]).collect();
        let inputs = [Data::F32(&z, &[n, 3]), Data::F32(&t, &[n, 3])];
        assert_same_bits(&KlDivergence::default().op(), &inputs);
    }

    #[test]
    fn messages() {
        let op = KlDivergence::default().op();
        fails(
            &op,
            &[INPUTS[0], Data::I32(&[0, 1, 2, 0], &[4])],
            "kl_divergence: values of type i32 are not supported here, expected probabilities of \
             the logits' type",
        );
        // Log-probabilities instead of probabilities.
        fails(
            &op,
            &[INPUTS[0], Data::F64(&P.map(f64::ln), &[4, 3])],
            "kl_divergence: row 0 has target -1.6094379124341003 for output 0; probabilities must \
             lie between 0 and 1",
        );
    }
}
