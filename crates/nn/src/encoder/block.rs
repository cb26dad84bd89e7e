//! The blocks of an encoder, from its specification.

use super::config::EncoderConfig;
use crate::Init;
use crate::transformer::{BlockConfig, LanguageOptions};

impl EncoderConfig {
    /// The specification of every layer.
    pub(super) fn block(&self, options: &LanguageOptions, dropout: f64) -> BlockConfig {
        let heads = ff_ops::Attention::new(self.heads, self.heads, self.hidden_size / self.heads);
        let feedforward = (self.activation, self.intermediate_size);
        let init = Init::Normal { std: self.initializer_range };
        let names = self.family.names.block;
        let block =
            BlockConfig::post_norm(heads, self.norm_eps, feedforward, names, init, options.bf16());
        BlockConfig { dropout, ..block }
    }
}
