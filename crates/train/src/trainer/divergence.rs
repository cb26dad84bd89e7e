//! Errors and advice for losses and gradients that are not finite or diverge.

use super::Trainer;
use super::step_loss::{NotFinite, augmentation_key};
use crate::error::{Error, Result};
use crate::objective::Objective;
use crate::optim::first_non_finite_gradient;

/// The ratio of an epoch's mean loss to the very first loss that counts as divergence.
const DIVERGED: f64 = 100.0;

impl Trainer {
    /// Runs a bad batch again with a check of every value, to find the operation and the parameters
    /// at fault.
    pub(super) fn loss_not_finite(
        &mut self,
        objective: &mut dyn Objective,
        batch: &NotFinite,
    ) -> Error {
        self.graph.reset();
        self.graph.set_step(self.progress.step, batch.micro as u64);
        self.graph.set_check_finite(true);
        let key = augmentation_key(self.config.seed, self.progress.step, batch.micro);
        let cause = objective.loss(&mut self.graph, &batch.rows, key).err();
        self.graph.set_check_finite(false);
        self.graph.reset();
        let kind = if batch.loss.is_nan() { "NaN" } else { "infinite" };
        self.diverged(match cause {
            Some(cause) => format!("the loss is {kind}: {cause}"),
            None => format!("the loss is {kind}, although every value before it is finite"),
        })
    }

    pub(super) fn gradient_not_finite(&mut self) -> Error {
        match first_non_finite_gradient(self.graph.params_mut()) {
            Ok(found) => {
                let of = found.map_or(String::new(), |found| format!(" of `{}`", found.name));
                self.diverged(format!("the gradient{of} is not finite; the update was not made"))
            }
            Err(error) => error.into(),
        }
    }

    /// Rejects a training loss far above the very first one.
    pub(super) fn check_growth(&self, train_loss: f64) -> Result<()> {
        let first = self.progress.first_loss.unwrap_or(f64::INFINITY).abs();
        if train_loss > DIVERGED * first.max(1e-3) {
            let what = format!("the training loss grew from {first:.4} to {train_loss:.4}");
            return Err(Error::Diverged { step: self.progress.step, what, hint: self.hint() });
        }
        Ok(())
    }

    /// The error of divergence in the current step.
    fn diverged(&self, what: String) -> Error {
        Error::Diverged { step: self.progress.step + 1, what, hint: self.hint() }
    }

    fn hint(&self) -> String {
        let lr = self.optimizer.config().lr() / 10.0;
        format!(
            "try a lower rate (--set optimizer.lr={lr}) or clipping (--set optimizer.clip_norm=1), \
             and look for very large values in the data"
        )
    }
}
