//! Texts as vectors: embedding files with published models, searching them.

mod classify;
mod describe;
mod embed;
mod model;
mod modules;
mod search;
mod static_table;
mod texts;

pub use classify::{classify, is_encoder_model};
pub(crate) use describe::describe;
pub use embed::{EmbedRequest, EmbedSummary, embed};
pub use model::{EmbedOptions, Embedded, Embedder};
pub use modules::Pooling;
pub use search::{Hit, Pair, Pairs, VectorIndex};
