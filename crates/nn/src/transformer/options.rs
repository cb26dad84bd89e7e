use crate::Precision;

/// The computation of a language model; its parameters and their meaning do not depend on it.
///
/// ```
/// let options = ff_nn::models::LanguageOptions::default();
/// assert!(!options.recompute);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LanguageOptions {
    /// The precision of matrix products.
    pub precision: Precision,
    /// Whether a block keeps only its input and runs again in the backward pass.
    pub recompute: bool,
    /// The factor of the loss that keeps the sum of exponentials of the logits near 1 (Chowdhery et
    /// al., 2022).
    pub z_loss: f64,
    /// The share of each target that is spread over all tokens.
    pub label_smoothing: f64,
}

impl LanguageOptions {
    pub(crate) fn bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }
}
