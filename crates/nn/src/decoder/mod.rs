//! Decoders: language models that predict the next token, built from Hugging Face's `config.json`.

mod block;
mod cache;
mod config;
pub(crate) mod families;
mod files;
mod model;
#[cfg(test)]
mod tests;

pub use cache::ModelCache;
pub use config::{DecoderConfig, DecoderNorm, LayerConfig, MoeConfig};
pub use families::Family;
pub use files::{FileTensor, file_tensors, is_ignored, plain_file_tensors};
pub use model::{CausalLm, CausalLoss};

use crate::Builder;
use crate::transformer::LanguageOptions;
use ff_ops::{Params, Result, Value};
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
