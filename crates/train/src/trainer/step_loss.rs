//! Forward and backward over the rows of one optimiser step.

use crate::error::{Error, Result};
use crate::objective::Objective;
use crate::optim::{Closure, LossSum};
use ff_graph::{Graph, Params};
use ff_tensor::Key;

/// The loss of one optimiser step, micro-batch by micro-batch; L-BFGS evaluates it several times.
pub(super) struct StepLoss<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) objective: &'a mut dyn Objective,
    pub(super) rows: &'a [u32],
    pub(super) batch_size: usize,
    /// The step's number, from 0.
    pub(super) step: u64,
    pub(super) seed: u64,
    /// The first evaluation, before any change.
    pub(super) first: Option<LossSum>,
    /// The micro-batch of the first evaluation with a non-finite loss.
    pub(super) not_finite: Option<NotFinite>,
}

/// A micro-batch with a non-finite loss.
pub(super) struct NotFinite {
    pub(super) micro: usize,
    pub(super) rows: Vec<u32>,
    pub(super) loss: f64,
}

/// The key of a micro-batch's randomness.
pub(super) fn augmentation_key(seed: u64, step: u64, micro: usize) -> Key {
    Key::new(seed).with_name("augmentation").with(step).with(micro as u64)
}

impl Closure for StepLoss<'_> {
    type Error = Error;

    fn params(&mut self) -> &mut Params {
        self.graph.params_mut()
    }

    /// Gradients stay in the arena; statistics are committed later.
    fn evaluate(&mut self) -> Result<LossSum> {
        self.graph.discard_state();
        self.graph.params_mut().clear_gradients();
        let mut total = LossSum::default();
        for (micro, rows) in self.rows.chunks(self.batch_size).enumerate() {
            self.graph.reset();
            self.graph.set_step(self.step, micro as u64);
            let key = augmentation_key(self.seed, self.step, micro);
            let batch = self.objective.loss(self.graph, rows, key)?;
            let loss = batch.sum.item()?;
            total.count += batch.count.item()?;
            total.sum += loss;
            drop(batch.count);
            if !loss.is_finite() {
                // A line search may try a point too far away; only the start must be finite.
                if self.first.is_none() {
                    self.not_finite = Some(NotFinite { micro, rows: rows.to_vec(), loss });
                }
                return Ok(LossSum { sum: loss, count: 1.0 });
            }
            self.graph.backward(batch.total.unwrap_or(batch.sum))?;
        }
        if self.step == 0
            && self.first.is_none()
            && let Some(name) = self.graph.params().untouched().next()
        {
            return Err(Error::Untrained(format!("parameter `{name}`")));
        }
        self.first.get_or_insert(total);
        Ok(total)
    }
}
