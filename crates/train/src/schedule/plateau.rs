use super::shape::Shape;
use super::state::PlateauState;
use crate::keys::{keyed, words};
use ff_settings::Range::{AtLeast, BelowOne};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

keyed! {
    /// lr · factor whenever the validation score has not improved for patience evaluations
    /// (`ReduceLROnPlateau`).
    pub struct Plateau {
        /// The lowest rate.
        min_lr: f64 = 0.0, in AtLeast(0.0);
        /// The factor of a reduction.
        factor: f64 = 0.1, in BelowOne;
        /// Evaluations without a better score before a reduction.
        patience: u64 = 10;
        /// The minimum gain that counts as an improvement.
        threshold: f64 = 1e-4, in AtLeast(0.0);
        /// Whether the threshold is rel (a fraction of the best score) or abs.
        threshold_mode: ThresholdMode = ThresholdMode::Rel;
        /// The number of uncounted evaluations after a reduction.
        cooldown: u64 = 0;
        /// The minimum size of a reduction; smaller ones are skipped.
        eps: f64 = 1e-8, in AtLeast(0.0);
    }
}

/// The unit of `threshold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// A fraction of the best score.
    #[default]
    Rel,
    /// Absolute.
    Abs,
}

words!(ThresholdMode: "rel or abs");

impl Shape for Plateau {
    fn lr(&self, lr: f64, _: u64, _: u64) -> f64 {
        lr
    }

    fn observe(
        &self,
        state: &mut PlateauState,
        lr: f64,
        score: f64,
        higher_is_better: bool,
    ) -> Option<f64> {
        if self.is_better(state.best, score, higher_is_better) {
            state.best = Some(score);
            state.bad = 0;
        } else {
            state.bad += 1;
        }
        if state.cooldown > 0 {
            state.cooldown -= 1;
            state.bad = 0;
        }
        if state.bad <= self.patience {
            return None;
        }
        state.cooldown = self.cooldown;
        state.bad = 0;
        let old = state.lr.unwrap_or(lr);
        let new = (old * self.factor).max(self.min_lr);
        if old - new > self.eps {
            state.lr = Some(new);
            return Some(new);
        }
        None
    }
}

impl Plateau {
    fn is_better(&self, best: Option<f64>, score: f64, higher_is_better: bool) -> bool {
        // Non-finite scores, such as NaN after divergence, which cannot be saved, are never the
        // best.
        let Some(best) = best else { return score.is_finite() };
        match (higher_is_better, self.threshold_mode) {
            (false, ThresholdMode::Rel) => score < best * (1.0 - self.threshold),
            (false, ThresholdMode::Abs) => score < best - self.threshold,
            (true, ThresholdMode::Rel) => score > best * (1.0 + self.threshold),
            (true, ThresholdMode::Abs) => score > best + self.threshold,
        }
    }
}
