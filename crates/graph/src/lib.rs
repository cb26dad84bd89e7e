//! The tape, the parameters, and what an operation is: all that somebody who writes one needs.
//!
//! A [`Graph`] runs operations forward and walks them backward once. [`Params`] is the flat arena whose gradients they
//! write to. An operation is an [`Op`]: a [`Contract`] (shapes, what is kept, cost), a forward and a backward pass.
//!
//! [`Case`]s are the inputs that `ff-testkit` checks it on; [`check`] holds the checks that most contracts share.
//!
//! ```
//! use ff_graph::{Contract, Cx, Error, Graph, Kept, Op, ParamKind, ParamSpec, Params, Result, Slot, Spec};
//! use ff_tensor::{DType, Device, TensorMut, TensorRef};
//! use std::sync::Arc;
//!
//! /// y = x², so dx = 2x · dy.
//! #[derive(Debug)]
//! struct Square;
//!
//! impl Op for Square {
//!     fn name(&self) -> &'static str {
//!         "square"
//!     }
//!     fn contract(&self, x: &[Spec], _: &[bool]) -> Result<Contract> {
//!         Ok(Contract::new([x[0]]).keep_input(0))
//!     }
//!     fn forward(&self, _: &Cx<'_>, x: &[TensorRef<'_>], y: &mut [TensorMut<'_>], _: &mut [TensorMut<'_>]) -> Result<()> {
//!         let x = x[0].slice::<f32>().map_err(Error::of("square"))?;
//!         let y = y[0].slice_mut::<f32>().map_err(Error::of("square"))?;
//!         y.iter_mut().zip(x).for_each(|(y, x)| *y = x * x);
//!         Ok(())
//!     }
//!     fn backward(&self, _: &Cx<'_>, kept: &Kept<'_>, dy: &mut [Option<TensorMut<'_>>], dx: &mut [Slot<'_>]) -> Result<()> {
//!         let (Some(dy), Some((dx, add))) = (&mut dy[0], dx[0].take::<f32>().map_err(Error::of("square"))?) else {
//!             return Ok(());
//!         };
//!         let x = kept.input(0)?.slice::<f32>().map_err(Error::of("square"))?;
//!         let dy = dy.slice_mut::<f32>().map_err(Error::of("square"))?;
//!         for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
//!             *dx = 2.0 * x * *dy + if add { *dx } else { 0.0 };
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let device = Device::default();
//! let weight = ParamSpec::new("weight", [1], ParamKind::Weight);
//! let mut params = Params::allocate(&device, DType::F32, vec![weight], true)?;
//! let id = params.id("weight").unwrap();
//! params.values_mut::<f32>(id)?[0] = 3.0;
//!
//! let mut graph = Graph::new(&device, params);
//! let weight = graph.param(id);
//! let square: Arc<dyn Op> = Arc::new(Square);
//! let y = graph.apply(&square, &[&weight])?;
//! assert_eq!(y.item()?, 9.0);
//! graph.backward(y)?;
//! assert_eq!(graph.params_mut().gradients::<f32>()?, [6.0]);
//! # Ok::<(), ff_graph::Error>(())
//! ```
#![forbid(unsafe_code)]

mod case;
pub mod check;
mod error;
mod graph;
mod op;
mod params;

pub use case::{Case, CaseInput, Fill};
pub use error::{Error, Result};
pub use graph::{Checkpoint, CheckpointAll, Graph, Mode, Tally, Value, Values};
pub use op::{Contract, Cx, Kept, MAX_INPUTS, Op, Slot, Spec, Specs};
pub use params::{ParamId, ParamInfo, ParamKind, ParamSpec, Params, Segment};
