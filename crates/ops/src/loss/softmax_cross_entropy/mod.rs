//! Cross-entropy of a softmax.

#[cfg(test)]
mod tests;

use crate::Reduction;
use crate::loss::{
    Inputs, Target, Total, check_class_weights, check_index_shapes, check_indices, check_inputs,
    check_probability_shapes, class_weight, contract, log_sum_exp, rows_at_a_time, saved_row,
    scale, softmax_backward, sum_by, sum_rows, take_gradient, times,
};
use crate::narrow::ROWS;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec,
};
use ff_kernels::{Float, sum_of, sum_of2};
use ff_tensor::{DType, TensorMut, TensorRef};
use std::ops::Range;
use std::sync::Arc;

/// Cross-entropy of a softmax, `torch.nn.functional.cross_entropy` on `[N, C]`.
///
/// With p = softmax(z), class weights w, smoothing ε, and the target as probabilities t (a class
/// index is 1 at its class):
///
/// a = w ⊙ ((1 − ε) t + ε/C),  loss = −Σ_c a_c ln p_c
/// Backward:  dz = (Σ_c a_c) p − a
///
/// The count of a row is its sample weight, times the class weight of a target given as an index,
/// as in PyTorch's mean. Rows with the target `ignore_index` are excluded, as are rows with a
/// target of weight 0 without smoothing. Classes with a target of 0 add nothing even if their logit
/// is −∞ (PyTorch: NaN), so classes can be masked; NaN in an included row makes the loss NaN.
///
/// Inputs: logits z, targets, and sample weights, if any. Outputs: loss and count. Kept: the
/// inputs, and ln Σ exp(z − max z), one value per row; the count for a mean.
///
/// # Shapes
/// z `[…, C]`, targets `[…]` (i32 class indices, also flat: `[N]`) or `[…, C]` (probabilities),
/// sample weights `[…]` or `[N]` → loss `[1]`, count `[1]`; leading dimensions are folded.
///
/// # Errors
/// In forward: if an index is neither a class nor `ignore_index`, a probability is not between 0
/// and 1, or a sample weight is negative or not finite.
///
/// Smoothing: Szegedy et al., "Rethinking the Inception architecture", 2016.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Reduction, SoftmaxCrossEntropy};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let logits = Tensor::from_slice(&device, &[0.0f64, 0.0, 5.0, 1.0], &[2, 2]).unwrap();
/// let logits = graph.variable(logits);
/// let target = graph.input(Tensor::from_slice(&device, &[1i32, -100], &[2]).unwrap());
/// let op = SoftmaxCrossEntropy { reduction: Reduction::Sum, ..Default::default() }.op();
/// let outputs = graph.apply_all(&op, &[&logits, &target])?;
/// assert!((outputs[0].item()? - 2f64.ln()).abs() < 1e-15); // two classes, equally likely
/// assert_eq!(outputs[1].item()?, 1.0); // the second row is ignored
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// The reduction over rows.
    pub reduction: Reduction,
    /// ε, between 0 and 1.
    pub label_smoothing: f64,
    /// The class index of excluded rows.
    pub ignore_index: i32,
    /// w, one per class; `None` for 1.
    pub class_weights: Option<Arc<[f64]>>,
}

const NAME: &str = "softmax_cross_entropy";
const EXPECTED_TARGETS: &str = "class indices (i32) or probabilities of the logits' type";
/// The approximate cost of the exponential of a logit, in additions.
const WORK: usize = 8;

impl Default for SoftmaxCrossEntropy {
    /// PyTorch's defaults: the mean, no smoothing, −100 ignored, equal class weights.
    fn default() -> Self {
        Self {
            reduction: Reduction::Mean,
            label_smoothing: 0.0,
            ignore_index: -100,
            class_weights: None,
        }
    }
}

