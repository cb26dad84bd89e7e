//! Everything that is to be said about a classifier on one part of the data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Average, Baseline, BaselineRule, Bootstrap, CalibrationBin, ClassCounts, ClassLabel,
    Comparison, Confusion, ConfusionMatrix, Interval, Metric, MetricError, PrPoint, Ranking, Real,
    RocPoint, Scores, Undefined,
    baseline::{self, CLASSIFICATION, Resampled, Values},
    bootstrap::MIN_ROWS,
    expected_calibration_error,
    input::{self, Classified},
    probability, wilson,
};

/// Larger tasks have no confusion matrix: nobody reads it, and it grows with the square.
const MAX_MATRIX_CLASSES: usize = 256;

/// Of more classes than this only the most frequent ones have their curves in the report.
const MAX_CURVES: usize = 10;

/// Confusions listed beside the matrix.
const TOP_CONFUSIONS: usize = 10;

/// Rows times ranked classes that are sorted for AUCs, about ten seconds of work.
const MAX_RANKED: usize = 50_000_000;

/// Rows times ranked classes that are kept sorted for the AUCs' intervals, about 100 MB.
const MAX_RESAMPLED: usize = 5_000_000;

/// What a [`ClassificationReport`] is asked for.
///
/// ```
/// use ff_train::metrics::ClassificationOptions;
/// let options = ClassificationOptions { threshold: Some(0.3), ..ClassificationOptions::default() };
/// assert_eq!(options.bins, 15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassificationOptions<'a> {
    /// The positive class of two; by default class 1.
    pub positive: Option<usize>,
    /// Two classes: the positive one is predicted from this probability on; by default the more probable
    /// class is predicted.
    pub threshold: Option<f64>,
    /// What each row weighs; by default 1.
    pub weights: Option<&'a [f32]>,
    /// Each class's share of the training part ([`class_shares`](super::class_shares)), for the baseline; by
    /// default the shares of the evaluated rows, which favours the baseline a little.
    pub shares: Option<&'a [f64]>,
    /// The metric of the verdict; by default the accuracy.
    pub primary: Option<Metric>,
    /// The k of the top-k accuracy; by default 5, or 2 where there are at most 5 classes. With as many
    /// classes as k it says nothing and is left out.
    pub top_k: Option<usize>,
    /// Bins of equal width of the reliability diagram and the calibration error (15, as in Guo et al. 2017).
    pub bins: usize,
    /// Points that a curve has at most; 0 leaves curves out.
    pub curve_points: usize,
    /// How intervals are made; `None` leaves out intervals and verdict.
    pub bootstrap: Option<Bootstrap>,
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
    /// Scores only, without curves, intervals and verdict: for the validation part after each epoch.
    pub fn scores_only() -> Self {
        Self { curve_points: 0, bootstrap: None, ..Self::default() }
    }
}

/// Scores of one class, as one against the rest.
///
/// ```
/// use ff_train::metrics::{ClassificationOptions, ClassificationReport};
/// let report = ClassificationReport::compute(&[0_u32, 1], &[0.9, 0.1, 0.2, 0.8], 2, &ClassificationOptions::default())?;
/// assert_eq!(report.per_class[1].recall, Some(1.0));
/// # Ok::<(), ff_train::metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// The class index.
    pub class: usize,
    /// Weight of its rows; without weights their number.
    pub support: f64,
    /// TP / (TP + FP); `None` if it is never predicted.
    pub precision: Option<f64>,
    /// TP / (TP + FN); `None` if it has no row.
    pub recall: Option<f64>,
    /// 2 TP / (2 TP + FP + FN); `None` if it is neither a label nor predicted.
    pub f1: Option<f64>,
    /// Area under its ROC curve; `None` if it, or everything else, has no row, and for the negative class of two.
    pub roc_auc: Option<f64>,
    /// Its average precision; `None` if it has no row, and for the negative class of two.
    pub pr_auc: Option<f64>,
}

/// The curves of one class against the rest.
///
/// ```
/// use ff_train::metrics::{ClassificationOptions, ClassificationReport};
/// let report = ClassificationReport::compute(&[0_u32, 1], &[0.9, 0.1, 0.2, 0.8], 2, &ClassificationOptions::default())?;
/// assert_eq!(report.curves[0].class, 1);
/// assert_eq!(report.curves[0].roc.last().map(|p| (p.fpr, p.tpr)), Some((1.0, 1.0)));
/// # Ok::<(), ff_train::metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassCurves {
    /// The class index.
    pub class: usize,
    /// The ROC curve from (0, 0); empty if it is not defined.
    pub roc: Vec<RocPoint>,
    /// The precision–recall curve by rising recall; empty if it is not defined.
    pub pr: Vec<PrPoint>,
}

