//! A mixture of experts: every row passes through a few of many gated feedforward blocks.

mod backward;
mod forward;
mod glu;
mod matrices;
mod routing;
#[cfg(test)]
mod tests;

use crate::Activation;
use crate::linear::feedforward::products::{Exact, Mixed};
use ff_graph::{
    Case, CaseInput, Contract, Cx, Kept, Op, OpError, OpResult, Slot, Spec, check, for_float,
};
use ff_tensor::{DType, Shape, TensorMut, TensorRef, bf16};
use std::sync::Arc;

/// A sparse mixture of gated feedforward blocks, without dropped rows (Shazeer et al., 2017; Jiang
/// et al., "Mixtral", 2024).
///
/// Forward, with r = x Rᵀ, p = softmax(r), the k experts of the largest rₑ, and their weights wₑ =
/// pₑ: y = Σₑ wₑ Eₑ(x), Eₑ(x) = (f(x Gₑᵀ) ⊙ x Uₑᵀ) Dₑᵀ; the weights are divided by their sum where
/// `normalize` is set, and are the softmax over the k alone (the same numbers) unless
/// `softmax_first` is. Two more outputs, sums over rows: the spread, Σₙ pₙₑ above how often each
/// expert is chosen, of which [`RouterBalance`](crate::RouterBalance) makes a loss, and z = Σₙ (ln
/// Σₑ exp rₙₑ)² (Zoph et al., "ST-MoE", 2022).
/// With `biases`, each product has one: r, z = x Gₑᵀ and u = x Uₑᵀ, and Eₑ(x). With `clamp`, h is
/// (clip(u, ±limit) + 1) ⊙ g σ(αg), g = min(z, limit) (OpenAI, "gpt-oss", 2025), in place of f(z) ⊙
/// u.
///
/// Backward: each expert as the feedforward block, with dwₑ = dy · Eₑ(x); dr through p, w and z,
/// with the choice held fixed
///
/// Rows are sorted by expert, so that the products of each expert are dense. Kept: x, r, and for
/// the N·k rows of chosen experts z and u; h and the outputs of the experts are recomputed. Memory
/// is known in advance, although experts have no capacity limit. With `bf16`, the experts' products
/// and h are bf16; the router computes in f32 if x is f32.
///
/// # Shapes
/// x `[…, H]`, R `[E, H]`, G and U `[E, I, H]` or, with `fused`, one `[E, 2·I, H]`, D `[E, H, I]`;
/// biases of R `[E]`, of G and U `[E, 2·I]`, of D `[E, H]` → y `[…, H]`, spread `[2, E]`, z `[1]`.
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::{Activation, MixtureOfExperts};
/// use ff_tensor::DType;
/// let op = MixtureOfExperts { top_k: 2, activation: Activation::Silu, ..Default::default() };
/// let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
/// let x = [spec(&[6, 4]), spec(&[8, 4]), spec(&[8, 5, 4]), spec(&[8, 5, 4]), spec(&[8, 4, 5])];
/// assert_eq!(op.contract(&x, &[true; 5])?.outputs[0], spec(&[6, 4]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct MixtureOfExperts {
    /// The number of experts per row.
    pub top_k: usize,
    /// Whether the softmax covers all experts, rather than the chosen ones.
    pub softmax_first: bool,
    /// Whether the weights of the chosen experts are normalised to sum to 1.
    pub normalize: bool,
    /// f.
    pub activation: Activation,
    /// α and the limit of a clamped gate in place of f.
    pub clamp: Option<[f64; 2]>,
    /// Whether G and U are one input, G's rows first in each expert.
    pub fused: bool,
    /// Whether the router and the experts have biases.
    pub biases: bool,
    /// Whether the experts' products are in bf16 with f32 sums.
    pub bf16: bool,
}

const NAME: &str = "mixture_of_experts";

impl Default for MixtureOfExperts {
    /// Mixtral's configuration: two experts with normalised weights, SwiGLU.
    fn default() -> Self {
        Self {
            top_k: 2,
            softmax_first: true,
            normalize: true,
            activation: Activation::Silu,
            clamp: None,
            fused: false,
            biases: false,
            bf16: false,
        }
    }
}

/// The rows and features of x, the experts, the features of h, and the rows of all experts
/// together.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    width: usize,
    experts: usize,
    hidden: usize,
    assigned: usize,
}

impl MixtureOfExperts {
    /// The operation, ready for [`ff_graph::Graph::apply_all`].
    pub fn op(self) -> Arc<dyn Op> {
        Arc::new(self)
    }

