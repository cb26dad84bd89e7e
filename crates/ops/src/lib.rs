//! The operations: one folder each, with the forward pass beside the backward pass.
//!
//! Every operation is an [`Op`](ff_graph::Op). The [`registry`] lists them with the [`Case`](ff_graph::Case)s that check
//! them.
#![forbid(unsafe_code)]

mod activation;
mod add;
mod attention;
mod batch_norm;
mod binary_cross_entropy_with_logits;
mod binary_focal;
mod concat;
mod dropout;
mod embedding;
mod feedforward;
mod feedforward_block;
mod focal;
mod huber;
mod kl_divergence;
mod layer_norm;
mod linear_cross_entropy;
mod loss;
mod mae;
mod mixture_of_experts;
mod mse;
mod mul;
mod narrow;
mod pool_tokens;
mod prelu;
mod registry;
mod rms_norm;
mod rotary;
mod router_balance;
mod scale;
mod scale_rows;
mod softmax;
mod softmax_cross_entropy;
#[cfg(test)]
mod testing;

pub use activation::{Activate, Activation};
pub use add::Add;
pub use attention::{Attention, KeyValueCache, Segments};
pub use batch_norm::{BatchNorm, Statistics};
pub use binary_cross_entropy_with_logits::BinaryCrossEntropyWithLogits;
pub use binary_focal::BinaryFocal;
pub use concat::Concat;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use feedforward::{Feedforward, FeedforwardBf16};
pub use feedforward_block::FeedforwardBlock;
pub use focal::Focal;
pub use huber::Huber;
pub use kl_divergence::KlDivergence;
pub use layer_norm::LayerNorm;
pub use linear_cross_entropy::LinearCrossEntropy;
pub use loss::Reduction;
pub use mae::Mae;
pub use mixture_of_experts::MixtureOfExperts;
pub use mse::Mse;
pub use mul::Mul;
pub use pool_tokens::PoolTokens;
pub use prelu::Prelu;
pub use registry::{Entry, registry};
pub use rms_norm::RmsNorm;
pub use rotary::Rotary;
pub use router_balance::RouterBalance;
pub use scale::Scale;
pub use scale_rows::ScaleRows;
pub use softmax::{LogSoftmax, Softmax};
pub use softmax_cross_entropy::SoftmaxCrossEntropy;
