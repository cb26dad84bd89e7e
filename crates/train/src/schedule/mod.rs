//! Learning-rate schedules, those of PyTorch's `torch.optim.lr_scheduler` in units of steps, and
//! the learning-rate finder.
//!
//! A schedule is one file here and one line in `registry`.

mod config;
mod constant;
mod cosine;
mod coslog;
mod exponential;
mod finder;
mod linear;
mod one_cycle;
mod plateau;
mod polynomial;
mod rate;
mod registry;
mod shape;
mod span;
mod state;
mod step;
mod warmup_stable_decay;

pub use config::ScheduleConfig;
pub use ff_settings::ConfigError;
pub use finder::{FinderConfig, FinderReport, find_lr};
pub use one_cycle::Anneal;
pub use plateau::ThresholdMode;
pub use rate::Schedule;
pub use registry::*;
pub use span::Span;
pub use state::PlateauState;
pub use warmup_stable_decay::DecayType;
