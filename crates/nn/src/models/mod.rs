//! Whole networks, built from their configs.

mod mlp;
mod predictor;

pub use mlp::{Mlp, MlpConfig, MlpInput};
pub use predictor::Predictor;
