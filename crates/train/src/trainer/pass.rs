//! Forward and backward over the rows of one step.

use super::Objective;
use crate::{Error, Result, optim};
use ff_graph::{Graph, Params};
use ff_tensor::Key;

pub(super) fn augmentation_key(seed: u64, step: u64, micro: usize) -> Key {
    Key::new(seed).with_name("augmentation").with(step).with(micro as u64)
}

/// Forward and backward over the rows of one optimiser step, micro-batch by micro-batch; L-BFGS runs it several times.
pub(super) struct Pass<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) objective: &'a mut dyn Objective,
    pub(super) rows: &'a [u32],
    pub(super) batch: usize,
    pub(super) step: u64,
    pub(super) seed: u64,
    /// Loss and count of the first run, before anything was changed.
    pub(super) first_sum: Option<(f64, f64)>,
    /// The micro-batch whose loss was not finite, and that loss.
    pub(super) failed: Option<(usize, f64)>,
}

pub(super) enum PassError {
    NonFinite(usize, f64),
    Op(ff_graph::Error),
}

impl From<ff_graph::Error> for PassError {
    fn from(error: ff_graph::Error) -> Self {
        PassError::Op(error)
    }
}

impl Pass<'_> {
    /// The sum of losses and the count; gradients are left in the arena, statistics wait to be committed.
    pub(super) fn run(&mut self) -> std::result::Result<(f64, f64), PassError> {
        self.graph.discard_state();
        self.graph.params_mut().clear_gradients();
        let (mut sum, mut count) = (0.0, 0.0);
        for (micro, rows) in self.rows.chunks(self.batch).enumerate() {
            self.graph.reset();
            self.graph.set_step(self.step, micro as u64);
            let key = augmentation_key(self.seed, self.step, micro);
            let loss = self.objective.loss(self.graph, rows, key)?;
            let batch_sum = loss.sum.item()?;
            count += loss.count.item()?;
            sum += batch_sum;
            drop(loss.count);
            if !batch_sum.is_finite() {
                return Err(PassError::NonFinite(micro, batch_sum));
            }
            self.graph.backward(loss.total.unwrap_or(loss.sum))?;
        }
        Ok((sum, count))
    }
}

impl optim::Objective for Pass<'_> {
    type Error = Error;

    fn params(&mut self) -> &mut Params {
        self.graph.params_mut()
    }

    fn evaluate(&mut self) -> Result<optim::Evaluation> {
        match self.run() {
            Ok((loss, count)) => {
                self.first_sum.get_or_insert((loss, count));
                Ok(optim::Evaluation { loss, count })
            }
            // A line search may try a point that is too far; only a start that is not finite is a failure.
            Err(PassError::NonFinite(_, loss)) if self.first_sum.is_some() => {
                Ok(optim::Evaluation { loss, count: 1.0 })
            }
            Err(PassError::NonFinite(micro, loss)) => {
                self.failed = Some((micro, loss));
                Ok(optim::Evaluation { loss, count: 1.0 })
            }
            Err(PassError::Op(error)) => Err(error.into()),
        }
    }
}
