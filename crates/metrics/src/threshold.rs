//! The decision threshold of one class against the others, chosen on the validation part for an
//! aim.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MetricError, Ranking, Real, ranking::Step};

/// The tolerance of a bound on precision or recall, so that an equal ratio of summed weights
/// passes.
const SLACK: f64 = 1e-12;

/// The aim of a decision threshold.
///
/// In recipes: `"f1"`, `"balanced_accuracy"`,
/// `{ cost = { false_positive = 1, false_negative = 5 } }`, `{ recall_at_precision = 0.9 }`,
/// `{ precision_at_recall = 0.8 }` or `{ recall_at_false_positive_rate = 0.03 }`.
///
/// ```
/// use ff_metrics::ThresholdAim;
/// let aim: ThresholdAim = serde_json::from_str(r#"{"recall_at_precision": 0.9}"#)?;
/// assert_eq!(aim, ThresholdAim::RecallAtPrecision(0.9));
/// assert!(aim.validate().is_ok());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ThresholdAim {
    /// The maximum F1 of the positive class.
    F1,
    /// The maximum mean recall of the two classes.
    BalancedAccuracy,
    /// The minimum mean cost of mistakes.
    Cost {
        /// The cost of a false positive.
        false_positive: f64,
        /// The cost of a false negative.
        false_negative: f64,
    },
    /// The maximum recall at this precision or better.
    RecallAtPrecision(f64),
    /// The maximum precision at this recall or better.
    PrecisionAtRecall(f64),
    /// The maximum recall at this false positive rate or a lower one.
    RecallAtFalsePositiveRate(f64),
}

/// A threshold, with its scores on the rows of its choice.
///
/// ```
/// use ff_metrics::{ThresholdAim, choose_threshold};
/// let chosen = choose_threshold(
///     &[0.1_f32, 0.3, 0.6, 0.9],
///     &[false, true, false, true],
///     None,
///     ThresholdAim::F1,
/// )?;
/// assert_eq!((chosen.recall, chosen.f1), (Some(1.0), Some(0.8)));
/// assert!((chosen.threshold - 0.2).abs() < 1e-7, "half way between 0.1 and 0.3");
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChosenThreshold {
    /// The minimum probability of positive predictions.
    pub threshold: f64,
    /// The aim.
    pub aim: ThresholdAim,
    /// Whether the aim's bound on precision or recall is met; if not, this is the nearest possible
    /// threshold.
    pub met: bool,
    /// The value maximised by the aim (F1, recall, …) or, for a cost, the mean cost per row.
    pub value: f64,
    /// TP / (TP + FP); `None` if nothing is predicted positive.
    pub precision: Option<f64>,
    /// TP / (TP + FN).
    pub recall: Option<f64>,
    /// 2 TP / (2 TP + FP + FN).
    pub f1: Option<f64>,
    /// The mean recall of the two classes.
    pub balanced_accuracy: f64,
    /// The share of correct predictions.
    pub accuracy: f64,
    /// The share of positive predictions.
    pub positive_share: f64,
    /// FP / (FP + TN): the share of negative rows predicted positive.
    #[serde(default)]
    pub false_positive_rate: f64,
}

impl ThresholdAim {
    /// Checks the numbers of the aim.
    ///
    /// # Errors
    /// If a cost is negative or not finite, both costs are zero, or a bound is outside (0, 1].
    pub fn validate(&self) -> Result<(), MetricError> {
        let error = |problem: String| Err(MetricError::Setting { name: "threshold", problem });
        match *self {
            Self::F1 | Self::BalancedAccuracy => Ok(()),
            Self::Cost { false_positive, false_negative } => {
                for (name, cost) in
                    [("false_positive", false_positive), ("false_negative", false_negative)]
                {
                    if !cost.is_finite() || cost < 0.0 {
                        return error(format!("{name} = {cost} must be finite and at least 0"));
                    }
                }
                if false_positive == 0.0 && false_negative == 0.0 {
                    return error("one of the two costs must be greater than 0".into());
                }
                Ok(())
            }
            Self::RecallAtPrecision(bound) | Self::PrecisionAtRecall(bound) => {
                if bound > 0.0 && bound <= 1.0 {
                    Ok(())
                } else {
                    error(format!("{bound} must be greater than 0 and at most 1"))
                }
            }
            Self::RecallAtFalsePositiveRate(bound) => {
                if (0.0..1.0).contains(&bound) {
                    Ok(())
                } else {
                    error(format!("{bound} must be at least 0 and less than 1"))
                }
            }
        }
    }

