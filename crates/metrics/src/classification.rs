//! The evaluation of a classifier on one part of the data.

mod parts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Baseline, BaselineRule, Bootstrap, CalibrationBin, ClassCounts, ClassLabel, Comparison,
    Confusion, ConfusionMatrix, Interval, Metric, MetricError, PrPoint, Real, RocPoint, Scores,
    Undefined,
    baseline::{self, CLASSIFICATION, Resampled},
    bootstrap::MIN_ROWS,
    expected_calibration_error,
    input::{self, Classified},
    probability, wilson,
};

use parts::{Losses, fill, per_class, rank, reasons};

/// The maximum number of classes of a confusion matrix, whose size is quadratic.
const MAX_MATRIX_CLASSES: usize = 256;

/// The number of confusions listed beside the matrix.
const TOP_CONFUSIONS: usize = 10;

/// Options of a [`ClassificationReport`].
#[derive(Debug, Clone, Copy)]
pub struct ClassificationOptions<'a> {
    /// The positive one of two classes, by default class 1; of more, the class of the threshold.
    pub positive: Option<usize>,
    /// Two classes: the minimum probability for predicting the positive one; by default, the more
    /// probable class is predicted.
    pub threshold: Option<f64>,
    /// The weight of each row; by default 1.
    pub weights: Option<&'a [f32]>,
    /// The share of each class in the training part ([`class_shares`](super::class_shares)), for
    /// the baseline; by default, the shares in the evaluated rows, which slightly favours the
    /// baseline.
    pub shares: Option<&'a [f64]>,
    /// The metric of the verdict; by default the accuracy.
    pub primary: Option<Metric>,
    /// The k of top-k accuracy; by default 5, or 2 for at most 5 classes. Omitted if k reaches the
    /// number of classes.
    pub top_k: Option<usize>,
    /// The number of equal-width bins of the reliability diagram and the calibration error (15, as
    /// in Guo et al. 2017).
    pub bins: usize,
    /// The maximum number of points per curve; 0 for no curves.
    pub curve_points: usize,
    /// The bootstrap of intervals; `None` for no intervals and no verdict.
    pub bootstrap: Option<Bootstrap<'a>>,
}

impl Default for ClassificationOptions<'_> {
    fn default() -> Self {
        Self {
            positive: None,
            threshold: None,
            weights: None,
            shares: None,
            primary: None,
            top_k: None,
            bins: 15,
            curve_points: 200,
            bootstrap: Some(Bootstrap::default()),
        }
    }
}

impl ClassificationOptions<'_> {
    /// Scores only, without curves, intervals and verdict: for the validation part after each
    /// epoch.
    pub fn scores_only() -> Self {
        Self { curve_points: 0, bootstrap: None, ..Self::default() }
    }
}

/// Scores of one class against the rest.
///
/// ```
/// use ff_metrics::{ClassificationOptions, ClassificationReport};
/// let report = ClassificationReport::compute(
///     &[0_u32, 1],
///     &[0.9, 0.1, 0.2, 0.8],
///     2,
///     &ClassificationOptions::default(),
/// )?;
/// assert_eq!(report.per_class[1].recall, Some(1.0));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// The class index.
    pub class: usize,
    /// The weight of its rows, or their number without weights.
    pub support: f64,
    /// TP / (TP + FP); `None` if it is never predicted.
    pub precision: Option<f64>,
    /// TP / (TP + FN); `None` if it has no row.
    pub recall: Option<f64>,
    /// 2 TP / (2 TP + FP + FN); `None` if it is neither a label nor predicted.
    pub f1: Option<f64>,
    /// FP / (FP + TN): the share of rows of other classes predicted as it; `None` without any.
    #[serde(default)]
    pub false_positive_rate: Option<f64>,
    /// The area under its ROC curve; `None` if all or none of the rows have this class, and for the
    /// negative class of two.
    pub roc_auc: Option<f64>,
    /// The average precision; `None` if it has no rows, and for the negative class of two.
    pub pr_auc: Option<f64>,
}

/// The curves of one class against the rest.
///
/// ```
/// use ff_metrics::{ClassificationOptions, ClassificationReport};
/// let report = ClassificationReport::compute(
///     &[0_u32, 1],
///     &[0.9, 0.1, 0.2, 0.8],
///     2,
///     &ClassificationOptions::default(),
/// )?;
/// assert_eq!(report.curves[0].class, 1);
/// assert_eq!(report.curves[0].roc.last().map(|p| (p.fpr, p.tpr)), Some((1.0, 1.0)));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassCurves {
    /// The class index.
    pub class: usize,
    /// The ROC curve from (0, 0); empty if undefined.
    pub roc: Vec<RocPoint>,
    /// The precision–recall curve by rising recall; empty if undefined.
    pub pr: Vec<PrPoint>,
}

