//! Low-rank adapters of linear layers.

use super::adapting::{Adapting, named};
use super::pattern::matches;
use crate::layers::{Dropout, Layer};
use crate::{Builder, Fan, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::{Activate, Activation, AdaptedExperts, Add, DoraFactors, LoraLinear, Mul, Scale};
use ff_tensor::DType;
use smallvec::SmallVec;
use std::sync::Arc;

/// 1/√in as the bound, PEFT's Kaiming initialisation with a = √5.
const INIT: Init = Init::HeUniform { gain: 0.577_350_269_189_625_8, fan: Fan::In };

impl Builder {
    /// The adapter of a stack of experts' matrices that is being built, if it gets one.
    pub(crate) fn experts(&mut self, name: &str, dims: [usize; 3]) -> Option<AdaptedStack> {
        let mut adapting = self.adapting.take()?;
        let made = adapting.experts(self, name, dims);
        self.adapting = Some(adapting);
        made
    }

    /// The adapter of the linear layer that is being built, if it gets one.
    pub(crate) fn low_rank(&mut self, out_features: usize, in_features: usize) -> Option<LowRank> {
        let mut adapting = self.adapting.take()?;
        let made = adapting.low_rank(self, out_features, in_features);
        self.adapting = Some(adapting);
        made
    }
}

impl Adapting {
    /// The adapter of a stack of experts' matrices, called `name` within the builder's path.
    fn experts(
        &mut self,
        builder: &mut Builder,
        name: &str,
        [experts, outputs, inputs]: [usize; 3],
    ) -> Option<AdaptedStack> {
        // One name for all families, which is that of `transformers`.
        let stack = format!("{}.{name}", builder.path()).replace(".block_sparse_moe.", ".mlp.");
        let adapted = self.config.parameters.iter().any(|pattern| matches(pattern, &stack));
        self.stacks.push((stack.clone(), adapted));
        if !adapted {
            return None;
        }
        let rank = self.config.rank(&stack);
        let part = |part: &str| named(&format!("{name}.{part}"), &self.name, "weight");
        let a = builder.param(&part("lora_A"), [experts, rank, inputs], ParamKind::Weight, INIT);
        let b = [experts, outputs, rank];
        let b = builder.param(&part("lora_B"), b, ParamKind::Weight, Init::Zeros);
        Some(AdaptedStack { a, b, scale: self.config.scale(&stack) })
    }

    /// The adapter of the layer at the builder's path.
    fn low_rank(
        &mut self,
        builder: &mut Builder,
        out_features: usize,
        in_features: usize,
    ) -> Option<LowRank> {
        let layer = builder.path().to_owned();
        let adapted = self.config.targets(&layer);
        self.layers.push((layer.clone(), adapted));
        if !adapted {
            return None;
        }
        let rank = self.config.rank(&layer);
        let named = |part: &str, end: &str| named(part, &self.name, end);
        let (weight, zeros) = (ParamKind::Weight, Init::Zeros);
        let a = builder.param(&named("lora_A", "weight"), [rank, in_features], weight, INIT);
        let b = builder.param(&named("lora_B", "weight"), [out_features, rank], weight, zeros);
        let bias = self.config.lora_bias.then(|| {
            builder.param(&named("lora_B", "bias"), [out_features], ParamKind::Bias, zeros)
        });
        let magnitude = self.config.dora.then(|| {
            let name = named("lora_magnitude_vector", "weight");
            builder.param(&name, [out_features], ParamKind::Gain, Init::Constant(1.0))
        });
        let dropout = (self.config.dropout > 0.0).then(|| {
            builder.scope("lora_dropout", |builder| Dropout::new(builder, self.config.dropout))
        });
        let scale = self.config.scale(&layer);
        let masked = !self.config.invocation.is_empty();
        let op = LoraLinear { scale, masked, ..LoraLinear::default() };
        let magnitude = magnitude.map(|m| Magnitude {
            m,
            factors: (!self.config.fixed).then(|| DoraFactors { scale }.op()),
            mul: Mul::op(),
            add: Add::op(),
        });
        let bias = bias.map(|bias| OwnBias { bias, scale: Scale::op(scale), add: Add::op() });
        let (ops, dora) = (SmallVec::new(), magnitude);
        Some(LowRank { op, ops, a, b, bias, dora, dropout }.with_ops())
    }
}

/// The adapter of a stack of experts' matrices: A `[experts, rank, in]`, B `[experts, out, rank]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdaptedStack {
    pub(crate) a: ParamId,
    pub(crate) b: ParamId,
    pub(crate) scale: f64,
}