/// Scores, intervals, curves, baseline and verdict of a classifier.
///
/// ```
/// use ff_train::metrics::{ClassificationOptions, ClassificationReport, Metric};
/// let labels = [0_i32, 1, 1, 0];
/// let probabilities = [0.8_f32, 0.2, 0.4, 0.6, 0.1, 0.9, 0.3, 0.7];
/// let report = ClassificationReport::compute(&labels, &probabilities, 2, &ClassificationOptions::default())?;
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
    /// The positive class of two.
    pub positive: Option<usize>,
    /// The threshold that decided, if it was not simply the more probable class.
    pub threshold: Option<f64>,
    /// The k of the top-k accuracy.
    pub top_k: usize,
    /// The scores; `precision`, `recall` and `f1` are those of the positive class of two.
    pub scores: Scores,
    /// Metrics without a value, and why.
    pub undefined: Vec<Undefined>,
    /// 95 % intervals, where there are rows enough.
    pub intervals: BTreeMap<Metric, Interval>,
    /// The number of resamples behind the bootstrap intervals; 0 without.
    pub resamples: usize,
    /// The classes one by one.
    pub per_class: Vec<ClassScores>,
    /// The confusion matrix, for at most 256 classes.
    pub confusion: Option<ConfusionMatrix>,
    /// The most frequent confusions, the most frequent first.
    pub top_confusions: Vec<Confusion>,
    /// The reliability diagram: of two classes the positive one's probability, of more the probability of
    /// the predicted class. `ece` belongs to these bins.
    pub calibration: Vec<CalibrationBin>,
    /// Curves: of two classes the positive one's, of more those of the ten most frequent.
    pub curves: Vec<ClassCurves>,
    /// The majority rule and its scores.
    pub baseline: Baseline,
    /// Model and baseline, metric by metric.
    pub comparisons: Vec<Comparison>,
    /// The comparison by the primary metric; `None` without intervals, or if that metric is not defined.
    pub verdict: Option<Comparison>,
}

impl ClassificationReport {
    /// Computes everything the options ask for.
    ///
    /// # Shapes
    /// `labels` is `[N]`, `probabilities` `[N, classes]`, row-major.
    ///
    /// # Errors
    /// Everything that [`MetricError`] lists. Valid rows on which a metric has no value are no error: see
    /// [`undefined`](Self::undefined).
    pub fn compute<L: ClassLabel, P: Real>(
        labels: &[L],
        probabilities: &[P],
        classes: usize,
        options: &ClassificationOptions<'_>,
    ) -> Result<Self, MetricError> {
        let rows = Classified::new(labels, probabilities, classes, options.weights)?;
        let settings = Settings::new(classes, options)?;
        let decided =
            |row| input::decide(rows.row(row), settings.positive_or(1), options.threshold) as u32;
        let predicted: Vec<u32> = (0..rows.rows()).map(decided).collect();
        let mut counts = ClassCounts::zeros(classes);
        for (row, guess) in predicted.iter().enumerate() {
            counts.add(rows.labels[row], *guess, rows.weight(row));
        }

        let ranked = rank(&rows, &counts, settings.positive, options);
        let losses = Losses::of(&rows, settings.positive_or(1));
        let values =
            losses.values(&counts, settings.positive, &ranked.areas, |_| 1.0, rows.weights);
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
            let mut drawn = vec![0; rows.rows()];
            let mut totals = ClassCounts::zeros(classes);
            for resample in 0..resamples {
                bootstrap.draw(resample, &mut drawn);
                totals.clear();
                for (row, guess) in predicted.iter().enumerate() {
                    totals.add(rows.labels[row], *guess, f64::from(drawn[row]) * rows.weight(row));
                }
                let count = |row: usize| f64::from(drawn[row]);
                let areas: Vec<_> =
                    ranked.kept.iter().map(|ranking| ranking.areas(count)).collect();
                let model = losses.values(&totals, settings.positive, &areas, count, rows.weights);
                samples.push(&model, &prior(&totals.actual));
            }
            intervals = samples.intervals();
        }
        if options.bootstrap.is_some() && options.weights.is_none() {
            // Wilson's interval is better than a bootstrap where accuracies are near 1 or rows few.
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

/// Options with their defaults filled in, checked.
struct Settings {
    positive: Option<usize>,
    top_k: usize,
    primary: Metric,
}

impl Settings {
    fn new(classes: usize, options: &ClassificationOptions<'_>) -> Result<Self, MetricError> {
        let error = |name, problem: String| Err(MetricError::Setting { name, problem });
        input::check_threshold(classes, options.positive, options.threshold)?;
        if classes > 2 && options.positive.is_some() {
            return error(
                "positive",
                format!("{classes} classes have no positive one; leave it out"),
            );
        }
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
                format!("{primary} has no baseline here; take one of {}", known.join(", "));
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
                    why: "one a class".into(),
                    found: shares.len(),
                });
            }
            let valid = shares.iter().all(|share| (0.0..=1.0).contains(share));
            if !valid || (shares.iter().sum::<f64>() - 1.0).abs() > 1e-6 {
                return error(
                    "shares",
                    "the classes' shares must be from 0 to 1 and sum to 1".into(),
                );
            }
        }
        Ok(settings)
    }

    fn positive_or(&self, class: usize) -> usize {
        self.positive.unwrap_or(class)
    }

    /// Precision, recall and F1 of "the" class exist for two classes only.
    fn applies(&self, metric: Metric) -> bool {
        self.positive.is_some()
            || !matches!(metric, Metric::Precision | Metric::Recall | Metric::F1)
    }
}

