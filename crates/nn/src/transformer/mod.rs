//! What decoders, encoders and translation models share.

pub(crate) mod block;
pub(crate) mod fields;
mod rope;

pub use rope::Rope;

use crate::Precision;

/// How a language model computes; what it is stays the same.
///
/// ```
/// let options = ff_nn::models::LanguageOptions::default();
/// assert!(!options.recompute);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LanguageOptions {
    /// What products are made of.
    pub precision: Precision,
    /// Whether a block keeps its input only and is computed again for the backward pass.
    pub recompute: bool,
    /// What the loss that keeps the sum of exponentials of the logits near 1 is multiplied with (Chowdhery et al., 2022).
    pub z_loss: f64,
    /// How much of each target is spread over all tokens.
    pub label_smoothing: f64,
}

impl LanguageOptions {
    pub(crate) fn bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }
}
