//! Published encoders fine-tuned on columns of texts: a class or a number for each row.

mod data;
mod evaluate;
mod learner;
mod network;
mod objective;
mod origin;
pub(crate) mod plan;
mod predict;
mod recipe;
mod report;
mod task;

pub use evaluate::{evaluate, is_sequence_run};
pub(crate) use predict::predict;
pub use recipe::{EncoderTable, SequenceConfig, SequenceEvaluate, SequenceRecipe};
pub use task::train;

pub(crate) use data::{Tokens, notes};
pub(crate) use network::{Base, Network, add_groups, options, rescale};
pub(crate) use objective::{EVAL_TOKENS, MULTIPLE, Shapes, each_batch, input};
pub(crate) use recipe::{check_optimizer, find_files, usual, with_path};
pub(crate) use report::layers;
pub(crate) use task::{Sequences, refuse_changed, table_hash, whole_hash};
