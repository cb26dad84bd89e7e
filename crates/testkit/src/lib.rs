//! Checks of operations and networks: on this machine, for every operation of the registry and for
//! those of other crates.
//!
//! An operation is checked from its [`ff_graph::Case`]s. [`check_case`] runs everything:
//! [`gradient_check`] compares its gradients with central differences in f64 and its behaviour with
//! everything that [`ff_graph::Op`] promises, [`compare_paths`] its instruction sets and numbers of
//! threads, [`nan_check`] the paths of NaN and infinity. [`network_check`] checks the gradient
//! of a loss built from parameters. [`parity_check`] compares with the results of other frameworks,
//! from files that [`Fixtures`] reads.
#![forbid(unsafe_code)]

mod failure;
mod fill;
mod gradient;
mod nan;
mod network;
mod parity;
mod paths;
mod probe;
mod promises;
mod python;
mod run;
mod table;

pub use failure::{CheckResult, Failure};
pub use gradient::{GRADIENT_TOLERANCE, gradient_check};
pub use nan::nan_check;
pub use network::network_check;
pub use parity::{FixtureError, Fixtures, PARITY_TOLERANCE, fixture_inputs, parity_check};
pub use paths::{F32_TOLERANCE, Machine, Paths, compare_paths};
pub use probe::WeightedSum;
pub use python::python_functions;
pub use table::{Row, check_all, check_case};