/// Scores, intervals, curves, baseline and verdict of a classifier.
///
/// ```
/// use ff_metrics::{ClassificationOptions, ClassificationReport, Metric};
/// let labels = [0_i32, 1, 1, 0];
/// let probabilities = [0.8_f32, 0.2, 0.4, 0.6, 0.1, 0.9, 0.3, 0.7];
/// let report = ClassificationReport::compute(
///     &labels,
///     &probabilities,
///     2,
///     &ClassificationOptions::default(),
/// )?;
/// assert_eq!(report.scores.get(Metric::Accuracy), Some(0.75));
/// assert_eq!(report.scores.get(Metric::RocAuc), Some(0.75));
/// assert_eq!(serde_json::to_value(&report)?["scores"]["accuracy"], 0.75);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationReport {
    /// The number of rows.
    pub rows: usize,
    /// The number of classes.
    pub classes: usize,
    /// The positive one of two classes.
    pub positive: Option<usize>,
    /// The decision threshold; `None` if the more probable class was predicted.
    pub threshold: Option<f64>,
    /// The k of the top-k accuracy.
    pub top_k: usize,
    /// The scores; `precision`, `recall` and `f1` are those of the positive one of two classes.
    pub scores: Scores,
    /// Undefined metrics, with reasons.
    pub undefined: Vec<Undefined>,
    /// 95 % intervals, if there are enough rows.
    pub intervals: BTreeMap<Metric, Interval>,
    /// The number of resamples of the bootstrap intervals; 0 without.
    pub resamples: usize,
    /// The scores of each class.
    pub per_class: Vec<ClassScores>,
    /// The confusion matrix, for at most 256 classes.
    pub confusion: Option<ConfusionMatrix>,
    /// The most frequent confusions, in descending order.
    pub top_confusions: Vec<Confusion>,
    /// The reliability diagram: of the probability of the positive class for two classes, else of
    /// the predicted class. `ece` uses these bins.
    pub calibration: Vec<CalibrationBin>,
    /// The curves of the positive class for two classes, else of the ten most frequent ones.
    pub curves: Vec<ClassCurves>,
    /// The majority rule with its scores.
    pub baseline: Baseline,
    /// Model and baseline, per metric.
    pub comparisons: Vec<Comparison>,
    /// The comparison by the primary metric; `None` without intervals, or if that metric is
    /// undefined.
    pub verdict: Option<Comparison>,
}

