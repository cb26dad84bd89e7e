//! Initialisers, layers, losses and models over the operations.
//!
//! A [`Builder`] collects parameters during construction, then allocates and initialises them as
//! one arena. A [`Layer`] maps a value on the tape to another.
#![forbid(unsafe_code)]

mod adapter;
mod builder;
mod config;
mod decoder;
mod encoder;
mod init;
mod kinds;
pub mod layers;
mod losses;
mod mlp;
pub mod models;
mod precision;
mod seq2seq;
mod transformer;

pub use adapter::{AdaptedBiases, LoraConfig, Reach, Replaced, matches};
pub use builder::Builder;
pub use config::{
    DropoutSchedule, InitKind, LossConfig, LossKind, ModelConfig, NetworkKind, NumericKind,
};
pub use ff_settings::ConfigError;
pub use init::{Fan, Init};
pub use kinds::ActivationKind;
pub use layers::{Layer, NormKind};
pub use losses::{Loss, LossTarget};
pub use precision::Precision;
