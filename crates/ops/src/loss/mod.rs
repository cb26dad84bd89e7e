//! Code shared by the losses: their inputs, the ordered sum over rows, and its two reductions.
//!
//! Every loss takes (prediction, target, optional sample weights) and returns (loss, count). Rows
//! are distributed over threads and added in f64, in an order that depends only on their number.

pub(crate) mod binary_cross_entropy_with_logits;
pub(crate) mod binary_focal;
mod elements;
pub(crate) mod focal;
pub(crate) mod in_batch_ranking;
pub(crate) mod kl_divergence;
pub(crate) mod linear_cross_entropy;
pub(crate) mod preference;
pub(crate) mod regression;
mod sigmoid;
mod softmax;
pub(crate) mod softmax_cross_entropy;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use elements::{backward_elements, contract_elements, forward_elements};
pub(crate) use sigmoid::{sigmoids, soft_hinges};
pub(crate) use softmax::{
    check_class_weights, check_index_shapes, check_indices, check_probability_shapes, class_weight,
    log_sum_exp, rows_at_a_time, saved_row, softmax_backward,
};

use ff_graph::{Contract, Kept, OpError, OpResult, Slot, Spec};
use ff_kernels::{Float, for_rows};
use ff_tensor::{CpuDevice, Shape, Slice, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::ops::Range;

/// The reduction of the losses of all rows to one number.
///
/// The second output of every loss is the count: the sum of the weights of included rows, times the
/// outputs per row if each output has its own target. Training over micro-batches uses `Sum` and
/// divides once by the summed counts, so that 1 × N rows and N × 1 rows give the same step.
///
/// A row with a sample weight of 0 or an ignored target is excluded, whatever its values. If all
/// rows are excluded, count, loss and gradient are 0 (PyTorch's mean is NaN).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reduction {
    /// The weighted sum divided by the count, PyTorch's `reduction="mean"`.
    #[default]
    Mean,
    /// The weighted sum.
    Sum,
}

/// The sum over rows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Total {
    pub(crate) loss: f64,
    pub(crate) count: f64,
}

