//! Low-rank adapters of linear layers.

use super::config::{AdaptedBiases, LoraConfig};
use super::pattern::matches;
use super::reach::Reach;
use crate::layers::{Dropout, Layer};
use crate::{Builder, Fan, Init};
use ff_graph::{Graph, Op, ParamId, ParamKind, ParamSpec, Result, Value};
use ff_ops::{Activate, Activation, AdaptedExperts, Add, DoraFactors, LoraLinear, Mul, Scale};
use ff_tensor::DType;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// 1/√in as the bound, PEFT's Kaiming initialisation with a = √5.
const INIT: Init = Init::HeUniform { gain: 0.577_350_269_189_625_8, fan: Fan::In };

/// The adapters that layers get while a model is built once more.
#[derive(Debug)]
pub(crate) struct Adapting {
    name: String,
    config: LoraConfig,
    layers: Vec<(String, bool)>,
    /// The parameters of the first time.
    known: Option<HashMap<String, ParamId>>,
    /// The adapter's own parameters in place of the base model's.
    replaced: Vec<Replaced>,
    /// The stacks of experts' matrices, and whether each has an adapter.
    stacks: Vec<(String, bool)>,
}

/// A parameter of the base model, and the one that an adapter has in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The base model's.
    pub base: ParamId,
    /// The adapter's.
    pub own: ParamId,
}

impl Adapting {
    pub(crate) fn new(name: &str, config: LoraConfig) -> Self {
        Self {
            name: name.to_owned(),
            config,
            layers: Vec::new(),
            known: None,
            replaced: Vec::new(),
            stacks: Vec::new(),
        }
    }

    pub(crate) fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    pub(crate) fn stacks(&self) -> &[(String, bool)] {
        &self.stacks
    }

    /// The adapter of a stack of experts' matrices, called `name` within the builder's path.
    pub(crate) fn experts(
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

    /// The embeddings of some tokens in place of those of a table, in one that is theirs and one
    /// for all of the table's values if the adapter is only read.
    pub(crate) fn tokens(&self) -> (&[u32], bool) {
        (&self.config.tokens, self.config.fixed)
    }

    pub(crate) fn part(&self, part: &str, end: &str) -> String {
        named(part, &self.name, end)
    }

    pub(crate) fn reach(&self) -> Reach {
        match self.config.invocation.as_slice() {
            [] => Reach::All,
            tokens => Reach::From(tokens.to_vec()),
        }
    }

    pub(crate) fn keeps_tied(&self) -> bool {
        self.config.keep_tied
    }

    /// The name of the adapter's own parameter in place of a base model's, if it has one.
    pub(crate) fn own_name(&mut self, full: &str, specs: &[ParamSpec]) -> Option<String> {
        let (module, end) = full.rsplit_once('.')?;
        let config = &self.config;
        let is_saved = config.saved.iter().any(|pattern| matches(pattern, full));
        let is_bias = |known: Option<ParamId>| {
            known.is_some_and(|id| specs[id.index()].kind == ParamKind::Bias)
        };
        let own = is_saved
            || match config.biases {
                AdaptedBiases::None => false,
                AdaptedBiases::All => is_bias(self.known(full, specs)),
                AdaptedBiases::Adapted => {
                    let weight = self.known(&format!("{module}.weight"), specs);
                    let linear =
                        weight.is_some_and(|id| specs[id.index()].kind == ParamKind::Weight);
                    linear && self.config.targets(module) && is_bias(self.known(full, specs))
                }
            };
        own.then(|| named(&format!("{module}.modules_to_save"), &self.name, end))
    }

    pub(crate) fn replace(&mut self, replaced: Replaced) {
        self.replaced.push(replaced);
    }

    pub(crate) fn layers(&self) -> &[(String, bool)] {
        &self.layers
    }

    /// The parameter of this name, if it was there before.
    pub(crate) fn known(&mut self, name: &str, specs: &[ParamSpec]) -> Option<ParamId> {
        let all = || specs.iter().enumerate().map(|(i, s)| (s.name.clone(), ParamId::new(i)));
        self.known.get_or_insert_with(|| all().collect()).get(name).copied()
    }

    /// The adapter of the layer at the builder's path.
    pub(crate) fn low_rank(
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

/// The name of a part of an adapter.
fn named(part: &str, adapter: &str, end: &str) -> String {
    if adapter.is_empty() { format!("{part}.{end}") } else { format!("{part}.{adapter}.{end}") }
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
