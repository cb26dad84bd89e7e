//! What the ONNX graphs of all kinds of models share: their files, and the parts of transformers.

#[cfg(feature = "language")]
mod attention;
mod file;
#[cfg(feature = "language")]
mod net;

#[cfg(feature = "language")]
pub(crate) use attention::{Angles, Heads};
pub(crate) use file::{LIMIT, OnnxFile, judge};
#[cfg(feature = "language")]
pub(crate) use net::{Net, Norm, gap};