    fn hidden_type(&self, x: DType) -> DType {
        if self.bf16 { DType::BF16 } else { x }
    }

    /// The number of the input D; biases follow it.
    fn down(&self) -> usize {
        if self.fused { 3 } else { 4 }
    }

    /// The number of inputs.
    fn inputs(&self) -> usize {
        self.down() + 1 + if self.biases { 3 } else { 0 }
    }

    /// Whether the weights of a row sum to 1.
    fn adds_up(&self) -> bool {
        self.normalize || !self.softmax_first
    }

    fn sizes(&self, spec: impl Fn(usize) -> Spec) -> OpResult<Sizes> {
        let at = self.down();
        let [x, router, gate, up, down] = [0, 1, 2, at - 1, at].map(|i| spec(i).shape);
        let (&[experts, width], &[_, inner, _]) = (router.dims(), gate.dims()) else {
            let message = format!(
                "expected a router [experts, in] and a gate [experts, hidden, in], found {router} \
                 and {gate}"
            );
            return Err(OpError::shape(message));
        };
        let hidden = if self.fused { inner / 2 } else { inner };
        let expected = Shape::from([experts, inner, width]);
        let biases = [[experts, 1], [experts, 2 * hidden], [experts, width]];
        let fits = x.rank() > 0
            && x.last() == width
            && !(self.fused && inner % 2 != 0)
            && gate == expected
            && up == expected
            && down == Shape::from([experts, width, hidden])
            && (!self.biases || spec(at + 1).shape == Shape::from([experts]))
            && (!self.biases || (1..3).all(|i| spec(at + 1 + i).shape == Shape::from(biases[i])));
        if !fits {
            let twice =
                if self.fused { "[experts, 2·hidden, in]" } else { "twice [experts, hidden, in]" };
            let biases = if self.biases {
                ", with biases [experts], [experts, 2·hidden] and [experts, in]"
            } else {
                ""
            };
            return Err(OpError::shape(format!(
                "x {x} with router {router}, gate {gate}, up {up} and down {down}; expected […, \
                 in], [experts, in], {twice} and [experts, in, hidden]{biases}"
            )));
        }
        if !(1..=experts).contains(&self.top_k) {
            let message =
                format!("top_k must lie between 1 and the {experts} experts, found {}", self.top_k);
            return Err(OpError::shape(message));
        }
        let rows = x.rows();
        Ok(Sizes { rows, width, experts, hidden, assigned: rows * self.top_k })
    }
}

