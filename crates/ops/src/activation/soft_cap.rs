//! A soft bound.

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, map, zip_into};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// A soft bound of logits (Gemma team, 2024).
///
/// Forward:  y = c tanh(x/c)
/// Backward:  dx = dy ⊙ (1 − (y/c)²)
///
/// Kept: y.
///
/// # Shapes
/// x `[…]` → y `[…]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::SoftCap;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[0.0f32, 1e6], &[2]).unwrap());
/// let y = graph.apply(&SoftCap::op(30.0), &[&x])?;
/// assert_eq!(y.slice::<f32>()?, [0.0, 30.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftCap {
    /// c, the bound.
    pub cap: f64,
}

impl SoftCap {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(cap: f64) -> Arc<dyn Op> {
        Arc::new(Self { cap })
    }
}

impl FloatOp for SoftCap {
    fn name(&self) -> &'static str {
        "soft_cap"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 1, "x")?;
        check::float(&x[0])?;
        if !self.cap.is_finite() || self.cap <= 0.0 {
            let message = format!("the cap must be finite and above 0, found {}", self.cap);
            return Err(OpError::shape(message));
        }
        let n = x[0].shape.len();
        let contract = Contract::new([x[0]]).cost(3 * n, 4 * n);
        Ok(if need[0] { contract.keep_output(0) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (cap, over) = (T::of(self.cap), T::of(1.0 / self.cap));
        map(cx.cpu(), x[0].slice::<T>()?, y[0].slice_mut::<T>()?, |x| cap * (x * over).tanh());
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
        let dy = dy.slice_mut::<T>()?;
        let Some((dx, accumulate)) = dx[0].take::<T>()? else { return Ok(()) };
        let over = T::of(1.0 / self.cap);
        // dy is no longer needed: its product with the slope replaces it.
        zip_into(cx.cpu(), kept.output(0)?.slice::<T>()?, dy, |dy, y| {
            let share = y * over;
            dy * (T::ONE - share * share)
        });
        if accumulate {
            zip_into(cx.cpu(), dy, dx, |dx, d| dx + d);
        } else {
            dx.copy_from_slice(dy);
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, cap: f64, dims: &[usize]| {
        Case::new(format!("soft_cap/{name}"), SoftCap::op(cap), vec![CaseInput::normal(dims)])
    };
    vec![
        case("near", 0.75, &[5, 3]),
        case("far", 30.0, &[2, 3, 4]),
        case("one", 2.0, &[1]),
        case("no_rows", 2.0, &[0, 3]),
        case("larger_than_a_block", 1.5, &[4, 67]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_that_bounds_nothing_is_named() {
        let x = [Spec::new([1], ff_tensor::DType::F32)];
        for cap in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            let error = SoftCap::op(cap).contract(&x, &[false]).unwrap_err().to_string();
            assert!(error.starts_with("the cap must be finite and above 0"), "{error}");
        }
    }
}
