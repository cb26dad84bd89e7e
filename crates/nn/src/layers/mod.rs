//! Layers: an operation with the parameters it reads.

mod activate;
mod attention;
mod dropout;
mod embedding;
mod feedforward;
mod feedforward_block;
mod mixture_of_experts;
mod norms;
mod sequence;

pub use activate::{Activate, Prelu};
pub use attention::{Attention, AttentionConfig, AttentionContext};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use feedforward::Feedforward;
pub use feedforward_block::FeedforwardBlock;
pub use mixture_of_experts::{ExpertsOutput, MixtureOfExperts};
pub(crate) use norms::NORM_EPS;
pub use norms::{BatchNorm, LayerNorm, RmsNorm};
pub use sequence::{Residual, Sequence};

use ff_graph::{Graph, Result, Value};
use std::fmt;

/// Turns a value on the tape into another. Write one by keeping an operation and the ids of its parameters; the
/// backward pass comes with the operations.
///
/// ```
/// use ff_nn::Layer;
/// use ff_graph::{Graph, Result, Value};
/// /// Passes its input on.
/// #[derive(Debug)]
/// struct Nothing;
/// impl Layer for Nothing {
///     fn forward(&self, _graph: &mut Graph, x: Value) -> Result<Value> {
///         Ok(x)
///     }
/// }
/// ```
pub trait Layer: fmt::Debug + Send + Sync {
    /// The layer's output.
    ///
    /// # Errors
    /// The input's shape does not fit, or memory is short.
    fn forward(&self, graph: &mut Graph, x: Value) -> Result<Value>;
}
