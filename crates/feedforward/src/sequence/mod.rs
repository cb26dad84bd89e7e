//! Published encoders fine-tuned on columns of texts: a class or a number for each row.

mod data;
mod evaluate;
mod network;
mod objective;
mod recipe;
mod report;
mod task;

pub use evaluate::{evaluate, is_sequence_run};
pub use recipe::{EncoderTable, SequenceConfig, SequenceEvaluate, SequenceRecipe};
pub use task::train;

pub(crate) use task::Sequences;
