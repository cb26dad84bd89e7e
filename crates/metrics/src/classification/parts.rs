//! The parts of a [`ClassificationReport`](super::ClassificationReport).

use std::collections::BTreeMap;

use ff_kernels::{Work, dispatch};
use ff_tensor::Device;

use super::super::{
    Average, ClassCounts, Metric, Ranking, Real, Scores, Undefined,
    baseline::{CLASSIFICATION, Values},
    bootstrap::{Counts, LANES},
    input::Classified,
    probability,
};
use super::{ClassCurves, ClassScores, ClassificationOptions};

/// The maximum number of classes with curves in the report, the most frequent ones.
const MAX_CURVES: usize = 10;

/// The maximum number of rows times ranked classes sorted for AUCs, about ten seconds of work.
const MAX_RANKED: usize = 50_000_000;

/// The maximum number of rows times ranked classes kept sorted for intervals of AUCs, about 100 MB.
const MAX_RESAMPLED: usize = 5_000_000;

/// Metrics of the order of scores.
pub(super) struct Ranked {
    /// The ROC and PR areas of the positive class, or of every class.
    pub(super) areas: Vec<(Option<f64>, Option<f64>)>,
    /// The rankings themselves, if within the budget of the bootstrap.
    pub(super) kept: Vec<Ranking>,
    pub(super) curves: Vec<ClassCurves>,
    /// Whether there are too many rows and classes to sort.
    pub(super) skipped: bool,
}

pub(super) fn rank<P: Real>(
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
        ranked.areas.push(ranking.areas());
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

/// The terms of each row in metrics that are means.
pub(super) struct Losses {
    log_loss: Vec<f64>,
    brier: Vec<f64>,
}

impl Losses {
    pub(super) fn of<P: Real>(rows: &Classified<'_, P>, positive: usize) -> Self {
        let all = 0..rows.rows();
        Self {
            log_loss: all
                .clone()
                .map(|row| probability::negative_log_likelihood(rows, row))
                .collect(),
            brier: all.map(|row| probability::brier(rows, row, positive)).collect(),
        }
    }

    /// The sums of both over the rows.
    pub(super) fn sums(&self, weights: Option<&[f32]>) -> [f64; 2] {
        let mut sums = [0.0; 2];
        for (row, (loss, square)) in self.log_loss.iter().zip(&self.brier).enumerate() {
            let weight = weights.map_or(1.0, |w| f64::from(w[row]));
            sums[0] += weight * loss;
            sums[1] += weight * square;
        }
        sums
    }

    /// The same sums in each of several resamples.
    pub(super) fn resampled_sums(
        &self,
        counts: &Counts,
        weights: Option<&[f32]>,
    ) -> [[f64; 2]; LANES] {
        dispatch(Device::default().cpu(), Sums { losses: self, counts, weights })
    }
}

struct Sums<'a> {
    losses: &'a Losses,
    counts: &'a Counts,
    weights: Option<&'a [f32]>,
}

impl Work for Sums<'_> {
    type Output = [[f64; 2]; LANES];
    #[inline(always)]
    fn run(self) -> Self::Output {
        let (mut log_loss, mut brier) = ([0.0f64; LANES], [0.0f64; LANES]);
        let rows = self.losses.log_loss.iter().zip(&self.losses.brier).zip(self.counts);
        for (row, ((loss, square), counts)) in rows.enumerate() {
            let weight = self.weights.map_or(1.0, |w| f64::from(w[row]));
            let drawn: [f64; LANES] = std::array::from_fn(|l| f64::from(counts[l]) * weight);
            log_loss = std::array::from_fn(|l| log_loss[l] + drawn[l] * loss);
            brier = std::array::from_fn(|l| brier[l] + drawn[l] * square);
        }
        std::array::from_fn(|l| [log_loss[l], brier[l]])
    }
}

/// The decision counts in each of several resamples.
pub(super) fn tally<P: Real>(
    rows: &Classified<'_, P>,
    predicted: &[u32],
    counts: &Counts,
) -> [ClassCounts; LANES] {
    let tally = Tally {
        labels: &rows.labels,
        predicted,
        weights: rows.weights,
        classes: rows.classes,
        counts,
    };
    let [actual, guessed, hits] = dispatch(Device::default().cpu(), tally);
    let lane = |sums: &[[f64; LANES]], l: usize| sums.iter().map(|lanes| lanes[l]).collect();
    std::array::from_fn(|l| ClassCounts {
        hits: lane(&hits, l),
        actual: lane(&actual, l),
        predicted: lane(&guessed, l),
    })
}

struct Tally<'a> {
    labels: &'a [u32],
    predicted: &'a [u32],
    weights: Option<&'a [f32]>,
    classes: usize,
    counts: &'a Counts,
}

impl Work for Tally<'_> {
    type Output = [Vec<[f64; LANES]>; 3];
    #[inline(always)]
    fn run(self) -> Self::Output {
        let zeros = || vec![[0.0; LANES]; self.classes];
        let (mut actual, mut guessed, mut hits) = (zeros(), zeros(), zeros());
        for (row, counts) in self.counts.iter().enumerate() {
            let weight = self.weights.map_or(1.0, |w| f64::from(w[row]));
            let weights: [f64; LANES] = std::array::from_fn(|l| f64::from(counts[l]) * weight);
            let add = |sums: &mut [f64; LANES]| {
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            };
            let (label, guess) = (self.labels[row] as usize, self.predicted[row] as usize);
            add(&mut actual[label]);
            add(&mut guessed[guess]);
            if label == guess {
                add(&mut hits[label]);
            }
        }
        [actual, guessed, hits]
    }
}

/// The metrics of [`CLASSIFICATION`] from decision counts, areas and summed losses.
pub(super) fn values(
    counts: &ClassCounts,
    positive: Option<usize>,
    areas: &[(Option<f64>, Option<f64>)],
    [log_loss, brier]: [f64; 2],
) -> Values<{ CLASSIFICATION.len() }> {
    let total: f64 = counts.actual.iter().sum();
    // A class without rows makes the mean over all classes undefined.
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

/// Sets the scores in the order of [`Metric::ALL`].
pub(super) fn fill(
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

pub(super) fn per_class(
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
            false_positive_rate: counts.false_positive_rate(class),
            roc_auc: area.0,
            pr_auc: area.1,
        }
    };
    (0..classes).map(class_scores).collect()
}

/// The reason for each undefined metric.
pub(super) fn reasons(
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
    let reason = |metric: Metric| match metric {
        Metric::Precision => format!("class {positive} is never predicted"),
        Metric::Recall => format!("class {positive} has no rows here"),
        Metric::F1 => format!("class {positive} has no rows here and is never predicted"),
        Metric::RocAuc | Metric::PrAuc if skipped => {
            "too many rows and classes to rank each class; evaluate a sample instead".into()
        }
        Metric::RocAuc | Metric::PrAuc => {
            format!("{} needs rows of every class, but {some} none here", metric.label())
        }
        _ => "it has no finite value on these rows".into(),
    };
    scores
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(metric, _)| Undefined { metric, reason: reason(metric) })
        .collect()
}
