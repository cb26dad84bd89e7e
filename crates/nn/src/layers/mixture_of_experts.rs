use super::{Feedforward, FeedforwardBlock, Layer};
use crate::adapter::AdaptedStack;
use crate::{Builder, Init};
use ff_graph::{Error, Graph, Op, ParamId, ParamKind, Result, Value};
use ff_ops::{Activation, ScaleRows};
use ff_tensor::DType;
use smallvec::SmallVec;
use std::sync::Arc;

/// A mixture of gated feedforward blocks, a few per token (Shazeer et al., 2017; Fedus et al.,
/// 2022), optionally with an expert shared by all tokens, with a gate of its own, σ(x w) · f(x).
///
/// Parameters: `gate.weight` `[experts, in]`, `experts.gate_proj.weight` and
/// `experts.up_proj.weight` `[experts, hidden, in]`, `experts.down_proj.weight` `[experts, in,
/// hidden]`; `shared_expert.*`, `shared_expert_gate.weight` `[1, in]`. Gate and up may be one,
/// `experts.gate_up_proj.weight` `[experts, 2 · hidden, in]`; with biases, `gate.bias`,
/// `experts.gate_up_proj.bias` and `experts.down_proj.bias`.
///
/// # Shapes
/// `[…, in] → […, in]`
///
/// ```
/// use ff_nn::{Builder, Init, layers::MixtureOfExperts};
/// use ff_ops::Activation;
/// let mut builder = Builder::new();
/// let op = ff_ops::MixtureOfExperts { top_k: 2, ..Default::default() };
/// let layer = MixtureOfExperts::new(&mut builder, op, 4, 8, 16, None, Init::Normal { std: 0.02 });
/// assert_eq!(builder.plan()?.len(), 4 * 8 + 3 * 4 * 8 * 16);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug)]
pub struct MixtureOfExperts {
    op: Arc<dyn Op>,
    params: SmallVec<[ParamId; 8]>,
    /// The numbers of adapted parameters, with their adapters and the first of its rows.
    adapters: SmallVec<[(usize, AdaptedStack, usize); 3]>,
    shared: Option<Shared>,
}

#[derive(Debug)]
struct Shared {
    block: FeedforwardBlock,
    gate: Feedforward,
    scale: Arc<dyn Op>,
    add: Arc<dyn Op>,
}

/// The output of a mixture of experts, and the terms of its router's losses, sums over tokens.
#[derive(Debug, Clone)]
pub struct ExpertsOutput {
    /// The output.
    pub y: Value,
    /// The probability of each expert above the number of its tokens, `[2, experts]`: the input of
    /// [`RouterBalance`](ff_ops::RouterBalance).
    pub spread: Value,
    /// The sum of the router's z-losses, small for small logits.
    pub z_loss: Value,
}

impl MixtureOfExperts {
    /// The hidden features of each expert and of the shared one.
    pub fn new(
        builder: &mut Builder,
        op: ff_ops::MixtureOfExperts,
        experts: usize,
        features: usize,
        hidden: usize,
        shared: Option<usize>,
        init: Init,
    ) -> Self {
        let mut params = SmallVec::new();
        let mut param = |name: &str, end: &str, dims: &[usize]| {
            // Sizes are checked when the config is read.
            let shape = ff_tensor::Shape::new(dims).unwrap_or(ff_tensor::Shape::scalar());
            let (kind, init) = match end {
                "weight" => (ParamKind::Weight, init),
                _ => (ParamKind::Bias, Init::Zeros),
            };
            params.push(builder.scope(name, |b| b.param(end, shape, kind, init)));
        };
        param("gate", "weight", &[experts, features]);
        if op.fused {
            param("experts.gate_up_proj", "weight", &[experts, 2 * hidden, features]);
        } else {
            param("experts.gate_proj", "weight", &[experts, hidden, features]);
            param("experts.up_proj", "weight", &[experts, hidden, features]);
        }
        param("experts.down_proj", "weight", &[experts, features, hidden]);
        if op.biases {
            param("gate", "bias", &[experts]);
            param("experts.gate_up_proj", "bias", &[experts, 2 * hidden]);
            param("experts.down_proj", "bias", &[experts, features]);
        }
        let mut adapters = SmallVec::new();
        let gate_up = [experts, 2 * hidden, features];
        if let Some(adapter) = builder.experts("experts.gate_up_proj", gate_up) {
            adapters.push((1, adapter, 0));
            if !op.fused {
                adapters.push((2, adapter, hidden));
            }
        }
        if let Some(adapter) = builder.experts("experts.down_proj", [experts, features, hidden]) {
            adapters.push((if op.fused { 2 } else { 3 }, adapter, 0));
        }
        let shared = shared.map(|hidden| {
            let block = ff_ops::FeedforwardBlock {
                activation: op.activation,
                gated: true,
                bf16: op.bf16,
                ..Default::default()
            };
            let block = builder.scope("shared_expert", |b| {
                FeedforwardBlock::new(b, block, features, hidden, init)
            });
            let gate = builder.scope("shared_expert_gate", |b| {
                Feedforward::with_init(b, features, 1, Activation::Sigmoid, false, init)
            });
            let gate = if op.bf16 { gate.in_bf16(DType::F32) } else { gate };
            Shared { block, gate, scale: ScaleRows::op(), add: ff_ops::Add::op() }
        });
        Self { op: op.op(), params, adapters, shared }
    }

    /// The output of the layer with its losses.
    ///
    /// # Errors
    /// If shapes do not match, or memory is exhausted.
    pub fn forward(&self, graph: &mut Graph, x: &Value) -> Result<ExpertsOutput> {
        let mut params: SmallVec<[Value; 8]> =
            self.params.iter().map(|&id| graph.param(id)).collect();
        for (i, adapter, first) in &self.adapters {
            params[*i] = adapter.forward(graph, &params[*i], *first)?;
        }
        let inputs: SmallVec<[&Value; 8]> = std::iter::once(x).chain(&params).collect();
        let outputs = graph.apply_all(&self.op, &inputs)?;
        let [y, spread, z_loss] = outputs.as_slice() else {
            return Err(Error::shape("mixture_of_experts", "expected three outputs"));
        };
        let (mut y, spread, z_loss) = (y.clone(), spread.clone(), z_loss.clone());
        drop(outputs);
        if let Some(shared) = &self.shared {
            let always = shared.block.forward(graph, x.clone())?;
            let gate = shared.gate.forward(graph, x.clone())?;
            let always = graph.apply(&shared.scale, &[&always, &gate])?;
            y = graph.apply(&shared.add, &[&y, &always])?;
        }
        Ok(ExpertsOutput { y, spread, z_loss })
    }
}
