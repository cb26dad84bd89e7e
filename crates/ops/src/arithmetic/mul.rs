//! Element-wise multiplication.

use super::pair_cases;
use ff_graph::{Case, Contract, Cx, FloatOp, Kept, Op, OpResult, Slot, Spec, check};
use ff_kernels::{Float, MAX_COLUMNS, for_columns, for_rows, map2};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The element-wise product of two inputs of one shape, such as a gate, or of an input and a row,
/// which multiplies each of its rows.
///
/// Forward:  y = a ⊙ b
/// Backward:  da = dy ⊙ b,  db = dy ⊙ a, or Σₙ dy ⊙ a for a row
///
/// Kept: b for da, a for db.
///
/// # Shapes
/// a `[…, features]`, b the same or `[features]` → y `[…, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Mul;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let a = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2]).unwrap());
/// let b = graph.input(Tensor::from_slice(&device, &[10.0f32, 0.5], &[2]).unwrap());
/// let y = graph.apply(&Mul::op(), &[&a, &b])?;
/// assert_eq!(y.slice::<f32>()?, [10.0, 1.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mul;

impl Mul {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

impl FloatOp for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let is_row = check::is_row(x)?;
        let n = x[0].shape.len();
        let for_b = if is_row { 2 * n } else { n };
        let dflops = n * usize::from(need[0]) + for_b * usize::from(need[1]);
        let mut contract = Contract::new([x[0]]).cost(n, dflops);
        if need[0] {
            contract = contract.keep_input(1);
        }
        Ok(if need[1] { contract.keep_input(0) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (a, b) = (x[0].slice::<T>(), x[1].slice::<T>());
        let (a, b) = (a?, b?);
        let y = y[0].slice_mut::<T>()?;
        product(cx, a, b, x[0].shape().last(), y, false);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let (rows, width) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        if let Some((da, accumulate)) = dx[0].take::<T>()? {
            let b = kept.input(1)?.slice::<T>()?;
            product(cx, dy, b, width, da, accumulate);
        }
        if let Some((db, accumulate)) = dx[1].take::<T>()? {
            let a = kept.input(0)?.slice::<T>()?;
            if kept.spec(0).shape == kept.spec(1).shape {
                product(cx, dy, a, width, db, accumulate);
            } else {
                for_columns(
                    cx.cpu(),
                    width,
                    2 * rows,
                    [db],
                    #[inline(always)]
                    |columns, [mut db]| {
                        let mut sums = [0.0; MAX_COLUMNS];
                        for i in 0..rows {
                            let part = i * width + columns.start..i * width + columns.end;
                            for ((s, &a), &dy) in
                                sums.iter_mut().zip(&a[part.clone()]).zip(&dy[part])
                            {
                                *s += (a * dy).f64();
                            }
                        }
                        db.put(&sums, accumulate);
                    },
                );
            }
        }
        Ok(())
    }
}

/// y = a ⊙ b, or y += a ⊙ b if `accumulate` is set; b may be a row.
fn product<T: Float>(cx: &Cx<'_>, a: &[T], b: &[T], width: usize, y: &mut [T], accumulate: bool) {
    if a.len() == b.len() {
        map2(cx.cpu(), a, b, y, accumulate, |a, b| a * b);
        return;
    }
    let rows = a.len() / width.max(1);
    for_rows(
        cx.cpu(),
        rows,
        width,
        [(y, width)],
        #[inline(always)]
        |i, [y]| {
            let a = &a[i * width..][..width];
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = if accumulate { *y + a * b } else { a * b };
            }
        },
    );
}

pub(crate) fn cases() -> Vec<Case> {
    pair_cases("mul", Mul::op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn each_gradient_keeps_the_other_input() {
        let (a, row) = (Spec::new([5, 3], DType::F32), Spec::new([3], DType::F32));
        let contract = |b, need: [bool; 2]| Mul::op().contract(&[a, b], &need).unwrap();
        let y = || Contract::new([a]);
        assert_eq!(contract(a, [false, false]), y().cost(15, 0));
        assert_eq!(contract(a, [true, false]), y().cost(15, 15).keep_input(1));
        assert_eq!(contract(row, [false, true]), y().cost(15, 30).keep_input(0));
        assert_eq!(contract(a, [true, true]), y().cost(15, 30).keep_input(0).keep_input(1));
    }
}
