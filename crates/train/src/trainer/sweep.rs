//! The search for a learning rate, on the very steps of training.

use super::{Objective, Trainer};
use crate::schedule::{self, FinderConfig, FinderReport};
use crate::{Error, Result};

impl Trainer {
    /// Sweeps the learning rate from small to large, a training step each, and suggests one: see
    /// [`schedule::find_lr`]. The schedule plays no part, and the parameters are used up, the trainer with them.
    ///
    /// # Errors
    /// The config does not hold together, the optimiser has no rate to search for (L-BFGS), there are no rows, or an
    /// operation failed.
    pub fn find_lr(
        mut self,
        objective: &mut dyn Objective,
        config: &FinderConfig,
    ) -> Result<FinderReport> {
        if self.optimizer.needs_objective() {
            return Err(ff_settings::ConfigError::new(
                "optimizer.kind",
                "L-BFGS searches along a line at every step and hardly depends on its rate; leave it at its default",
            )
            .into());
        }
        let steps_per_epoch = self.steps_per_epoch(objective.rows());
        if steps_per_epoch == 0 {
            return Err(
                ff_settings::ConfigError::new("data", "there are no rows to train on").into()
            );
        }
        schedule::find_lr(config, |lr| {
            if self.progress.step_in_epoch >= steps_per_epoch {
                self.progress.epoch += 1;
                self.progress.step_in_epoch = 0;
            }
            match self.step(objective, lr) {
                Ok((loss, _)) => Ok(loss),
                // A rate that blows the loss up is what the sweep ends with, not a failure.
                Err(Error::Diverged { .. }) => Ok(f64::NAN),
                Err(error) => Err(error),
            }
        })
    }
}
