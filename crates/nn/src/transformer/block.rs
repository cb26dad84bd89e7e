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
}

impl NormConfig {
    pub(crate) fn layer(&self, b: &mut Builder, name: &str) -> Box<dyn Layer> {
        b.scope(name, |b| match self.kind {
            TransformerNorm::Layer => Box::new(LayerNorm::with_eps(b, self.features, self.eps)),
            TransformerNorm::Rms => {
                Box::new(RmsNorm::with_eps(b, self.features, self.eps)) as Box<dyn Layer>
            }
        })
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
    /// The share of values of each residual branch that training drops.
    pub(crate) dropout: f64,
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
            dropout: 0.0,
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
/// to the block.
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
    norms: [Option<Box<dyn Layer>>; 3],
    place: NormPlace,
    add: Arc<dyn Op>,
    /// Dropout of each of these parts, where there is any.
    dropout: Option<[Dropout; 3]>,
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
}

impl Block {
    /// Builds the layers and registers their parameters, in the order of execution.
    pub(crate) fn new(b: &mut Builder, config: &BlockConfig) -> Self {
        let BlockConfig { norm, names, .. } = config;
        let attention = |b: &mut Builder, name, attention: &AttentionConfig| {
            b.scope(name, |b| Attention::new(b, attention))
        };
        let (own, own_norm) = with_norm(b, norm, names.attention_norm, |b| {
            attention(b, names.attention, &config.attention)
        });
        let cross = names.cross.map(|[name, norm_name]| {
            let heads = ff_ops::Attention { causal: false, ..config.attention.heads };
            let config = AttentionConfig { heads, ..config.attention.clone() };
            with_norm(b, norm, norm_name, |b| attention(b, name, &config))
        });
        let (cross, cross_norm) = cross.unzip();
        let (feedforward, feedforward_norm) = with_norm(b, norm, names.feedforward_norm, |b| {
            b.scope(names.feedforward, |b| Feedforward::new(b, config))
        });
        let norms = [Some(own_norm), cross_norm, Some(feedforward_norm)];
        let dropout = (config.dropout > 0.0).then(|| {
            ["attention", "cross_attention", "feedforward"]
                .map(|name| b.scope(name, |b| Dropout::new(b, config.dropout)))
        });
        let (place, add) = (norm.place, Add::op());
        Self { attention: own, cross, feedforward, norms, place, add, dropout }
    }

    /// The output of the block, with the losses of its router.
    pub(crate) fn forward(
        &self,
        graph: &mut Graph,
        x: &Value,
        context: BlockContext<'_>,
    ) -> Result<(Value, Option<RouterLosses>)> {
        let BlockContext { positions, segments, memory, cache } = context;
        let own = AttentionContext { positions, segments, memory: None, cache };
        let mut x =
            self.residual(graph, x, 0, |graph, x| self.attention.forward(graph, &x, own))?;
        if let (Some(cross), Some((memory, segments))) = (&self.cross, memory) {
            let memory = Some(memory);
            let other = AttentionContext { segments, memory, ..AttentionContext::default() };
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
        let norm = |graph: &mut Graph, x: Value, place| match &self.norms[part] {
            Some(norm) if self.place == place => norm.forward(graph, x),
            _ => Ok(x),
        };
        let h = norm(graph, x.clone(), NormPlace::Before)?;
        let mut h = f(graph, h)?;
        if let Some(dropout) = &self.dropout {
            h = dropout[part].forward(graph, h)?;
        }
        let h = norm(graph, h, NormPlace::Branch)?;
        let y = graph.apply(&self.add, &[x, &h])?;
        norm(graph, y, NormPlace::After)
    }
}

/// A part of a block and its norm, registered in the order of execution.
fn with_norm<T>(
    b: &mut Builder,
    norm: &NormConfig,
    name: &str,
    part: impl FnOnce(&mut Builder) -> T,
) -> (T, Box<dyn Layer>) {
    if norm.place == NormPlace::Before {
        let norm = norm.layer(b, name);
        return (part(b), norm);
    }
    (part(b), norm.layer(b, name))
}

impl Feedforward {
    fn new(b: &mut Builder, config: &BlockConfig) -> Self {
        let (features, init) = (config.norm.features, config.init);
        match config.feedforward {
            FeedforwardConfig::Dense { op, hidden } => {
                let (sizes, names) = ((features, hidden), config.names.layers);
                Self::Dense(FeedforwardBlock::with_names(b, op, sizes, names, init))
            }
            FeedforwardConfig::Experts { op, experts, hidden, shared } => Self::Experts(
                MixtureOfExperts::new(b, op, experts, features, hidden, shared, init[0]),
            ),
        }
    }
}
