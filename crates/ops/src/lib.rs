//! The mathematics: the tape, and one folder per operation with its forward beside its backward.
//!
//! A [`Graph`] runs operations forward and walks them backward once; [`Params`] is the flat arena whose gradients they
//! write to. An operation is an [`Op`]: a [`Contract`] (shapes, what is kept, cost), a forward and a backward. The
//! [`registry`] lists every operation with the [`Case`]s that check it.
#![forbid(unsafe_code)]

mod activation;
mod case;
mod error;
mod feedforward;
mod graph;
mod op;
mod params;
mod registry;

pub use activation::Activation;
pub use case::{Case, CaseInput, Fill};
pub use error::{Error, Result};
pub use feedforward::Feedforward;
pub use graph::{Graph, Mode, Tally, Value};
pub use op::{Contract, Cx, Kept, Op, Slot, Spec, Specs};
pub use params::{ParamId, ParamInfo, ParamKind, ParamSpec, Params, Segment};
pub use registry::{Entry, registry};
