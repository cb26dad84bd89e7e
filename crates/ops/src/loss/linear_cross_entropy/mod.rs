//! A linear layer with its cross-entropy, without the logits of the whole batch.

mod passes;
mod row;
#[cfg(test)]
mod tests;

use crate::linear::feedforward::products::{Exact, Mixed};
use crate::loss::check_index_shapes;
use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, Kept, Op, OpError, OpResult, Slot, Spec, check, for_float,
};
use ff_tensor::{DType, Shape, TensorMut, TensorRef, bf16};
use std::fmt;
use std::sync::Arc;

/// The last layer of a language model and its loss in one operation: a linear layer, softmax and
/// cross-entropy, summed over rows.
///
/// Forward, with z = x Wᵀ + b, then z ← c tanh(z/c) where there is a soft cap c, L = ln Σ_v exp
/// z_v, smoothing ε, and t the target's one-hot row: a = (1 − ε) t + ε/V, loss = Σₙ
/// [L − Σ_v a_v z_v + ζ L²]
/// Backward: dz = (1 + 2 ζ L) softmax(z) − a, times 1 − (z/c)² with a cap; dx = dz W, dW = dzᵀ x,
/// db = Σₙ dz
///
/// Rows with the target `ignore_index` are excluded from the loss; the second output counts the
/// others. The term ζ L² keeps the denominator of the softmax near 1.
///
/// Inputs: x, weight, bias if any, targets. Rows are processed in chunks, so that logits never take
/// more than `chunk_bytes` (or one row). With a single chunk, forward replaces the logits by dz;
/// otherwise backward recomputes the logits of each chunk, a third more work. The batch is a single
/// chunk too where its logits take at most `whole_weights` times the memory of a trained weight:
/// little beside the weight with its gradient and the optimiser's state. With `bf16`, products are
/// in bf16 with f32 sums, and logits are f32.
///
/// # Shapes
/// x `[…, H]`, weight `[V, H]`, bias `[V]`, targets `[…]` or `[N]` (i32) → loss `[1]`, count `[1]`.
///
/// # Errors
/// In forward: if a target is neither a class nor `ignore_index`.
///
/// Soft cap: Gemma Team, 2024. z-loss: Chowdhery et al., "PaLM", 2022, section 5.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_ops::LinearCrossEntropy;
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let mut graph = Graph::new(&device, Params::allocate(&device, DType::F64, vec![], true)?);
/// let x = graph.variable(Tensor::from_slice(&device, &[1.0f64, 2.0], &[2, 1]).unwrap());
/// let weight = graph.variable(Tensor::from_slice(&device, &[3.0f64, 3.0], &[2, 1]).unwrap());
/// let targets = graph.input(Tensor::from_slice(&device, &[1i32, -100], &[2]).unwrap());
/// let outputs = graph.apply_all(&LinearCrossEntropy::default().op(), &[&x, &weight, &targets])?;
/// assert!((outputs[0].item()? - 2f64.ln()).abs() < 1e-15); // two classes, equally likely
/// assert_eq!(outputs[1].item()?, 1.0); // the second row is ignored
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq)]
pub struct LinearCrossEntropy {
    /// The target of excluded rows.
    pub ignore_index: i32,
    /// ε, between 0 and 1.
    pub label_smoothing: f64,
    /// ζ ≥ 0.
    pub z_loss: f64,
    /// c > 0.
    pub soft_cap: Option<f64>,
    /// Whether the layer has a bias.
    pub bias: bool,
    /// Whether products are in bf16.
    pub bf16: bool,
    /// Whether products leave out ignored rows, for batches in which many are: gradients of the
    /// weight are then the same sums in another order.
    pub skip_ignored: bool,
    /// The maximum memory of logits, in bytes.
    pub chunk_bytes: usize,
    /// The maximum memory of the logits of a whole batch, in sizes of a trained weight.
    pub whole_weights: usize,
}

const NAME: &str = "linear_cross_entropy";

impl Default for LinearCrossEntropy {
    /// Plain cross-entropy without a bias; −100 is ignored, as in PyTorch.
    fn default() -> Self {
        Self {
            ignore_index: -100,
            label_smoothing: 0.0,
            z_loss: 0.0,
            soft_cap: None,
            bias: false,
            bf16: false,
            skip_ignored: false,
            chunk_bytes: 64 << 20,
            whole_weights: 2,
        }
    }
}

