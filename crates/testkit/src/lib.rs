//! Checks of operations and networks on this machine, for the registry and for operations of other
//! crates.
//!
//! [`check_case`] runs all checks of a [`ff_graph::Case`]: [`gradient_check`] compares gradients
//! with central differences in f64, and behaviour with the promises of [`ff_graph::Op`];
//! [`compare_paths`] compares instruction sets and numbers of threads; [`nan_check`] traces NaN and
//! infinity; results of PyTorch are embedded for most operations. [`network_check`] checks the
//! gradient of a loss over parameters. [`parity_check`] compares with results of other frameworks,
//! read by [`Fixtures`].
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
mod stored;
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
