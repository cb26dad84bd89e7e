//! Whole networks, built from their configs.

mod mlp;

pub use mlp::{Mlp, MlpConfig, MlpInput};