/// Without `skip_ignored` where it is off, and without `whole_weights`: they do not change what an
/// operation computes, and stored values of PyTorch belong to this text.
#[allow(clippy::missing_fields_in_debug)]
impl fmt::Debug for LinearCrossEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("LinearCrossEntropy");
        fields.field("ignore_index", &self.ignore_index);
        fields.field("label_smoothing", &self.label_smoothing);
        fields.field("z_loss", &self.z_loss).field("soft_cap", &self.soft_cap);
        fields.field("bias", &self.bias).field("bf16", &self.bf16);
        if self.skip_ignored {
            fields.field("skip_ignored", &true);
        }
        fields.field("chunk_bytes", &self.chunk_bytes).finish()
    }
}

/// The rows of x, features, classes, and rows per chunk.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    features: usize,
    classes: usize,
    chunk: usize,
}

impl Sizes {
    /// Whether there is a single chunk, whose dz forward keeps for backward.
    fn is_whole(&self) -> bool {
        self.chunk >= self.rows
    }
}

impl LinearCrossEntropy {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    fn targets(&self) -> usize {
        2 + usize::from(self.bias)
    }

    /// The sizes; `trained` if the weight needs a gradient.
    fn sizes(&self, x: &Spec, weight: &Spec, trained: bool) -> OpResult<Sizes> {
        match weight.shape.dims() {
            &[classes, features] if x.shape.rank() > 0 && x.shape.last() == features => {
                let rows = x.shape.rows();
                let row = classes.saturating_mul(weight.dtype.bytes()).max(1);
                let whole = self.whole_weights.saturating_mul(classes * features);
                let whole = trained && rows.saturating_mul(classes) <= whole;
                let most = if whole { rows } else { self.chunk_bytes / row }.max(1);
                // Chunks of about equal size, in whole tiles of the product if large enough.
                let chunk = rows.div_ceil(rows.div_ceil(most).max(1));
                let chunk = chunk.next_multiple_of(TILE).min(most).min(rows);
                Ok(Sizes { rows, features, classes, chunk })
            }
            _ => {
                let message = format!(
                    "x of shape {} needs a weight [classes, {}], found {}",
                    x.shape,
                    x.shape.last(),
                    weight.shape
                );
                Err(OpError::shape(message))
            }
        }
    }

    fn check_attributes(&self) -> OpResult {
        let fail = |message| Err(OpError::shape(message));
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            let found = self.label_smoothing;
            return fail(format!("label_smoothing must lie between 0 and 1, found {found}"));
        }
        if !(self.z_loss >= 0.0 && self.z_loss.is_finite()) {
            return fail(format!("z_loss must be finite and at least 0, found {}", self.z_loss));
        }
        match self.soft_cap {
            Some(cap) if !(cap > 0.0 && cap.is_finite()) => {
                fail(format!("soft_cap must be finite and greater than 0, found {cap}"))
            }
            _ => Ok(()),
        }
    }
}

/// Rows of a tile of the matrix product.
const TILE: usize = 14;