impl SoftmaxCrossEntropy {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

impl FloatOp for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check_inputs(x)?;
        let classes = match x[1].dtype {
            DType::I32 => check_index_shapes(&x[0], &x[1])?,
            _ => check_probability_shapes(EXPECTED_TARGETS, &x[0], &x[1])?,
        };
        check_class_weights("class_weights", self.class_weights.as_ref(), classes)?;
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let message =
                format!("label_smoothing must lie between 0 and 1, found {}", self.label_smoothing);
            return Err(OpError::shape(message));
        }
        // Forward: compare, subtract, exponential, add; two more if every class has a target.
        // Backward: two subtractions, exponential, product, and the same two.
        let every_class = x[1].dtype != DType::I32 || self.label_smoothing > 0.0;
        let flops = (4 + 2 * usize::from(every_class)) * x[0].shape.len();
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
        let classes = inputs.width;
        match inputs.target {
            Target::Integer(t) => check_indices(t, classes, self.ignore_index)?,
            Target::Float(_) => inputs.check_between_0_and_1("probabilities")?,
        }
        let saved = saved_row::<T>(saved)?;
        let total = sum_rows(
            cx.cpu(),
            inputs.rows,
            rows_at_a_time(classes),
            classes * WORK,
            saved,
            #[inline(always)]
            |rows, saved| self.block_forward(&inputs, rows, saved),
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
        ff_kernels::for_row_blocks(
            cx.cpu(),
            [inputs.rows, inputs.width],
            rows_at_a_time(inputs.width),
            inputs.width * WORK,
            dz,
            #[inline(always)]
            |rows, dz| self.block_backward(&inputs, rows, log_sums, scale, dz, accumulate),
        );
        Ok(())
    }
}

impl SoftmaxCrossEntropy {
    #[inline(always)]
    fn class_weight(&self, class: usize) -> f64 {
        class_weight(self.class_weights.as_ref(), class)
    }

    /// The share that a class index adds to a for its own class.
    #[inline(always)]
    fn at_class(&self, class: usize) -> f64 {
        (1.0 - self.label_smoothing) * self.class_weight(class)
    }

    /// The sample weight and the target class of a row; `None` if it is excluded.
    #[inline(always)]
    fn part<T: Float>(&self, inputs: &Inputs<'_, T>, row: usize) -> Option<(f64, Option<usize>)> {
        let weight = inputs.weight(row);
        let class = match inputs.target {
            Target::Float(_) => None,
            Target::Integer(targets) if targets[row] == self.ignore_index => return None,
            Target::Integer(targets) => Some(targets[row] as usize),
        };
        let nothing = self.label_smoothing == 0.0
            && class.is_some_and(|class| self.class_weight(class) == 0.0);
        (weight != 0.0 && !nothing).then_some((weight, class))
    }

    /// a of a class in a row, without the share of the index.
    #[inline(always)]
    fn share<T: Float>(&self, inputs: &Inputs<'_, T>, row: usize, class: usize) -> f64 {
        let classes = inputs.width;
        let even = self.label_smoothing / classes as f64;
        let target = match inputs.target {
            Target::Float(t) => (1.0 - self.label_smoothing) * t[row * classes + class].f64(),
            Target::Integer(_) => 0.0,
        };
        self.class_weight(class) * (target + even)
    }

    /// Whether [`SoftmaxCrossEntropy::share`] is 0 for all classes.
    #[inline(always)]
    fn only_indices<T>(&self, inputs: &Inputs<'_, T>) -> bool {
        self.label_smoothing == 0.0 && matches!(inputs.target, Target::Integer(_))
    }

    #[inline(always)]
    fn block_forward<T: Float>(
        &self,
        inputs: &Inputs<'_, T>,
        rows: Range<usize>,
        saved: &mut [T],
    ) -> Total {
        let (greatest, logs) = log_sum_exp(inputs.prediction, rows.clone(), inputs.width);
        let mut total = Total::default();
        for (r, row) in rows.enumerate() {
            let part = self.part(inputs, row);
            if let Some(saved) = saved.get_mut(r) {
                *saved = if part.is_some() { logs[r] } else { T::ZERO };
            }
            let Some((weight, class)) = part else { continue };
            let (max, log_sum) = (greatest[r], logs[r]);
            let minus_log = |z: T| (max - z + log_sum).f64();
            let mut loss = 0.0;
            total.count += match class {
                Some(class) => {
                    let own = self.class_weight(class);
                    let minus_log = minus_log(inputs.row(row)[class]);
                    loss += times(self.at_class(class), minus_log);
                    weight * own
                }
                None => weight,
            };
            if !self.only_indices(inputs) {
                loss += self.at_all(inputs, row, minus_log);
            }
            total.loss += weight * loss;
        }
        total
    }

    /// Σ_c share(c) f(z_c) of a row.
    #[inline(always)]
    fn at_all<T: Float>(
        &self,
        inputs: &Inputs<'_, T>,
        row: usize,
        f: impl Fn(T) -> f64 + Copy,
    ) -> f64 {
        let (z, classes) = (inputs.row(row), inputs.width);
        let (hard, even) = (1.0 - self.label_smoothing, self.label_smoothing / inputs.width as f64);
        match (&self.class_weights, inputs.target) {
            (None, Target::Integer(_)) => sum_of(
                z,
                #[inline(always)]
                move |z| times(even, f(z)),
            ),
            (None, Target::Float(t)) => sum_of2(
                z,
                &t[row * classes..][..classes],
                #[inline(always)]
                move |z, t| times(hard * t.f64() + even, f(z)),
            ),
            _ => sum_by(classes, |c| times(self.share(inputs, row, c), f(z[c]))),
        }
    }

