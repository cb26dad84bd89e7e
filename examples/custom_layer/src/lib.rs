//! An operation and a layer that `feedforward` does not have, written and checked with its public
//! traits alone.
//!
//! [`Snake`] is the operation: an equation, its contract, its forward beside its backward.
//! [`SnakeLayer`] is the layer: the operation with the parameter it reads. `tests/checks.rs` checks
//! both with `ff-testkit`, the same checks that every operation of `feedforward` passes.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod layer;
mod snake;

pub use layer::SnakeLayer;
pub use snake::Snake;
