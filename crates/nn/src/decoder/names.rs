//! The full names of a decoder's parameters, for programs that write its layers.

use super::config::DecoderConfig;

/// The names of a layer's parts, without `.weight` and `.bias`; empty for those that the family has
/// not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderLayerNames {
    /// Attention, which holds `q_norm`, `k_norm` and `sinks`.
    pub attention: String,
    /// The norm of attention, and the second one where norms are around it.
    pub attention_norms: [String; 2],
    /// Queries, keys, values and the output of attention; the first for all three inputs if fused.
    pub projections: [String; 4],
    /// The feedforward block, which holds `gate` and `experts` of a mixture.
    pub feedforward: String,
    /// The norm of the feedforward block, and the second one.
    pub feedforward_norms: [String; 2],
    /// Gate, up and down; gate and up are the first if up is empty.
    pub layers: [String; 3],
}

/// The names of the parts around the layers, without `.weight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoderNames {
    /// The table of tokens.
    pub embedding: String,
    /// The table of learned positions, if there is one.
    pub positions: String,
    /// The last norm.
    pub norm: String,
    /// The output layer, which is the table of tokens where they are tied.
    pub output: String,
}

impl DecoderConfig {
    /// The names of the parts around the layers.
    ///
    /// ```
    /// let json = r#"{"model_type": "gpt2", "vocab_size": 10, "n_positions": 4, "n_embd": 6,
    ///     "n_layer": 1, "n_head": 2}"#;
    /// let config = ff_nn::models::DecoderConfig::parse(json)?;
    /// assert_eq!(config.names().output, "transformer.wte");
    /// assert_eq!(config.layer_names(0).projections[0], "transformer.h.0.attn.c_attn");
    /// # Ok::<(), ff_nn::ConfigError>(())
    /// ```
    pub fn names(&self) -> DecoderNames {
        let names = &self.family.names;
        let of = |name: &str| format!("{}.{name}", names.body);
        let embedding = of(names.embedding);
        DecoderNames {
            positions: of(names.positions),
            norm: of(names.norm),
            output: if self.tied { embedding.clone() } else { "lm_head".into() },
            embedding,
        }
    }

    /// The names of a layer's parts.
    pub fn layer_names(&self, i: usize) -> DecoderLayerNames {
        let (names, block) = (&self.family.names, &self.family.names.block);
        let of = |name: &str| match name {
            "" => String::new(),
            name => format!("{}.{}.{i}.{name}", names.body, names.layers),
        };
        let within = |scope: &str, name: &str| match name {
            "" => String::new(),
            name => of(&format!("{scope}.{name}")),
        };
        let [second, feedforward_second] = block.second_norms;
        DecoderLayerNames {
            attention: of(block.attention),
            attention_norms: [block.attention_norm, second].map(of),
            projections: block.projections.map(|name| within(block.attention, name)),
            feedforward: of(block.feedforward),
            feedforward_norms: [block.feedforward_norm, feedforward_second].map(of),
            layers: block.layers.map(|name| within(block.feedforward, name)),
        }
    }
}
