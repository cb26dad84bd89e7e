//! The loop: optimisers, schedules, metrics, checkpoints, the report.
