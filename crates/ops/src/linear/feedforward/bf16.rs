//! The feedforward layer with bf16 products.

use super::products::Mixed;
use super::{contract, run_backward, run_forward};
use crate::Activation;
use ff_graph::{Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec};
use ff_tensor::{DType, TensorMut, TensorRef, bf16};
use std::sync::Arc;

/// [`crate::Feedforward`] with operands rounded to bf16 and sums in f32: mixed precision
/// (Micikevicius et al., 2018) with bf16's range, so that losses need no scaling.
///
/// Weights, biases and their gradients are f32; packing rounds the weights, so there is no second
/// copy of them. Activations have the type that their consumer needs: bf16 between layers, f32
/// after the last one.
///
/// # Shapes
/// x `[…, in]` (f32 or bf16), weight `[out, in]`, bias `[out]` → y `[…, out]` of type `output`.
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::{Activation, FeedforwardBf16};
/// use ff_tensor::DType;
/// let op = FeedforwardBf16 { activation: Activation::Relu, bias: false, output: DType::BF16 };
/// let x = [Spec::new([8, 2], DType::F32), Spec::new([4, 2], DType::F32)];
/// assert_eq!(op.contract(&x, &[false; 2])?.outputs[0], Spec::new([8, 4], DType::BF16));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedforwardBf16 {
    /// f.
    pub activation: Activation,
    /// Whether the layer has a bias.
    pub bias: bool,
    /// The type of y: f32 or bf16.
    pub output: DType,
}

impl FeedforwardBf16 {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(activation: Activation, bias: bool, output: DType) -> Arc<dyn Op> {
        Arc::new(Self { activation, bias, output })
    }
}

/// Runs a body with types for x and y, each f32 or bf16.
macro_rules! for_types {
    ($x:expr, $y:expr, $X:ident, $Y:ident => $body:expr) => {{
        match ($x, $y) {
            (DType::F32, DType::F32) => {
                type $X = f32;
                type $Y = f32;
                $body
            }
            (DType::F32, DType::BF16) => {
                type $X = f32;
                type $Y = bf16;
                $body
            }
            (DType::BF16, DType::F32) => {
                type $X = bf16;
                type $Y = f32;
                $body
            }
            (DType::BF16, DType::BF16) => {
                type $X = bf16;
                type $Y = bf16;
                $body
            }
            (DType::F32 | DType::BF16, found) | (found, _) => {
                Err(OpError::dtype("f32 or bf16", found))
            }
        }
    }};
}

impl Op for FeedforwardBf16 {
    fn name(&self) -> &'static str {
        "feedforward_bf16"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let contract = contract((self.activation, self.bias), self.output, x, need)?;
        let is = |dtype| matches!(dtype, DType::F32 | DType::BF16);
        if let Some(found) = [x[0].dtype, self.output].into_iter().find(|&dtype| !is(dtype)) {
            return Err(OpError::dtype("f32 or bf16", found));
        }
        if let Some(param) = x[1..].iter().find(|param| param.dtype != DType::F32) {
            return Err(OpError::dtype("f32", param.dtype));
        }
        Ok(contract)
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        for_types!(x[0].dtype(), self.output, X, Y => {
            run_forward::<Mixed, X, f32, Y>(cx, self.activation, x, y, saved)
        })
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        for_types!(kept.spec(0).dtype, self.output, X, Y => {
            run_backward::<Mixed, X, f32, Y>(self.activation, cx, kept, dy, dx)
        })
    }
}
