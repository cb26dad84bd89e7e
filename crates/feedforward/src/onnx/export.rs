//! Models of every kind as ONNX graphs.

use super::file::{LIMIT, OnnxExport};
use crate::error::Result;
use ff_tensor::Device;
use std::path::Path;

/// Writes the model of a run, an encoder, or a language model that writes, as an ONNX file,
/// evaluates what was written on rows made up from the ranges and categories of training, gaps and
/// unseen values included, or on made-up tokens, and compares. Tensors of more than 2 GB go to a
/// file beside it, `NAME.onnx.data`, and the tokenizer of a model that reads tokens to
/// `NAME.tokenizer.json`.
///
/// # Errors
/// There is no model; it uses what has no exact counterpart in ONNX, named; the file cannot be
/// written; or its predictions differ.
pub fn export_onnx(run: &Path, out: &Path, device: &Device) -> Result<OnnxExport> {
    export_onnx_within(run, out, device, LIMIT)
}

/// The same with tensors beside the file beyond `limit` bytes; 0 puts all of a kilobyte and more
/// there.
///
/// # Errors
/// As [`export_onnx`].
pub fn export_onnx_within(
    run: &Path,
    out: &Path,
    device: &Device,
    limit: u64,
) -> Result<OnnxExport> {
    #[cfg(feature = "language")]
    if crate::embedding::is_encoder_model(run) {
        return crate::embedding::export_encoder_within(run, out, device, limit);
    }
    #[cfg(feature = "language")]
    if crate::language::is_decoder_model(run) {
        return crate::language::export_decoder_within(run, out, device, limit);
    }
    crate::table::export_table_within(run, out, device, limit)
}
