//! The operations, in folders by family; the forward pass of each stands beside its backward pass.
//!
//! Every operation is an [`Op`](ff_graph::Op). The [`registry`] lists them with the
//! [`Case`](ff_graph::Case)s that check them.
#![forbid(unsafe_code)]

mod activation;
mod arithmetic;
mod attention;
mod combine;
mod linear;
mod loss;
mod mixture;
mod narrow;
mod norm;
mod registry;
mod rows;
mod softmax;
#[cfg(test)]
mod testing;

pub use activation::parametric::ParametricActivation;
pub use activation::prelu::Prelu;
pub use activation::soft_cap::SoftCap;
pub use activation::{Activate, Activation, Gate, WeightInit};
pub use arithmetic::add::Add;
pub use arithmetic::dropout::{Dropout, flat_cos};
pub use arithmetic::mul::Mul;
pub use arithmetic::scale::Scale;
pub use arithmetic::scale_rows::ScaleRows;
pub use attention::rotary::{LongAngles, Rotary};
pub use attention::{Attention, AttentionDropout, DistanceBuckets, KeyValueCache, Segments};
pub use combine::concat::Concat;
pub use combine::mean_of_members::{MeanOfMembers, MemberMean};
pub use combine::pool_tokens::PoolTokens;
pub use combine::split::Split;
pub use linear::dora::{DoraFactors, adapted_row_norms};
pub use linear::embedding::Embedding;
pub use linear::embedding_bag::EmbeddingBag;
pub use linear::ensemble::{BatchEnsemble, MemberLinear};
pub use linear::feedforward::{Feedforward, FeedforwardBf16};
pub use linear::feedforward_block::FeedforwardBlock;
pub use linear::lora::LoraLinear;
pub use linear::periodic::{Periodic, PeriodicForm};
pub use linear::piecewise_linear::PiecewiseLinear;
pub use linear::replace_rows::ReplaceRows;
pub use loss::Reduction;
pub use loss::binary_cross_entropy_with_logits::BinaryCrossEntropyWithLogits;
pub use loss::binary_focal::BinaryFocal;
pub use loss::focal::Focal;
pub use loss::in_batch_ranking::InBatchRanking;
pub use loss::kl_divergence::KlDivergence;
pub use loss::linear_cross_entropy::LinearCrossEntropy;
pub use loss::preference::{Preference, PreferenceLoss};
pub use loss::regression::{Regression, RegressionLoss};
pub use loss::softmax_cross_entropy::SoftmaxCrossEntropy;
pub use mixture::adapted_experts::AdaptedExperts;
pub use mixture::mixture_of_experts::MixtureOfExperts;
pub use mixture::router_balance::RouterBalance;
pub use norm::batch_norm::{BatchNorm, Statistics};
pub use norm::layer_norm::LayerNorm;
pub use norm::rms_norm::RmsNorm;
pub use registry::{Entry, registry};
pub use softmax::{LogSoftmax, Softmax};
