//! Meaning over the operations: initialisers, layers, losses and models.
//!
//! A [`Builder`] collects parameters while layers are made, then allocates and initialises them as one arena. A
//! [`Layer`] turns a value on the tape into another.
#![forbid(unsafe_code)]

mod builder;
mod config;
mod decoder;
mod encoder;
mod init;
pub mod layers;
mod losses;
mod mlp;
pub mod models;
mod seq2seq;
mod transformer;

pub use builder::Builder;
pub use config::{
    ActivationKind, ConfigError, InitKind, LossConfig, LossKind, ModelConfig, NormKind, Precision,
};
pub use init::{Fan, Init};
pub use layers::Layer;
pub use losses::{Loss, LossTarget};
