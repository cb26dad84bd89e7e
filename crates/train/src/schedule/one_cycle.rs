use super::shape::Shape;
use crate::keys::{keyed, words};
use ff_settings::Range::{AtLeast, Unit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

keyed! {
    /// Up from lr / div_factor to lr within pct_start, then down to lr / div_factor /
    /// final_div_factor: Smith and Topin 2018 (`OneCycleLR` with `cycle_momentum=False`).
    pub struct OneCycle {
        /// The fraction of steps with a rising rate.
        pct_start: f64 = 0.3, in Unit;
        /// The interpolation between rates: cos or linear.
        anneal: Anneal = Anneal::Cos;
        /// The ratio of the maximum rate to the initial one.
        div_factor: f64 = 25.0, in AtLeast(1.0);
        /// The ratio of the initial rate to the final one.
        final_div_factor: f64 = 1e4, in AtLeast(1.0);
        /// Whether the rate falls symmetrically to its rise, then to the end.
        three_phase: bool = false;
    }
}

/// The interpolation of one-cycle between rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Half a cosine.
    #[default]
    Cos,
    /// A straight line.
    Linear,
}

words!(Anneal: "cos or linear");

impl Shape for OneCycle {
    fn lr(&self, lr: f64, step: u64, total: u64) -> f64 {
        let up = self.pct_start;
        let start = lr / self.div_factor;
        let end = start / self.final_div_factor;
        let (total, step) = (total as f64, step as f64);
        // The end of each phase and its rate; as in PyTorch, the last step itself has the final
        // rate.
        let phases: &[(f64, f64)] = if self.three_phase {
            &[(up * total - 1.0, lr), (2.0 * up * total - 2.0, start), (total - 1.0, end)]
        } else {
            &[(up * total - 1.0, lr), (total - 1.0, end)]
        };
        let (mut from, mut rate) = (0.0, start);
        for &(to, next) in phases {
            if step <= to {
                let progress = (step - from) / (to - from);
                // An empty phase has its end rate.
                let progress = if progress.is_finite() { progress } else { 1.0 };
                return match self.anneal {
                    Anneal::Cos => next + (rate - next) / 2.0 * ((PI * progress).cos() + 1.0),
                    Anneal::Linear => (next - rate) * progress + rate,
                };
            }
            (from, rate) = (to, next);
        }
        end
    }
}