impl Op for MixtureOfExperts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let names = match (self.fused, self.biases) {
            (false, false) => "x, router, gate, up, down",
            (false, true) => "x, router, gate, up, down, three biases",
            (true, false) => "x, router, gate and up, down",
            (true, true) => "x, router, gate and up, down, three biases",
        };
        check::inputs(x, self.inputs(), names)?;
        if self
            .clamp
            .is_some_and(|[alpha, limit]| !alpha.is_finite() || limit.is_nan() || limit <= 0.0)
        {
            let message = format!(
                "α and the limit of a clamped gate must be numbers, the limit above 0, found {:?}",
                self.clamp
            );
            return Err(OpError::shape(message));
        }
        self.activation.validate().map_err(OpError::Shape)?;
        let sizes = self.sizes(|i| x[i])?;
        if self.bf16 && !matches!(x[0].dtype, DType::F32 | DType::BF16) {
            return Err(OpError::dtype("f32 or bf16", x[0].dtype));
        }
        let param = if self.bf16 { DType::F32 } else { x[0].dtype };
        if let Some(found) = x[1..].iter().map(|p| p.dtype).find(|&dtype| dtype != param) {
            let expected = "parameters of type f32, or the type of x";
            return Err(OpError::dtype(expected, found));
        }
        let Sizes { rows, width, experts, hidden, assigned } = sizes;
        let router = 2 * rows * width * experts;
        let product = 2 * assigned * width * hidden;
        let scalar = Spec::new(Shape::scalar(), param);
        let logits = Spec::new([rows, experts], param);
        let weights = Spec::new([assigned], param);
        let map = Spec::new([routing::integers(sizes)], DType::I32);
        let gathered = Spec::new([assigned, width], x[0].dtype);
        let h = Spec::new([assigned, hidden], self.hidden_type(x[0].dtype));
        let mut contract = Contract::new([x[0], Spec::new([2, experts], param), scalar]);
        let any = need.contains(&true);
        // Forward: r and the products of G and U, then the map, the weights, p, rows sorted by
        // expert, and h.
        for spec in [logits, h, h] {
            contract = if any { contract.save(spec) } else { contract.scratch(spec) };
        }
        for spec in [map, weights, logits, gathered, h] {
            contract = contract.scratch(spec);
        }
        if !any {
            return Ok(contract.cost(router + 3 * product, 0));
        }
        for i in 0..x.len() {
            contract = contract.keep_input(i);
        }
        for spec in [map, weights, weights, logits, gathered, gathered, h, h] {
            contract = contract.dscratch(spec);
        }
        let wanted = |range: std::ops::Range<usize>| need[range].iter().filter(|&&n| n).count();
        let matrices = if self.fused { 2 * wanted(2..3) + wanted(3..4) } else { wanted(2..5) };
        let experts = product * (1 + matrices + 2 * wanted(0..1));
        Ok(contract.cost(router + 3 * product, experts + router * wanted(0..2)))
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        match (self.bf16, x[0].dtype()) {
            (true, DType::BF16) => {
                self.run_forward::<Mixed, Mixed, bf16, f32, bf16>(cx, x, y, saved)
            }
            (true, _) => self.run_forward::<Mixed, Exact, f32, f32, bf16>(cx, x, y, saved),
            (false, dtype) => {
                for_float!(dtype, T => {
                    self.run_forward::<Exact, Exact, T, T, T>(cx, x, y, saved)
                })
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
            (true, DType::BF16) => {
                self.run_backward::<Mixed, Mixed, bf16, f32, bf16>(cx, kept, dy, dx)
            }
            (true, _) => self.run_backward::<Mixed, Exact, f32, f32, bf16>(cx, kept, dy, dx),
            (false, dtype) => {
                for_float!(dtype, T => {
                    self.run_backward::<Exact, Exact, T, T, T>(cx, kept, dy, dx)
                })
            }
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, op: MixtureOfExperts, dims: &[usize], experts: usize, hidden| {
        let width = dims[dims.len() - 1];
        let mut inputs = vec![CaseInput::normal(dims), CaseInput::normal([experts, width])];
        if op.fused {
            inputs.push(CaseInput::normal([experts, 2 * hidden, width]));
        } else {
            inputs.extend([0; 2].map(|_| CaseInput::normal([experts, hidden, width])));
        }
        inputs.push(CaseInput::normal([experts, width, hidden]));
        if op.biases {
            inputs.push(CaseInput::normal([experts]));
            inputs.push(CaseInput::normal([experts, 2 * hidden]));
            inputs.push(CaseInput::normal([experts, width]));
        }
        Case::new(format!("{NAME}/{name}"), op.op(), inputs)
    };
    let mixtral = MixtureOfExperts::default();
    let qwen = MixtureOfExperts { normalize: false, ..mixtral };
    let after = MixtureOfExperts { softmax_first: false, normalize: false, ..mixtral };
    let gpt_oss =
        MixtureOfExperts { clamp: Some([1.702, 1.0]), fused: true, biases: true, ..after };
    vec![
        case("mixtral", mixtral, &[7, 3], 4, 5),
        case("qwen", qwen, &[2, 4, 3], 5, 4),
        case("softmax_after", MixtureOfExperts { top_k: 3, ..after }, &[6, 4], 4, 3),
        case("switch", MixtureOfExperts { top_k: 1, ..qwen }, &[6, 3], 4, 5),
        case("all", MixtureOfExperts { top_k: 3, ..qwen }, &[5, 3], 3, 4),
        // More experts than rows: most have none.
        case("empty_experts", mixtral, &[3, 2], 11, 3),
        case("gelu", MixtureOfExperts { activation: Activation::Gelu, ..mixtral }, &[5, 3], 4, 4),
        case("relu", MixtureOfExperts { activation: Activation::Relu, ..qwen }, &[5, 3], 4, 4),
        case("fused", MixtureOfExperts { fused: true, ..qwen }, &[4, 2], 3, 2),
        case("biases", MixtureOfExperts { biases: true, ..mixtral }, &[4, 2], 3, 2),
        case("clamped", MixtureOfExperts { clamp: Some([1.5, 0.75]), ..qwen }, &[4, 2], 3, 2),
        // More experts than rows, with all of it.
        case("gpt_oss", gpt_oss, &[2, 2, 2], 5, 2),
        case("gpt_oss_no_rows", gpt_oss, &[0, 4], 3, 2),
        case("no_rows", mixtral, &[0, 3], 4, 2),
        case("larger_than_a_tile", mixtral, &[40, 15], 3, 33),
    ]
}
