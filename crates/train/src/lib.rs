//! The loop: optimisers, schedules, metrics, checkpoints, the report.

pub mod explain;
pub mod metrics;
pub mod optim;
pub mod report;
pub mod schedule;