impl Total {
    /// Writes the two outputs.
    pub(crate) fn write<T: Float>(self, reduction: Reduction, y: &mut [TensorMut<'_>]) -> OpResult {
        let loss = match reduction {
            Reduction::Sum => self.loss,
            Reduction::Mean => self.loss * over(self.count),
        };
        for (y, value) in y.iter_mut().zip([loss, self.count]) {
            y.slice_mut::<T>()?.fill(T::of(value));
        }
        Ok(())
    }
}

/// 1 / count, or 0 for a count of 0, with which a NaN stays NaN.
fn over(count: f64) -> f64 {
    if count > 0.0 { count.recip() } else { 0.0 }
}

/// The factor of a row's gradient besides its weight: the gradient of the loss, divided by the
/// count for a mean.
pub(crate) fn scale<T: Float>(
    reduction: Reduction,
    kept: &Kept<'_>,
    dy: &mut [Option<TensorMut<'_>>],
) -> OpResult<f64> {
    let one = |values: &[T]| values.first().map_or(0.0, |v| v.f64());
    let dy = match &mut dy[0] {
        Some(dy) => one(dy.slice_mut::<T>()?),
        None => 0.0,
    };
    Ok(match reduction {
        Reduction::Sum => dy,
        Reduction::Mean => dy * over(one(kept.output(1)?.slice::<T>()?)),
    })
}

/// Checks the inputs of a loss: two or three, float predictions of at least one dimension, and one
/// weight per row.
pub(crate) fn check_inputs(x: &[Spec]) -> OpResult {
    let [prediction, _, weights @ ..] = x else {
        return Err(inputs_expected(x.len()));
    };
    if !prediction.dtype.is_float() {
        let expected = "f32 or f64 predictions";
        return Err(OpError::dtype(expected, prediction.dtype));
    }
    if prediction.shape.rank() == 0 {
        return Err(OpError::shape("predictions must be […, outputs], found a single number"));
    }
    match weights {
        [] => {}
        [weights] => {
            if weights.dtype != prediction.dtype {
                let expected = "sample weights of the predictions' type";
                return Err(OpError::dtype(expected, weights.dtype));
            }
            if !is_per_row(&weights.shape, &prediction.shape) {
                return Err(OpError::shape(format!(
                    "predictions {} need one sample weight for each of their {} rows, found {}",
                    prediction.shape,
                    prediction.shape.rows(),
                    weights.shape
                )));
            }
        }
        _ => return Err(inputs_expected(x.len())),
    }
    Ok(())
}

/// The slot of the predictions' gradient; an error if a gradient of targets or weights is
/// requested.
pub(crate) fn take_gradient<'a, T: Float>(
    dx: &mut [Slot<'a>],
) -> OpResult<Option<(&'a mut [T], bool)>> {
    if dx[1..].iter().any(Slot::is_needed) {
        return Err(OpError::shape(
            "no gradient flows to targets and weights; give them as `Graph::input`, not as \
             variables",
        ));
    }
    Ok(dx[0].take::<T>()?)
}

fn inputs_expected(found: usize) -> OpError {
    let message = format!("expected prediction, target and optional weights, found {found} inputs");
    OpError::shape(message)
}

/// Whether a shape has one value per row: the leading dimensions, folded or not.
pub(crate) fn is_per_row(shape: &Shape, prediction: &Shape) -> bool {
    *shape == prediction.without_last() || shape.dims() == [prediction.rows()]
}

/// The contract of a loss: two single numbers, the second constant; inputs are kept, and the count
/// for a mean. `save_row` saves one more value per row.
pub(crate) fn contract(
    x: &[Spec],
    need: &[bool],
    reduction: Reduction,
    save_row: bool,
    flops: usize,
    dflops: usize,
) -> Contract {
    let scalar = x[0].with_shape(Shape::scalar());
    let mut contract = Contract::new([scalar, scalar]).constant_output(1);
    if need[0] {
        contract = (0..x.len()).fold(contract.cost(flops, dflops), Contract::keep_input);
        if reduction == Reduction::Mean {
            contract = contract.keep_output(1);
        }
        if save_row {
            contract = contract.save(x[0].with_shape([x[0].shape.rows()]));
        }
        contract
    } else {
        contract.cost(flops, 0)
    }
}

/// The target of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a, T> {
    Float(&'a [T]),
    Integer(&'a [i32]),
}

impl<T: Float> Target<'_, T> {
    #[inline(always)]
    pub(crate) fn get(&self, i: usize) -> T {
        match self {
            Target::Float(values) => values[i],
            Target::Integer(values) => T::of(f64::from(values[i])),
        }
    }
}

/// The inputs of a loss as slices, in forward and backward alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    pub(crate) prediction: &'a [T],
    pub(crate) target: Target<'a, T>,
    pub(crate) weights: Option<&'a [T]>,
    pub(crate) rows: usize,
    pub(crate) width: usize,
}

impl<'a, T: Float> Inputs<'a, T> {
    /// The inputs of forward, with checked weights.
    pub(crate) fn given(x: &[TensorRef<'a>]) -> OpResult<Self> {
        let inputs = Self::new(x[0], x[1], x.get(2).copied())?;
        if let Some(weights) = inputs.weights
            && let Some(row) = first_bad(weights, |w| w.is_finite() && *w >= T::ZERO)
        {
            return Err(OpError::domain(format!(
                "the sample weight of row {row} is {}; weights must be finite and not negative",
                weights[row].f64()
            )));
        }
        Ok(inputs)
    }

    /// The inputs of backward.
    pub(crate) fn kept(kept: &Kept<'a>) -> OpResult<Self> {
        // The contract keeps every input, so a missing third one was not given.
        Self::new(kept.input(0)?, kept.input(1)?, kept.input(2).ok())
    }

    fn new(
        prediction: TensorRef<'a>,
        target: TensorRef<'a>,
        weights: Option<TensorRef<'a>>,
    ) -> OpResult<Self> {
        Ok(Self {
            prediction: prediction.slice()?,
            target: match target.data() {
                Slice::I32(values) => Target::Integer(values),
                _ => Target::Float(target.slice()?),
            },
            weights: weights.map(|w| w.slice()).transpose()?,
            rows: prediction.shape().rows(),
            width: prediction.shape().last(),
        })
    }

    /// The sample weight of a row.
    #[inline(always)]
    pub(crate) fn weight(&self, row: usize) -> f64 {
        match self.weights {
            None => 1.0,
            Some(weights) => weights[row].f64(),
        }
    }

    /// The predictions of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [T] {
        &self.prediction[row * self.width..][..self.width]
    }

