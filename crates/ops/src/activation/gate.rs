//! A gate with an activation.

use super::{Activation, DerivativeFrom};
use ff_graph::{
    Case, CaseInput, Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec, check, for_stored,
};
use ff_kernels::{Float, Stored};
use ff_tensor::{Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// A gate: y = f(z) ⊙ u, between the layers of a gated feedforward block (Shazeer, 2020) whose
/// layers are operations of their own.
///
/// Forward:  y = f(z) ⊙ u
/// Backward:  dz = dy ⊙ u ⊙ f′(z),  du = dy ⊙ f(z)
///
/// Kept: u, and z, or f(z) if f′ can be computed from it.
///
/// # Shapes
/// z and u `[…]` → y `[…]`
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::{Activation, Gate};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F32, vec![], false)?);
/// let z = graph.input(Tensor::from_slice(&device, &[-1.0f32, 2.0], &[2]).unwrap());
/// let u = graph.input(Tensor::from_slice(&device, &[3.0f32, 3.0], &[2]).unwrap());
/// let y = graph.apply(&Gate::op(Activation::Relu), &[&z, &u])?;
/// assert_eq!(y.slice::<f32>()?, [0.0, 6.0]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// f.
    pub activation: Activation,
}

impl Gate {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(activation: Activation) -> Arc<dyn Op> {
        Arc::new(Self { activation })
    }

    fn keeps_z(&self) -> bool {
        self.activation.derivative_from() == DerivativeFrom::Input
    }

    fn run_forward<T: Float, S: Stored<Compute = T>>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (z, u) = (x[0].slice::<S>()?, x[1].slice::<S>()?);
        let y = y[0].slice_mut::<S>()?;
        if self.keeps_z() {
            self.activation.gate(cx.cpu(), z, Some(u), y);
            return Ok(());
        }
        let mut scratch = None;
        let f = match saved {
            [f, ..] => f.slice_mut::<S>()?,
            [] => scratch
                .insert(Tensor::uninit(cx.device, *x[0].shape(), S::DTYPE)?)
                .slice_mut::<S>()?,
        };
        self.activation.forward(cx.cpu(), z, f);
        self.activation.gate(cx.cpu(), f, Some(u), y);
        Ok(())
    }

    fn run_backward<T: Float, S: Stored<Compute = T>>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = dy.slice_mut::<S>()?;
        let a = if self.keeps_z() { kept.input(0)? } else { kept.saved(0)? };
        let (a, u) = (a.slice::<S>()?, kept.input(1)?.slice::<S>()?);
        let mut du = Tensor::uninit(cx.device, kept.spec(1).shape, S::DTYPE)?;
        let du = du.slice_mut::<S>()?;
        let width = kept.spec(0).shape.last();
        self.activation.gate_backward(cx.cpu(), (a, u), dy, du, width);
        for (slot, from) in dx.iter_mut().zip([&*dy, &*du]) {
            match slot.take::<S>()? {
                None => {}
                Some((to, false)) => to.copy_from_slice(from),
                Some((to, true)) => {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = S::from_compute(to.compute() + from.compute());
                    }
                }
            }
        }
        Ok(())
    }
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 2, "z, u")?;
        if x[0] != x[1] {
            let message = format!("z and u must be alike, found {} and {}", x[0].shape, x[1].shape);
            return Err(OpError::shape(message));
        }
        self.activation.validate().map_err(OpError::Shape)?;
        let n = x[0].shape.len();
        let contract = Contract::new([x[0]]).cost(2 * n, 4 * n);
        if !need.contains(&true) {
            return Ok(if self.keeps_z() { contract } else { contract.scratch(x[0]) });
        }
        let contract = contract.keep_input(1).dscratch(x[0]);
        Ok(if self.keeps_z() { contract.keep_input(0) } else { contract.save(x[0]) })
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        for_stored!(x[0].dtype(), S => {
            self.run_forward::<<S as Stored>::Compute, S>(cx, x, y, saved)
        })
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_stored!(kept.spec(0).dtype, S => {
            self.run_backward::<<S as Stored>::Compute, S>(cx, kept, dy, dx)
        })
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, activation, dims: &[usize]| {
        let inputs = vec![CaseInput::normal(dims), CaseInput::normal(dims)];
        Case::new(format!("gate/{name}"), Gate::op(activation), inputs)
    };
    vec![
        case("silu", Activation::Silu, &[5, 3]),
        case("gelu_tanh", Activation::GeluTanh, &[2, 3, 4]),
        case("sigmoid", Activation::Sigmoid, &[5, 3]),
        case("identity", Activation::Identity, &[3, 2]),
        case("no_rows", Activation::Silu, &[0, 3]),
        case("larger_than_a_tile", Activation::Silu, &[17, 35]),
    ]
}
