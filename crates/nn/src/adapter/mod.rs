//! Adapters: small trained parts beside the layers of a model that stays as it is.

mod config;
mod low_rank;
mod pattern;
mod reach;

pub use config::{AdaptedBiases, LoraConfig};
pub use low_rank::Replaced;
pub(crate) use low_rank::{AdaptedStack, Adapting, LowRank};
pub use pattern::matches;
pub use reach::Reach;
