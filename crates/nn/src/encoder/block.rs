//! The blocks of an encoder, from its specification.

use super::config::EncoderConfig;
use crate::Init;
use crate::layers::AttentionConfig;
use crate::transformer::{
    BlockConfig, FeedforwardConfig, LanguageOptions, NormConfig, NormPlace, TransformerNorm,
};

impl EncoderConfig {
    /// The specification of every layer.
    pub(super) fn block(&self, options: &LanguageOptions) -> BlockConfig {
        let (init, bf16) = (Init::Normal { std: self.initializer_range }, options.bf16());
        let (features, names) = (self.hidden_size, self.family.names.block);
        let heads = ff_ops::Attention::new(self.heads, self.heads, features / self.heads);
        BlockConfig {
            norm: NormConfig {
                kind: TransformerNorm::Layer,
                place: NormPlace::After,
                features,
                eps: self.norm_eps,
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
                    activation: self.activation,
                    bias: true,
                    bf16,
                    ..ff_ops::FeedforwardBlock::default()
                },
                hidden: self.intermediate_size,
            },
            init: [init; 2],
            names,
        }
    }
}
