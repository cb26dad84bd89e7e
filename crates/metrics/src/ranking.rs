//! Metrics of the order of scores: ROC AUC, average precision and their curves.

use ff_kernels::{Work, dispatch};
use ff_tensor::Device;
use serde::{Deserialize, Serialize};

use super::{
    MetricError, Real,
    bootstrap::{Counts, LANES},
    input,
};

const POSITIVE: u8 = 1;
const LAST_OF_TIE: u8 = 2;

/// Rows of a two-class problem in descending order of score, sorted once for all curves and areas.
///
/// Rows of equal score form one step of the curves, so that ties count exactly half in the ROC
/// area, whatever their order in the data. Rows of weight 0 are omitted.
///
/// ```
/// use ff_metrics::Ranking;
/// let ranking = Ranking::new(&[0.1_f32, 0.4, 0.35, 0.8], &[false, false, true, true], None)?;
/// assert_eq!(ranking.roc_auc(), Some(0.75));
/// assert!((ranking.average_precision().unwrap() - 5.0 / 6.0).abs() < 1e-15);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ranking {
    /// The row at each rank.
    order: Vec<u32>,
    scores: Vec<f64>,
    flags: Vec<u8>,
    /// The weights in rank order; empty if all are 1.
    weights: Vec<f64>,
}

/// The rows predicted positive at a threshold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The score of the rows added by this step.
    pub(super) score: f64,
    /// The weight of positive rows with at least this score.
    pub(super) tp: f64,
    /// The weight of negative rows with at least this score.
    pub(super) fp: f64,
}

/// A point of the receiver operating characteristic.
///
/// ```
/// use ff_metrics::Ranking;
/// let roc = Ranking::new(&[0.2, 0.9], &[false, true], None)?.roc_curve(100).unwrap();
/// assert_eq!((roc[0].fpr, roc[0].tpr, roc[0].threshold), (0.0, 0.0, None));
/// assert_eq!((roc[1].fpr, roc[1].tpr, roc[1].threshold), (0.0, 1.0, Some(0.9)));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// FP / (FP + TN).
    pub fpr: f64,
    /// TP / (TP + FN), the recall.
    pub tpr: f64,
    /// The minimum score of positive predictions; `None` if there are none.
    pub threshold: Option<f64>,
}

/// A point of the precision–recall curve.
///
/// ```
/// use ff_metrics::Ranking;
/// let pr = Ranking::new(&[0.2, 0.9], &[false, true], None)?.pr_curve(100).unwrap();
/// assert_eq!((pr[2].recall, pr[2].precision, pr[2].threshold), (1.0, 0.5, Some(0.2)));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrPoint {
    /// TP / (TP + FN).
    pub recall: f64,
    /// TP / (TP + FP); 1 if nothing is predicted positive.
    pub precision: f64,
    /// The minimum score of positive predictions; `None` if there are none.
    pub threshold: Option<f64>,
}

impl Ranking {
    /// Sorts rows by score, any finite number.
    ///
    /// # Shapes
    /// `scores`, `positive` and `weights` have N values.
    ///
    /// # Errors
    /// If there are no rows, lengths differ, a score is not finite, or a weight is invalid.
    pub fn new<P: Real>(
        scores: &[P],
        positive: &[bool],
        weights: Option<&[f32]>,
    ) -> Result<Self, MetricError> {
        if scores.is_empty() {
            return Err(MetricError::Empty);
        }
        if positive.len() != scores.len() {
            return Err(MetricError::Length {
                what: "positive",
                expected: scores.len(),
                why: "one a score".into(),
                found: positive.len(),
            });
        }
        input::check_weights(weights, scores.len())?;
        input::check_finite("score", scores)?;
        let scores: Vec<f64> = scores.iter().map(|s| s.to_f64()).collect();
        Ok(Self::sorted(&scores, |row| positive[row], weights))
    }

