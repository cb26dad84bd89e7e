//! How good the model is: classifiers and regressions.

use super::explain::Explained;
use super::segments;
use super::snapshot::Part;
use crate::table::model::{ModelFile, Predictions};
use crate::table::recipe::Recipe;
use crate::table::scores::PartReports;
use ff_metrics::CalibrationBin as Bin;
use ff_metrics::{
    ClassCurves, ClassificationReport, Metric, RegressionReport, ThresholdAim, wilson,
};
use ff_report::{
    Calibration, CalibrationBin, ClassScores, Classification, RateCurve, Regression, ThresholdCurve,
};
use ff_table::{Prepared, Target};

/// Rows whose truth and prediction the page gets; it draws fewer.
const POINTS: usize = 20_000;

/// Thresholds: a grid of this many and about as many of the scores themselves.
const THRESHOLDS: usize = 100;

pub(super) fn classification(
    report: &ClassificationReport,
    part: Part<'_>,
    file: &ModelFile,
    reports: &PartReports,
    prepared: &Prepared,
    recipe: &Recipe,
) -> Classification {
    let classes = &prepared.target.classes;
    let confusion = report.confusion.as_ref().map_or_else(Vec::new, |matrix| {
        let row = |row: &Vec<f64>| row.iter().map(|n| n.round() as u64).collect();
        matrix.counts.iter().map(row).collect()
    });
    Classification {
        split: part.name.into(),
        classes: classes.clone(),
        positive: report.positive,
        confusion,
        per_class: per_class(report, classes),
        means: means(report),
        roc: report.curves.iter().filter_map(|curve| roc(report, curve, classes)).collect(),
        precision_recall: report
            .curves
            .iter()
            .filter_map(|curve| precision_recall(report, curve, classes))
            .collect(),
        calibration: calibration(report, classes),
        threshold: threshold(file, reports, prepared, recipe),
    }
}

fn per_class(report: &ClassificationReport, classes: &[String]) -> Vec<ClassScores> {
    let scores = report.per_class.iter().map(|s| ClassScores {
        name: classes.get(s.class).cloned().unwrap_or_default(),
        precision: s.precision.unwrap_or(f64::NAN),
        recall: s.recall.unwrap_or(f64::NAN),
        f1: s.f1.unwrap_or(f64::NAN),
        support: s.support.round() as u64,
        // Of two classes there is one curve, whose area stands beside it.
        roc_auc: s.roc_auc.filter(|_| report.positive.is_none()),
    });
    scores.collect()
}

fn means(report: &ClassificationReport) -> Vec<ClassScores> {
    let support = report.per_class.iter().map(|s| s.support).sum::<f64>().round() as u64;
    let mean = |name: &str, [precision, recall, f1]: [Metric; 3], roc_auc| {
        let get = |metric| report.scores.get(metric).unwrap_or(f64::NAN);
        let (precision, recall, f1) = (get(precision), get(recall), get(f1));
        ClassScores { name: name.into(), precision, recall, f1, support, roc_auc }
    };
    // The AUC of two classes is the positive one's; of more it is the plain mean.
    let auc = report.scores.get(Metric::RocAuc).filter(|_| report.positive.is_none());
    vec![
        mean("mean", [Metric::PrecisionMacro, Metric::RecallMacro, Metric::F1Macro], auc),
        mean(
            "weighted mean",
            [Metric::PrecisionWeighted, Metric::RecallWeighted, Metric::F1Weighted],
            None,
        ),
    ]
}

fn roc(report: &ClassificationReport, curve: &ClassCurves, names: &[String]) -> Option<RateCurve> {
    let (x, y): (Vec<f64>, Vec<f64>) = curve.roc.iter().map(|p| (p.fpr, p.tpr)).unzip();
    let area = report.per_class.get(curve.class).and_then(|s| s.roc_auc);
    let name = names.get(curve.class).cloned().unwrap_or_default();
    (!x.is_empty()).then_some(RateCurve { name, x, y, area, chance: None })
}

