//! Byte pairs, learned: how text is divided into words, how words are counted, how pairs are
//! merged.

mod count;
mod merge;
mod words;

pub(super) use count::WordCounts;
pub(super) use merge::{Merges, Units, learn};
pub use words::Pretokenizer;
pub(super) use words::word_border;