    /// Sorts checked rows.
    pub(super) fn sorted(
        scores: &[f64],
        positive: impl Fn(usize) -> bool,
        weights: Option<&[f32]>,
    ) -> Self {
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        if let Some(weights) = weights {
            order.retain(|&row| weights[row as usize] > 0.0);
        }
        // The row breaks ties, so that the order, and with it every rounding, is unique.
        order.sort_unstable_by(|&a, &b| {
            scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b))
        });
        let ranked: Vec<f64> = order.iter().map(|&row| scores[row as usize]).collect();
        let flag = |(rank, &row): (usize, &u32)| {
            // `!=` rather than `total_cmp`: 0.0 and -0.0 are equal scores.
            let last = ranked.get(rank + 1).is_none_or(|next| *next != ranked[rank]);
            u8::from(positive(row as usize)) * POSITIVE + u8::from(last) * LAST_OF_TIE
        };
        let flags = order.iter().enumerate().map(flag).collect();
        let weights = weights
            .map(|w| order.iter().map(|&row| f64::from(w[row as usize])).collect())
            .unwrap_or_default();
        Self { order, scores: ranked, flags, weights }
    }

    /// The area under the ROC curve: the probability that a positive row scores above a negative
    /// one, with ties counting half (scikit-learn's `roc_auc_score`); `None` if one of the two
    /// classes is missing.
    pub fn roc_auc(&self) -> Option<f64> {
        self.areas().0
    }

    /// Average precision, Σ (Rᵢ - Rᵢ₋₁) Pᵢ (scikit-learn's `average_precision_score`): the area
    /// under the precision–recall curve without linear interpolation between its points, which is
    /// too optimistic; `None` without positive rows.
    pub fn average_precision(&self) -> Option<f64> {
        self.areas().1
    }

    /// Both areas.
    pub(super) fn areas(&self) -> (Option<f64>, Option<f64>) {
        let (mut roc, mut pr) = (0.0, 0.0);
        let mut last = Step { score: 0.0, tp: 0.0, fp: 0.0 };
        let end = self.walk(|step| {
            roc += (step.fp - last.fp) * (step.tp + last.tp);
            if step.tp > last.tp {
                pr += (step.tp - last.tp) * (step.tp / (step.tp + step.fp));
            }
            last = step;
        });
        shares(roc, pr, end.tp, end.fp)
    }

    /// Both areas in each of several resamples.
    pub(super) fn resampled_areas(&self, counts: &Counts) -> [(Option<f64>, Option<f64>); LANES] {
        dispatch(Device::default().cpu(), Areas { ranking: self, counts })
    }

    /// Calls `visit` at the end of each tie, and returns the totals.
    #[inline]
    fn walk(&self, mut visit: impl FnMut(Step)) -> Step {
        let mut step = Step { score: f64::INFINITY, tp: 0.0, fp: 0.0 };
        for (rank, &flag) in self.flags.iter().enumerate() {
            let weight = self.weights.get(rank).copied().unwrap_or(1.0);
            if flag & POSITIVE != 0 {
                step.tp += weight;
            } else {
                step.fp += weight;
            }
            if flag & LAST_OF_TIE != 0 {
                step.score = self.scores[rank];
                visit(step);
            }
        }
        step
    }

    /// One step per distinct score, in descending order; the last one holds the totals.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.walk(|step| steps.push(step));
        steps
    }

    /// The ROC curve from (0, 0) to (1, 1), in at most `max_points` (at least 2) points; `None` if
    /// one of the two classes is missing.
    ///
    /// Points on a straight line between their neighbours are dropped first, which changes nothing;
    /// the others are thinned evenly along the curve.
    pub fn roc_curve(&self, max_points: usize) -> Option<Vec<RocPoint>> {
        let steps = self.steps();
        let end = *steps.last().filter(|end| end.tp > 0.0 && end.fp > 0.0)?;
        let mut corners = vec![Step { score: f64::INFINITY, tp: 0.0, fp: 0.0 }];
        for step in steps {
            if let [.., a, b] = corners[..]
                && (b.fp - a.fp) * (step.tp - b.tp) == (step.fp - b.fp) * (b.tp - a.tp)
            {
                corners.pop();
            }
            corners.push(step);
        }
        let point = |step: &Step| RocPoint {
            fpr: step.fp / end.fp,
            tpr: step.tp / end.tp,
            threshold: Some(step.score).filter(|s| s.is_finite()),
        };
        let points = corners.iter().map(point).collect();
        Some(thin(points, max_points, |a, b| (a.fpr - b.fpr).abs() + (a.tpr - b.tpr).abs()))
    }

    /// The precision–recall curve by rising recall, from (0, 1), in at most `max_points` (at least
    /// 2) points, evenly along it; `None` without positive rows.
    pub fn pr_curve(&self, max_points: usize) -> Option<Vec<PrPoint>> {
        let steps = self.steps();
        let end = *steps.last().filter(|end| end.tp > 0.0)?;
        let mut points = vec![PrPoint { recall: 0.0, precision: 1.0, threshold: None }];
        points.extend(steps.iter().map(|step| PrPoint {
            recall: step.tp / end.tp,
            precision: step.tp / (step.tp + step.fp),
            threshold: Some(step.score),
        }));
        let distance = |a: &PrPoint, b: &PrPoint| {
            (a.recall - b.recall).abs() + (a.precision - b.precision).abs()
        };
        Some(thin(points, max_points, distance))
    }
}