fn precision_recall(
    report: &ClassificationReport,
    curve: &ClassCurves,
    names: &[String],
) -> Option<RateCurve> {
    let (x, y): (Vec<f64>, Vec<f64>) = curve.pr.iter().map(|p| (p.recall, p.precision)).unzip();
    let scores = report.per_class.get(curve.class)?;
    let total: f64 = report.per_class.iter().map(|s| s.support).sum();
    let name = names.get(curve.class).cloned().unwrap_or_default();
    let chance = (total > 0.0).then(|| scores.support / total);
    (!x.is_empty()).then_some(RateCurve { name, x, y, area: scores.pr_auc, chance })
}

fn calibration(report: &ClassificationReport, classes: &[String]) -> Option<Calibration> {
    if report.calibration.is_empty() {
        return None;
    }
    let bins = merged(&report.calibration, report.rows).into_iter().map(|bin| {
        let interval = wilson(bin.observed * bin.count as f64, bin.count as f64);
        CalibrationBin {
            predicted: bin.predicted,
            observed: bin.observed,
            low: interval.map(|i| i.low),
            high: interval.map(|i| i.high),
            count: bin.count,
        }
    });
    let of = report.positive.and_then(|positive| classes.get(positive).cloned());
    Some(Calibration {
        of: of.unwrap_or_else(|| "the most likely class".into()),
        bins: bins.collect(),
        error: report.scores.get(Metric::Ece),
        brier: report.scores.get(Metric::Brier),
    })
}

/// Neighbouring bins together until each has rows enough to be drawn: single rows would make a saw
/// of the curve.
fn merged(bins: &[Bin], rows: usize) -> Vec<Bin> {
    let enough = (rows as u64 / 50).max(5);
    let mut all: Vec<Bin> = Vec::new();
    for bin in bins {
        match all.last_mut().filter(|last| last.count < enough) {
            Some(last) => *last = union(last, bin),
            None => all.push(*bin),
        }
    }
    // What is left over at the end joins its neighbour.
    if let [.., before, last] = all.as_mut_slice()
        && last.count < enough
    {
        *before = union(before, last);
        all.pop();
    }
    all
}

fn union(a: &Bin, b: &Bin) -> Bin {
    let weight = a.weight + b.weight;
    let mean = |of: fn(&Bin) -> f64| (of(a) * a.weight + of(b) * b.weight) / weight;
    Bin {
        low: a.low,
        high: b.high,
        count: a.count + b.count,
        weight,
        predicted: mean(|bin| bin.predicted),
        observed: mean(|bin| bin.observed),
    }
}

/// What a threshold was chosen for.
pub(super) fn aim(aim: ThresholdAim) -> String {
    match aim {
        ThresholdAim::F1 => "best F1".into(),
        ThresholdAim::BalancedAccuracy => "best balanced accuracy".into(),
        ThresholdAim::Cost { false_positive, false_negative } => {
            format!("lowest cost at {false_positive} a false alarm and {false_negative} a miss")
        }
        ThresholdAim::RecallAtPrecision(least) => format!("best recall at precision ≥ {least}"),
        ThresholdAim::PrecisionAtRecall(least) => format!("best precision at recall ≥ {least}"),
        ThresholdAim::RecallAtFalsePositiveRate(most) => {
            format!("best recall at a false positive rate ≤ {most}")
        }
    }
}

