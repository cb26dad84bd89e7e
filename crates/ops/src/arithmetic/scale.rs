//! Multiplication by a constant.

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, map, zip_into};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The product of an input and a constant.
///
/// Forward:  y = c x
/// Backward:  dx = c dy
///
/// Kept: nothing.
///
/// # Shapes
/// x `[…]` → y `[…]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::Scale;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[2]).unwrap());
/// let y = graph.apply(&Scale::op(0.5), &[&x])?;
/// assert_eq!(y.slice::<f32>()?, [0.5, 1.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// c.
    pub factor: f64,
}

impl Scale {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(factor: f64) -> Arc<dyn Op> {
        Arc::new(Self { factor })
    }
}

impl FloatOp for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn contract(&self, x: &[Spec], _need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 1, "x")?;
        check::float(&x[0])?;
        if !self.factor.is_finite() {
            let message = format!("the factor must be a finite number, found {}", self.factor);
            return Err(OpError::shape(message));
        }
        let n = x[0].shape.len();
        Ok(Contract::new([x[0]]).cost(n, n))
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (x, y) = (x[0].slice::<T>(), y[0].slice_mut::<T>());
        let (x, y) = (x?, y?);
        self.apply(cx, x, y, false);
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        _kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<T>()?;
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            self.apply(cx, dy, dx, accumulate);
        }
        Ok(())
    }
}

impl Scale {
    fn apply<T: Float>(self, cx: &Cx<'_>, x: &[T], y: &mut [T], accumulate: bool) {
        let factor = T::of(self.factor);
        if accumulate {
            zip_into(cx.cpu(), x, y, |y, x| y + factor * x);
        } else {
            map(cx.cpu(), x, y, |x| factor * x);
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, factor: f64, dims: &[usize]| {
        Case::new(format!("scale/{name}"), Scale::op(factor), vec![CaseInput::normal(dims)])
    };
    vec![
        case("half", 0.5, &[5, 3]),
        case("negative", -3.0, &[2, 3, 4]),
        case("zero", 0.0, &[1]),
        case("no_rows", 2.0, &[0, 3]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_that_is_no_number_is_named() {
        let x = [Spec::new([1], ff_tensor::DType::F32)];
        let error = Scale::op(f64::NAN).contract(&x, &[false]).unwrap_err().to_string();
        assert_eq!(error, "the factor must be a finite number, found NaN");
    }
}