/// What the order of the scores says.
struct Ranked {
    /// ROC and PR area of the positive class, or of every class.
    areas: Vec<(Option<f64>, Option<f64>)>,
    /// The rankings themselves, if the bootstrap can afford them.
    kept: Vec<Ranking>,
    curves: Vec<ClassCurves>,
    /// Whether there are too many rows and classes to sort.
    skipped: bool,
}

fn rank<P: Real>(
    rows: &Classified<'_, P>,
    counts: &ClassCounts,
    positive: Option<usize>,
    options: &ClassificationOptions<'_>,
) -> Ranked {
    let targets: Vec<usize> = positive.map_or_else(|| (0..rows.classes).collect(), |p| vec![p]);
    let work = rows.rows().saturating_mul(targets.len());
    let mut ranked =
        Ranked { areas: vec![], kept: vec![], curves: vec![], skipped: work > MAX_RANKED };
    if ranked.skipped {
        ranked.areas = vec![(None, None); targets.len()];
        return ranked;
    }
    let mut frequent = targets.clone();
    frequent.sort_by(|a, b| counts.actual[*b].total_cmp(&counts.actual[*a]));
    frequent.truncate(MAX_CURVES);
    for class in targets {
        let scores: Vec<f64> = (0..rows.rows()).map(|row| rows.p(row, class)).collect();
        let is_class = |row: usize| rows.labels[row] as usize == class;
        let ranking = Ranking::sorted(&scores, is_class, rows.weights);
        ranked.areas.push(ranking.areas(|_| 1.0));
        if options.curve_points > 0 && frequent.contains(&class) {
            ranked.curves.push(ClassCurves {
                class,
                roc: ranking.roc_curve(options.curve_points).unwrap_or_default(),
                pr: ranking.pr_curve(options.curve_points).unwrap_or_default(),
            });
        }
        if options.bootstrap.is_some() && work <= MAX_RESAMPLED {
            ranked.kept.push(ranking);
        }
    }
    ranked
}

/// Each row's share in the metrics that are means.
struct Losses {
    log_loss: Vec<f64>,
    brier: Vec<f64>,
}

impl Losses {
    fn of<P: Real>(rows: &Classified<'_, P>, positive: usize) -> Self {
        let all = 0..rows.rows();
        Self {
            log_loss: all
                .clone()
                .map(|row| probability::negative_log_likelihood(rows, row))
                .collect(),
            brier: all.map(|row| probability::brier(rows, row, positive)).collect(),
        }
    }

