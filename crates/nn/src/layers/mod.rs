//! Layers: operations with their parameters.

mod activate;
mod attention;
mod dropout;
mod embedding;
mod embedding_bag;
mod ensemble;
mod feedforward;
mod feedforward_block;
mod layer;
mod mixture_of_experts;
mod norms;
mod periodic;
mod piecewise_linear;
mod program;
mod recipe;
mod sequence;

pub use activate::{Activate, ParametricActivation, Prelu, ScaleFeatures};
pub use attention::{Attention, AttentionConfig, AttentionContext, QueryKeyNorm};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub(crate) use embedding::Table;
pub use embedding_bag::{BagInput, EmbeddingBag};
pub use ensemble::{BatchEnsemble, MeanOfMembers, MemberLinear};
pub use feedforward::Feedforward;
pub use feedforward_block::FeedforwardBlock;
pub use layer::{HiddenLayer, Layer, RecipeLayer};
pub use mixture_of_experts::{ExpertsOutput, MixtureOfExperts};
pub use norms::{BatchNorm, LayerNorm, NormKind, RmsNorm};
pub use periodic::Periodic;
pub use piecewise_linear::PiecewiseLinear;
pub(crate) use program::{Code, NAME};
pub use program::{Program, Slot};
pub(crate) use recipe::recipe_layers;
pub use recipe::*;
pub use sequence::{Residual, Sequence};
