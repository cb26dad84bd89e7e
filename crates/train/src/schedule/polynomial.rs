use super::shape::Shape;
use crate::keys::keyed;
use ff_settings::Range::{Above, AtLeast};

keyed! {
    /// min_lr + (lr − min_lr) (1 − t / T)^power (`PolynomialLR`).
    pub struct Polynomial {
        /// The lowest rate.
        min_lr: f64 = 0.0, in AtLeast(0.0);
        /// The exponent.
        power: f64 = 1.0, in Above(0.0);
    }
}

impl Shape for Polynomial {
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
        let progress = if total == 0 { 0.0 } else { step as f64 / total as f64 };
        self.min_lr + (lr - self.min_lr) * (1.0 - progress).powf(self.power)
    }
}