    /// The metrics of [`CLASSIFICATION`] with each row counted `count(row)` times.
    fn values(
        &self,
        counts: &ClassCounts,
        positive: Option<usize>,
        areas: &[(Option<f64>, Option<f64>)],
        count: impl Fn(usize) -> f64,
        weights: Option<&[f32]>,
    ) -> Values<{ CLASSIFICATION.len() }> {
        let (mut log_loss, mut brier) = (0.0, 0.0);
        for (row, (loss, square)) in self.log_loss.iter().zip(&self.brier).enumerate() {
            let weight = count(row) * weights.map_or(1.0, |w| f64::from(w[row]));
            log_loss += weight * loss;
            brier += weight * square;
        }
        let total: f64 = counts.actual.iter().sum();
        // One class without rows leaves the mean over all classes undefined.
        let mean = |values: &mut dyn Iterator<Item = Option<f64>>| {
            let sum = values.sum::<Option<f64>>()?;
            (!areas.is_empty()).then(|| sum / areas.len() as f64)
        };
        [
            Some(counts.accuracy()),
            Some(counts.balanced_accuracy()),
            positive.and_then(|p| counts.precision(p)),
            positive.and_then(|p| counts.recall(p)),
            positive.and_then(|p| counts.f1(p)),
            Some(counts.average(Average::Macro).f1),
            mean(&mut areas.iter().map(|area| area.0)),
            mean(&mut areas.iter().map(|area| area.1)),
            Some(log_loss / total),
            Some(brier / total),
        ]
    }
}

/// Sets the scores in the order of [`Metric::ALL`].
fn fill(
    scores: &mut Scores,
    values: &Values<{ CLASSIFICATION.len() }>,
    counts: &ClassCounts,
    positive: Option<usize>,
) {
    let mut all = BTreeMap::new();
    for (metric, value) in CLASSIFICATION.iter().zip(values) {
        if positive.is_some() || !matches!(metric, Metric::Precision | Metric::Recall | Metric::F1)
        {
            all.insert(*metric, *value);
        }
    }
    for (average, metrics) in [
        (Average::Macro, [Metric::PrecisionMacro, Metric::RecallMacro, Metric::F1Macro]),
        (Average::Micro, [Metric::PrecisionMicro, Metric::RecallMicro, Metric::F1Micro]),
        (
            Average::Weighted,
            [Metric::PrecisionWeighted, Metric::RecallWeighted, Metric::F1Weighted],
        ),
    ] {
        let mean = counts.average(average);
        for (metric, value) in metrics.into_iter().zip([mean.precision, mean.recall, mean.f1]) {
            all.insert(metric, Some(value));
        }
    }
    for (metric, value) in all {
        scores.set(metric, value);
    }
}

fn per_class(
    counts: &ClassCounts,
    areas: &[(Option<f64>, Option<f64>)],
    positive: Option<usize>,
) -> Vec<ClassScores> {
    let classes = counts.actual.len();
    let class_scores = |class: usize| {
        let area = match positive {
            None => areas[class],
            Some(positive) if positive == class => areas[0],
            Some(_) => (None, None),
        };
        ClassScores {
            class,
            support: counts.support(class),
            precision: counts.precision(class),
            recall: counts.recall(class),
            f1: counts.f1(class),
            roc_auc: area.0,
            pr_auc: area.1,
        }
    };
    (0..classes).map(class_scores).collect()
}

/// Why each metric without a value has none.
fn reasons(
    scores: &Scores,
    counts: &ClassCounts,
    positive: Option<usize>,
    skipped: bool,
) -> Vec<Undefined> {
    let absent: Vec<String> = (0..counts.actual.len())
        .filter(|&c| counts.actual[c] == 0.0)
        .map(|c| c.to_string())
        .collect();
    let some = if absent.len() > 5 {
        format!("classes {}, … ({} in all) have", absent[..5].join(", "), absent.len())
    } else if absent.len() == 1 {
        format!("class {} has", absent[0])
    } else {
        format!("classes {} have", absent.join(", "))
    };
    let positive = positive.unwrap_or(1);
    let reason = |metric: Metric| {
        match metric {
        Metric::Precision => format!("class {positive} is never predicted"),
        Metric::Recall => format!("class {positive} has no row here"),
        Metric::F1 => format!("class {positive} has no row here and is never predicted"),
        Metric::RocAuc | Metric::PrAuc if skipped => {
            "there are too many rows and classes to rank each class; the scores of a sample would do".into()
        }
        Metric::RocAuc | Metric::PrAuc => {
            format!("{} needs rows of every class, and {some} none here", metric.label())
        }
        _ => "it has no finite value on these rows".into(),
    }
    };
    scores
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(metric, _)| Undefined { metric, reason: reason(metric) })
        .collect()
}
