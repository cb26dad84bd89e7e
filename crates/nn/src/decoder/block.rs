//! From the specification of a decoder to that of its blocks.

use super::config::{DecoderConfig, LayerConfig, LayerRope};
use crate::Init;
use crate::layers::AttentionConfig;
use crate::transformer::{
    BlockConfig, BlockDropout, FeedforwardConfig, LanguageOptions, NormConfig,
};

impl DecoderConfig {
    /// The norm of the blocks and the last one.
    pub(super) fn norms(&self) -> NormConfig {
        NormConfig {
            kind: self.norm,
            place: self.norm_place,
            features: self.hidden_size,
            eps: self.norm_eps,
            offset: self.norm_offset,
            bias: true,
        }
    }

    /// The specification of a layer.
    pub(super) fn block(&self, layer: &LayerConfig, options: &LanguageOptions) -> BlockConfig {
        let (std, bf16) = (self.initializer_range, options.bf16());
        let depth = if self.scaled_init { (2.0 * self.layers.len() as f64).sqrt() } else { 1.0 };
        let init = [Init::Normal { std }, Init::Normal { std: std / depth }];
        let heads = ff_ops::Attention {
            scale: layer.scale,
            causal: true,
            window: layer.window,
            soft_cap: self.score_cap,
            fused: self.fused_qkv,
            ..ff_ops::Attention::new(self.heads, self.kv_heads, self.head_dim)
        };
        let rope = match layer.rope {
            LayerRope::Global => self.rope.as_ref(),
            LayerRope::Local => self.local_rope.as_ref(),
            LayerRope::None => None,
        };
        let names = self.family.names.block;
        let attention = AttentionConfig {
            qkv_bias: self.qkv_bias,
            out_bias: self.out_bias,
            norm: self.qk_norm.map(|over| (over, self.norms().rms())),
            rotary: rope.map(|rope| rope.rotary(self.head_dim)),
            sinks: self.sinks,
            names: names.projections,
            init: init[0],
            out_init: init[1],
            bf16,
            ..AttentionConfig::new(heads, self.hidden_size)
        };
        let feedforward = match self.moe.filter(|_| layer.experts) {
            Some(moe) => FeedforwardConfig::Experts {
                op: ff_ops::MixtureOfExperts {
                    top_k: moe.top_k,
                    softmax_first: true,
                    normalize: moe.normalize,
                    activation: self.activation,
                    clamp: moe.clamp,
                    fused: moe.stacked,
                    biases: moe.stacked,
                    bf16,
                },
                experts: moe.experts,
                hidden: moe.intermediate_size,
                shared: moe.shared,
            },
            None => FeedforwardConfig::Dense {
                op: ff_ops::FeedforwardBlock {
                    activation: self.activation,
                    gated: self.gated,
                    bias: self.mlp_bias,
                    recompute: false,
                    bf16,
                },
                hidden: self.intermediate_size,
            },
        };
        BlockConfig {
            norm: self.norms(),
            attention,
            feedforward,
            init,
            names,
            dropout: BlockDropout::default(),
        }
    }
}
