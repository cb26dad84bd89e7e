//! The feedforward block of a transformer: two layers, or three if gated.

mod passes;

use crate::Activation;
use crate::activation::DerivativeFrom;
use crate::linear::feedforward::products::{Exact, Mixed};
use ff_graph::{Case, CaseInput, Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec, for_float};
use ff_tensor::{DType, TensorMut, TensorRef, bf16};
use std::sync::Arc;

/// The feedforward block y = h W₂ᵀ + b₂ of a transformer (Vaswani et al., 2017), gated (SwiGLU,
/// GEGLU, ReGLU; Shazeer, 2020) or not, as one operation, which keeps less than separate layers
/// would.
///
/// Forward, with z = x W₁ᵀ + b₁ and, if gated, u = x W₃ᵀ + b₃: h = f(z), or f(z) ⊙ u; y = h W₂ᵀ +
/// b₂
/// Backward, with dh = dy W₂:  dW₂ = dyᵀ h,  du = dh ⊙ f(z),  dz = dh ⊙ f′(z), or dh ⊙ u ⊙ f′(z);
/// dx = dz W₁ + du W₃,  dW₁ = dzᵀ x,  dW₃ = duᵀ x,  and biases' gradients are sums over rows
///
/// Inputs: x, W₁, W₃ if gated, W₂, then as many biases in the same order, if any. Kept: x, z (or
/// f(z), if f′ can be computed from it) and u; h is recomputed. With `recompute`, only x is kept,
/// and z and u are recomputed as well.
///
/// # Shapes
/// x `[…, in]`, W₁ and W₃ `[hidden, in]`, W₂ `[out, hidden]` → y `[…, out]`.
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::{Activation, FeedforwardBlock};
/// use ff_tensor::DType;
/// let op = FeedforwardBlock { activation: Activation::Silu, gated: true, ..Default::default() };
/// let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
/// let x = [spec(&[8, 2]), spec(&[6, 2]), spec(&[6, 2]), spec(&[3, 6])];
/// assert_eq!(op.contract(&x, &[true; 4])?.outputs[0], spec(&[8, 3]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedforwardBlock {
    /// f.
    pub activation: Activation,
    /// Whether f(z) is multiplied by a second projection of x.
    pub gated: bool,
    /// Whether the layers have biases.
    pub bias: bool,
    /// Whether the backward pass recomputes z and u.
    pub recompute: bool,
    /// Whether products are in bf16 with f32 sums, as in [`crate::FeedforwardBf16`]; h is then
    /// bf16, and y and dx have the type of x.
    pub bf16: bool,
}

impl Default for FeedforwardBlock {
    /// GPT-2's block without biases.
    fn default() -> Self {
        let activation = Activation::GeluTanh;
        Self { activation, gated: false, bias: false, recompute: false, bf16: false }
    }
}

/// The rows of x, and the features of x, h and y.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    input: usize,
    hidden: usize,
    output: usize,
}

impl FeedforwardBlock {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    /// The number of weights; the last one is W₂.
    fn weights(&self) -> usize {
        2 + usize::from(self.gated)
    }

    fn hidden_type(&self, x: DType) -> DType {
        if self.bf16 { DType::BF16 } else { x }
    }

    fn keeps_z(&self) -> bool {
        self.activation.derivative_from() == DerivativeFrom::Input
    }

    fn sizes(&self, spec: impl Fn(usize) -> Spec) -> OpResult<Sizes> {
        let (x, first, last) = (spec(0), spec(1), spec(self.weights()));
        match (first.shape.dims(), last.shape.dims()) {
            (&[hidden, input], &[output, last])
                if x.shape.rank() > 0 && x.shape.last() == input && last == hidden =>
            {
                Ok(Sizes { rows: x.shape.rows(), input, hidden, output })
            }
            _ => {
                let (x, first, last) = (x.shape, first.shape, last.shape);
                let expected = "expected [hidden, in] and [out, hidden]";
                let message = format!("x {x} with weights {first} and {last}; {expected}");
                Err(OpError::shape(message))
            }
        }
    }
}

