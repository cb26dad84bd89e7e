//! An operation and a layer not in `feedforward`, written and checked with public traits only.
//!
//! [`Snake`] is the operation: its equation, its contract, its forward beside its backward pass.
//! [`SnakeLayer`] is the layer: the operation with its parameter. `tests/checks.rs` checks both
//! with `ff-testkit`, like the operations of `feedforward`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod layer;
mod snake;

pub use layer::SnakeLayer;
pub use snake::Snake;
