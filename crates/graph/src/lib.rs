//! The tape, the parameters and the interface of operations: everything a new operation needs.
//!
//! A [`Graph`] runs operations forward and walks them backward once. [`Params`] is the flat arena
//! whose gradients they write to. An operation is an [`Op`]: a [`Contract`] (shapes, what is kept,
//! cost), a forward and a backward pass.
//!
//! [`Case`]s are the inputs that `ff-testkit` checks it on; [`check`] holds the checks that most
//! contracts share.
//!
//! ```
//! use ff_graph::{Contract, Cx, FloatOp, Graph, Kept, Op, OpResult};
//! use ff_graph::{ParamKind, ParamSpec, Params, Slot, Spec};
//! use ff_kernels::Float;
//! use ff_tensor::{DType, Device, TensorMut, TensorRef};
//! use std::sync::Arc;
//!
//! /// y = x², so dx = 2x · dy.
//! #[derive(Debug)]
//! struct Square;
//!
//! impl FloatOp for Square {
//!     fn name(&self) -> &'static str {
//!         "square"
//!     }
//!     fn contract(&self, x: &[Spec], _: &[bool]) -> OpResult<Contract> {
//!         Ok(Contract::new([x[0]]).keep_input(0))
//!     }
//!     fn forward<T: Float>(
//!         &self,
//!         _: &Cx<'_>,
//!         x: &[TensorRef<'_>],
//!         y: &mut [TensorMut<'_>],
//!         _saved: &mut [TensorMut<'_>],
//!     ) -> OpResult {
//!         let (x, y) = (x[0].slice::<T>()?, y[0].slice_mut::<T>()?);
//!         y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * x);
//!         Ok(())
//!     }
//!     fn backward<T: Float>(
//!         &self,
//!         _: &Cx<'_>,
//!         kept: &Kept<'_>,
//!         dy: &mut [Option<TensorMut<'_>>],
//!         dx: &mut [Slot<'_>],
//!     ) -> OpResult {
//!         if let (Some(dy), Some((dx, add))) = (&mut dy[0], dx[0].take::<T>()?) {
//!             let (x, dy) = (kept.input(0)?.slice::<T>()?, dy.slice_mut::<T>()?);
//!             for ((dx, &dy), &x) in dx.iter_mut().zip(&*dy).zip(x) {
//!                 *dx = T::of(2.0) * x * dy + if add { *dx } else { T::ZERO };
//!             }
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

mod backward;
mod case;
pub mod check;
mod contract;
mod error;
mod forward;
mod graph;
mod kept;
mod op;
mod params;
mod recompute;
mod value;

pub use case::{Case, CaseInput, Fill};
pub use contract::{Contract, MAX_INPUTS, Spec, Specs};
pub use error::{Error, OpError, OpResult, Result};
pub use graph::{Graph, Mode, Recompute, RecomputeAll, Tally};
pub use kept::Kept;
pub use op::{Cx, FloatOp, Op, Slot};
pub use params::{ParamId, ParamInfo, ParamKind, ParamSpec, Params, Segment};
pub use value::{Value, Values};
