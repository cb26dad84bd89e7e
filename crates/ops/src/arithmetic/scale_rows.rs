//! Multiplication of each row by its own factor.

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, dot, for_rows};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// Each row times its own factor, such as the gate of a token.
///
/// Forward:  yₙ = sₙ xₙ
/// Backward:  dxₙ = sₙ dyₙ,  dsₙ = Σ dyₙ ⊙ xₙ
///
/// Kept: s for dx, x for ds.
///
/// # Shapes
/// x `[…, features]`, s `[…, 1]` → y `[…, features]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::ScaleRows;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap());
/// let s = graph.input(Tensor::from_slice(&device, &[10.0f32, 0.5], &[2, 1]).unwrap());
/// let y = graph.apply(&ScaleRows::op(), &[&x, &s])?;
/// assert_eq!(y.slice::<f32>()?, [10.0, 20.0, 1.5, 2.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleRows;

impl ScaleRows {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op() -> Arc<dyn Op> {
        Arc::new(Self)
    }
}

impl FloatOp for ScaleRows {
    fn name(&self) -> &'static str {
        "scale_rows"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "x, s")?;
        check::float(&x[0])?;
        check::same_dtype("s", &x[1], &x[0])?;
        let expected = x[0].shape.with_last(1);
        if x[0].shape.rank() == 0 || x[1].shape != expected {
            let message = format!(
                "s must be {expected}, one factor per row of x {}, found {}",
                x[0].shape, x[1].shape
            );
            return Err(OpError::shape(message));
        }
        let n = x[0].shape.len();
        let dflops = n * usize::from(need[0]) + 2 * n * usize::from(need[1]);
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
        let s = x[1].slice::<T>()?;
        let x = x[0].slice::<T>()?;
        product(cx, x, s, y[0].slice_mut::<T>()?, false);
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
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            let s = kept.input(1)?.slice::<T>()?;
            product(cx, dy, s, dx, accumulate);
        }
        if let Some((ds, accumulate)) = dx[1].take::<T>()? {
            let x = kept.input(0)?.slice::<T>()?;
            for_rows(
                cx.cpu(),
                rows,
                2 * width,
                [(ds, 1)],
                #[inline(always)]
                |i, [ds]| {
                    let part = i * width..(i + 1) * width;
                    let sum = T::of(dot(&dy[part.clone()], &x[part]));
                    ds[0] = if accumulate { ds[0] + sum } else { sum };
                },
            );
        }
        Ok(())
    }
}

fn product<T: Float>(cx: &Cx<'_>, x: &[T], s: &[T], y: &mut [T], accumulate: bool) {
    let width = x.len() / s.len().max(1);
    for_rows(
        cx.cpu(),
        s.len(),
        width,
        [(y, width)],
        #[inline(always)]
        |i, [y]| {
            let (x, s) = (&x[i * width..][..width], s[i]);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = if accumulate { *y + s * x } else { s * x };
            }
        },
    );
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, dims: &[usize]| {
        let mut rows = dims.to_vec();
        rows[dims.len() - 1] = 1;
        let inputs = vec![CaseInput::normal(dims), CaseInput::normal(rows)];
        Case::new(format!("scale_rows/{name}"), ScaleRows::op(), inputs)
    };
    vec![
        case("rows", &[5, 3]),
        case("folded", &[2, 3, 4]),
        case("one", &[1, 1]),
        case("no_rows", &[0, 3]),
        case("wide", &[4, 67]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let x = [Spec::new([4, 3], DType::F32), Spec::new([4], DType::F32)];
        let error = ScaleRows::op().contract(&x, &[false; 2]).unwrap_err().to_string();
        assert!(error.contains("[4, 1]") && error.ends_with("found [4]"), "{error}");
    }
}
