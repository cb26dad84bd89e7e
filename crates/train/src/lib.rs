//! The training loop: optimisers, schedules, trainer, checkpoints.

mod best;
mod checkpoint;
mod config;
mod error;
mod history;
pub mod keys;
mod objective;
mod observe;
pub mod optim;
pub mod schedule;
mod state_file;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointPlace};
pub use config::{Monitor, TrainConfig};
pub use error::{Error, Result};
pub use history::{Best, EpochRecord, Evaluation, Progress};
pub use objective::{BatchLoss, Objective};
pub use observe::{Event, Observer};
pub use state_file::{read_optimizer, write_optimizer};
pub use trainer::{Stop, Trainer, pass_order};
