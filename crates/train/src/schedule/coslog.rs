use super::shape::Shape;
use crate::keys::keyed;
use ff_settings::Range::AtLeast;
use std::f64::consts::TAU;

keyed! {
    /// lr (1 − cos(2π log₂(1 + (2ᶜ − 1) t / T))) / 2: c waves from 0 to lr and back, each about
    /// twice as long as the one before (Holzmüller et al. 2024).
    pub struct Coslog {
        /// The number of waves, c.
        waves: u64 = 4, in AtLeast(1.0);
    }
}

impl Shape for Coslog {
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
        let progress = if total == 0 { 0.0 } else { step as f64 / total as f64 };
        let octaves = (1.0 + ((self.waves as f64).exp2() - 1.0) * progress).log2();
        lr * 0.5 * (1.0 - (TAU * octaves).cos())
    }
}
