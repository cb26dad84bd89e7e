//! The load-balancing loss of routers.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::Float;
use ff_tensor::{Shape, TensorMut, TensorRef};
use std::sync::Arc;

const NAME: &str = "router_balance";

/// The load-balancing loss of experts (Fedus et al., "Switch Transformers", 2021), over all layers
/// as in `transformers`, from the sum over layers of
/// [`MixtureOfExperts`](crate::MixtureOfExperts)'s spreads.
///
/// Forward, with E experts, pₑ the sum of their probabilities, cₑ the number of rows of each, M = Σ
/// cₑ / k the rows of all layers, and n the tokens averaged by a mean loss: y = n E Σ (cₑ / M) (pₑ
/// / M)
/// Backward:  dpₑ = n E cₑ / M² · dy,  dcₑ = (n E pₑ / M² − 2 y / (k M)) dy,  dn = y / n · dy
///
/// It is least if both are uniform, and a sum over tokens like the loss to which it is added. Kept:
/// all inputs.
///
/// # Shapes
/// p above c `[2, E]`, n `[1]` → y `[1]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::RouterBalance;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let spread =
///     graph.input(Tensor::from_slice(&device, &[5.0f32, 5.0, 10.0, 0.0], &[2, 2]).unwrap());
/// let count = graph.input(Tensor::from_slice(&device, &[3.0f32], &[1]).unwrap());
/// let y = graph.apply(&RouterBalance { top_k: 1 }.op(), &[&spread, &count])?;
/// assert_eq!(y.item()?, 3.0);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterBalance {
    /// The number of experts per row.
    pub top_k: usize,
}

/// M, and Σ cₑ pₑ.
fn totals<T: Float>(top_k: usize, p: &[T], c: &[T]) -> (f64, f64) {
    let rows: f64 = c.iter().map(|c| c.f64()).sum::<f64>() / top_k.max(1) as f64;
    (rows, p.iter().zip(c).map(|(p, c)| p.f64() * c.f64()).sum())
}

impl RouterBalance {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }
}

impl FloatOp for RouterBalance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "spread, count")?;
        check::float(&x[0])?;
        check::same_dtype("the count", &x[1], &x[0])?;
        if !matches!(*x[0].shape.dims(), [2, experts] if experts > 0)
            || x[1].shape != Shape::scalar()
        {
            let message = format!(
                "expected a spread [2, experts] and a count [1], found {} and {}",
                x[0].shape, x[1].shape
            );
            return Err(OpError::shape(message));
        }
        if self.top_k == 0 {
            return Err(OpError::shape("top_k must be at least 1, found 0"));
        }
        let n = x[0].shape.len();
        let contract = Contract::new([Spec::new(Shape::scalar(), x[0].dtype)]);
        let any = need.contains(&true);
        let contract = contract.cost(2 * n, if any { 3 * n } else { 0 });
        Ok(if any { contract.keep_input(0).keep_input(1) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        _cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let spread = x[0].slice::<T>()?;
        let n = x[1].slice::<T>()?[0].f64();
        let experts = spread.len() / 2;
        let (p, c) = spread.split_at(experts);
        let (rows, sum) = totals(self.top_k, p, c);
        let loss = if rows == 0.0 { 0.0 } else { n * experts as f64 * sum / (rows * rows) };
        y[0].slice_mut::<T>()?[0] = T::of(loss);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        _cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<T>()?[0].f64();
        let spread = kept.input(0)?.slice::<T>()?;
        let n = kept.input(1)?.slice::<T>()?[0].f64();
        let experts = spread.len() / 2;
        let (p, c) = spread.split_at(experts);
        let (rows, sum) = totals(self.top_k, p, c);
        let put = |to: &mut T, value: f64, accumulate| {
            // Without rows, the loss is 0.
            let value = T::of(if rows == 0.0 { 0.0 } else { value * dy });
            *to = if accumulate { *to + value } else { value };
        };
        let scale = experts as f64 / (rows * rows);
        if let Some((d, accumulate)) = dx[0].take::<T>()? {
            let (dp, dc) = d.split_at_mut(experts);
            for (to, c) in dp.iter_mut().zip(c) {
                put(to, n * scale * c.f64(), accumulate);
            }
            let from_rows = 2.0 * n * scale * sum / (self.top_k as f64 * rows);
            for (to, p) in dc.iter_mut().zip(p) {
                put(to, n * scale * p.f64() - from_rows, accumulate);
            }
        }
        if let Some((d, accumulate)) = dx[1].take::<T>()? {
            put(&mut d[0], scale * sum, accumulate);
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, top_k, experts: usize, fill: Fill| {
        let inputs =
            vec![CaseInput::new([2, experts], fill), CaseInput::new([1], Fill::Uniform(3.0, 9.0))];
        Case::new(format!("{NAME}/{name}"), RouterBalance { top_k }.op(), inputs)
    };
    vec![
        case("one", 1, 4, Fill::Uniform(1.0, 9.0)),
        case("two", 2, 5, Fill::Uniform(0.5, 4.0)),
        case("one_expert", 1, 1, Fill::Uniform(1.0, 2.0)),
        case("many", 3, 67, Fill::Uniform(0.0, 5.0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, tensor};
    use ff_tensor::DType;

    #[test]
    fn without_rows_there_is_nothing_to_spread() {
        let x = [tensor(&[0.0f64; 6], &[2, 3]), tensor(&[0.0f64], &[1])];
        let run = Run::new(&RouterBalance { top_k: 2 }.op(), &x).unwrap();
        assert_eq!(run.output::<f64>(0), [0.0]);
        assert!(run.backward(&[1.0f64]).into_iter().flatten().all(|d| d == 0.0));
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let x = [Spec::new([3, 4], DType::F32), Spec::new([1], DType::F32)];
        let of = |top_k| RouterBalance { top_k }.op().contract(&x, &[false; 2]);
        assert!(of(1).unwrap_err().to_string().contains("found [3, 4] and [1]"));
    }
}