impl Op for LinearCrossEntropy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let targets = self.targets();
        let names = if self.bias { "x, weight, bias, targets" } else { "x, weight, targets" };
        check::inputs(x, targets + 1, names)?;
        self.check_attributes()?;
        let sizes = self.sizes(&x[0], &x[1], need[1])?;
        let Sizes { rows, features, classes, chunk } = sizes;
        let dtype = x[1].dtype;
        if self.bf16 {
            if !matches!(x[0].dtype, DType::F32 | DType::BF16) {
                return Err(OpError::dtype("f32 or bf16", x[0].dtype));
            }
            if dtype != DType::F32 {
                return Err(OpError::dtype("f32 weights", dtype));
            }
        } else {
            check::float(&x[0])?;
            check::same_dtype("the weight", &x[1], &x[0])?;
        }
        if self.bias && (x[2].shape.dims() != [classes] || x[2].dtype != dtype) {
            let Spec { shape, dtype: found } = x[2];
            let message = format!("the bias must be {dtype} [{classes}], found {found} {shape}");
            return Err(OpError::shape(message));
        }
        if x[targets].dtype != DType::I32 {
            return Err(OpError::dtype("i32 targets", x[targets].dtype));
        }
        let logits = Spec::new(x[0].shape.with_last(classes), dtype);
        check_index_shapes(&logits, &x[targets])?;

        let scalar = Spec::new(Shape::scalar(), dtype);
        let mut contract = Contract::new([scalar, scalar]).constant_output(1);
        // Compare, subtract, exponential, add; once more for dz.
        let (product, softmax) = (2 * rows * features * classes, 4 * rows * classes);
        let chunk = Spec::new([chunk, classes], dtype);
        let input = Spec::new([rows, features], x[0].dtype);
        if self.skip_ignored {
            contract = contract.scratch(input).scratch(Spec::new([rows], DType::I32));
        }
        if !need.contains(&true) {
            return Ok(contract.scratch(chunk).cost(product + softmax, 0));
        }
        if self.skip_ignored {
            contract = contract.keep_input(targets).dscratch(input);
            contract = contract.dscratch(input).dscratch(Spec::new([rows], DType::I32));
        }
        let wanted = usize::from(need[0]) + usize::from(need[1]);
        contract = contract.keep_input(0).keep_input(1);
        Ok(if sizes.is_whole() {
            let contract = contract.save(chunk).dscratch(input);
            contract.cost(product + 2 * softmax, wanted * product)
        } else {
            let contract = (2..=targets).fold(contract, Contract::keep_input);
            let contract = contract.scratch(chunk).dscratch(chunk);
            contract.cost(product + softmax, (1 + wanted) * product + 2 * softmax)
        })
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        match (self.bf16, x[0].dtype()) {
            (true, DType::BF16) => self.run_forward::<Mixed, bf16, f32>(cx, x, y, saved),
            (true, _) => self.run_forward::<Mixed, f32, f32>(cx, x, y, saved),
            (false, dtype) => {
                for_float!(dtype, T => self.run_forward::<Exact, T, T>(cx, x, y, saved))
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
            (true, DType::BF16) => self.run_backward::<Mixed, bf16, f32>(cx, kept, dy, dx),
            (true, _) => self.run_backward::<Mixed, f32, f32>(cx, kept, dy, dx),
            (false, dtype) => {
                for_float!(dtype, T => self.run_backward::<Exact, T, T>(cx, kept, dy, dx))
            }
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, op: LinearCrossEntropy, dims: &[usize], classes: usize| {
        let (features, leading) = (dims[dims.len() - 1], &dims[..dims.len() - 1]);
        let mut inputs = vec![CaseInput::normal(dims), CaseInput::normal([classes, features])];
        if op.bias {
            inputs.push(CaseInput::normal([classes]));
        }
        inputs.push(CaseInput::constant(leading, Fill::Integers(classes)));
        Case::new(format!("{NAME}/{name}"), op.op(), inputs)
    };
    let plain = LinearCrossEntropy::default();
    let bias = LinearCrossEntropy { bias: true, ..plain };
    let full = LinearCrossEntropy {
        ignore_index: 1,
        label_smoothing: 0.1,
        z_loss: 0.01,
        soft_cap: Some(3.0),
        ..bias
    };
    let chunked =
        |chunk_bytes: usize, op| LinearCrossEntropy { chunk_bytes, whole_weights: 0, ..op };
    vec![
        case("plain", plain, &[7, 3], 5),
        case("bias", bias, &[2, 3, 4], 6),
        case("ignored", LinearCrossEntropy { ignore_index: 2, ..bias }, &[9, 3], 4),
        case("skipped", LinearCrossEntropy { skip_ignored: true, ..full }, &[9, 3], 4),
        case(
            "chunked_skipped",
            LinearCrossEntropy { skip_ignored: true, ..chunked(2 * 5 * 8, full) },
            &[9, 3],
            5,
        ),
        case("smoothed", LinearCrossEntropy { label_smoothing: 0.2, ..bias }, &[6, 3], 5),
        case("z_loss", LinearCrossEntropy { z_loss: 0.05, ..plain }, &[6, 3], 5),
        case("capped", LinearCrossEntropy { soft_cap: Some(2.0), ..plain }, &[6, 3], 5),
        case("full", full, &[9, 3], 5),
        case("chunked", chunked(0, plain), &[5, 3], 4),
        case("chunked_full", chunked(3 * 5 * 8, full), &[2, 4, 3], 5),
        case("one_class", bias, &[3, 2], 1),
        case("one", plain, &[1, 1], 2),
        case("no_rows", bias, &[0, 3], 4),
        case("wide", full, &[4, 5], 67),
        case("larger_than_a_tile", chunked(16 * 35 * 8, bias), &[37, 18], 35),
    ]
}
