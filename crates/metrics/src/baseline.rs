//! Baselines: the scores of rules that ignore the features.

use serde::{Deserialize, Serialize};

use super::{
    ClassCounts, ClassLabel, Direction, Interval, Metric, MetricError, Scores, bootstrap::Samples,
    confusion::Average, input,
};

/// Classification metrics with an interval and a baseline, in the order of tables.
pub(super) const CLASSIFICATION: [Metric; 10] = [
    Metric::Accuracy,
    Metric::BalancedAccuracy,
    Metric::Precision,
    Metric::Recall,
    Metric::F1,
    Metric::F1Macro,
    Metric::RocAuc,
    Metric::PrAuc,
    Metric::LogLoss,
    Metric::Brier,
];

/// Regression metrics with an interval and a baseline, in the order of tables.
pub(super) const REGRESSION: [Metric; 6] =
    [Metric::R2, Metric::Mse, Metric::Rmse, Metric::Mae, Metric::MedianAbsoluteError, Metric::Mape];

/// The share of each class among the labels; that of the training part defines the classification
/// baseline.
///
/// ```
/// use ff_metrics::class_shares;
/// assert_eq!(class_shares(&[0_u32, 1, 1, 1], 2, None)?, [0.25, 0.75]);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
///
/// # Errors
/// If there are no rows, or a label or weight is invalid.
pub fn class_shares<L: ClassLabel>(
    labels: &[L],
    classes: usize,
    weights: Option<&[f32]>,
) -> Result<Vec<f64>, MetricError> {
    let counts = ClassCounts::of(labels, labels, classes, weights)?;
    let total: f64 = counts.actual.iter().sum();
    Ok(counts.actual.iter().map(|weight| weight / total).collect())
}

/// A rule that ignores all columns, with its scores on the evaluated rows.
///
/// ```
/// use ff_metrics::{Metric, RegressionOptions, RegressionReport};
/// let report = RegressionReport::compute(
///     &[1.0, 2.0, 3.0],
///     &[1.1, 1.9, 3.2],
///     &RegressionOptions::default(),
/// )?;
/// assert_eq!(report.baseline.rule, ff_metrics::BaselineRule::Mean { value: 2.0 });
/// assert_eq!(report.baseline.scores.get(Metric::R2), Some(0.0));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The rule.
    #[serde(flatten)]
    pub rule: BaselineRule,
    /// The scores on the evaluated rows.
    pub scores: Scores,
}

/// The rule of a baseline.
///
/// ```
/// use ff_metrics::BaselineRule;
/// let rule = BaselineRule::Majority { class: 1, shares: vec![0.4, 0.6] };
/// assert_eq!(serde_json::to_value(&rule)?["rule"], "majority");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum BaselineRule {
    /// Always the most frequent class, with the class shares as probabilities (scikit-learn's
    /// `DummyClassifier(strategy="prior")`).
    Majority {
        /// The most frequent class.
        class: usize,
        /// The share of each class.
        shares: Vec<f64>,
    },
    /// Always the mean of the training targets.
    Mean {
        /// The mean.
        value: f64,
    },
}

/// A model compared with the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Better, beyond chance.
    Better,
    /// Undecided on these rows.
    Unclear,
    /// Worse, beyond chance.
    Worse,
}

/// A metric of the model and of the baseline on the same rows.
///
/// ```
/// use ff_metrics::{ClassificationOptions, ClassificationReport, Outcome};
/// let labels: Vec<u32> = (0..40).map(|i| i % 2).collect();
/// let p: Vec<f32> =
///     labels.iter().flat_map(|&l| if l == 1 { [0.1, 0.9] } else { [0.9, 0.1] }).collect();
/// let report = ClassificationReport::compute(&labels, &p, 2, &ClassificationOptions::default())?;
/// let verdict = report.verdict.unwrap();
/// assert_eq!((verdict.model, verdict.baseline, verdict.outcome), (1.0, 0.5, Outcome::Better));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The metric.
    pub metric: Metric,
    /// Its direction of improvement.
    pub direction: Direction,
    /// The value of the model.
    pub model: f64,
    /// The interval of the model's value.
    pub interval: Option<Interval>,
    /// The value of the baseline.
    pub baseline: f64,
    /// The gain of the model over the baseline (negative if worse), on the same resampled rows for
    /// both.
    pub gain: Option<Interval>,
    /// The verdict: better (or worse) if the interval of the gain excludes 0 and the interval of
    /// the model excludes the value of the baseline.
    pub outcome: Outcome,
}

