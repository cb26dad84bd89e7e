//! How things look on a terminal and in a pipe.

mod data;
mod numbers;
mod pretraining;
mod progress;
mod scores;
mod table;
mod text;
mod working;

pub(crate) use data::{data, model};
pub(crate) use numbers::{bars, count, duration, quoted_path, score};
pub(crate) use pretraining::Pretraining;
pub(crate) use progress::Progress;
pub(crate) use scores::{is_shown, score_table, verdict};
pub(crate) use table::{Align, TextTable};
pub(crate) use text::TextBar;
pub(crate) use working::Working;
