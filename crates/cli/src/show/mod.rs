//! Output for terminals and pipes.

mod data;
mod forecast;
mod notice;
mod numbers;
mod progress;
mod scores;
mod table;
#[cfg(feature = "language")]
mod text;
mod working;

pub(crate) use data::{data, unfamiliar};
pub(crate) use feedforward::words::{count, duration, score, setting};
pub(crate) use numbers::{bars, quoted_path};
pub(crate) use progress::Progress;
pub(crate) use scores::{is_shown, score_table, verdict};
pub(crate) use table::{Align, TextTable};
#[cfg(feature = "language")]
pub(crate) use text::TextBar;
#[cfg(feature = "language")]
pub(crate) use working::Counting;
pub(crate) use working::Working;