    #[inline(always)]
    fn block_backward<T: Float>(
        &self,
        inputs: &Inputs<'_, T>,
        rows: Range<usize>,
        log_sums: &[T],
        scale: f64,
        dz: &mut [T],
        accumulate: bool,
    ) {
        let only_indices = self.only_indices(inputs);
        // The factor of p and, for each row, its class with the amount subtracted there.
        let (mut scales, mut own) = ([None; ROWS], [None; ROWS]);
        for (r, row) in rows.clone().enumerate() {
            let Some((weight, class)) = self.part(inputs, row) else { continue };
            let scale = scale * weight;
            let at_class = match class {
                None => 0.0,
                Some(class) => self.at_class(class),
            };
            own[r] = class.map(|class| (class, T::of(scale * at_class)));
            let shares = if only_indices { 0.0 } else { self.at_all(inputs, row, |_| 1.0) };
            scales[r] = Some(T::of(scale * (at_class + shares)));
        }
        softmax_backward(inputs.prediction, rows.clone(), log_sums, &scales, dz, accumulate);
        for ((r, row), dz) in rows.enumerate().zip(dz.chunks_exact_mut(inputs.width)) {
            if !only_indices && scales[r].is_some() {
                let scale = scale * inputs.weight(row);
                for (c, dz) in dz.iter_mut().enumerate() {
                    *dz -= T::of(scale * self.share(inputs, row, c));
                }
            }
            if let Some((class, own)) = own[r] {
                dz[class] -= own;
            }
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let weighted = Arc::from([0.5, 2.0, 1.25, 1.0, 0.0]);
    let sample_weights = |rows: usize| {
        CaseInput::constant([rows], Fill::Values(vec![0.5, 2.0, 0.0, 1.25, 1.0, 0.75]))
    };
    let indices = |name: &str, op: SoftmaxCrossEntropy, dims: &[usize]| {
        let (classes, leading) = (dims[dims.len() - 1], &dims[..dims.len() - 1]);
        let target = CaseInput::constant(leading, Fill::Integers(classes));
        let inputs = vec![CaseInput::normal(dims), target];
        Case::new(format!("{NAME}/{name}"), op.op(), inputs)
    };
    let probabilities = |name: &str, op: SoftmaxCrossEntropy, dims: &[usize]| {
        let inputs = vec![CaseInput::normal(dims), CaseInput::constant(dims, Fill::Probabilities)];
        Case::new(format!("{NAME}/{name}"), op.op(), inputs)
    };
    let with_weights = |mut case: Case| {
        case.inputs.push(sample_weights(case.inputs[0].dims.iter().rev().skip(1).product()));
        case
    };
    let plain = SoftmaxCrossEntropy::default();
    let sum = SoftmaxCrossEntropy { reduction: Reduction::Sum, ..plain.clone() };
    let smooth = SoftmaxCrossEntropy { label_smoothing: 0.1, ..plain.clone() };
    let full = SoftmaxCrossEntropy { class_weights: Some(weighted), ..smooth.clone() };
    let full_sum = SoftmaxCrossEntropy { reduction: Reduction::Sum, ..full.clone() };
    let ignoring = SoftmaxCrossEntropy { ignore_index: 1, ..full.clone() };
    vec![
        indices("mean", plain.clone(), &[7, 5]),
        indices("sum", sum.clone(), &[7, 5]),
        indices("smoothed", smooth.clone(), &[7, 5]),
        indices("class_weights_smoothed", full.clone(), &[9, 5]),
        indices("ignored", ignoring, &[9, 5]),
        indices("folded", sum.clone(), &[2, 3, 4]),
        indices("one_class", plain.clone(), &[3, 1]),
        indices("no_rows", plain.clone(), &[0, 3]),
        indices("many_rows", sum.clone(), &[131, 3]),
        with_weights(indices("weighted_mean", plain.clone(), &[7, 5])),
        with_weights(indices("weighted_sum", sum.clone(), &[7, 5])),
        with_weights(indices("weighted_full", full.clone(), &[7, 5])),
        probabilities("probabilities_mean", plain, &[6, 5]),
        probabilities("probabilities_sum", sum, &[6, 9]),
        probabilities("probabilities_full", full, &[6, 5]),
        with_weights(probabilities("probabilities_weighted", full_sum, &[2, 3, 5])),
    ]
}
