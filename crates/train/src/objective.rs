//! The interface between tasks and the trainer.

use crate::error::Result;
use crate::history::{EpochRecord, Evaluation};
use ff_graph::{Graph, Value};
use ff_tensor::Key;

/// The loss of some rows: a sum, and the number of rows (or weights) to divide it by.
#[derive(Debug)]
pub struct BatchLoss {
    /// The sum.
    pub sum: Value,
    /// The count.
    pub count: Value,
    /// The start of backward, if other than the sum: the sum with auxiliary losses, such as a
    /// router's balance, which reported losses exclude.
    pub total: Option<Value>,
}

/// A loss over rows of data and its evaluation: the trainer's view of a task.
pub trait Objective {
    /// The number of rows to train on.
    fn rows(&self) -> usize;

    /// The length of each row, where rows of much the same length are to share a micro-batch so
    /// that little is padded; they are still chosen at random among many. `None` for any order.
    fn lengths(&self) -> Option<&[u32]> {
        None
    }

    /// The loss of these rows; `key` seeds the randomness of the batch.
    ///
    /// # Errors
    /// If an operation fails.
    fn loss(&mut self, graph: &mut Graph, rows: &[u32], key: Key) -> ff_graph::Result<BatchLoss>;

    /// The loss and score of the validation part; `None` without one. The graph is in evaluation
    /// mode.
    ///
    /// # Errors
    /// If an operation fails.
    fn evaluate(&mut self, graph: &mut Graph) -> ff_graph::Result<Option<Evaluation>>;

    /// Called after each epoch with its metrics and whether they are the best so far. The graph is
    /// in evaluation mode and holds the evaluated weights.
    ///
    /// # Errors
    /// If its own work fails, such as writing a file.
    fn after_epoch(
        &mut self,
        graph: &mut Graph,
        record: &EpochRecord,
        is_best: bool,
    ) -> Result<()> {
        let _ = (graph, record, is_best);
        Ok(())
    }
}
