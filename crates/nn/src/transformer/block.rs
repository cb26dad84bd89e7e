//! One layer of a transformer: attention, then a feedforward block, each with a residual and a
//! norm.

use crate::layers::{
    Attention, AttentionConfig, AttentionContext, Dropout, ExpertsOutput, FeedforwardBlock,
    LayerNorm, MixtureOfExperts, RmsNorm,
};
use crate::{Builder, Init, Layer};
use ff_graph::{Graph, Op, Result, Value};
use ff_ops::{Add, KeyValueCache};
use std::sync::Arc;

/// The normalisation of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransformerNorm {
    /// Layer normalisation with a bias.
    Layer,
    /// Root-mean-square normalisation.
    Rms,
}

/// The place of a block's norms, with f attention or the feedforward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// x + f(norm(x)), the usual place (Xiong et al., 2020).
    Before,
    /// x + norm(f(x)), inside the residual branch.
    Branch,
    /// x + norm₂(f(norm(x))), both of these, each with weights of its own (Gemma team, 2024).
    Around,
    /// norm(x + f(x)), as in the first transformers (Vaswani et al., 2017).
    After,
}

/// The norms of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormConfig {
    pub(crate) kind: TransformerNorm,
    pub(crate) place: NormPlace,
    pub(crate) features: usize,
    pub(crate) eps: f64,
    /// What is added to the weights of root-mean-square norms.
    pub(crate) offset: f64,
    /// Whether layer norms have a bias.
    pub(crate) bias: bool,
}

impl NormConfig {
    pub(crate) fn layer(&self, b: &mut Builder, name: &str) -> Box<dyn Layer> {
        b.scope(name, |b| match self.kind {
            TransformerNorm::Layer => {
                Box::new(LayerNorm::with_bias(b, self.features, self.eps, self.bias))
            }
            TransformerNorm::Rms => {
                Box::new(RmsNorm::with_op(b, self.features, self.rms())) as Box<dyn Layer>
            }
        })
    }

    /// Root-mean-square normalisation of this kind.
    pub(crate) fn rms(&self) -> ff_ops::RmsNorm {
        ff_ops::RmsNorm { eps: self.eps, weight: true, offset: self.offset }
    }
}

/// The specification of a block.
#[derive(Debug, Clone)]
pub(crate) struct BlockConfig {
    pub(crate) norm: NormConfig,
    pub(crate) attention: AttentionConfig,
    pub(crate) feedforward: FeedforwardConfig,
    /// The initialisers of weights that read the residual stream and of weights that add to it.
    pub(crate) init: [Init; 2],
    pub(crate) names: BlockNames,
    pub(crate) dropout: BlockDropout,
}

/// The shares of values that training drops in a block, besides those of attention's weights.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BlockDropout {
    /// Of each residual branch.
    pub(crate) branch: f64,
    /// Of what the activation of the feedforward part gives.
    pub(crate) activation: f64,
}

impl BlockConfig {
    /// A post-norm block with biases and layer norms of this ε, as in the first transformers.
    pub(crate) fn post_norm(
        heads: ff_ops::Attention,
        eps: f64,
        (activation, hidden): (ff_ops::Activation, usize),
        names: BlockNames,
        init: Init,
        bf16: bool,
    ) -> Self {
        let features = heads.heads * heads.head_dim;
        Self {
            norm: NormConfig {
                kind: TransformerNorm::Layer,
                place: NormPlace::After,
                features,
                eps,
                offset: 0.0,
                bias: true,
            },
            attention: AttentionConfig {
                qkv_bias: true,
                out_bias: true,
                names: names.projections,
                init,
                out_init: init,
                bf16,
                ..AttentionConfig::new(heads, features)
            },
            feedforward: FeedforwardConfig::Dense {
                op: ff_ops::FeedforwardBlock {
                    activation,
                    bias: true,
                    bf16,
                    ..ff_ops::FeedforwardBlock::default()
                },
                hidden,
            },
            init: [init; 2],
            names,
            dropout: BlockDropout::default(),
        }
    }
}