impl Comparison {
    pub(super) fn new(
        metric: Metric,
        model: f64,
        interval: Option<Interval>,
        baseline: f64,
        gain: Option<Interval>,
    ) -> Self {
        let outcome = match (interval, gain) {
            (Some(interval), _) if interval.contains(baseline) => Outcome::Unclear,
            (Some(_), Some(gain)) if gain.low > 0.0 => Outcome::Better,
            (Some(_), Some(gain)) if gain.high < 0.0 => Outcome::Worse,
            _ => Outcome::Unclear,
        };
        Self { metric, direction: metric.direction(), model, interval, baseline, gain, outcome }
    }
}

/// Values of several metrics, in the order of their list.
pub(super) type Values<const N: usize> = [Option<f64>; N];

/// The values as [`Scores`], without inapplicable metrics.
pub(super) fn scores<const N: usize>(
    metrics: &[Metric; N],
    values: &Values<N>,
    applies: impl Fn(Metric) -> bool,
) -> Scores {
    let mut scores = Scores::default();
    for (metric, value) in metrics.iter().zip(values) {
        if applies(*metric) {
            scores.set(*metric, *value);
        }
    }
    scores
}

/// Values of the model, and gains over the baseline, over the resamples.
pub(super) struct Resampled<const N: usize> {
    metrics: [Metric; N],
    model: [Samples; N],
    gain: [Samples; N],
}

impl<const N: usize> Resampled<N> {
    pub(super) fn new(metrics: [Metric; N]) -> Self {
        let samples = || std::array::from_fn(|_| Samples::default());
        Self { metrics, model: samples(), gain: samples() }
    }

    pub(super) fn push(&mut self, model: &Values<N>, baseline: &Values<N>) {
        for (i, metric) in self.metrics.iter().enumerate() {
            self.model[i].push(model[i]);
            let pair = model[i].zip(baseline[i]);
            self.gain[i].push(pair.map(|(m, b)| metric.direction().gain(m, b)));
        }
    }

    /// The intervals of the model's values and of its gains.
    pub(super) fn intervals(self) -> [(Option<Interval>, Option<Interval>); N] {
        let mut pairs = self.model.into_iter().zip(self.gain);
        std::array::from_fn(|_| {
            pairs.next().map_or((None, None), |(model, gain)| (model.interval(), gain.interval()))
        })
    }
}

/// The majority class by shares; ties go to the first.
pub(super) fn majority(shares: &[f64]) -> usize {
    input::argmax(shares)
}

/// Scores of the majority rule for labels of total weight `actual` per class, in closed form, since
/// its prediction is the same on every row.
pub(super) fn prior_values(
    actual: &[f64],
    shares: &[f64],
    positive: Option<usize>,
    epsilon: f64,
) -> Values<{ CLASSIFICATION.len() }> {
    let classes = actual.len();
    let total: f64 = actual.iter().sum();
    let class = majority(shares);
    let mut counts = ClassCounts::zeros(classes);
    counts.actual.copy_from_slice(actual);
    counts.predicted[class] = total;
    counts.hits[class] = actual[class];
    let mean = |value: &dyn Fn(usize) -> f64| {
        let sum = (0..classes).filter(|&c| actual[c] > 0.0).map(|c| actual[c] * value(c));
        sum.sum::<f64>() / total
    };
    let log_loss = mean(&|label| -shares[label].max(epsilon).ln());
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    // Σ (p − y)² = Σ p² − 2 p_label + 1, half of it for each of two classes.
    let brier = mean(&|label| squares - 2.0 * shares[label] + 1.0);
    let complete = actual.iter().all(|weight| *weight > 0.0);
    // A constant score ranks nothing: its precision is the share of positives at every recall.
    let pr_auc = match positive {
        Some(positive) => (actual[positive] > 0.0).then(|| actual[positive] / total),
        None => complete.then(|| 1.0 / classes as f64),
    };
    [
        Some(counts.accuracy()),
        Some(counts.balanced_accuracy()),
        positive.and_then(|p| counts.precision(p)),
        positive.and_then(|p| counts.recall(p)),
        positive.and_then(|p| counts.f1(p)),
        Some(counts.average(Average::Macro).f1),
        complete.then_some(0.5),
        pr_auc,
        Some(log_loss),
        Some(if classes == 2 { brier / 2.0 } else { brier }),
    ]
}