    /// Whether the bound is met, and two numbers to maximise, the second to break ties; if the
    /// bound is not met, the first is the bounded quantity.
    fn rank(&self, at: &Decision) -> (bool, f64, f64) {
        let precision = at.precision().unwrap_or(0.0);
        let recall = at.recall().unwrap_or(0.0);
        let bounded = |bound: f64, bounded: f64, free: f64| {
            if bounded >= bound - SLACK { (true, free, bounded) } else { (false, bounded, free) }
        };
        match *self {
            Self::F1 => (true, at.f1().unwrap_or(0.0), 0.0),
            Self::BalancedAccuracy => (true, at.balanced_accuracy(), 0.0),
            Self::Cost { .. } => (true, -self.value(at), 0.0),
            Self::RecallAtPrecision(bound) => bounded(bound, precision, recall),
            Self::PrecisionAtRecall(bound) => bounded(bound, recall, precision),
            Self::RecallAtFalsePositiveRate(bound) => {
                bounded(-bound, -at.false_positive_rate(), recall)
            }
        }
    }

    fn value(&self, at: &Decision) -> f64 {
        match *self {
            Self::F1 => at.f1().unwrap_or(0.0),
            Self::BalancedAccuracy => at.balanced_accuracy(),
            Self::Cost { false_positive, false_negative } => {
                let cost = false_positive * at.fp + false_negative * (at.positives - at.tp);
                cost / (at.positives + at.negatives)
            }
            Self::RecallAtPrecision(_) | Self::RecallAtFalsePositiveRate(_) => {
                at.recall().unwrap_or(0.0)
            }
            Self::PrecisionAtRecall(_) => at.precision().unwrap_or(0.0),
        }
    }
}

/// Chooses the best threshold for the aim among all with different decisions on these rows,
/// including all-negative and all-positive.
///
/// It lies midway between two neighbouring scores; ties go to the threshold nearest to 0.5. If no
/// threshold meets the bound of the aim, the nearest one is returned with `met` false, so that a
/// finished training is not lost.
///
/// # Shapes
/// `probabilities` (of the positive class), `positive` and `weights` have N values.
///
/// # Errors
/// As for [`Ranking::new`] and [`ThresholdAim::validate`], or if all rows have one class, from
/// which no threshold can be learned.
pub fn choose_threshold<P: Real>(
    probabilities: &[P],
    positive: &[bool],
    weights: Option<&[f32]>,
    aim: ThresholdAim,
) -> Result<ChosenThreshold, MetricError> {
    aim.validate()?;
    let steps = Ranking::new(probabilities, positive, weights)?.steps();
    let Some(end) = steps.last().filter(|end| end.tp > 0.0 && end.fp > 0.0) else {
        return Err(MetricError::Setting {
            name: "threshold",
            problem: "the validation part has only rows of one class; a threshold needs both"
                .into(),
        });
    };
    let (positives, negatives) = (end.tp, end.fp);
    let decide = |step: &Step| Decision { tp: step.tp, fp: step.fp, positives, negatives };

    let none = Step { score: f64::INFINITY, tp: 0.0, fp: 0.0 };
    let mut best = (decide(&none), above(steps[0].score));
    let mut best_rank = aim.rank(&best.0);
    for (i, step) in steps.iter().enumerate() {
        let at = decide(step);
        let threshold = steps
            .get(i + 1)
            .map_or_else(|| step.score.min(0.0), |next| between(next.score, step.score));
        let rank = aim.rank(&at);
        let nearer = (threshold - 0.5).abs() < (best.1 - 0.5).abs();
        if rank > best_rank || (rank == best_rank && nearer) {
            (best, best_rank) = ((at, threshold), rank);
        }
    }
    let (at, threshold) = best;
    Ok(ChosenThreshold {
        threshold,
        aim,
        met: best_rank.0,
        value: aim.value(&at),
        precision: at.precision(),
        recall: at.recall(),
        f1: at.f1(),
        balanced_accuracy: at.balanced_accuracy(),
        accuracy: (at.tp + negatives - at.fp) / (positives + negatives),
        positive_share: (at.tp + at.fp) / (positives + negatives),
        false_positive_rate: at.false_positive_rate(),
    })
}

/// The decisions at a threshold, as weights of rows.
struct Decision {
    tp: f64,
    fp: f64,
    positives: f64,
    negatives: f64,
}

impl Decision {
    fn precision(&self) -> Option<f64> {
        let predicted = self.tp + self.fp;
        (predicted > 0.0).then(|| self.tp / predicted)
    }

    fn recall(&self) -> Option<f64> {
        (self.positives > 0.0).then(|| self.tp / self.positives)
    }

    fn false_positive_rate(&self) -> f64 {
        self.fp / self.negatives
    }

    fn f1(&self) -> Option<f64> {
        let denominator = self.tp + self.fp + self.positives;
        (denominator > 0.0).then(|| 2.0 * self.tp / denominator)
    }

    fn balanced_accuracy(&self) -> f64 {
        0.5 * (self.tp / self.positives + (self.negatives - self.fp) / self.negatives)
    }
}

/// A threshold above `low` and at most `high`, midway if representable.
fn between(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    if middle > low { middle } else { high }
}

/// A threshold above this score: midway to 1, or just above it.
fn above(score: f64) -> f64 {
    if score < 1.0 { between(score, 1.0) } else { score.next_up() }
}
