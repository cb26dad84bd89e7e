//! Addition.

use super::pair_cases;
use ff_graph::{Case, Contract, Cx, FloatOp, Kept, Op, OpResult, Slot, Spec, check};
use ff_kernels::{Float, copy, for_rows, map2, sum_columns};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The sum of two inputs of one shape, as in a residual connection, or of an input and a row added
/// to each of its rows.
///
/// Forward:  y = a + b
/// Backward:  da = dy,  db = dy, or Σₙ dy for a row
///
/// Kept: nothing.
///
/// # Shapes
/// a `[…, features]`, b the same or `[features]` → y `[…, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Add;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let a = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[2, 1]).unwrap());
/// let b = graph.input(Tensor::from_slice(&device, &[10.0f32], &[1]).unwrap());
/// let y = graph.apply(&Add::op(), &[&a, &b])?;
/// assert_eq!(y.slice::<f32>()?, [11.0, 12.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Add;

impl Add {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

impl FloatOp for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let is_row = check::is_row(x)?;
        let n = x[0].shape.len();
        Ok(Contract::new([x[0]]).cost(n, if is_row && need[1] { n } else { 0 }))
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, width) = (x[0].shape().rows(), x[0].shape().last());
        let (a, b) = (x[0].slice::<T>()?, x[1].slice::<T>()?);
        let y = y[0].slice_mut::<T>()?;
        if x[0].shape() == x[1].shape() {
            map2(cx.cpu(), a, b, y, false, |a, b| a + b);
        } else {
            for_rows(
                cx.cpu(),
                rows,
                width,
                [(y, width)],
                #[inline(always)]
                |i, [y]| {
                    let a = &a[i * width..][..width];
                    y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = a + b);
                },
            );
        }
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let is_row = kept.spec(0).shape != kept.spec(1).shape;
        let dy = &*dy.slice_mut::<T>()?;
        if let Some((da, accumulate)) = dx[0].take::<T>()? {
            copy(cx.cpu(), dy, da, accumulate);
        }
        if let Some((db, accumulate)) = dx[1].take::<T>()? {
            if is_row {
                sum_columns(cx.cpu(), dy, db, accumulate);
            } else {
                copy(cx.cpu(), dy, db, accumulate);
            }
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    pair_cases("add", Add::op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let x = [Spec::new([4, 3], DType::F32), Spec::new([4], DType::F32)];
        let error = Add::op().contract(&x, &[false; 2]).unwrap_err().to_string();
        assert!(error.contains("[4, 3]") && error.contains("[3]"), "{error}");
        assert!(error.ends_with("found [4]"), "{error}");
    }
}
