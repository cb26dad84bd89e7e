//! Published encoders trained for other answers than one class or number: several labels or
//! numbers of a text, a tag of each word, masked tokens, vectors from pairs of texts.

mod corpus;
mod evaluate;
mod goal;
mod intervals;
mod measured;
mod objective;
mod predict;
mod recipe;
mod report;
mod rows;
mod scores;
mod task;
#[cfg(test)]
mod tests;
mod training;

pub use evaluate::{EncoderEvaluation, evaluate, is_encoder_run};
pub(crate) use predict::{is_tagger, tag};
pub use recipe::{EncoderData, EncoderRecipe, LabelEvaluate, ObjectiveKind, ObjectiveTable};
pub(crate) use rows::{Reading, Rows, read as read_rows, read_file as read_rows_of};
pub(crate) use scores::probabilities;
pub use scores::{EncoderScore, EncoderScores, GroupScore};
pub use task::EncoderSummary;
pub use training::train;

pub(crate) use task::EncoderTask;
