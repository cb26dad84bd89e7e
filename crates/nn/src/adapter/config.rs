//! The specification of low-rank adapters.

use super::pattern::matches;
use std::collections::BTreeMap;

/// The biases of the base model that an adapter has values of its own for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdaptedBiases {
    /// None.
    #[default]
    None,
    /// Those of layers with an adapter.
    Adapted,
    /// All.
    All,
}

/// The specification of low-rank adapters, with the meaning of PEFT's `LoraConfig`.
///
/// ```
/// use ff_nn::LoraConfig;
/// let config = LoraConfig { rank: 16, alpha: 32.0, ..LoraConfig::default() };
/// assert_eq!(config.scale("model.layers.0.self_attn.q_proj"), 2.0);
/// let config = LoraConfig { rank_stabilized: true, ..config };
/// assert_eq!(config.scale("model.layers.0.self_attn.q_proj"), 8.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct LoraConfig {
    /// The rank.
    pub rank: usize,
    /// The scale times the rank, or times its root if rank-stabilised.
    pub alpha: f64,
    /// The layers with an adapter, by pattern ([`matches()`]); all linear layers if empty.
    pub targets: Vec<String>,
    /// The layers without one, by pattern, whatever `targets` says.
    pub exclude: Vec<String>,
    /// The probability of dropping a value of the input of A in training.
    pub dropout: f64,
    /// Whether the scale is α/√rank (Kalajdzievski, 2023) and not α/rank.
    pub rank_stabilized: bool,
    /// Whether each row of W + s B A gives a direction alone, with a magnitude of its own (DoRA,
    /// Liu et al., 2024).
    pub dora: bool,
    /// Whether B has a bias, which is scaled as its product.
    pub lora_bias: bool,
    /// The biases of the base model that the adapter has for itself.
    pub biases: AdaptedBiases,
    /// Parts of the base model that the adapter has whole for itself, by pattern.
    pub saved: Vec<String>,
    /// The stacked matrices of a mixture's experts with an adapter, `gate_up_proj` and `down_proj`,
    /// by pattern: each expert's has its own A and B.
    pub parameters: Vec<String>,
    /// The tokens whose embeddings, and outputs where these are the same table, the adapter has for
    /// itself.
    pub tokens: Vec<u32>,
    /// Whether an output layer that is the table of embeddings stays it where the adapter has the
    /// table for itself.
    pub keep_tied: bool,
    /// The tokens behind which alone the adapter acts, from the first of their last occurrence on
    /// (activated LoRA, Greenewald et al., 2025); it acts on all tokens if empty.
    pub invocation: Vec<u32>,
    /// Whether the adapter is only read, so that what depends on its values alone is computed once,
    /// when they are set: the parameter of magnitudes holds the factors of rows.
    pub fixed: bool,
    /// The ranks of layers by pattern, where they differ.
    pub ranks: BTreeMap<String, usize>,
    /// α of layers by pattern, where it differs.
    pub alphas: BTreeMap<String, f64>,
}

impl Default for LoraConfig {
    /// Rank 8 and α 16 on all linear layers.
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            targets: Vec::new(),
            dropout: 0.0,
            exclude: Vec::new(),
            rank_stabilized: false,
            dora: false,
            lora_bias: false,
            biases: AdaptedBiases::None,
            saved: Vec::new(),
            parameters: Vec::new(),
            tokens: Vec::new(),
            keep_tied: false,
            invocation: Vec::new(),
            fixed: false,
            ranks: BTreeMap::new(),
            alphas: BTreeMap::new(),
        }
    }
}

impl LoraConfig {
    /// Whether a layer gets an adapter.
    pub fn targets(&self, layer: &str) -> bool {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, layer));
        (self.targets.is_empty() || among(&self.targets)) && !among(&self.exclude)
    }

    /// The rank of a layer's adapter.
    pub fn rank(&self, layer: &str) -> usize {
        of(&self.ranks, layer).copied().unwrap_or(self.rank)
    }

    /// α of a layer's adapter.
    pub fn alpha(&self, layer: &str) -> f64 {
        of(&self.alphas, layer).copied().unwrap_or(self.alpha)
    }

    /// The scale of a layer's adapter.
    pub fn scale(&self, layer: &str) -> f64 {
        let rank = self.rank(layer) as f64;
        self.alpha(layer) / if self.rank_stabilized { rank.sqrt() } else { rank }
    }
}

fn of<'a, T>(map: &'a BTreeMap<String, T>, layer: &str) -> Option<&'a T> {
    map.iter().find(|(pattern, _)| matches(pattern, layer)).map(|(_, value)| value)
}
