//! The feedforward layer.

mod bf16;
pub(crate) mod products;

pub use bf16::FeedforwardBf16;

use crate::Activation;
use crate::activation::DerivativeFrom;
use ff_graph::{Case, CaseInput, Contract, Cx, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec};
use ff_kernels::{Float, MatRef, Stored};
use ff_tensor::{DType, Element, TensorMut, TensorRef};
use products::{Exact, Multiply, Weight};
use std::sync::Arc;

/// The feedforward layer y = f(x Wᵀ + b), `torch.nn.Linear` followed by an activation.
///
/// Forward, with z = x Wᵀ + b:  y = f(z)
/// Backward, with dz = dy ⊙ f′(z):  dx = dz W,  dW = dzᵀ x,  db = Σₙ dz
///
/// Inputs: x, weight, and bias if the layer has one. Kept: x, and the argument of f′: nothing for
/// the identity, y if possible (it is the next layer's x anyway), else z.
///
/// # Shapes
/// x `[…, in]`, weight `[out, in]`, bias `[out]` → y `[…, out]`; leading dimensions are folded.
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::{Activation, Feedforward};
/// use ff_tensor::DType;
/// let op = Feedforward { activation: Activation::Relu, bias: true };
/// let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
/// let contract = op.contract(&[spec(&[8, 3, 2]), spec(&[4, 2]), spec(&[4])], &[false; 3])?;
/// assert_eq!(contract.outputs[0], spec(&[8, 3, 4]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feedforward {
    /// f.
    pub activation: Activation,
    /// Whether the layer has a bias.
    pub bias: bool,
}

impl Feedforward {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(activation: Activation, bias: bool) -> Arc<dyn Op> {
        Arc::new(Self { activation, bias })
    }
}

/// The contract for an output of type `output`.
pub(super) fn contract(
    (activation, bias): (Activation, bool),
    output: DType,
    x: &[Spec],
    need: &[bool],
) -> OpResult<Contract> {
    let expected = 2 + usize::from(bias);
    let (input, weight) = match x {
        [input, weight, ..] if x.len() == expected => (input, weight),
        _ => {
            let message = format!("expected {expected} inputs, found {}", x.len());
            return Err(OpError::shape(message));
        }
    };
    let &[out_features, in_features] = weight.shape.dims() else {
        return Err(OpError::shape(format!("weight must be [out, in], found {}", weight.shape)));
    };
    if input.shape.rank() == 0 || input.shape.last() != in_features {
        return Err(OpError::shape(format!(
            "x of shape {} has {} features, but the weight {} expects {in_features}",
            input.shape,
            input.shape.last(),
            weight.shape
        )));
    }
    if let Some(bias) = x.get(2)
        && bias.shape.dims() != [out_features]
    {
        return Err(OpError::shape(format!("bias must be [{out_features}], found {}", bias.shape)));
    }
    let product = input.shape.rows() * out_features * in_features;
    let output = Spec::new(input.shape.with_last(out_features), output);
    let products_back = usize::from(need[0]) + usize::from(need[1]);
    let mut contract = Contract::new([output]).cost(2 * product, 2 * product * products_back);
    if need[0] {
        contract = contract.keep_input(1);
    }
    if need[1] {
        contract = contract.keep_input(0);
    }
    if need.contains(&true) {
        contract = match activation.derivative_from() {
            DerivativeFrom::Nothing => contract,
            DerivativeFrom::Output => contract.keep_output(0),
            DerivativeFrom::Input => contract.save(output),
        };
    }
    Ok(contract)
}

impl FloatOp for Feedforward {
    fn name(&self) -> &'static str {
        "feedforward"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let output = x.first().map_or(DType::F32, |x| x.dtype);
        contract((self.activation, self.bias), output, x, need)
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        run_forward::<Exact, T, T, T>(cx, self.activation, x, y, saved)
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        run_backward::<Exact, T, T, T>(self.activation, cx, kept, dy, dx)
    }
}

fn run_forward<M, X, W, Y>(
    cx: &Cx<'_>,
    activation: Activation,
    x: &[TensorRef<'_>],
    y: &mut [TensorMut<'_>],
    saved: &mut [TensorMut<'_>],
) -> OpResult
where
    M: Multiply<X, W, Y>,
    X: Element,
    W: Float,
    Y: Stored<Compute = W>,
{
    let rows = MatRef::new(x[0].slice::<X>()?, x[0].shape().rows(), x[1].shape().last());
    let weight = Weight::<W>::of(x[1])?;
    let bias = x.get(2).map(TensorRef::slice::<W>).transpose()?;
    let z = saved.first_mut().map(|z| z.slice_mut::<Y>()).transpose()?;
    let y = y[0].slice_mut::<Y>()?;
    weight.forward::<M, X, Y>(cx.cpu(), activation, rows, bias, y, z)
}

fn run_backward<M, X, W, Y>(
    activation: Activation,
    cx: &Cx<'_>,
    kept: &Kept<'_>,
    dy: &mut [Option<TensorMut<'_>>],
    dx: &mut [Slot<'_>],
) -> OpResult
where
    M: Multiply<Y, W, X> + Multiply<Y, X, W>,
    X: Stored,
    W: Float,
    Y: Stored<Compute = W>,
{
    let &[out_features, in_features] = kept.spec(1).shape.dims() else { return Ok(()) };
    let n = kept.spec(0).shape.rows();
    let Some(dy) = &mut dy[0] else { return Ok(()) };
    let dz = dy.slice_mut::<Y>()?;
    let dbias = match dx.get_mut(2) {
        Some(slot) => slot.take::<W>()?,
        None => None,
    };
    let from = match activation.derivative_from() {
        DerivativeFrom::Nothing => None,
        DerivativeFrom::Output => Some(kept.output(0)?.slice::<Y>()?),
        DerivativeFrom::Input => Some(kept.saved(0)?.slice::<Y>()?),
    };
    products::backward_activation(cx.cpu(), activation, from, dz, dbias);
    let dz = MatRef::new(&*dz, n, out_features);
    if let Some((dx, accumulate)) = dx[0].take::<X>()? {
        let weight = Weight::<W>::of(kept.input(1)?)?;
        weight.backward_input::<M, X, Y>(cx.cpu(), dz, dx, accumulate)?;
    }
    if let Some((dweight, accumulate)) = dx[1].take::<W>()? {
        let x = MatRef::new(kept.input(0)?.slice::<X>()?, n, in_features);
        products::backward_weight::<M, X, W, Y>(cx.cpu(), dz, x, dweight, accumulate);
    }
    Ok(())
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, activation, bias: bool, dims: &[usize], out: usize| {
        let last = dims[dims.len() - 1];
        let mut inputs = vec![CaseInput::normal(dims), CaseInput::normal([out, last])];
        if bias {
            inputs.push(CaseInput::normal([out]));
        }
        Case::new(format!("feedforward/{name}"), Feedforward::op(activation, bias), inputs)
    };
    let mut cases: Vec<Case> = Activation::ALL
        .iter()
        .map(|&activation| case(activation.name(), activation, true, &[5, 3], 4))
        .collect();
    cases.extend([
        case("no_bias", Activation::Identity, false, &[5, 3], 4),
        case("folded", Activation::Tanh, true, &[2, 3, 4], 5),
        case("one", Activation::Sigmoid, true, &[1, 1], 1),
        case("no_rows", Activation::Relu, true, &[0, 3], 2),
        case("larger_than_a_tile", Activation::Relu, true, &[21, 37], 35),
    ]);
    cases
}
