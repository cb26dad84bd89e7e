//! Language models, built from Hugging Face's `config.json`.

mod block;
mod cache;
mod causal;
mod config;
mod encoder;
mod families;
mod fields;
mod files;
mod marian;
mod rope;
#[cfg(test)]
mod tests;

pub use cache::ModelCache;
pub use causal::{CausalLm, CausalLoss};
pub use config::{DecoderConfig, DecoderNorm, LayerConfig, MoeConfig};
pub use encoder::{Encoder, EncoderBatch, EncoderConfig, EncoderFamily, EncoderHead};
pub use families::Family;
pub use files::{FileTensor, file_tensors, is_ignored, plain_file_tensors};
pub use marian::{DecoderCache, Marian, MarianConfig, TranslationBatch};
pub use rope::Rope;

use crate::{Builder, Precision};
use ff_graph::{Params, Result, Value};
use ff_tensor::Shape;

/// A batch of token sequences.
///
/// ```
/// fn tokens(batch: &ff_nn::models::TokenBatch) -> usize { batch.ids.shape().len() }
/// ```
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// The tokens `[B, T]` (i32).
    pub ids: Value,
    /// Each one's position `[B, T]` (i32).
    pub positions: Value,
    /// Each one's document `[B, T]` (i32), negative for padding: attention stays inside of a document. Without it a row is
    /// one document. With a cache, `[B, S]` for all tokens that it holds in the end, of which the negative ones are left out.
    pub segments: Option<Value>,
}

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
    fn bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }
}

/// The parameters of a decoder without memory: their names, shapes and ids.
///
/// # Errors
/// The model is larger than can be counted.
fn planned(config: &DecoderConfig) -> Result<Params> {
    let mut builder = Builder::new();
    CausalLm::new(&mut builder, config, &LanguageOptions::default());
    builder.plan()
}

fn shapes(config: &DecoderConfig) -> Vec<(String, Shape)> {
    let Ok(params) = planned(config) else { return Vec::new() };
    params.infos().iter().map(|info| (info.spec.name.clone(), info.spec.shape)).collect()
}
