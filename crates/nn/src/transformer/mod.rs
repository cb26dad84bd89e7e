//! Code shared by decoders, encoders and translation models.

mod block;
pub(crate) mod fields;
mod options;
mod output;
mod rope;

pub(crate) use block::{
    Block, BlockConfig, BlockContext, BlockDropout, BlockNames, FeedforwardConfig, NormConfig,
    RouterLosses,
};
pub use block::{NormPlace, TransformerNorm};
pub use options::LanguageOptions;
pub(crate) use output::Output;
pub use rope::Rope;
pub(crate) use rope::RopeDefaults;
