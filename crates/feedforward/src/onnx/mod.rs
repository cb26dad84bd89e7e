//! What the ONNX graphs of all kinds of models share: their files, and the parts of transformers.

#[cfg(feature = "language")]
mod attention;
mod export;
mod file;
#[cfg(feature = "language")]
mod net;

#[cfg(feature = "language")]
pub(crate) use attention::{Angles, Heads};
pub use export::{export_onnx, export_onnx_within};
#[cfg(feature = "language")]
pub(crate) use file::LIMIT;
pub use file::OnnxExport;
pub(crate) use file::{OnnxFile, judge};
#[cfg(feature = "language")]
pub(crate) use net::{Net, Norm, gap};
