//! The blocks of an encoder, from its specification.

use super::config::EncoderConfig;
use crate::Init;
use crate::layers::AttentionConfig;
use crate::transformer::{
    BlockConfig, BlockDropout, FeedforwardConfig, LanguageOptions, NormConfig, NormPlace,
};
use ff_ops::FeedforwardBlock;

impl EncoderConfig {
    /// The specification of a layer.
    pub(super) fn block(&self, i: usize, options: &LanguageOptions, dropout: f64) -> BlockConfig {
        let (head_dim, window) = (self.hidden_size / self.heads, self.windows[i]);
        let heads = ff_ops::Attention {
            window: window.map(|window| window + 1),
            ahead: window,
            fused: self.fused_qkv,
            ..ff_ops::Attention::new(self.heads, self.heads, head_dim)
        };
        let rope = if window.is_some() { &self.local_rope } else { &self.rope };
        let feedforward = (self.activation, self.intermediate_size);
        let init = Init::Normal { std: self.initializer_range };
        let mut names = self.family.names.block;
        if i == 0 && self.norm_place == NormPlace::Before {
            // The embeddings are normalised.
            names.attention_norm = "";
        }
        let block =
            BlockConfig::post_norm(heads, self.norm_eps, feedforward, names, init, options.bf16());
        let feedforward = match block.feedforward {
            FeedforwardConfig::Dense { op, hidden } => FeedforwardConfig::Dense {
                op: FeedforwardBlock { gated: self.gated, bias: self.mlp_bias, ..op },
                hidden,
            },
            experts @ FeedforwardConfig::Experts { .. } => experts,
        };
        BlockConfig {
            norm: NormConfig { place: self.norm_place, bias: self.norm_bias, ..block.norm },
            attention: AttentionConfig {
                qkv_bias: self.attention_bias,
                out_bias: self.attention_bias,
                rotary: rope.as_ref().map(|rope| rope.rotary(head_dim)),
                ..block.attention
            },
            feedforward,
            dropout: BlockDropout { branch: dropout, activation: 0.0 },
            ..block
        }
    }
}