impl AdaptedStack {
    /// The adapted weights of a stack whose rows begin at `first` among those of B.
    pub(crate) fn forward(&self, graph: &mut Graph, w: &Value, first: usize) -> Result<Value> {
        let (a, b) = (graph.param(self.a), graph.param(self.b));
        graph.apply(&AdaptedExperts { scale: self.scale, first }.op(), &[w, &a, &b])
    }
}

/// The bias of B, which is scaled and added.
#[derive(Debug)]
struct OwnBias {
    bias: ParamId,
    scale: Arc<dyn Op>,
    add: Arc<dyn Op>,
}

/// The magnitudes of the rows of W + s B A, whose norms count as constants in the backward pass.
#[derive(Debug)]
struct Magnitude {
    /// m, or the factors themselves if the adapter is fixed.
    m: ParamId,
    factors: Option<Arc<dyn Op>>,
    mul: Arc<dyn Op>,
    add: Arc<dyn Op>,
}

/// The adapter of a linear layer: y = x Wᵀ + b + s (dropout(x) Aᵀ) Bᵀ, with parameters
/// `lora_A.weight` `[rank, in]` and `lora_B.weight` `[out, rank]`; + s c with `lora_B.bias`
/// `[out]`; y = g ⊙ (x Wᵀ + s (x Aᵀ) Bᵀ) + b with `lora_magnitude_vector.weight` `[out]`.
///
/// # Shapes
/// `[…, in] → […, out]`
#[derive(Debug)]
pub(crate) struct LowRank {
    op: LoraLinear,
    /// For layers without and with a bias; once more for an input of A's own.
    ops: SmallVec<[Arc<dyn Op>; 4]>,
    a: ParamId,
    b: ParamId,
    bias: Option<OwnBias>,
    dora: Option<Magnitude>,
    dropout: Option<Dropout>,
}

impl LowRank {
    fn with_ops(mut self) -> Self {
        let op = |own_input, bias| LoraLinear { own_input, bias, ..self.op }.op();
        self.ops = [op(false, false), op(false, true), op(true, false), op(true, true)].into();
        self
    }

    /// The same with bf16 products and an output of this type.
    pub(crate) fn in_bf16(mut self, output: DType) -> Self {
        self.op.bf16 = Some(output);
        self.with_ops()
    }

    /// f of the layer with this weight and bias, and its adapter.
    pub(crate) fn forward(
        &self,
        graph: &mut Graph,
        x: &Value,
        (weight, bias): (ParamId, Option<ParamId>),
        f: Activation,
    ) -> Result<Value> {
        let (own_bias, later) = if self.dora.is_some() { (None, bias) } else { (bias, None) };
        let params = [Some(weight), own_bias, Some(self.a), Some(self.b)].into_iter().flatten();
        let params: SmallVec<[Value; 4]> = params.map(|id| graph.param(id)).collect();
        let dropped = match &self.dropout {
            Some(dropout) if graph.training() => Some(dropout.forward(graph, x.clone())?),
            _ => None,
        };
        let op = &self.ops[2 * usize::from(dropped.is_some()) + usize::from(own_bias.is_some())];
        let mask = graph.row_mask().filter(|_| self.op.masked).cloned();
        let inputs: SmallVec<[&Value; 6]> =
            std::iter::once(x).chain(&params).chain(&dropped).chain(&mask).collect();
        let mut y = graph.apply(op, &inputs)?;
        if let Some(Magnitude { m, factors, mul, add }) = &self.dora {
            let mut g = graph.param(*m);
            if let (Some(factors), [w, a, b]) = (factors, params.as_slice()) {
                g = graph.apply(factors, &[&g, w, a, b])?;
            }
            y = graph.apply(mul, &[&y, &g])?;
            if let Some(bias) = later {
                let bias = graph.param(bias);
                y = graph.apply(add, &[&y, &bias])?;
            }
        }
        if let Some(OwnBias { bias, scale, add }) = &self.bias {
            let bias = graph.param(*bias);
            let bias = graph.apply(scale, &[&bias])?;
            y = graph.apply(add, &[&y, &bias])?;
        }
        match f {
            Activation::Identity => Ok(y),
            f => graph.apply(&Activate::op(f), &[&y]),
        }
    }
}
