use super::{EXP, backward, contract, rows_to_check};
use crate::loss::{log_sum_exp, put, rows_at_a_time};
use crate::narrow::{NARROW, Narrow};
use ff_graph::{Case, Contract, Cx, FloatOp, Kept, Op, OpResult, Slot, Spec};
use ff_kernels::{Float, sum};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

const NAME: &str = "log_softmax";

/// The logarithm of softmax over the last dimension, `torch.nn.LogSoftmax(dim=-1)`.
///
/// Forward, with m the greatest xⱼ of a row:  yⱼ = xⱼ − m − ln Σₖ exp(xₖ − m)
/// Backward:  dx = dy − exp(y) Σⱼ dyⱼ
///
/// Kept: y.
///
/// # Shapes
/// x `[…, features]` → y `[…, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::LogSoftmax;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[0.0f32, -1000.0], &[1, 2]).unwrap());
/// let y = graph.apply(&LogSoftmax::op(), &[&x])?;
/// assert_eq!(y.slice::<f32>()?, [0.0, -1000.0]); // the logarithm of softmax's 0 would be −∞
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSoftmax;

impl LogSoftmax {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

impl FloatOp for LogSoftmax {
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
                let (greatest, logs) = log_sum_exp(x, rows.clone(), width);
                if width <= NARROW {
                    let mut block = Narrow::new(x, rows, width);
                    block.subtract(&greatest, &logs);
                    return block.put(y, false);
                }
                for ((r, i), y) in rows.enumerate().zip(y.chunks_exact_mut(width)) {
                    let (m, log) = (greatest[r], logs[r]);
                    for (y, &x) in y.iter_mut().zip(&x[i * width..][..width]) {
                        *y = x - m - log;
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
            EXP,
            #[inline(always)]
            |y, dy, dx, accumulate| {
                let total = T::of(sum(dy));
                for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
                    put(dx, accumulate, dy - y.exp() * total);
                }
            },
        )
    }
}

pub(crate) fn cases() -> Vec<Case> {
    rows_to_check(NAME, LogSoftmax::op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};

    #[test]
    fn large_inputs_stay_finite_and_nan_stays_in_its_row() {
        let x = [1e30f32, -1e30, f32::NAN, 1.0];
        let inputs = [tensor(&x, &[2, 2])];
        let run = Run::new(&LogSoftmax::op(), &inputs).unwrap();
        let y = run.output::<f32>(0);
        assert_eq!(y[..2], [0.0, -2e30]);
        assert!(y[2].is_nan() && y[3].is_nan());
    }
}
