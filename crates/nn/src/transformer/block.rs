//! The layer of the first transformers: attention, then a feedforward block, each added and then normalised.

use crate::layers::{Attention, AttentionConfig, AttentionContext, FeedforwardBlock, LayerNorm};
use crate::{Builder, Init, Layer};
use ff_graph::{Graph, Op, Result, Value};
use ff_ops::{Activation, Add, KeyValueCache};
use std::sync::Arc;

/// What a layer is made from, with what its parts are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostNormConfig {
    pub(crate) features: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) causal: bool,
    /// Whether it reads an encoder too.
    pub(crate) cross: bool,
    pub(crate) activation: Activation,
    pub(crate) eps: f64,
    pub(crate) init: Init,
    pub(crate) bf16: bool,
    pub(crate) names: PostNormNames,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PostNormNames {
    pub(crate) attention: &'static str,
    pub(crate) projections: [&'static str; 4],
    pub(crate) attention_norm: &'static str,
    pub(crate) layers: [&'static str; 2],
    pub(crate) feedforward_norm: &'static str,
}

/// x = norm(x + attention(x)), the same with what an encoder gave where there is one, x = norm(x + feedforward(x)).
#[derive(Debug)]
pub(crate) struct PostNormBlock {
    attention: Attention,
    attention_norm: LayerNorm,
    cross: Option<(Attention, LayerNorm)>,
    feedforward: FeedforwardBlock,
    feedforward_norm: LayerNorm,
    add: Arc<dyn Op>,
}

/// What a layer reads beside its input.
#[derive(Debug, Default)]
pub(crate) struct PostNormContext<'a> {
    /// Of the input's own tokens.
    pub(crate) segments: Option<&'a Value>,
    /// What the encoder gave, with its tokens' segments.
    pub(crate) memory: Option<(&'a Value, Option<&'a Value>)>,
    pub(crate) cache: Option<&'a mut KeyValueCache>,
}

impl PostNormBlock {
    pub(crate) fn new(b: &mut Builder, config: &PostNormConfig) -> Self {
        let names = config.names;
        let attention = |b: &mut Builder, name, causal| {
            let head_dim = config.features / config.heads;
            let heads = ff_ops::Attention {
                causal,
                ..ff_ops::Attention::new(config.heads, config.heads, head_dim)
            };
            let attention = AttentionConfig {
                qkv_bias: true,
                out_bias: true,
                names: names.projections,
                init: config.init,
                out_init: config.init,
                bf16: config.bf16,
                ..AttentionConfig::new(heads, config.features)
            };
            b.scope(name, |b| Attention::new(b, &attention))
        };
        let norm = |b: &mut Builder, name| {
            b.scope(name, |b| LayerNorm::with_eps(b, config.features, config.eps))
        };
        let block = ff_ops::FeedforwardBlock {
            activation: config.activation,
            bias: true,
            bf16: config.bf16,
            ..ff_ops::FeedforwardBlock::default()
        };
        let [up, down] = names.layers;
        let (sizes, init) = ((config.features, config.hidden), [config.init; 2]);
        Self {
            attention: attention(b, names.attention, config.causal),
            attention_norm: norm(b, names.attention_norm),
            cross: config
                .cross
                .then(|| (attention(b, "encoder_attn", false), norm(b, "encoder_attn_layer_norm"))),
            feedforward: FeedforwardBlock::with_names(b, block, sizes, ["", up, down], init),
            feedforward_norm: norm(b, names.feedforward_norm),
            add: Add::op(),
        }
    }

    pub(crate) fn forward(
        &self,
        graph: &mut Graph,
        x: &Value,
        context: PostNormContext<'_>,
    ) -> Result<Value> {
        let own = AttentionContext {
            segments: context.segments,
            cache: context.cache,
            ..AttentionContext::default()
        };
        let h = self.attention.forward(graph, x, own)?;
        let h = graph.apply(&self.add, &[x, &h])?;
        let mut x = self.attention_norm.forward(graph, h)?;
        if let (Some((attention, norm)), Some((memory, segments))) = (&self.cross, context.memory) {
            let other =
                AttentionContext { segments, memory: Some(memory), ..AttentionContext::default() };
            let h = attention.forward(graph, &x, other)?;
            let h = graph.apply(&self.add, &[&x, &h])?;
            x = norm.forward(graph, h)?;
        }
        let h = self.feedforward.forward(graph, x.clone())?;
        let h = graph.apply(&self.add, &[&x, &h])?;
        self.feedforward_norm.forward(graph, h)
    }
}