/// The feedforward part of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FeedforwardConfig {
    Dense { op: ff_ops::FeedforwardBlock, hidden: usize },
    Experts { op: ff_ops::MixtureOfExperts, experts: usize, hidden: usize, shared: Option<usize> },
}

/// The names of the parts of a block in files; the parameters of a part with an empty name belong
/// to the block, and there is no norm with an empty name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockNames {
    pub(crate) attention: &'static str,
    pub(crate) attention_norm: &'static str,
    /// Queries, keys, values and the output; the first for all three inputs if fused.
    pub(crate) projections: [&'static str; 4],
    /// Attention over an encoder's output and its norm, if any.
    pub(crate) cross: Option<[&'static str; 2]>,
    pub(crate) feedforward: &'static str,
    pub(crate) feedforward_norm: &'static str,
    /// The second norms of attention and of the feedforward block, if norms are around them.
    pub(crate) second_norms: [&'static str; 2],
    /// Gate, up and down.
    pub(crate) layers: [&'static str; 3],
}

/// A block of a transformer, pre-norm or post-norm; with attention over an encoder's output between
/// attention and the feedforward block if it is named.
#[derive(Debug)]
pub(crate) struct Block {
    attention: Attention,
    cross: Option<Attention>,
    feedforward: Feedforward,
    /// The norms of attention, of attention over an encoder's output, of the feedforward block.
    norms: [Norms; 3],
    add: Arc<dyn Op>,
    /// Dropout of each of these parts, where there is any.
    dropout: Option<[Dropout; 3]>,
}

/// The norms of a part of a block: of its input, of its output, of the sum with the residual.
#[derive(Debug, Default)]
struct Norms {
    before: Option<Box<dyn Layer>>,
    branch: Option<Box<dyn Layer>>,
    after: Option<Box<dyn Layer>>,
}

// One for each layer: the size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
enum Feedforward {
    Dense(FeedforwardBlock),
    Experts(MixtureOfExperts),
}

/// The terms of router losses, sums over tokens.
#[derive(Debug, Clone)]
pub(crate) struct RouterLosses {
    pub(crate) spread: Value,
    pub(crate) z_loss: Value,
}

/// The inputs of a block besides x.
#[derive(Debug, Default)]
pub(crate) struct BlockContext<'a> {
    /// The positions of the input's own tokens.
    pub(crate) positions: Option<&'a Value>,
    /// The segments of the input's own tokens.
    pub(crate) segments: Option<&'a Value>,
    /// An encoder's output with the segments of its tokens.
    pub(crate) memory: Option<(&'a Value, Option<&'a Value>)>,
    pub(crate) cache: Option<&'a mut KeyValueCache>,
    /// The keys and values of the encoder's output, computed once.
    pub(crate) memory_cache: Option<&'a mut KeyValueCache>,
}

impl Block {
    /// Builds the layers and registers their parameters, in the order of execution.
    pub(crate) fn new(b: &mut Builder, config: &BlockConfig) -> Self {
        let BlockConfig { norm, names, .. } = config;
        let attention = |b: &mut Builder, name, attention: &AttentionConfig| {
            b.scope(name, |b| Attention::new(b, attention))
        };
        let [second, feedforward_second] = names.second_norms;
        let (own, own_norms) = with_norms(b, norm, [names.attention_norm, second], |b| {
            attention(b, names.attention, &config.attention)
        });
        let cross = names.cross.map(|[name, norm_name]| {
            let heads =
                ff_ops::Attention { causal: false, distances: None, ..config.attention.heads };
            let config = AttentionConfig { heads, distances: None, ..config.attention.clone() };
            with_norms(b, norm, [norm_name, ""], |b| attention(b, name, &config))
        });
        let (cross, cross_norms) = cross.unzip();
        let names_of_norms = [names.feedforward_norm, feedforward_second];
        let (feedforward, feedforward_norms) = with_norms(b, norm, names_of_norms, |b| {
            b.scope(names.feedforward, |b| Feedforward::new(b, config))
        });
        let norms = [own_norms, cross_norms.unwrap_or_default(), feedforward_norms];
        let share = config.dropout.branch;
        let dropout = (share > 0.0).then(|| {
            ["attention", "cross_attention", "feedforward"]
                .map(|name| b.scope(name, |b| Dropout::new(b, share)))
        });
        Self { attention: own, cross, feedforward, norms, add: Add::op(), dropout }
    }

    /// The output of the block, with the losses of its router.
    pub(crate) fn forward(
        &self,
        graph: &mut Graph,
        x: &Value,
        context: BlockContext<'_>,
    ) -> Result<(Value, Option<RouterLosses>)> {
        let BlockContext { positions, segments, memory, cache, memory_cache } = context;
        let own = AttentionContext { positions, segments, memory: None, cache };
        let mut x =
            self.residual(graph, x, 0, |graph, x| self.attention.forward(graph, &x, own))?;
        if let (Some(cross), Some((memory, segments))) = (&self.cross, memory) {
            let (memory, cache) = (Some(memory), memory_cache);
            let other = AttentionContext { segments, memory, cache, positions: None };
            x = self.residual(graph, &x, 1, |graph, x| cross.forward(graph, &x, other))?;
        }
        let mut losses = None;
        let x = self.residual(graph, &x, 2, |graph, x| match &self.feedforward {
            Feedforward::Dense(layer) => layer.forward(graph, x),
            Feedforward::Experts(layer) => {
                let ExpertsOutput { y, spread, z_loss } = layer.forward(graph, &x)?;
                losses = Some(RouterLosses { spread, z_loss });
                Ok(y)
            }
        })?;
        Ok((x, losses))
    }

    /// A part of the block with its residual and its norm.
    fn residual(
        &self,
        graph: &mut Graph,
        x: &Value,
        part: usize,
        f: impl FnOnce(&mut Graph, Value) -> Result<Value>,
    ) -> Result<Value> {
        let norm = |graph: &mut Graph, x: Value, norm: &Option<Box<dyn Layer>>| match norm {
            Some(norm) => norm.forward(graph, x),
            None => Ok(x),
        };
        let Norms { before, branch, after } = &self.norms[part];
        let h = norm(graph, x.clone(), before)?;
        let mut h = f(graph, h)?;
        if let Some(dropout) = &self.dropout {
            h = dropout[part].forward(graph, h)?;
        }
        let h = norm(graph, h, branch)?;
        let y = graph.apply(&self.add, &[x, &h])?;
        norm(graph, y, after)
    }
}

/// A part of a block and its norms, registered in the order of execution.
fn with_norms<T>(
    b: &mut Builder,
    norm: &NormConfig,
    [name, second]: [&str; 2],
    part: impl FnOnce(&mut Builder) -> T,
) -> (T, Norms) {
    let mut norms = Norms::default();
    if name.is_empty() {
        return (part(b), norms);
    }
    if matches!(norm.place, NormPlace::Before | NormPlace::Around) {
        norms.before = Some(norm.layer(b, name));
    }
    let part = part(b);
    match norm.place {
        NormPlace::Before => {}
        NormPlace::Branch => norms.branch = Some(norm.layer(b, name)),
        NormPlace::Around => norms.branch = Some(norm.layer(b, second)),
        NormPlace::After => norms.after = Some(norm.layer(b, name)),
    }
    (part, norms)
}

impl Feedforward {
    fn new(b: &mut Builder, config: &BlockConfig) -> Self {
        let (features, init) = (config.norm.features, config.init);
        match config.feedforward {
            FeedforwardConfig::Dense { op, hidden } => {
                let (sizes, names) = ((features, hidden), config.names.layers);
                let dropout = config.dropout.activation;
                let block = FeedforwardBlock::with_dropout(b, op, sizes, names, init, dropout);
                Self::Dense(block)
            }
            FeedforwardConfig::Experts { op, experts, hidden, shared } => Self::Experts(
                MixtureOfExperts::new(b, op, experts, features, hidden, shared, init[0]),
            ),
        }
    }
}
