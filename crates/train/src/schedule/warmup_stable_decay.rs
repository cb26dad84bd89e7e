use super::shape::Shape;
use super::span::Span;
use crate::keys::{keyed, words};
use ff_settings::Range::AtLeast;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

keyed! {
    /// lr, and over the last `decay` steps min_lr + (lr − min_lr) f(s), with s from 0 to 1 and f =
    /// 1 − s, 1 − √s or half a cosine: with a warm-up, a schedule for runs of undetermined length
    /// (Hägele et al. 2024).
    pub struct WarmupStableDecay {
        /// The lowest rate.
        min_lr: f64 = 0.0, in AtLeast(0.0);
        /// The length of the decay at the end, in steps or as a fraction of all steps after the
        /// warm-up.
        decay: Span = Span::Fraction(0.2);
        /// The shape of the decay: 1-sqrt, linear or cosine.
        decay_type: DecayType = DecayType::OneMinusSqrt;
    }
}

/// The shape of the final decay of warm-up–stable–decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayType {
    /// 1 − √s
    #[default]
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
    /// A straight line.
    Linear,
    /// Half a cosine.
    Cosine,
}

words!(DecayType: "1-sqrt, linear or cosine");

impl Shape for WarmupStableDecay {
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
        let decay = self.decay.steps(total).min(total);
        let start = total - decay;
        if step <= start {
            return lr;
        }
        let s = (step - start) as f64 / decay as f64;
        let left = match self.decay_type {
            DecayType::OneMinusSqrt => 1.0 - s.sqrt(),
            DecayType::Linear => 1.0 - s,
            DecayType::Cosine => 0.5 + 0.5 * (PI * s).cos(),
        };
        self.min_lr + (lr - self.min_lr) * left
    }
}
