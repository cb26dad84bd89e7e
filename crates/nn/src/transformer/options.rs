use crate::Precision;

/// Options of a language model's computation, which leave its parameters and their meaning
/// unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LanguageOptions {
    /// The precision of matrix products.
    pub precision: Precision,
    /// Whether blocks keep only their input and run again in the backward pass.
    pub recompute: bool,
    /// The factor of the z-loss, which keeps the sum of exponentials of the logits near 1
    /// (Chowdhery et al., 2022).
    pub z_loss: f64,
    /// The fraction of each target spread over all tokens.
    pub label_smoothing: f64,
    /// Whether the output layer leaves out tokens that are not learned; the gradients of its own
    /// weights are then the same sums in another order.
    pub skip_ignored: bool,
}

impl LanguageOptions {
    pub(crate) fn bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }
}
