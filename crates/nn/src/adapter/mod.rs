//! Adapters: small trained parts beside the layers of a model that stays as it is.

mod adapting;
mod config;
mod low_rank;
mod pattern;
mod reach;

pub(crate) use adapting::Adapting;
pub use adapting::Replaced;
pub use config::{AdaptedBiases, LoraConfig};
pub(crate) use low_rank::{AdaptedStack, LowRank};
pub use pattern::matches;
pub use reach::Reach;