    /// Checks that every target lies between 0 and 1.
    pub(crate) fn check_between_0_and_1(&self, what: &str) -> OpResult {
        // Mixtures of probabilities may round to slightly more than 1.
        let most = T::of(1.0 + 1e-5);
        let bad = match self.target {
            Target::Float(values) => first_bad(values, |v| *v >= T::ZERO && *v <= most),
            Target::Integer(values) => first_bad(values, |v| (0..=1).contains(v)),
        };
        bad.map_or(Ok(()), |i| {
            let (row, output) = (i / self.width.max(1), i % self.width.max(1));
            let value = self.target.get(i).f64();
            let message = format!(
                "row {row} has target {value} for output {output}; {what} must lie between 0 and 1"
            );
            Err(OpError::domain(message))
        })
    }
}

/// The maximum number of groups of rows that are added separately, then combined in order: the
/// order of additions depends on the shape alone, and partial sums fit on the stack.
const GROUPS: usize = 64;

/// Sums the results of `block` over ranges of at most `at_a_time` rows, with their part of `saved`,
/// which holds a fixed number of values per row, or none; `work` is the approximate number of
/// operations per row.
#[inline(always)]
pub(crate) fn sum_rows<T: Float>(
    cpu: &CpuDevice,
    rows: usize,
    at_a_time: usize,
    work: usize,
    saved: &mut [T],
    block: impl Fn(Range<usize>, &mut [T]) -> Total + Sync,
) -> Total {
    let size = rows.div_ceil(GROUPS).max(1).next_multiple_of(at_a_time);
    let width = saved.len() / rows.max(1);
    let mut rest = saved;
    let mut groups: SmallVec<[(&mut [T], Total); GROUPS]> = SmallVec::new();
    for _ in 0..rows.div_ceil(size) {
        let here = (size * width).min(rest.len());
        let (saved, later) = std::mem::take(&mut rest).split_at_mut(here);
        groups.push((saved, Total::default()));
        rest = later;
    }
    for_rows(
        cpu,
        groups.len(),
        work.saturating_mul(size),
        [(&mut groups[..], 1)],
        #[inline(always)]
        |g, [group]| {
            let (saved, total) = &mut group[0];
            let end = rows.min((g + 1) * size);
            for start in (g * size..end).step_by(at_a_time) {
                let here = start..end.min(start + at_a_time);
                let saved = &mut saved[(start - g * size) * width..][..here.len() * width];
                let one = block(here, saved);
                total.loss += one.loss;
                total.count += one.count;
            }
        },
    );
    groups.iter().fold(Total::default(), |sum, (_, group)| Total {
        loss: sum.loss + group.loss,
        count: sum.count + group.count,
    })
}

/// Σ f(i) for i below `n`, in f64: eight running sums shorten the chain of additions and are
/// combined in a fixed order.
#[inline(always)]
pub(crate) fn sum_by(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let whole = n - n % 8;
    for start in (0..whole).step_by(8) {
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane += f(start + i);
        }
    }
    let mut sum = lanes.iter().sum();
    for i in whole..n {
        sum += f(i);
    }
    sum
}

/// The index of the first value that is not `good`; a first pass without branches checks them all.
#[inline(always)]
pub(crate) fn first_bad<T>(values: &[T], good: impl Fn(&T) -> bool) -> Option<usize> {
    let mut all = true;
    for value in values {
        all &= good(value);
    }
    if all { None } else { values.iter().position(|value| !good(value)) }
}

/// weight · value, where a weight of 0 makes an infinite value 0 but keeps NaN.
#[inline(always)]
pub(crate) fn times(weight: f64, value: f64) -> f64 {
    if weight == 0.0 && value.is_infinite() { 0.0 } else { weight * value }
}

/// Writes a gradient, or adds it.
#[inline(always)]
pub(crate) fn put<T: Float>(slot: &mut T, accumulate: bool, value: T) {
    *slot = if accumulate { *slot + value } else { value };
}

/// The gradient of an excluded row.
#[inline(always)]
pub(crate) fn put_zeros<T: Float>(dx: &mut [T], accumulate: bool) {
    if !accumulate {
        dx.fill(T::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegressionLoss::Mse;
    use ff_graph::{Graph, Params};
    use ff_tensor::{DType, Device, DeviceOptions, Tensor};

    #[test]
    fn a_gradient_of_the_target_is_refused() {
        let device = Device::default();
        let params = Params::allocate(&device, DType::F64, vec![], true).unwrap();
        let mut graph = Graph::new(&device, params);
        let x = Tensor::from_slice(&device, &[1.0f64, 2.0], &[2, 1]).unwrap();
        let (x, t) = (graph.input(x.clone()), graph.variable(x));
        let loss = graph.apply(&Mse.op(Reduction::Mean), &[&x, &t]).unwrap();
        assert_eq!(
            graph.backward(loss).unwrap_err().to_string(),
            "mse: no gradient flows to targets and weights; give them as `Graph::input`, not as \
             variables"
        );
    }

    #[test]
    fn row_sums_have_the_same_bits_for_any_number_of_threads() {
        for (rows, at_a_time) in
            [(0, 1), (1, 1), (1, 16), (63, 1), (64, 16), (65, 1), (1000, 1), (1003, 16)]
        {
            let run = |threads| {
                let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
                let mut saved = vec![-1.0f64; rows];
                let total =
                    sum_rows(device.cpu(), rows, at_a_time, 1 << 14, &mut saved, |rows, saved| {
                        assert!(saved.len() == rows.len() && rows.len() <= at_a_time);
                        saved.iter_mut().zip(rows.clone()).for_each(|(s, row)| *s = row as f64);
                        let loss = rows.clone().map(|row| 1.0 / (row + 1) as f64).sum();
                        Total { loss, count: rows.len() as f64 }
                    });
                assert!(saved.iter().enumerate().all(|(i, &v)| v == i as f64), "{rows} rows");
                total
            };
            let one = run(1);
            assert_eq!(one.count, rows as f64);
            let exact: f64 = (1..=rows).map(|i| 1.0 / i as f64).sum();
            assert!((one.loss - exact).abs() <= 1e-13 * exact, "{} for {exact}", one.loss);
            assert_eq!([run(2), run(4)], [one; 2]);
        }
    }

    #[test]
    fn sums_reach_every_value() {
        for n in [0, 1, 7, 8, 9, 31] {
            assert_eq!(sum_by(n, |i| i as f64), (0..n).sum::<usize>() as f64);
        }
    }
}
