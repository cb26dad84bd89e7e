//! Optimisers: passes over the flat arena of parameters that turn gradients into updates.
//!
//! An [`OptimizerConfig`] is the recipe's table; an [`Optimizer`] holds the state of a rule and
//! performs whole steps, from summed gradients to constrained and averaged weights. Rules and
//! defaults follow PyTorch, and PyTorch fixtures check every option.
//!
//! A rule is one file here (settings, state, update beside its equation) and one line in
//! `registry`; recipes, their schema, messages, checkpoints and plans follow.

mod adafactor;
mod adagrad;
mod adam;
mod assign;
mod average;
mod closure;
mod config;
mod error;
mod group;
mod layout;
mod lbfgs;
mod lion;
mod muon;
mod optimizer;
mod product;
mod registry;
mod rmsprop;
mod rule;
mod sgd;
mod state;
mod step;
#[cfg(test)]
mod testing;

pub use assign::ParameterSettings;
pub use closure::{Closure, LossSum, MinimizeReport, Status};
pub use config::{DecaySchedule, OptimizerConfig};
pub use error::{Error, Result};
pub use ff_settings::ConfigError;
pub use group::GroupConfig;
pub use lbfgs::LineSearch;
pub use muon::AdjustLr;
pub use optimizer::{NonFiniteGradient, Optimizer, Skip, StepReport, first_non_finite_gradient};
pub use registry::*;
pub use state::OptimizerScalars;
