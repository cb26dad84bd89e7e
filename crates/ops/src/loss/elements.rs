//! Element-wise losses, which compare each output with its own target.

use super::{Inputs, Reduction, Target, Total, check_inputs, contract};
use super::{is_per_row, put, scale, sum_rows, take_gradient};
use ff_graph::{Contract, Cx, Kept, OpError, OpResult, Slot, Spec};
use ff_kernels::{Float, sum};
use ff_tensor::{DType, TensorMut, TensorRef};

/// The approximate cost of a transcendental function, in additions.
const WORK: usize = 8;

/// Checks the shapes of an element-wise loss; `flops` are the operations of one element's loss and
/// of its gradient; `integers` allows i32 targets.
pub(crate) fn contract_elements(
    x: &[Spec],
    need: &[bool],
    reduction: Reduction,
    integers: bool,
    flops: [usize; 2],
) -> OpResult<Contract> {
    check_inputs(x)?;
    let (prediction, target) = (&x[0], &x[1]);
    if target.dtype != prediction.dtype && !(integers && target.dtype == DType::I32) {
        let expected = if integers {
            "targets of the predictions' type, or i32"
        } else {
            "targets of the predictions' type"
        };
        return Err(OpError::dtype(expected, target.dtype));
    }
    // [N, 1] against [N] is one output per row; other shapes do not broadcast.
    let one_output = prediction.shape.last() == 1 && is_per_row(&target.shape, &prediction.shape);
    if target.shape != prediction.shape && !one_output {
        return Err(OpError::shape(format!(
            "predictions {} and targets {} must have the same shape",
            prediction.shape, target.shape
        )));
    }
    let [flops, dflops] = flops.map(|per_element| per_element * prediction.shape.len());
    Ok(contract(x, need, reduction, false, flops, dflops))
}

/// Σ weight · f(prediction, target, index) over rows and outputs, with the index of the output over
/// all rows; the count is Σ weight · outputs.
pub(crate) fn forward_elements<T: Float>(
    cx: &Cx<'_>,
    x: &[TensorRef<'_>],
    y: &mut [TensorMut<'_>],
    reduction: Reduction,
    f: impl Fn(T, T, usize) -> T + Sync + Copy,
) -> OpResult {
    let inputs = Inputs::<T>::given(x)?;
    let width = inputs.width;
    let total = sum_rows::<T>(
        cx.cpu(),
        inputs.rows,
        rows_at_a_time(width),
        width * WORK,
        &mut [],
        #[inline(always)]
        |rows, _| {
            let own = f; // The captures stay in registers.
            let mut lanes = [0.0f64; LANES];
            for start in (rows.start * width..rows.end * width).step_by(CHUNK) {
                let chunk = Chunk::new(&inputs, start, rows.end * width);
                let mut losses = [T::ZERO; CHUNK];
                for (i, loss) in losses.iter_mut().enumerate() {
                    *loss = own(chunk.prediction[i], chunk.target[i], start + i);
                }
                for start in (0..CHUNK).step_by(LANES) {
                    for l in 0..LANES {
                        let (weight, loss) = (chunk.weight[start + l], losses[start + l].f64());
                        // A weight of 0 excludes a row, even one of infinite loss.
                        lanes[l] += if weight == 0.0 { 0.0 } else { weight * loss };
                    }
                }
            }
            let weights = match inputs.weights {
                None => rows.len() as f64,
                Some(weights) => sum(&weights[rows]),
            };
            Total { loss: lanes.iter().sum(), count: weights * width as f64 }
        },
    );
    total.write::<T>(reduction, y)
}

/// d prediction = dy · weight · df(prediction, target, index), divided by the count for a mean.
pub(crate) fn backward_elements<T: Float>(
    cx: &Cx<'_>,
    kept: &Kept<'_>,
    dy: &mut [Option<TensorMut<'_>>],
    dx: &mut [Slot<'_>],
    reduction: Reduction,
    df: impl Fn(T, T, usize) -> T + Sync + Copy,
) -> OpResult {
    let Some((dx, accumulate)) = take_gradient::<T>(dx)? else { return Ok(()) };
    let inputs = Inputs::<T>::kept(kept)?;
    let scale = scale::<T>(reduction, kept, dy)?;
    let width = inputs.width;
    ff_kernels::for_row_blocks(
        cx.cpu(),
        [inputs.rows, width],
        rows_at_a_time(width),
        width * WORK,
        dx,
        #[inline(always)]
        |rows, dx| {
            let (own, scale) = (df, scale);
            for (c, dx) in dx.chunks_mut(CHUNK).enumerate() {
                let start = rows.start * width + c * CHUNK;
                let chunk = Chunk::new(&inputs, start, rows.end * width);
                let mut gradients = [T::ZERO; CHUNK];
                for (i, value) in gradients.iter_mut().enumerate() {
                    let weight = chunk.weight[i];
                    let slope = own(chunk.prediction[i], chunk.target[i], start + i);
                    let gradient = T::of(scale * weight) * slope;
                    *value = if weight == 0.0 { T::ZERO } else { gradient };
                }
                for (dx, &gradient) in dx.iter_mut().zip(&gradients) {
                    put(dx, accumulate, gradient);
                }
            }
        },
    );
    Ok(())
}

/// The number of outputs per step.
const CHUNK: usize = 64;
/// Running sums of losses.
const LANES: usize = 16;

fn rows_at_a_time(width: usize) -> usize {
    const OUTPUTS: usize = 1024;
    (OUTPUTS / width.max(1)).max(1)
}

/// Outputs of one or more rows, with their targets and weights; unused ones have weight 0.
struct Chunk<T> {
    prediction: [T; CHUNK],
    target: [T; CHUNK],
    weight: [f64; CHUNK],
}

impl<T: Float> Chunk<T> {
    /// The outputs from `start` to `end`, exclusive.
    #[inline(always)]
    fn new(inputs: &Inputs<'_, T>, start: usize, end: usize) -> Self {
        let len = CHUNK.min(end - start);
        let mut chunk =
            Self { prediction: [T::ZERO; CHUNK], target: [T::ZERO; CHUNK], weight: [0.0; CHUNK] };
        chunk.prediction[..len].copy_from_slice(&inputs.prediction[start..][..len]);
        match inputs.target {
            Target::Float(t) => chunk.target[..len].copy_from_slice(&t[start..][..len]),
            Target::Integer(t) => {
                for (target, &t) in chunk.target[..len].iter_mut().zip(&t[start..]) {
                    *target = T::of(f64::from(t));
                }
            }
        }
        let width = inputs.width;
        match inputs.weights {
            None => chunk.weight[..len].fill(1.0),
            Some(weights) if width == 1 => {
                for (weight, &w) in chunk.weight[..len].iter_mut().zip(&weights[start..]) {
                    *weight = w.f64();
                }
            }
            Some(weights) => {
                let (mut row, mut output) = (start / width, start % width);
                for weight in &mut chunk.weight[..len] {
                    *weight = weights[row].f64();
                    output += 1;
                    if output == width {
                        (row, output) = (row + 1, 0);
                    }
                }
            }
        }
        chunk
    }
}
