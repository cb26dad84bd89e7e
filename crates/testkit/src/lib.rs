//! Checks of operations and networks: on this machine, for every operation of the registry and for those of other
//! crates.
//!
//! An operation is checked from its [`ff_ops::Case`]s: [`gradient_check`] compares its gradients with central differences
//! in f64 and its behaviour with everything that [`ff_ops::Op`] promises; [`network_check`] does the same for a loss
//! built from parameters.
#![forbid(unsafe_code)]

mod failure;
mod fill;
mod gradient;
mod network;
mod probe;
mod promises;
mod run;

pub use failure::{CheckResult, Failure};
pub use gradient::{GRADIENT_TOLERANCE, gradient_check};
pub use network::network_check;
pub use probe::WeightedSum;
