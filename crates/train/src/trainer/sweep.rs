//! The learning-rate finder on actual training steps.

use super::Trainer;
use crate::error::{Error, Result};
use crate::objective::Objective;
use crate::schedule::{self, FinderConfig, FinderReport};
use ff_settings::ConfigError;

impl Trainer {
    /// Sweeps the learning rate from small to large, one training step each, and suggests one: see
    /// [`schedule::find_lr`]. The schedule is ignored, and the trainer is consumed with its
    /// parameters.
    ///
    /// # Errors
    /// If the config is contradictory, the optimiser has no rate to search for (L-BFGS), there are
    /// no rows, or an operation fails.
    pub fn find_lr(
        mut self,
        objective: &mut dyn Objective,
        config: &FinderConfig,
    ) -> Result<FinderReport> {
        if self.optimizer.needs_closure() {
            return Err(ConfigError::new(
                "optimizer.kind",
                "L-BFGS searches along a line at every step and hardly depends on its rate; keep \
                 the default",
            )
            .into());
        }
        let steps_per_epoch = self.batches.steps_per_epoch(&self.config, objective.rows());
        if steps_per_epoch == 0 {
            return Err(ConfigError::new("data", "there are no rows to train on").into());
        }
        schedule::find_lr(config, |lr| {
            if self.progress.step_in_epoch >= steps_per_epoch {
                self.progress.epoch += 1;
                self.progress.step_in_epoch = 0;
            }
            match self.step(objective, lr) {
                Ok(step) => Ok(step.loss),
                // Divergence ends the sweep; it is not a failure.
                Err(Error::Diverged { .. }) => Ok(f64::NAN),
                Err(error) => Err(error),
            }
        })
    }
}
