//! ONNX: a codec of its protobuf messages, a builder of graphs, and an evaluator for inference.

mod beside;
mod build;
mod data;
mod model;
mod network;
mod ops;
pub mod proto;
mod rows;
mod session;
mod tensor;

pub use build::{Dim, GraphBuilder};
pub use data::{DType, Data};
pub use model::{Model, Port, Summary};
pub use network::{Head, Network, NetworkLayer};
pub use ops::operators;
pub use session::Session;
pub use tensor::Tensor;
pub(crate) use tensor::{count, raw};

/// An error in a model, or in its evaluation.
///
/// ```
/// let error = ff_interop::onnx::Model::from_bytes(b"no model").unwrap_err();
/// assert!(error.to_string().contains("protobuf"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] ff_formats::Error),
    /// The model violates the standard.
    #[error("{0}")]
    Malformed(String),
    /// The model uses what this version does not evaluate.
    #[error("{0}")]
    Unsupported(String),
    /// A node cannot be evaluated on its inputs.
    #[error("node {node}: {message}")]
    Node {
        /// The node: its operator, and its name or first output.
        node: String,
        /// What is wrong.
        message: String,
    },
    /// The inputs are not those of the model.
    #[error("{0}")]
    Input(String),
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
