use super::shape::Shape;
use super::span::Span;
use crate::keys::keyed;
use ff_settings::ConfigError;
use ff_settings::Range::Above;

keyed! {
    /// lr · gammaᵏ after k multiples of step_size, or after k milestones (`StepLR`, `MultiStepLR`).
    pub struct Step {
        /// The distance between drops, in steps or as a fraction of all steps.
        step_size: Option<Span> = None, in Above(0.0);
        /// The positions of the drops, instead of `step_size`.
        milestones: Option<Vec<Span>> = None;
        /// The factor of a drop.
        gamma: f64 = 0.1, in Above(0.0);
    }
}

impl Shape for Step {
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
        let drops = match (self.step_size, &self.milestones) {
            (Some(size), _) => step / size.steps(total).max(1),
            (None, Some(milestones)) => {
                milestones.iter().filter(|at| at.steps(total) <= step).count() as u64
            }
            (None, None) => 0,
        };
        lr * self.gamma.powf(drops as f64)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.step_size.is_some() == self.milestones.is_some() {
            let message = "or `milestones` is required for step, but not both: the steps after \
                           which the rate drops, such as 0.3 for 30 % of all steps";
            return Err(ConfigError::new("step_size", message));
        }
        Ok(())
    }
}
