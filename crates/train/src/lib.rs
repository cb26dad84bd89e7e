//! The loop: optimisers, schedules, metrics, checkpoints, the report.

mod checkpoint;
mod config;
mod error;
pub mod explain;
mod history;
pub mod language;
pub mod metrics;
mod observe;
pub mod optim;
pub mod report;
pub mod schedule;
pub mod tabular;
mod trainer;

pub use checkpoint::{Checkpoint, CheckpointPlace};
pub use config::{Monitor, TrainConfig};
pub use error::{Error, Result};
pub use history::{Best, EpochRecord, Progress};
pub use observe::{Event, Observer};
pub use trainer::{BatchLoss, Evaluation, Objective, Stop, Trainer};