impl Op for FeedforwardBlock {
    fn name(&self) -> &'static str {
        "feedforward_block"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let weights = self.weights();
        let expected = 1 + weights * (1 + usize::from(self.bias));
        if x.len() != expected {
            let message = format!("expected {expected} inputs, found {}", x.len());
            return Err(OpError::shape(message));
        }
        self.activation.validate().map_err(OpError::Shape)?;
        let Sizes { rows, input, hidden, output } = self.sizes(|i| x[i])?;
        if self.gated && x[2].shape != x[1].shape {
            let message = format!("W₃ must be {}, like W₁, found {}", x[1].shape, x[2].shape);
            return Err(OpError::shape(message));
        }
        for (bias, weight) in x[1 + weights..].iter().zip(&x[1..]) {
            if bias.shape.dims() != &weight.shape.dims()[..1] {
                let message = format!("the bias of {} cannot be {}", weight.shape, bias.shape);
                return Err(OpError::shape(message));
            }
        }
        if self.bf16 && !matches!(x[0].dtype, DType::F32 | DType::BF16) {
            return Err(OpError::dtype("f32 or bf16", x[0].dtype));
        }
        let param = if self.bf16 { DType::F32 } else { x[0].dtype };
        if let Some(found) = x[1..].iter().map(|p| p.dtype).find(|&dtype| dtype != param) {
            return Err(OpError::dtype("parameters of type f32, or the type of x", found));
        }
        let up = weights - 1;
        let product = |inner: usize, outer: usize| 2 * rows * inner * outer;
        let forward = up * product(input, hidden) + product(hidden, output);
        let wanted = |range: std::ops::Range<usize>| need[range].iter().filter(|&&n| n).count();
        // Every gradient but those of W₂ and its bias needs dh.
        let inner = need[0]
            || need[1..=up].contains(&true)
            || self.bias && need[1 + weights..1 + weights + up].contains(&true);
        let again = if self.recompute { up * product(input, hidden) } else { 0 };
        let backward = product(hidden, output) * (usize::from(inner) + usize::from(need[weights]))
            + product(input, hidden) * (wanted(1..1 + up) + up * usize::from(need[0]))
            + again;
        let y = x[0].with_shape(x[0].shape.with_last(output));
        let h = Spec::new([rows, hidden], self.hidden_type(x[0].dtype));
        let any = need.contains(&true);
        let mut contract = Contract::new([y]).cost(forward, if any { backward } else { 0 });
        for i in 0..=weights {
            contract = contract.keep_input(i);
        }
        if self.recompute && any && self.bias {
            for i in 0..up {
                contract = contract.keep_input(1 + weights + i);
            }
        }
        let kept = any && !self.recompute;
        for _ in 0..up {
            contract = if kept { contract.save(h) } else { contract.scratch(h) };
        }
        // h itself, unless it is one of those.
        if kept && (self.gated || self.keeps_z()) {
            contract = contract.scratch(h);
        }
        let buffers = if self.recompute { 2 * up } else { up };
        for _ in 0..buffers {
            contract = if any { contract.dscratch(h) } else { contract };
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
        match (self.bf16, x[0].dtype()) {
            (true, DType::BF16) => self.run_forward::<Mixed, bf16, f32, bf16>(cx, x, y, saved),
            (true, _) => self.run_forward::<Mixed, f32, f32, bf16>(cx, x, y, saved),
            (false, dtype) => {
                for_float!(dtype, T => self.run_forward::<Exact, T, T, T>(cx, x, y, saved))
            }
        }
    }

    fn backward(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        match (self.bf16, kept.spec(0).dtype) {
            (true, DType::BF16) => self.run_backward::<Mixed, bf16, f32, bf16>(cx, kept, dy, dx),
            (true, _) => self.run_backward::<Mixed, f32, f32, bf16>(cx, kept, dy, dx),
            (false, dtype) => {
                for_float!(dtype, T => self.run_backward::<Exact, T, T, T>(cx, kept, dy, dx))
            }
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, op: FeedforwardBlock, dims: &[usize], hidden: usize| {
        let input = dims[dims.len() - 1];
        let mut inputs = vec![CaseInput::normal(dims)];
        let up = op.weights() - 1;
        inputs.extend((0..up).map(|_| CaseInput::normal([hidden, input])));
        inputs.push(CaseInput::normal([input, hidden]));
        if op.bias {
            inputs.extend((0..up).map(|_| CaseInput::normal([hidden])));
            inputs.push(CaseInput::normal([input]));
        }
        Case::new(format!("feedforward_block/{name}"), op.op(), inputs)
    };
    let block = FeedforwardBlock::default();
    let gated = FeedforwardBlock { gated: true, activation: Activation::Silu, ..block };
    let gelu = FeedforwardBlock { activation: Activation::Gelu, bias: true, ..block };
    let relu = FeedforwardBlock { activation: Activation::Relu2, ..block };
    vec![
        case("gelu", gelu, &[5, 3], 7),
        case("gelu_recomputed", FeedforwardBlock { recompute: true, ..gelu }, &[5, 3], 7),
        case("relu2", relu, &[2, 3, 4], 6),
        case("relu2_recomputed", FeedforwardBlock { recompute: true, ..relu }, &[4, 4], 6),
        case("swiglu", gated, &[5, 3], 7),
        case("swiglu_recomputed", FeedforwardBlock { recompute: true, ..gated }, &[5, 3], 7),
        case(
            "geglu",
            FeedforwardBlock { activation: Activation::Gelu, bias: true, ..gated },
            &[3, 2],
            5,
        ),
        case("reglu", FeedforwardBlock { activation: Activation::Relu, ..gated }, &[3, 2], 5),
        case(
            "bilinear",
            FeedforwardBlock { activation: Activation::Identity, ..gated },
            &[3, 2],
            5,
        ),
        case("no_rows", gated, &[0, 3], 4),
        case("one", block, &[1, 1], 1),
        case("larger_than_a_tile", gated, &[17, 20], 35),
    ]
}
