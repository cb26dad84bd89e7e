//! What a file of another tool holds, whatever its format.

use crate::onnx::{Model, Tensor};

/// What a file of another tool holds.
///
/// ```
/// use ff_interop::Foreign;
/// let error = Foreign::open("model.docx".as_ref()).unwrap_err();
/// assert!(error.to_string().contains(".onnx"));
/// ```
#[derive(Debug)]
pub enum Foreign {
    /// A computation.
    Graph(Box<Model>),
    /// Weights alone, by name.
    Weights(Vec<(String, Tensor)>),
}
