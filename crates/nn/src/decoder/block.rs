//! One layer of a decoder.

use super::config::{DecoderConfig, DecoderNorm, LayerConfig};
use super::families::Family;
use crate::layers::{
    Attention, AttentionConfig, AttentionContext, FeedforwardBlock, LayerNorm, MixtureOfExperts,
    RmsNorm,
};
use crate::transformer::LanguageOptions;
use crate::{Builder, Init, Layer};
use ff_graph::{Graph, Op, Result, Value};
use ff_ops::{Add, KeyValueCache, Rotary};
use std::sync::Arc;

/// x + attention(norm(x)), then that plus feedforward(norm(that)).
#[derive(Debug)]
pub(super) struct Block {
    attention_norm: Box<dyn Layer>,
    attention: Attention,
    feedforward_norm: Box<dyn Layer>,
    feedforward: Feedforward,
    add: Arc<dyn Op>,
}

#[derive(Debug)]
enum Feedforward {
    Dense(FeedforwardBlock),
    Experts(MixtureOfExperts),
}

/// What the losses of routers are made of, sums over tokens.
#[derive(Debug, Clone)]
pub(super) struct RouterLosses {
    pub(super) spread: Value,
    pub(super) z_loss: Value,
}

/// What the parts of a block are called.
struct Names {
    attention_norm: &'static str,
    attention: &'static str,
    projections: [&'static str; 4],
    feedforward_norm: &'static str,
    feedforward: &'static str,
    layers: [&'static str; 3],
}

fn names(family: Family) -> Names {
    if family == Family::Gpt2 {
        return Names {
            attention_norm: "ln_1",
            attention: "attn",
            projections: ["c_attn", "", "", "c_proj"],
            feedforward_norm: "ln_2",
            feedforward: "mlp",
            layers: ["", "c_fc", "c_proj"],
        };
    }
    Names {
        attention_norm: "input_layernorm",
        attention: "self_attn",
        projections: ["q_proj", "k_proj", "v_proj", "o_proj"],
        feedforward_norm: "post_attention_layernorm",
        feedforward: if family == Family::Mixtral { "block_sparse_moe" } else { "mlp" },
        layers: ["gate_proj", "up_proj", "down_proj"],
    }
}

pub(super) fn norm(b: &mut Builder, name: &str, config: &DecoderConfig) -> Box<dyn Layer> {
    let (features, eps) = (config.hidden_size, config.norm_eps);
    b.scope(name, |b| match config.norm {
        DecoderNorm::Layer => Box::new(LayerNorm::with_eps(b, features, eps)) as Box<dyn Layer>,
        DecoderNorm::Rms => Box::new(RmsNorm::with_eps(b, features, eps)),
    })
}

impl Block {
    pub(super) fn new(
        b: &mut Builder,
        config: &DecoderConfig,
        layer: &LayerConfig,
        options: &LanguageOptions,
    ) -> Self {
        let names = names(config.family);
        let std = config.initializer_range;
        let init = Init::Normal { std };
        // What is added to the residual stream grows with the depth; GPT-2's start makes up for it.
        let depth = (2.0 * config.layers.len() as f64).sqrt();
        let out_init = match config.family {
            Family::Gpt2 => Init::Normal { std: std / depth },
            _ => init,
        };
        let heads = ff_ops::Attention {
            scale: layer.scale,
            causal: true,
            window: layer.window,
            fused: config.family == Family::Gpt2,
            ..ff_ops::Attention::new(config.heads, config.kv_heads, config.head_dim)
        };
        let rotary = config.rope.as_ref().map(|rope| Rotary {
            head_dim: config.head_dim,
            rotary_dim: rope.rotary_dim,
            interleaved: false,
            inv_freq: rope.inv_freq.as_slice().into(),
            scaling: rope.scaling,
        });
        let attention = AttentionConfig {
            qkv_bias: config.qkv_bias,
            out_bias: config.out_bias,
            norm_eps: config.qk_norm.then_some(config.norm_eps),
            rotary,
            names: names.projections,
            init,
            out_init,
            bf16: options.bf16(),
            ..AttentionConfig::new(heads, config.hidden_size)
        };
        Self {
            attention_norm: norm(b, names.attention_norm, config),
            attention: b.scope(names.attention, |b| Attention::new(b, &attention)),
            feedforward_norm: norm(b, names.feedforward_norm, config),
            feedforward: b.scope(names.feedforward, |b| {
                feedforward(b, config, layer, options, names.layers, [init, out_init])
            }),
            add: Add::op(),
        }
    }

    /// The block's output, with the losses of its router.
    pub(super) fn forward(
        &self,
        graph: &mut Graph,
        x: &Value,
        positions: &Value,
        segments: Option<&Value>,
        cache: Option<&mut KeyValueCache>,
    ) -> Result<(Value, Option<RouterLosses>)> {
        let h = self.attention_norm.forward(graph, x.clone())?;
        let context =
            AttentionContext { positions: Some(positions), segments, memory: None, cache };
        let h = self.attention.forward(graph, &h, context)?;
        let x = graph.apply(&self.add, &[x, &h])?;
        let h = self.feedforward_norm.forward(graph, x.clone())?;
        let (h, losses) = match &self.feedforward {
            Feedforward::Dense(layer) => (layer.forward(graph, h)?, None),
            Feedforward::Experts(layer) => {
                let out = layer.forward(graph, &h)?;
                (out.y, Some(RouterLosses { spread: out.spread, z_loss: out.z_loss }))
            }
        };
        Ok((graph.apply(&self.add, &[&x, &h])?, losses))
    }
}

fn feedforward(
    b: &mut Builder,
    config: &DecoderConfig,
    layer: &LayerConfig,
    options: &LanguageOptions,
    names: [&str; 3],
    init: [Init; 2],
) -> Feedforward {
    let features = config.hidden_size;
    if let Some(moe) = config.moe.as_ref().filter(|_| layer.experts) {
        let op = ff_ops::MixtureOfExperts {
            top_k: moe.top_k,
            softmax_first: true,
            normalize: moe.normalize,
            activation: config.activation,
            bf16: options.bf16(),
        };
        return Feedforward::Experts(MixtureOfExperts::new(
            b,
            op,
            moe.experts,
            features,
            moe.intermediate_size,
            moe.shared,
            init[0],
        ));
    }
    let op = ff_ops::FeedforwardBlock {
        activation: config.activation,
        gated: config.gated,
        bias: config.mlp_bias,
        recompute: false,
        bf16: options.bf16(),
    };
    let sizes = (features, config.intermediate_size);
    Feedforward::Dense(FeedforwardBlock::with_names(b, op, sizes, names, init))
}
