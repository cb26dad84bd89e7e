//! The feedforward layer.

use crate::activation::From;
use crate::{
    Activation, Case, CaseInput, Contract, Cx, Error, Kept, Op, Result, Slot, Spec, for_float,
};
use ff_kernels::{Epilogue, Float, MatRef, gemm, gemm_with, sum_columns};
use ff_tensor::{TensorMut, TensorRef};
use std::sync::Arc;

/// The feedforward layer y = f(x Wᵀ + b), `torch.nn.Linear` followed by an activation.
///
/// Forward, with z = x Wᵀ + b:  y = f(z)
/// Backward, with dz = dy ⊙ f′(z):  dx = dz W,  dW = dzᵀ x,  db = Σₙ dz
///
/// Inputs: x, weight, and bias where there is one. Kept: x, and what f′ needs: nothing for the identity, y where that
/// suffices (it is the next layer's x anyway), else z.
///
/// # Shapes
/// x `[…, in]`, weight `[out, in]`, bias `[out]` → y `[…, out]`; leading dimensions are folded.
///
/// ```
/// use ff_ops::{Activation, Feedforward, Op, Spec};
/// use ff_tensor::DType;
/// let op = Feedforward { activation: Activation::Relu, bias: true };
/// let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
/// let contract = op.contract(&[spec(&[8, 3, 2]), spec(&[4, 2]), spec(&[4])], &[false; 3])?;
/// assert_eq!(contract.outputs[0], spec(&[8, 3, 4]));
/// # Ok::<(), ff_ops::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feedforward {
    /// f.
    pub activation: Activation,
    /// Whether there is a b.
    pub bias: bool,
}

const NAME: &str = "feedforward";

impl Feedforward {
    /// The operation, ready for [`crate::Graph::apply`].
    pub fn op(activation: Activation, bias: bool) -> Arc<dyn Op> {
        Arc::new(Self { activation, bias })
    }
}

impl Op for Feedforward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        let expected = 2 + usize::from(self.bias);
        let [input, weight, ..] = x else {
            return Err(Error::shape(
                NAME,
                format!("expected {expected} inputs, found {}", x.len()),
            ));
        };
        if x.len() != expected {
            return Err(Error::shape(
                NAME,
                format!("expected {expected} inputs, found {}", x.len()),
            ));
        }
        let &[out_features, in_features] = weight.shape.dims() else {
            return Err(Error::shape(
                NAME,
                format!("weight must be [out, in], found {}", weight.shape),
            ));
        };
        if input.shape.rank() == 0 || input.shape.last() != in_features {
            return Err(Error::shape(
                NAME,
                format!(
                    "x of shape {} has {} features, the weight {} expects {in_features}",
                    input.shape,
                    input.shape.last(),
                    weight.shape
                ),
            ));
        }
        if let Some(bias) = x.get(2)
            && bias.shape.dims() != [out_features]
        {
            return Err(Error::shape(
                NAME,
                format!("bias must be [{out_features}], found {}", bias.shape),
            ));
        }
        let product = input.shape.rows() * out_features * in_features;
        let output = input.with_shape(input.shape.with_last(out_features));
        let products_back = usize::from(need[0]) + usize::from(need[1]);
        let mut contract = Contract::new([output]).cost(2 * product, 2 * product * products_back);
        if need[0] {
            contract = contract.keep_input(1);
        }
        if need[1] {
            contract = contract.keep_input(0);
        }
        if need.contains(&true) {
            contract = match self.activation.derivative_from() {
                From::Nothing => contract,
                From::Output => contract.keep_output(0),
                From::Input => contract.save(output),
            };
        }
        Ok(contract)
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> Result<()> {
        for_float!(NAME, x[0].dtype(), T => self.run_forward::<T>(cx, x, y, saved).map_err(Error::of(NAME)))
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()> {
        for_float!(NAME, kept.spec(0).dtype, T => self.run_backward::<T>(cx, kept, dy, dx))
    }
}

impl Feedforward {
    fn run_forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> ff_tensor::Result<()> {
        let &[out_features, in_features] = x[1].shape().dims() else { return Ok(()) };
        let n = x[0].shape().rows();
        let weight = MatRef::new(x[1].slice::<T>()?, out_features, in_features);
        let bias = if self.bias { Some(x[2].slice::<T>()?) } else { None };
        let y = y[0].slice_mut::<T>()?;
        let z = match saved {
            [z, ..] => Some(z.slice_mut::<T>()?),
            [] => None,
        };
        let activate = |y: &mut [T]| self.activation.in_place(cx.cpu(), y);
        let f: Option<&(dyn Fn(&mut [T]) + Sync)> = match self.activation {
            Activation::Identity => None,
            _ => Some(&activate),
        };
        let x = MatRef::new(x[0].slice()?, n, in_features);
        gemm_with(cx.cpu(), x, weight.t(), y, Epilogue { bias, z, f });
        Ok(())
    }

    fn run_backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> Result<()> {
        let error = Error::of(NAME);
        let &[out_features, in_features] = kept.spec(1).shape.dims() else { return Ok(()) };
        let n = kept.spec(0).shape.rows();
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dz = dy.slice_mut::<T>().map_err(&error)?;
        let dbias = if self.bias { dx[2].take::<T>().map_err(&error)? } else { None };
        let from = match self.activation.derivative_from() {
            From::Nothing => None,
            From::Output => Some(kept.output(0)?.slice::<T>().map_err(&error)?),
            From::Input => Some(kept.saved(0)?.slice::<T>().map_err(&error)?),
        };
        match (from, dbias) {
            (Some(from), dbias) => self.activation.backward_in_place(cx.cpu(), from, dz, dbias),
            (None, Some((dbias, accumulate))) => sum_columns(cx.cpu(), dz, dbias, accumulate),
            (None, None) => {}
        }
        let dz = MatRef::new(&*dz, n, out_features);
        if let Some((dx, accumulate)) = dx[0].take::<T>().map_err(&error)? {
            let weight = kept.input(1)?.slice::<T>().map_err(&error)?;
            gemm(cx.cpu(), dz, MatRef::new(weight, out_features, in_features), dx, accumulate);
        }
        if let Some((dweight, accumulate)) = dx[1].take::<T>().map_err(&error)? {
            let x = kept.input(0)?.slice::<T>().map_err(&error)?;
            gemm(cx.cpu(), dz.t(), MatRef::new(x, n, in_features), dweight, accumulate);
        }
        Ok(())
    }
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
