use super::shape::Shape;
use crate::keys::keyed;
use ff_settings::ConfigError;
use ff_settings::Range::Above;

keyed! {
    /// lr · gammaᵗ (`ExponentialLR`).
    pub struct Exponential {
        /// The factor per step; required.
        gamma: Option<f64> = None, in Above(0.0);
    }
}

impl Shape for Exponential {
    fn lr(&self, lr: f64, step: u64, _: u64) -> f64 {
        lr * self.gamma.unwrap_or(1.0).powf(step as f64)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.gamma.is_none() {
            let message = "is required for exponential: the factor per step, such as 0.9995";
            return Err(ConfigError::new("gamma", message));
        }
        Ok(())
    }
}