/// The areas as fractions of those of a perfect ranking; `None` if a class is missing.
fn shares(roc: f64, pr: f64, tp: f64, fp: f64) -> (Option<f64>, Option<f64>) {
    ((tp > 0.0 && fp > 0.0).then(|| roc / (2.0 * tp * fp)), (tp > 0.0).then(|| pr / tp))
}

/// [`Ranking::areas`] for several resamples at once.
struct Areas<'a> {
    ranking: &'a Ranking,
    counts: &'a Counts,
}

impl Work for Areas<'_> {
    type Output = [(Option<f64>, Option<f64>); LANES];
    #[inline(always)]
    fn run(self) -> Self::Output {
        let zeros = [0.0f64; LANES];
        let (mut tp, mut fp, mut roc, mut pr) = (zeros, zeros, zeros, zeros);
        let (mut last_tp, mut last_fp) = (zeros, zeros);
        // The weights of positive and negative rows in the current tie.
        let (mut positives, mut negatives) = (false, false);
        let ranks = self.ranking.order.iter().zip(&self.ranking.flags);
        for (rank, (&row, &flag)) in ranks.enumerate() {
            let counts = self.counts[row as usize];
            let weight = self.ranking.weights.get(rank).copied().unwrap_or(1.0);
            let drawn: [f64; LANES] = std::array::from_fn(|l| f64::from(counts[l]) * weight);
            // Without a pointer to either, so that the sums stay in registers.
            if flag & POSITIVE != 0 {
                positives = true;
                tp = std::array::from_fn(|l| tp[l] + drawn[l]);
            } else {
                negatives = true;
                fp = std::array::from_fn(|l| fp[l] + drawn[l]);
            }
            if flag & LAST_OF_TIE == 0 {
                continue;
            }
            if negatives {
                roc = std::array::from_fn(|l| roc[l] + (fp[l] - last_fp[l]) * (tp[l] + last_tp[l]));
            }
            if positives {
                pr = std::array::from_fn(|l| {
                    let more = tp[l] - last_tp[l];
                    let gained = more * (tp[l] / (tp[l] + fp[l]));
                    pr[l] + if more > 0.0 { gained } else { 0.0 }
                });
            }
            (last_tp, last_fp) = (tp, fp);
            (positives, negatives) = (false, false);
        }
        std::array::from_fn(|l| shares(roc[l], pr[l], tp[l], fp[l]))
    }
}

/// At most `max` of the points (at least 2): the first, the last, and points at even distances
/// along the curve in between, so that no visible detail is lost.
pub(super) fn thin<T>(points: Vec<T>, max: usize, distance: impl Fn(&T, &T) -> f64) -> Vec<T> {
    let max = max.max(2);
    if points.len() <= max {
        return points;
    }
    let total: f64 = points.windows(2).map(|pair| distance(&pair[0], &pair[1])).sum();
    let share = total / (max - 1) as f64;
    let last = points.len() - 1;
    let mut travelled = 0.0;
    let mut passed = 0;
    let mut kept: Vec<bool> = points
        .windows(2)
        .map(|pair| {
            travelled += distance(&pair[0], &pair[1]);
            let shares = ((travelled / share) as usize).min(max - 2);
            let crossed = shares > passed;
            passed = passed.max(shares);
            crossed
        })
        .collect();
    kept.insert(0, true);
    kept[last] = true;
    points.into_iter().zip(kept).filter_map(|(point, keep)| keep.then_some(point)).collect()
}
