//! Texts as vectors: embedding files with published models, searching them.

mod classify;
mod describe;
mod embed;
mod model;
mod modules;
#[cfg(feature = "onnx")]
mod onnx;
mod pooling;
mod reader;
mod search;
mod static_table;
mod task_file;
mod texts;
mod written;

pub use classify::{classify, is_encoder_model};
pub(crate) use describe::describe;
pub use embed::{EmbedRequest, EmbedSummary, count_texts, embed};
pub use model::{EmbedOptions, Embedded, Embedder};
pub(crate) use model::{is_encoder, normalize, static_folder};
pub(crate) use modules::Modules;
#[cfg(feature = "onnx")]
pub use onnx::export_encoder_onnx;
#[cfg(feature = "onnx")]
pub(crate) use onnx::export_within as export_encoder_within;
pub use pooling::Pooling;
pub(crate) use reader::TextReader;
pub use search::{Hit, Pair, Pairs, VectorIndex};
pub(crate) use static_table::StaticTable;
pub(crate) use task_file::TaskFile;
pub(crate) use texts::{TextRows, joined};
pub(crate) use written::{task_file, write_modules};
