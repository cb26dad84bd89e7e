//! Element-wise activations: the table, and the operation over it.

pub(crate) mod gate;
pub(crate) mod parametric;
mod passes;
pub(crate) mod prelu;
pub(crate) mod soft_cap;
mod table;

pub use gate::Gate;
pub(crate) use table::DerivativeFrom;
pub use table::{Activation, WeightInit};

use ff_graph::{
    Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::Float;
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// An activation on its own; feedforward layers have one built in.
///
/// Forward:  y = f(x)
/// Backward:  dx = dy ⊙ f′
///
/// Kept: nothing for the identity, y where f′ can be computed from it, else x.
///
/// # Shapes
/// x `[…]` → y `[…]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Activate, Activation};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let x = graph.input(Tensor::from_slice(&device, &[-1.0f32, 2.0], &[2]).unwrap());
/// let y = graph.apply(&Activate::op(Activation::Relu), &[&x])?;
/// assert_eq!(y.slice::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activate {
    /// f.
    pub activation: Activation,
}

impl Activate {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(activation: Activation) -> Arc<dyn Op> {
        Arc::new(Self { activation })
    }
}

impl FloatOp for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 1, "x")?;
        check::float(&x[0])?;
        self.activation.validate().map_err(OpError::Shape)?;
        let n = x[0].shape.len();
        let contract = Contract::new([x[0]]).cost(n, 2 * n);
        Ok(match self.activation.derivative_from() {
            _ if !need[0] => contract,
            DerivativeFrom::Nothing => contract,
            DerivativeFrom::Output => contract.keep_output(0),
            DerivativeFrom::Input => contract.keep_input(0),
        })
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
        self.activation.forward(cx.cpu(), x, y);
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
        let Some((dx, accumulate)) = dx[0].take::<T>()? else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let from = match self.activation.derivative_from() {
            // The identity's derivative needs no argument.
            DerivativeFrom::Nothing => dy,
            DerivativeFrom::Output => kept.output(0)?.slice::<T>()?,
            DerivativeFrom::Input => kept.input(0)?.slice::<T>()?,
        };
        self.activation.backward(cx.cpu(), from, dy, dx, accumulate);
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, activation, dims: &[usize]| {
        Case::new(
            format!("activation/{name}"),
            Activate::op(activation),
            vec![CaseInput::normal(dims)],
        )
    };
    let mut cases: Vec<Case> = Activation::ALL
        .iter()
        .map(|&activation| case(activation.name(), activation, &[5, 3]))
        .collect();
    cases.extend([
        case("leaky_relu_steep", Activation::LeakyRelu { slope: 0.5 }, &[7]),
        case("elu_2", Activation::Elu { alpha: 2.0 }, &[7]),
        case("folded", Activation::Gelu, &[2, 3, 4]),
        case("one", Activation::Tanh, &[1, 1]),
        case("no_rows", Activation::Silu, &[0, 3]),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::DType;

    #[test]
    fn bad_attributes_and_types_are_named() {
        let spec = |dtype| [Spec::new([2], dtype)];
        let op = Activate::op(Activation::Elu { alpha: 0.0 });
        let error = op.contract(&spec(DType::F32), &[false]).unwrap_err();
        assert_eq!(error.to_string(), "elu's alpha must be greater than 0, found 0");
        let error = Activate::op(Activation::Relu).contract(&spec(DType::I32), &[false]);
        assert!(error.unwrap_err().to_string().contains("i32"));
    }
}
