//! Softmax and its logarithm over the last dimension.

mod log;

pub use log::LogSoftmax;
pub(crate) use log::cases as log_cases;

use crate::loss::{put, rows_at_a_time};
use crate::narrow::{NARROW, Narrow};
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, dot, for_rows, maximum, sum};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

const NAME: &str = "softmax";
/// The approximate cost of an exponential, in additions.
const EXP: usize = 8;

/// Softmax over the last dimension, `torch.nn.Softmax(dim=-1)`.
///
/// Forward, with m the greatest xⱼ of a row:  yⱼ = exp(xⱼ − m) / Σₖ exp(xₖ − m)
/// Backward:  dx = y ⊙ (dy − Σⱼ dyⱼ yⱼ)
///
/// No exponential exceeds 1, so none overflows. Kept: y.
///
/// # Shapes
/// x `[…, features]` → y `[…, features]`, each row summing to 1
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Softmax;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1000.0f32, 1000.0], &[1, 2]).unwrap());
/// let y = graph.apply(&Softmax::op(), &[&x])?;
/// assert_eq!(y.slice::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax;

impl Softmax {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

/// The contract of both operations: their cost is the same, and backward only needs y.
fn contract(x: &[Spec], need: &[bool]) -> OpResult<Contract> {
    check::inputs(x, 1, "x")?;
    check::float(&x[0])?;
    let n = x[0].shape.len();
    let contract = Contract::new([x[0]]).cost(5 * n, 4 * n);
    Ok(if need[0] { contract.keep_output(0) } else { contract })
}

/// The backward pass of both operations: `row` computes dx of a row from y and dy, in about
/// `work` operations per value, and writes or adds it.
#[inline(always)]
fn backward<T: Float>(
    cx: &Cx<'_>,
    kept: &Kept<'_>,
    dy: &mut [Option<TensorMut<'_>>],
    dx: &mut [Slot<'_>],
    work: usize,
    row: impl Fn(&[T], &[T], &mut [T], bool) + Sync,
) -> OpResult {
    let (rows, width) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
    let Some(dy) = &mut dy[0] else { return Ok(()) };
    let dy = &*dy.slice_mut::<T>()?;
    let y = kept.output(0)?.slice::<T>()?;
    let Some((dx, accumulate)) = dx[0].take::<T>()? else { return Ok(()) };
    for_rows(
        cx.cpu(),
        rows,
        work * width,
        [(dx, width)],
        #[inline(always)]
        |i, [dx]| {
            let part = i * width..(i + 1) * width;
            row(&y[part.clone()], &dy[part], dx, accumulate);
        },
    );
    Ok(())
}

impl FloatOp for Softmax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        contract(x, need)
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, width) = (x[0].shape().rows(), x[0].shape().last());
        let x = x[0].slice::<T>()?;
        let y = y[0].slice_mut()?;
        ff_kernels::for_row_blocks(
            cx.cpu(),
            [rows, width],
            rows_at_a_time(width),
            EXP * width,
            y,
            #[inline(always)]
            |rows, y| {
                if width <= NARROW {
                    let mut block = Narrow::new(x, rows, width);
                    let greatest = block.greatest();
                    block.combine(&greatest, |x, m| x - m);
                    block.exp();
                    let factors = block.sums().map(|sum| T::of(1.0 / sum));
                    block.combine(&factors, |e, factor| e * factor);
                    return block.put(y, false);
                }
                for (i, y) in rows.zip(y.chunks_exact_mut(width)) {
                    let x = &x[i * width..][..width];
                    let greatest = maximum(x);
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = (x - greatest).exp();
                    }
                    let factor = T::of(1.0 / sum(y));
                    for y in y {
                        *y *= factor;
                    }
                }
            },
        );
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        backward::<T>(
            cx,
            kept,
            dy,
            dx,
            4,
            #[inline(always)]
            |y, dy, dx, accumulate| {
                let mean = T::of(dot(y, dy));
                for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                    put(dx, accumulate, y * (dy - mean));
                }
            },
        )
    }
}

/// Cases with the same shapes and values for both.
fn rows_to_check(name: &'static str, op: fn() -> Arc<dyn Op>) -> Vec<Case> {
    let case = |variant: &str, dims: &[usize], fill| {
        Case::new(format!("{name}/{variant}"), op(), vec![CaseInput::new(dims, fill)])
    };
    vec![
        case("plain", &[5, 3], Fill::Normal(1.0)),
        // e¹⁰⁰ overflows f32.
        case("large", &[4, 5], Fill::Values(vec![100.0, 99.0, 97.0, 101.5, 98.0, 100.5])),
        case("folded", &[2, 3, 4], Fill::Normal(2.0)),
        case("one", &[1, 1], Fill::Normal(1.0)),
        case("no_rows", &[0, 3], Fill::Normal(1.0)),
        case("wide", &[3, 67], Fill::Normal(1.0)),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    rows_to_check(NAME, Softmax::op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn rows_add_up_and_nan_stays_in_its_row() {
        let inf = f32::INFINITY;
        let x = [1e30f32, -1e30, 3.0, f32::NAN, 1.0, 2.0, -inf, 0.0, -inf];
        let inputs = [tensor(&x, &[3, 3])];
        let run = Run::new(&Softmax::op(), &inputs).unwrap();
        let y = run.output::<f32>(0);
        assert_eq!(y[..3], [1.0, 0.0, 0.0]);
        assert!(y[3..6].iter().all(|y| y.is_nan()));
        assert_eq!(y[6..], [0.0, 1.0, 0.0]);
    }
}
