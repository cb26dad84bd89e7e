//! The full names of an encoder's parameters, for programs that write its layers.

use super::config::EncoderConfig;
use super::{EncoderHead, config::HeadNames};
use crate::transformer::NormPlace;
use ff_ops::Activation;

/// The names of a layer's parts, without `.weight` and `.bias`; empty for those that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderLayerNames {
    /// Queries, keys, values and the output of attention; the first for all three inputs if fused.
    pub projections: [String; 4],
    /// The norm of attention.
    pub attention_norm: String,
    /// Gate, up and down of the feedforward block; gate and up are the first if up is empty.
    pub layers: [String; 3],
    /// The norm of the feedforward block.
    pub feedforward_norm: String,
}

/// The layers of a head.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderHeadLayers {
    /// A hidden layer and its activation.
    pub dense: Option<(String, Activation)>,
    /// A norm behind it.
    pub norm: Option<String>,
    /// The weight of the output layer.
    pub weight: String,
    /// Its bias.
    pub bias: String,
}

/// Names within each other.
fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join(".")
}

impl EncoderConfig {
    fn body(&self) -> &'static str {
        if self.head == EncoderHead::None { "" } else { self.family.names.body }
    }

    /// The names of the table of tokens and of the norm of embeddings.
    pub fn embedding_names(&self) -> [String; 2] {
        self.family.names.embeddings.map(|name| joined(&[self.body(), "embeddings", name]))
    }

    /// The names of a layer's parts.
    ///
    /// ```
    /// # let json = r#"{"model_type": "bert", "vocab_size": 30, "hidden_size": 8,
    /// # "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    /// # "max_position_embeddings": 20, "architectures": ["BertModel"]}"#;
    /// let config = ff_nn::models::EncoderConfig::parse(json)?;
    /// assert_eq!(config.layer_names(0).projections[0], "encoder.layer.0.attention.self.query");
    /// # Ok::<(), ff_nn::ConfigError>(())
    /// ```
    pub fn layer_names(&self, i: usize) -> EncoderLayerNames {
        let (names, number) = (&self.family.names, i.to_string());
        let of = |scope: &str, name: &str| match name {
            "" => String::new(),
            name => joined(&[self.body(), names.layers, &number, scope, name]),
        };
        let block = &names.block;
        // The embeddings are normalised.
        let is_normed = i > 0 || self.norm_place != NormPlace::Before;
        EncoderLayerNames {
            projections: block.projections.map(|name| of(block.attention, name)),
            attention_norm: of("", if is_normed { block.attention_norm } else { "" }),
            layers: block.layers.map(|name| of(block.feedforward, name)),
            feedforward_norm: of("", block.feedforward_norm),
        }
    }

    /// The name of the norm behind the last layer, if there is one.
    pub fn final_norm_name(&self) -> Option<String> {
        self.family.names.final_norm.map(|name| joined(&[self.body(), name]))
    }

    /// The layers of the head, if there is one; the weight of the output layer is the table of
    /// tokens where they are tied.
    pub fn head_layers(&self) -> Option<EncoderHeadLayers> {
        let names: &HeadNames = self.head_names()?;
        let mean = self.head == EncoderHead::Sequence && self.mean_pooled;
        let dense = names.dense.filter(|_| names.reads_mean || !mean);
        let dense = dense.map(|(name, f)| (name.to_owned(), f.unwrap_or(self.head_activation)));
        let tied = self.head == EncoderHead::MaskedLm && self.tied;
        let [words, _] = self.embedding_names();
        Some(EncoderHeadLayers {
            dense,
            norm: names.norm.map(str::to_owned),
            weight: if tied { format!("{words}.weight") } else { names.weight.to_owned() },
            bias: names.bias.to_owned(),
        })
    }
}
