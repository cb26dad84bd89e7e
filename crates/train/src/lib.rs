//! The training loop: optimisers, schedules, trainer, checkpoints.

mod checkpoint;
mod config;
mod error;
mod history;
mod observe;
pub mod optim;
pub mod schedule;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointPlace};
pub use config::{Monitor, TrainConfig};
pub use error::{Error, Result};
pub use history::{Best, EpochRecord, Progress};
pub use observe::{Event, Observer};
pub use trainer::{BatchLoss, Evaluation, Objective, Stop, Trainer};