impl ClassificationReport {
    /// Computes everything requested by the options.
    ///
    /// # Shapes
    /// `labels` is `[N]`, `probabilities` `[N, classes]`, row-major.
    ///
    /// # Errors
    /// As listed in [`MetricError`]. Undefined metrics on valid rows are not errors: see
    /// [`undefined`](Self::undefined).
    pub fn compute<L: ClassLabel, P: Real>(
        labels: &[L],
        probabilities: &[P],
        classes: usize,
        options: &ClassificationOptions<'_>,
    ) -> Result<Self, MetricError> {
        let rows = Classified::new(labels, probabilities, classes, options.weights)?;
        let settings = Settings::new(classes, options)?;
        let of_threshold = options.positive.unwrap_or(1);
        let decided = |row| input::decide(rows.row(row), of_threshold, options.threshold) as u32;
        let predicted: Vec<u32> = (0..rows.rows()).map(decided).collect();
        let mut counts = ClassCounts::zeros(classes);
        for (row, guess) in predicted.iter().enumerate() {
            counts.add(rows.labels[row], *guess, rows.weight(row));
        }

        let ranked = rank(&rows, &counts, settings.positive, options);
        let losses = Losses::of(&rows, settings.positive_or(1));
        let values =
            parts::values(&counts, settings.positive, &ranked.areas, losses.sums(rows.weights));
        let calibration = probability::reliability(&rows, settings.positive_or(1), options.bins);
        let mut scores = Scores::default();
        fill(&mut scores, &values, &counts, settings.positive);
        scores.set(Metric::Ece, expected_calibration_error(&calibration));
        if settings.top_k < classes {
            let hit = |row| f64::from(u8::from(probability::in_top_k(&rows, row, settings.top_k)));
            scores.set(Metric::TopKAccuracy, Some(probability::mean(&rows, hit)));
        }

        let total: f64 = counts.actual.iter().sum();
        let evaluated = || counts.actual.iter().map(|weight| weight / total).collect();
        let shares = options.shares.map_or_else(evaluated, <[f64]>::to_vec);
        let prior =
            |actual: &[f64]| baseline::prior_values(actual, &shares, settings.positive, P::EPSILON);
        let base = prior(&counts.actual);
        let mut resamples = 0;
        let mut intervals = [(None, None); CLASSIFICATION.len()];
        if let Some(bootstrap) = options.bootstrap.filter(|_| rows.rows() >= MIN_ROWS) {
            resamples = bootstrap.affordable(rows.rows(), 4 + 2 * ranked.kept.len());
            let mut samples = Resampled::new(CLASSIFICATION);
            let judged = bootstrap.resample(rows.rows(), resamples, |counts| {
                let totals = parts::tally(&rows, &predicted, counts);
                let areas: Vec<_> =
                    ranked.kept.iter().map(|ranking| ranking.resampled_areas(counts)).collect();
                let sums = losses.resampled_sums(counts, rows.weights);
                std::array::from_fn(|lane| {
                    let areas: Vec<_> = areas.iter().map(|areas| areas[lane]).collect();
                    let totals = &totals[lane];
                    let model = parts::values(totals, settings.positive, &areas, sums[lane]);
                    (model, prior(&totals.actual))
                })
            });
            for (model, base) in &judged {
                samples.push(model, base);
            }
            intervals = samples.intervals();
        }
        if options.bootstrap.is_some() && options.weights.is_none() {
            // Wilson's interval is better than a bootstrap for accuracies near 1 or few rows.
            intervals[0].0 = wilson(counts.hits.iter().sum(), rows.rows() as f64);
        }

        let applies = |metric| settings.applies(metric);
        let comparisons: Vec<Comparison> = CLASSIFICATION
            .iter()
            .zip(values.iter().zip(base).zip(&intervals))
            .filter_map(|(metric, ((model, base), (interval, gain)))| {
                Some(Comparison::new(*metric, (*model)?, *interval, base?, *gain))
            })
            .collect();
        let verdict = comparisons
            .iter()
            .find(|c| c.metric == settings.primary && options.bootstrap.is_some())
            .copied();
        let confusion = (classes <= MAX_MATRIX_CLASSES)
            .then(|| ConfusionMatrix::of(&rows.labels, &predicted, classes, options.weights))
            .transpose()?;
        Ok(Self {
            rows: rows.rows(),
            classes,
            positive: settings.positive,
            threshold: options.threshold,
            top_k: settings.top_k,
            undefined: reasons(&scores, &counts, settings.positive, ranked.skipped),
            scores,
            intervals: CLASSIFICATION
                .into_iter()
                .zip(values.iter().zip(intervals))
                .filter_map(|(metric, (value, (interval, _)))| Some((metric, value.and(interval)?)))
                .collect(),
            resamples,
            per_class: per_class(&counts, &ranked.areas, settings.positive),
            top_confusions: confusion.as_ref().map(|c| c.worst(TOP_CONFUSIONS)).unwrap_or_default(),
            confusion,
            calibration,
            curves: ranked.curves,
            baseline: Baseline {
                scores: baseline::scores(&CLASSIFICATION, &base, applies),
                rule: BaselineRule::Majority { class: baseline::majority(&shares), shares },
            },
            comparisons,
            verdict,
        })
    }
}

/// Checked options, with defaults filled in.
struct Settings {
    positive: Option<usize>,
    top_k: usize,
    primary: Metric,
}

impl Settings {
    fn new(classes: usize, options: &ClassificationOptions<'_>) -> Result<Self, MetricError> {
        let error = |name, problem: String| Err(MetricError::Setting { name, problem });
        input::check_threshold(classes, options.positive, options.threshold)?;
        let top_k = options.top_k.unwrap_or(if classes > 5 { 5 } else { 2 });
        if top_k == 0 {
            return error("top_k", "it must be at least 1".into());
        }
        if options.bins == 0 {
            return error("bins", "there must be at least 1".into());
        }
        let primary = options.primary.unwrap_or(Metric::Accuracy);
        let positive = (classes == 2).then(|| options.positive.unwrap_or(1));
        let settings = Self { positive, top_k, primary };
        if !CLASSIFICATION.contains(&primary) || !settings.applies(primary) {
            let known: Vec<&str> = CLASSIFICATION
                .iter()
                .filter(|metric| settings.applies(**metric))
                .map(|metric| metric.name())
                .collect();
            let problem =
                format!("{primary} has no baseline here; choose one of {}", known.join(", "));
            return error("primary", problem);
        }
        if let Some(bootstrap) = options.bootstrap {
            bootstrap.validate()?;
        }
        if let Some(shares) = options.shares {
            if shares.len() != classes {
                return Err(MetricError::Length {
                    what: "shares",
                    expected: classes,
                    why: "one per class".into(),
                    found: shares.len(),
                });
            }
            let valid = shares.iter().all(|share| (0.0..=1.0).contains(share));
            if !valid || (shares.iter().sum::<f64>() - 1.0).abs() > 1e-6 {
                return error(
                    "shares",
                    "class shares must lie between 0 and 1 and sum to 1".into(),
                );
            }
        }
        Ok(settings)
    }

    fn positive_or(&self, class: usize) -> usize {
        self.positive.unwrap_or(class)
    }

    /// Precision, recall and F1 of the positive class exist only for two classes.
    fn applies(&self, metric: Metric) -> bool {
        self.positive.is_some()
            || !matches!(metric, Metric::Precision | Metric::Recall | Metric::F1)
    }
}