/// Counts at each threshold on the validation part: the test part must not choose anything.
fn threshold(
    file: &ModelFile,
    reports: &PartReports,
    prepared: &Prepared,
    recipe: &Recipe,
) -> Option<ThresholdCurve> {
    let positive = file.positive.filter(|_| file.classes.len() == 2)?;
    let data = Part::of(prepared, reports, "valid").data;
    let Some(Target::Class(labels)) = &data.target else { return None };
    let Some(Predictions::Classes { probabilities, .. }) = reports.valid_predictions() else {
        return None;
    };
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (p, &label) in probabilities.chunks_exact(2).zip(labels) {
        if label as usize == positive { &mut yes } else { &mut no }.push(p[positive]);
    }
    if yes.is_empty() || no.is_empty() {
        return None;
    }
    yes.sort_unstable_by(f64::total_cmp);
    no.sort_unstable_by(f64::total_cmp);
    let chosen = file.chosen;
    let used = file.threshold.unwrap_or(0.5);
    let thresholds = thresholds(&yes, &no, used);
    let at_least =
        |sorted: &[f64], t: f64| (sorted.len() - sorted.partition_point(|p| *p < t)) as u64;
    let count = |of: &[f64]| thresholds.iter().map(|&t| at_least(of, t)).collect::<Vec<u64>>();
    let (true_positive, false_positive) = (count(&yes), count(&no));
    let (mut false_positive_cost, mut false_negative_cost) = (None, None);
    if let Some(ThresholdAim::Cost { false_positive, false_negative }) = recipe.evaluate.threshold {
        (false_positive_cost, false_negative_cost) = (Some(false_positive), Some(false_negative));
    }
    Some(ThresholdCurve {
        split: "valid".into(),
        false_negative: true_positive.iter().map(|n| yes.len() as u64 - n).collect(),
        true_negative: false_positive.iter().map(|n| no.len() as u64 - n).collect(),
        thresholds,
        true_positive,
        false_positive,
        chosen: Some(used),
        aim: chosen.map_or_else(|| "the likelier class".into(), |chosen| aim(chosen.aim)),
        false_positive_cost,
        false_negative_cost,
    })
}

/// A grid, scores at even ranks, and the threshold in use, ascending.
fn thresholds(yes: &[f64], no: &[f64], used: f64) -> Vec<f64> {
    let mut all: Vec<f64> = (0..=THRESHOLDS).map(|i| i as f64 / THRESHOLDS as f64).collect();
    for scores in [yes, no] {
        let last = scores.len() - 1;
        let most = (THRESHOLDS / 2).min(last).max(1);
        all.extend((0..=most).map(|i| scores[i * last / most]));
    }
    all.push(used);
    all.sort_unstable_by(f64::total_cmp);
    all.dedup();
    all
}

pub(super) fn regression(
    report: &RegressionReport,
    part: Part<'_>,
    predictions: &Predictions,
    prepared: &Prepared,
    explained: &Explained,
) -> Regression {
    let (Predictions::Values(predicted), Some(Target::Value(actual))) =
        (predictions, &part.data.target)
    else {
        return Regression::default();
    };
    let target = &prepared.transforms.target;
    let actual: Vec<f64> = actual.iter().map(|&y| target.inverse(y)).collect();
    let overall = report.scores.get(Metric::Rmse);
    let segments = segments::worst(part, prepared, &actual, predicted, overall, explained);
    let stride = actual.len().div_ceil(POINTS).max(1);
    Regression {
        split: part.name.into(),
        target: prepared.target.column.clone(),
        unit: String::new(),
        predicted: predicted.iter().step_by(stride).copied().collect(),
        actual: actual.into_iter().step_by(stride).collect(),
        error: "RMSE".into(),
        overall,
        segments,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_bins_join_their_neighbours() {
        let bin = |low: f64, count: u64, hits: u64| Bin {
            low,
            high: low + 0.1,
            count,
            weight: count as f64,
            predicted: low + 0.05,
            observed: hits as f64 / count as f64,
        };
        let bins = [bin(0.0, 9, 0), bin(0.2, 2, 1), bin(0.5, 3, 2), bin(0.7, 6, 5), bin(0.9, 1, 1)];
        let merged = merged(&bins, 21);
        let counts: Vec<u64> = merged.iter().map(|b| b.count).collect();
        assert_eq!(counts, [9, 5, 7]);
        assert!((merged[1].observed - 0.6).abs() < 1e-12);
        assert!((merged[1].predicted - (2.0 * 0.25 + 3.0 * 0.55) / 5.0).abs() < 1e-12);
        assert_eq!((merged[2].low, merged[2].high), (0.7, 1.0));
    }

    #[test]
    fn thresholds_hold_the_ends_and_the_one_in_use() {
        let all = thresholds(&[0.4, 0.9], &[0.123], 0.3337);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        for t in [0.0, 0.123, 0.3337, 0.4, 0.9, 1.0] {
            assert!(all.contains(&t), "{t}");
        }
    }
}
