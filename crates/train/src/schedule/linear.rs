use super::shape::Shape;
use crate::keys::keyed;
use ff_settings::Range::AtLeast;

keyed! {
    /// lr · (start_factor + (end_factor − start_factor) t / T) (`LinearLR`).
    pub struct Linear {
        /// The fraction of the rate at the start (PyTorch: 1/3).
        start_factor: f64 = 1.0, in AtLeast(0.0);
        /// The fraction of the rate at the end (PyTorch: 1).
        end_factor: f64 = 0.0, in AtLeast(0.0);
    }
}

impl Shape for Linear {
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
        let progress = if total == 0 { 0.0 } else { step as f64 / total as f64 };
        lr * (self.start_factor + (self.end_factor - self.start_factor) * progress)
    }
}
