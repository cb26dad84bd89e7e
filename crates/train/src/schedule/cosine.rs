use super::shape::Shape;
use super::span::Span;
use crate::keys::keyed;
use ff_settings::ConfigError;
use ff_settings::Range::{Above, AtLeast};
use std::f64::consts::PI;

keyed! {
    /// min_lr + (lr − min_lr) (1 + cos(π t / T)) / 2 (`CosineAnnealingLR`), or, with `cycle`,
    /// repeated restarts (`CosineAnnealingWarmRestarts`): Loshchilov and Hutter 2017.
    pub struct Cosine {
        /// The length of the first cycle, in steps or as a fraction of all steps.
        cycle: Option<Span> = None, in Above(0.0), shown "one cycle without restart";
        /// The ratio of the length of each cycle to that of the previous one.
        cycle_multiplier: Option<u64> = None, in AtLeast(1.0), shown "1";
        /// The lowest rate.
        min_lr: f64 = 0.0, in AtLeast(0.0);
    }
}

impl Shape for Cosine {
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
        let progress = match self.cycle {
            Some(cycle) => {
                let multiplier = self.cycle_multiplier.unwrap_or(1);
                progress_in_cycle(cycle.steps(total).max(1), multiplier, step)
            }
            None if total == 0 => 0.0,
            None => step as f64 / total as f64,
        };
        self.min_lr + (lr - self.min_lr) * (1.0 + (PI * progress).cos()) / 2.0
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.cycle_multiplier.is_some() && self.cycle.is_none() {
            let message = "needs `cycle`, the length of the first cycle";
            return Err(ConfigError::new("cycle_multiplier", message));
        }
        Ok(())
    }
}

/// The progress of a step within its cycle, from 0 to 1.
fn progress_in_cycle(first: u64, multiplier: u64, mut step: u64) -> f64 {
    let mut length = first;
    if multiplier == 1 {
        step %= length;
    }
    while step >= length {
        step -= length;
        length = length.saturating_mul(multiplier);
    }
    step as f64 / length as f64
}
