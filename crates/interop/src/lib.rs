//! Whole models of other tools: ONNX graphs are written, read and evaluated; models of Keras and
//! TensorFlow Lite and stacks of PyTorch's layers become such graphs.
//!
//! ```
//! use ff_interop::onnx::{GraphBuilder, Model, Session, Tensor, DType};
//! # fn main() -> Result<(), ff_interop::onnx::Error> {
//! let mut graph = GraphBuilder::new("doubled");
//! let x = graph.input("x", DType::F32, &[None, Some(1)], "a column of numbers");
//! let two = graph.constant("two", &Tensor::new(&[1], vec![2.0f32])?);
//! let y = graph.node("Mul", "double", &[&x, &two]);
//! graph.output(&y, DType::F32, &[None, Some(1)]);
//! let session = Session::new(Model::from_bytes(&graph.build().to_bytes())?)?;
//! let outputs = session.run(vec![("x".into(), Tensor::new(&[2, 1], vec![1.0f32, 3.0])?)])?;
//! assert_eq!(outputs[0].1, Tensor::new(&[2, 1], vec![2.0f32, 6.0])?);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod bundle;
mod contents;
mod foreign;
#[cfg(feature = "keras")]
pub mod keras;
pub mod onnx;
pub mod tflite;
pub mod torch;

pub use contents::Foreign;
pub use foreign::open_graph;
