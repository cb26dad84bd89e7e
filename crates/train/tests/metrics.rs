//! Metrics against scikit-learn (fixtures/metrics/make.py), against their definitions, and on bad input.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use ff_train::metrics::*;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Both sides add at most 80 terms in f64, in another order: their sums differ by less than 80 · 2⁻⁵³ ≈ 1e-14 of
/// their size, and no score here is a small difference of large numbers.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct ClassificationFixture {
    bins: usize,
    cases: Vec<ClassificationCase>,
}

#[derive(Deserialize)]
struct ClassificationCase {
    name: String,
    classes: usize,
    positive: Option<usize>,
    threshold: Option<f64>,
    top_k: usize,
    labels: Vec<u32>,
    probabilities: Vec<f64>,
    weights: Option<Vec<f32>>,
    scores: BTreeMap<Metric, Option<f64>>,
    per_class: Vec<BTreeMap<String, Option<f64>>>,
    confusion: Vec<Vec<f64>>,
    baseline: BTreeMap<Metric, f64>,
    roc: Option<Vec<(Option<f64>, f64, f64)>>,
    pr: Option<Vec<(Option<f64>, f64, f64)>>,
}

impl ClassificationCase {
    fn options(&self) -> ClassificationOptions<'_> {
        ClassificationOptions {
            positive: self.positive,
            threshold: self.threshold,
            weights: self.weights.as_deref(),
            top_k: Some(self.top_k),
            bootstrap: None,
            curve_points: 10_000,
            ..ClassificationOptions::default()
        }
    }

    fn report(&self) -> ClassificationReport {
        ClassificationReport::compute(
            &self.labels,
            &self.probabilities,
            self.classes,
            &self.options(),
        )
        .unwrap()
    }
}

fn classification() -> ClassificationFixture {
    serde_json::from_str(include_str!("fixtures/metrics/classification.json")).unwrap()
}

#[derive(Deserialize)]
struct RegressionCase {
    name: String,
    targets: Vec<f64>,
    predictions: Vec<f64>,
    weights: Option<Vec<f32>>,
    scores: BTreeMap<Metric, Option<f64>>,
    baseline: BTreeMap<Metric, Option<f64>>,
}

#[track_caller]
fn close(what: &str, ours: Option<f64>, theirs: Option<f64>, tolerance: f64) {
    let equal = match (ours, theirs) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance * b.abs().max(1.0),
        (None, None) => true,
        _ => false,
    };
    assert!(equal, "{what}: ours {ours:?}, scikit-learn's {theirs:?}");
}

/// A small generator of its own, so that tests do not lean on the code under test.
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(2) + 1;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn classification_scores_are_those_of_scikit_learn() {
    let fixture = classification();
    assert_eq!(fixture.bins, ClassificationOptions::default().bins);
    for case in fixture.cases {
        let report = case.report();
        for (metric, theirs) in &case.scores {
            close(
                &format!("{} {metric}", case.name),
                report.scores.get(*metric),
                *theirs,
                TOLERANCE,
            );
            let explained = report.undefined.iter().any(|u| u.metric == *metric);
            assert_eq!(explained, theirs.is_none(), "{} {metric}", case.name);
        }
        let ours: Vec<Metric> = report.scores.iter().map(|(metric, _)| metric).collect();
        let known = |metric: &Metric| case.scores.contains_key(metric);
        assert!(ours.iter().all(known), "{}: a score without a fixture in {ours:?}", case.name);
        for (class, (ours, theirs)) in report.per_class.iter().zip(&case.per_class).enumerate() {
            for (name, ours) in [
                ("precision", ours.precision),
                ("recall", ours.recall),
                ("f1", ours.f1),
                ("support", Some(ours.support)),
                ("roc_auc", ours.roc_auc),
                ("pr_auc", ours.pr_auc),
            ] {
                close(
                    &format!("{} class {class} {name}", case.name),
                    ours,
                    theirs[name],
                    TOLERANCE,
                );
            }
        }
        assert_eq!(report.confusion.unwrap().counts, case.confusion, "{}", case.name);
        for (metric, theirs) in &case.baseline {
            let ours = report.baseline.scores.get(*metric);
            close(&format!("{} baseline {metric}", case.name), ours, Some(*theirs), TOLERANCE);
        }
    }
}

#[test]
fn curves_are_those_of_scikit_learn() {
    for case in classification().cases {
        let (Some(roc), Some(pr)) = (&case.roc, &case.pr) else { continue };
        let curves = &case.report().curves[0];
        // Ours leaves points on straight lines out: every point of ours is theirs, and every point of
        // theirs lies on one of our lines.
        for point in &curves.roc {
            let theirs = roc.iter().find(|p| p.0 == point.threshold).unwrap();
            close(&case.name, Some(point.fpr), Some(theirs.1), TOLERANCE);
            close(&case.name, Some(point.tpr), Some(theirs.2), TOLERANCE);
        }
        for (_, fpr, tpr) in roc {
            let on_a_line = curves.roc.windows(2).any(|line| {
                let (a, b) = (line[0], line[1]);
                let cross = (b.fpr - a.fpr) * (tpr - a.tpr) - (b.tpr - a.tpr) * (fpr - a.fpr);
                let inside =
                    |low: f64, x: f64, high: f64| low - TOLERANCE <= x && x <= high + TOLERANCE;
                cross.abs() < TOLERANCE && inside(a.fpr, *fpr, b.fpr) && inside(a.tpr, *tpr, b.tpr)
            });
            assert!(on_a_line, "{}: ({fpr}, {tpr}) is not on our curve", case.name);
        }
        assert_eq!((curves.pr[0].recall, curves.pr[0].precision), (0.0, 1.0));
        for point in &curves.pr[1..] {
            let theirs = pr.iter().find(|p| p.0 == point.threshold).unwrap();
            close(&case.name, Some(point.recall), Some(theirs.1), TOLERANCE);
            close(&case.name, Some(point.precision), Some(theirs.2), TOLERANCE);
        }
        assert_eq!(curves.pr.len(), pr.len(), "{}", case.name);
    }
}

#[test]
fn regression_scores_are_those_of_scikit_learn() {
    let fixture: Value =
        serde_json::from_str(include_str!("fixtures/metrics/regression.json")).unwrap();
    let cases: Vec<RegressionCase> = serde_json::from_value(fixture["cases"].clone()).unwrap();
    for case in cases {
        let options = RegressionOptions { weights: case.weights.as_deref(), ..Default::default() };
        let report = RegressionReport::compute(&case.targets, &case.predictions, &options).unwrap();
        // Targets near 1e6 whose spread is 3e-3 carry 2⁻³³ · 3e-3 of rounding into every difference.
        let tolerance = if case.name == "large_offset" { 1e-7 } else { TOLERANCE };
        for (metric, theirs) in &case.scores {
            let what = format!("{} {metric}", case.name);
            close(&what, report.scores.get(*metric), *theirs, tolerance);
            let explained = report.undefined.iter().any(|u| u.metric == *metric);
            assert_eq!(explained, theirs.is_none(), "{what}");
            let ours = report.baseline.scores.get(*metric);
            close(&format!("{what} of the mean"), ours, case.baseline[metric], tolerance);
        }
    }
}

#[test]
fn the_area_is_the_share_of_pairs_in_order() {
    let mut random = uniform(7);
    for rows in [2, 3, 10, 61] {
        let scores: Vec<f32> = (0..rows).map(|_| (random() * 8.0).floor() as f32).collect();
        let positive: Vec<bool> =
            (0..rows).map(|row| row == 0 || row > 1 && random() < 0.4).collect();
        let (mut pairs, mut ordered) = (0.0, 0.0);
        for p in (0..rows).filter(|&row| positive[row]) {
            for n in (0..rows).filter(|&row| !positive[row]) {
                pairs += 1.0;
                ordered += match scores[p].partial_cmp(&scores[n]).unwrap() {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
        let ours = Ranking::new(&scores, &positive, None).unwrap().roc_auc().unwrap();
        // Halves of integers below 2⁵³ are exact; only the last division may round.
        assert!((ours - ordered / pairs).abs() < 1e-15, "{rows} rows: {ours}");
    }
}

#[test]
fn a_weight_is_a_number_of_copies() {
    let mut random = uniform(3);
    let (rows, classes) = (40, 3);
    let labels: Vec<i32> = (0..rows).map(|row| row % 3).collect();
    let mut p = Vec::new();
    for _ in 0..rows {
        let raw = [random() + 0.1, random() + 0.1, random() + 0.1];
        p.extend(raw.map(|x| x / raw.iter().sum::<f64>()));
    }
    let weights: Vec<f32> = (0..rows).map(|row| ((row * 7) % 4) as f32).collect();
    let (mut many_labels, mut many_p) = (vec![], Vec::<f64>::new());
    for row in 0..rows as usize {
        for _ in 0..weights[row] as usize {
            many_labels.push(labels[row]);
            many_p.extend(&p[row * classes..(row + 1) * classes]);
        }
    }
    let options =
        ClassificationOptions { weights: Some(&weights), ..ClassificationOptions::scores_only() };
    let weighted = ClassificationReport::compute(&labels, &p, classes, &options).unwrap();
    let options = ClassificationOptions::scores_only();
    let copied = ClassificationReport::compute(&many_labels, &many_p, classes, &options).unwrap();
    for (metric, value) in weighted.scores.iter() {
        close(metric.name(), value, copied.scores.get(metric), TOLERANCE);
    }
    assert_eq!(weighted.confusion, copied.confusion);
}

#[test]
fn the_order_of_rows_changes_nothing() {
    for case in classification().cases.iter().filter(|case| case.weights.is_none()) {
        let rows = case.labels.len();
        let reversed: Vec<u32> = case.labels.iter().rev().copied().collect();
        let p: Vec<f64> = (0..rows)
            .rev()
            .flat_map(|row| {
                case.probabilities[row * case.classes..(row + 1) * case.classes].to_vec()
            })
            .collect();
        let other =
            ClassificationReport::compute(&reversed, &p, case.classes, &case.options()).unwrap();
        for (metric, value) in case.report().scores.iter() {
            close(&format!("{} {metric}", case.name), other.scores.get(metric), value, TOLERANCE);
        }
    }
}

#[test]
fn f32_and_f64_read_the_same_numbers_alike() {
    let case = classification().cases.into_iter().find(|case| case.name == "multiclass").unwrap();
    let narrow: Vec<f32> = case.probabilities.iter().map(|p| *p as f32).collect();
    let wide: Vec<f64> = narrow.iter().map(|p| f64::from(*p)).collect();
    let of_narrow =
        ClassificationReport::compute(&case.labels, &narrow, 4, &case.options()).unwrap();
    let of_wide = ClassificationReport::compute(&case.labels, &wide, 4, &case.options()).unwrap();
    assert_eq!(of_narrow, of_wide);
    // Rounding each probability by 2⁻²⁵ moves scikit-learn's values by no more than that times 1/p < 100.
    for (metric, theirs) in &case.scores {
        close(metric.name(), of_narrow.scores.get(*metric), *theirs, 3e-6);
    }
}

#[test]
fn one_confident_mistake_costs_a_finite_amount() {
    let options = ClassificationOptions::scores_only();
    let report = ClassificationReport::compute(&[0_u32], &[0.0_f32, 1.0], 2, &options).unwrap();
    assert_eq!(report.scores.get(Metric::LogLoss), Some(-f64::from(f32::EPSILON).ln()));
    let report = ClassificationReport::compute(&[1_u32], &[0.0_f32, 1.0], 2, &options).unwrap();
    assert_eq!(report.scores.get(Metric::LogLoss), Some(0.0));
}

#[test]
fn the_threshold_is_the_best_of_all() {
    let mut random = uniform(11);
    for round in 0..30 {
        let rows = 2 + round;
        let positive: Vec<bool> =
            (0..rows).map(|row| row == 0 || row > 1 && random() < 0.3).collect();
        let levels = if round % 2 == 0 { 6.0 } else { 1e6 };
        let p: Vec<f32> =
            (0..rows).map(|_| ((random() * levels).floor() / levels) as f32).collect();
        for aim in [
            ThresholdAim::F1,
            ThresholdAim::BalancedAccuracy,
            ThresholdAim::Cost { false_positive: 1.0, false_negative: 4.0 },
            ThresholdAim::Cost { false_positive: 9.0, false_negative: 1.0 },
            ThresholdAim::RecallAtPrecision(0.5),
            ThresholdAim::PrecisionAtRecall(0.7),
        ] {
            let chosen = choose_threshold(&p, &positive, None, aim).unwrap();
            let judge = |threshold: f64| {
                let guess = |row: usize| f64::from(p[row]) >= threshold;
                let count = |actual: bool, predicted: bool| {
                    (0..rows).filter(|&r| positive[r] == actual && guess(r) == predicted).count()
                        as f64
                };
                let (tp, fp) = (count(true, true), count(false, true));
                let (tn, fneg) = (count(false, false), count(true, false));
                let precision = if tp + fp > 0.0 { tp / (tp + fp) } else { 0.0 };
                let recall = tp / (tp + fneg);
                match aim {
                    ThresholdAim::F1 => (true, 2.0 * tp / (2.0 * tp + fp + fneg)),
                    ThresholdAim::BalancedAccuracy => (true, 0.5 * (recall + tn / (tn + fp))),
                    ThresholdAim::Cost { false_positive, false_negative } => {
                        (true, -(false_positive * fp + false_negative * fneg) / rows as f64)
                    }
                    ThresholdAim::RecallAtPrecision(bound) => (precision >= bound, recall),
                    ThresholdAim::PrecisionAtRecall(bound) => (recall >= bound, precision),
                }
            };
            let (met, value) = judge(chosen.threshold);
            assert_eq!(met, chosen.met, "{aim:?}");
            let reported =
                if matches!(aim, ThresholdAim::Cost { .. }) { -chosen.value } else { chosen.value };
            assert!((value - reported).abs() < 1e-12, "{aim:?}: {value} is reported as {reported}");
            let every = p.iter().map(|p| f64::from(*p)).chain([0.0, 2.0]);
            for (other_met, other) in every.map(judge) {
                if met {
                    assert!(!other_met || other <= value + 1e-12, "{aim:?}: {other} beats {value}");
                } else {
                    assert!(!other_met, "{aim:?}: the bound could have been met");
                }
            }
        }
    }
}

#[test]
fn a_threshold_that_cannot_be_had_says_so() {
    let positive = [false, true, false];
    let chosen =
        choose_threshold(&[0.9, 0.5, 0.1], &positive, None, ThresholdAim::RecallAtPrecision(0.8))
            .unwrap();
    assert!(!chosen.met);
    assert_eq!((chosen.precision, chosen.recall), (Some(0.5), Some(1.0)));
    let one_class = choose_threshold(&[0.9, 0.5], &[true, true], None, ThresholdAim::F1);
    assert!(one_class.unwrap_err().to_string().contains("one class only"));
    for (aim, word) in [
        (ThresholdAim::RecallAtPrecision(0.0), "above 0"),
        (ThresholdAim::PrecisionAtRecall(f64::NAN), "above 0"),
        (ThresholdAim::Cost { false_positive: -1.0, false_negative: 1.0 }, "false_positive = -1"),
        (ThresholdAim::Cost { false_positive: 0.0, false_negative: 0.0 }, "one of the two costs"),
    ] {
        assert!(aim.validate().unwrap_err().to_string().contains(word), "{aim:?}");
    }
}

#[test]
fn never_positive_is_a_choice() {
    let cost = ThresholdAim::Cost { false_positive: 100.0, false_negative: 1.0 };
    let chosen = choose_threshold(&[1.0_f32, 0.8, 0.3], &[false, true, false], None, cost).unwrap();
    assert!(chosen.threshold > 1.0);
    assert_eq!((chosen.precision, chosen.positive_share), (None, 0.0));
    let back: ChosenThreshold =
        serde_json::from_str(&serde_json::to_string(&chosen).unwrap()).unwrap();
    assert_eq!(back, chosen);
}

#[test]
fn recipes_spell_aims_as_documented() {
    for (text, aim) in [
        (r#""f1""#, ThresholdAim::F1),
        (r#""balanced_accuracy""#, ThresholdAim::BalancedAccuracy),
        (
            r#"{"cost":{"false_positive":1.0,"false_negative":5.0}}"#,
            ThresholdAim::Cost { false_positive: 1.0, false_negative: 5.0 },
        ),
        (r#"{"recall_at_precision":0.9}"#, ThresholdAim::RecallAtPrecision(0.9)),
        (r#"{"precision_at_recall":0.8}"#, ThresholdAim::PrecisionAtRecall(0.8)),
    ] {
        assert_eq!(serde_json::from_str::<ThresholdAim>(text).unwrap(), aim);
        assert_eq!(serde_json::to_string(&aim).unwrap(), text);
    }
    let typo = r#"{"cost":{"false_positive":1.0,"false_negativ":5.0}}"#;
    assert!(
        serde_json::from_str::<ThresholdAim>(typo)
            .unwrap_err()
            .to_string()
            .contains("false_negativ")
    );
}

#[test]
fn curves_keep_their_shape_in_few_points() {
    let mut random = uniform(5);
    let rows = 5000;
    let positive: Vec<bool> = (0..rows).map(|_| random() < 0.2).collect();
    let scores: Vec<f64> = positive.iter().map(|&p| random() + if p { 0.3 } else { 0.0 }).collect();
    let ranking = Ranking::new(&scores, &positive, None).unwrap();
    let area = |roc: &[RocPoint]| -> f64 {
        roc.windows(2).map(|l| (l[1].fpr - l[0].fpr) * (l[1].tpr + l[0].tpr) / 2.0).sum()
    };
    let full = ranking.roc_curve(usize::MAX).unwrap();
    assert!((area(&full) - ranking.roc_auc().unwrap()).abs() < TOLERANCE);
    for max in [2, 3, 50, 200] {
        let roc = ranking.roc_curve(max).unwrap();
        let pr = ranking.pr_curve(max).unwrap();
        assert!(roc.len() <= max && pr.len() <= max, "{max}: {} and {}", roc.len(), pr.len());
        assert_eq!((roc[0].fpr, roc[0].tpr), (0.0, 0.0));
        assert_eq!(roc.last().map(|p| (p.fpr, p.tpr)), Some((1.0, 1.0)));
        assert_eq!(pr.last().map(|p| p.recall), Some(1.0));
        if max >= 50 {
            // Kept points lie 2 / (max − 1) apart along a monotone curve: each of max gaps can hide a
            // triangle of half that squared at most.
            let lost = (area(&roc) - area(&full)).abs();
            assert!(lost <= 2.0 / (max - 1) as f64, "{max} points lose an area of {lost}");
        }
    }
}

#[test]
fn an_edge_belongs_to_the_bin_below() {
    for bins in [1, 2, 3, 10, 15] {
        for i in 0..=bins {
            let edge = if i == bins { 1.0 } else { i as f64 * (1.0 / bins as f64) };
            let found = calibration_bins([(edge, true)], None, bins);
            assert_eq!(found.len(), 1);
            let expected = if i == 0 { found[0].low } else { found[0].high };
            assert_eq!(expected, edge, "edge {i} of {bins}");
        }
    }
}

#[test]
fn bad_input_is_an_error_that_names_the_row() {
    let options = ClassificationOptions::default();
    let compute = |labels: &[i32], p: &[f64], classes| {
        ClassificationReport::compute(labels, p, classes, &options).unwrap_err().to_string()
    };
    assert!(compute(&[], &[], 2).contains("no rows"));
    assert!(compute(&[0], &[1.0], 1).contains("at least 2 classes"));
    assert!(compute(&[0, 1], &[0.5, 0.5], 2).contains("expected 4 values"));
    assert!(compute(&[0, 2], &[0.5; 4], 2).contains("row 1: the label 2"));
    assert!(compute(&[0, -1], &[0.5; 4], 2).contains("row 1: the label -1"));
    assert!(
        compute(&[0, 1], &[0.5, 0.5, f64::NAN, 0.5], 2)
            .contains("row 1: the probability of class 0 is NaN")
    );
    assert!(compute(&[0], &[-0.1, 1.1], 2).contains("class 0 is -0.1"));
    assert!(compute(&[0], &[f64::INFINITY, 0.0], 2).contains("class 0 is inf"));
    assert!(compute(&[0], &[0.9, 0.9], 2).contains("sum to 1.8"));
    let with = |options: ClassificationOptions<'_>| {
        ClassificationReport::compute(&[0_u32, 1], &[0.5; 4], 2, &options).unwrap_err().to_string()
    };
    let base = ClassificationOptions::default();
    assert!(
        with(ClassificationOptions { weights: Some(&[1.0]), ..base })
            .contains("weights: expected 2")
    );
    assert!(with(ClassificationOptions { weights: Some(&[1.0, -1.0]), ..base }).contains("row 1"));
    assert!(
        with(ClassificationOptions { weights: Some(&[0.0, 0.0]), ..base })
            .contains("all sample weights")
    );
    assert!(with(ClassificationOptions { positive: Some(2), ..base }).contains("class 2"));
    assert!(with(ClassificationOptions { threshold: Some(f64::NAN), ..base }).contains("NaN"));
    assert!(with(ClassificationOptions { shares: Some(&[0.5, 0.6]), ..base }).contains("sum to 1"));
    assert!(
        with(ClassificationOptions { primary: Some(Metric::R2), ..base })
            .contains("take one of accuracy")
    );
    let three = ClassificationReport::compute(
        &[0_u32],
        &[0.2, 0.3, 0.5],
        3,
        &ClassificationOptions { threshold: Some(0.5), ..base },
    );
    assert!(three.unwrap_err().to_string().contains("needs two classes"));

    let options = RegressionOptions::default();
    let compute =
        |t: &[f64], p: &[f64]| RegressionReport::compute(t, p, &options).unwrap_err().to_string();
    assert!(compute(&[], &[]).contains("no rows"));
    assert!(compute(&[1.0], &[1.0, 2.0]).contains("predictions: expected 1"));
    assert!(compute(&[1.0, f64::NAN], &[1.0, 2.0]).contains("row 1: the target is NaN"));
    assert!(compute(&[1.0, 2.0], &[f64::INFINITY, 2.0]).contains("row 0: the prediction is inf"));
}

#[test]
fn a_missing_class_leaves_the_mean_of_areas_undefined() {
    let case =
        classification().cases.into_iter().find(|c| c.name.starts_with("missing_class")).unwrap();
    let report = case.report();
    let reason = |metric| &report.undefined.iter().find(|u| u.metric == metric).unwrap().reason;
    assert_eq!(
        reason(Metric::RocAuc),
        "ROC AUC needs rows of every class, and class 2 has none here"
    );
    assert_eq!(report.scores.get(Metric::PrAuc), None);
    assert!(report.per_class[0].roc_auc.is_some());
}

/// Two classes, whose score is `signal` for the true class plus noise.
fn noisy(rows: usize, signal: f64, seed: u64) -> (Vec<u32>, Vec<f64>) {
    let mut random = uniform(seed);
    let labels: Vec<u32> = (0..rows).map(|_| u32::from(random() < 0.35)).collect();
    let p = labels
        .iter()
        .flat_map(|&label| {
            let noise = 2.0 * (random() + random() + random()) - 3.0;
            let p = 1.0 / (1.0 + (-signal * (f64::from(label) * 2.0 - 1.0) - noise).exp());
            [1.0 - p, p]
        })
        .collect();
    (labels, p)
}

#[test]
fn the_verdict_follows_the_evidence() {
    for (signal, outcome) in [(1.5, Outcome::Better), (-1.5, Outcome::Worse)] {
        let (labels, p) = noisy(300, signal, 1);
        let report =
            ClassificationReport::compute(&labels, &p, 2, &ClassificationOptions::default())
                .unwrap();
        for comparison in &report.comparisons {
            let clear =
                matches!(comparison.metric, Metric::Accuracy | Metric::RocAuc | Metric::LogLoss);
            assert!(!clear || comparison.outcome == outcome, "{comparison:?}");
        }
        assert_eq!(report.verdict.unwrap().outcome, outcome);
    }
    // Twelve rows cannot tell a small gain from luck.
    let (labels, p) = noisy(12, 0.3, 4);
    let report =
        ClassificationReport::compute(&labels, &p, 2, &ClassificationOptions::default()).unwrap();
    assert_eq!(report.verdict.unwrap().outcome, Outcome::Unclear);
    // A single right answer is no evidence.
    let report =
        ClassificationReport::compute(&[1_u32], &[0.1, 0.9], 2, &ClassificationOptions::default())
            .unwrap();
    assert_eq!(report.verdict.unwrap().outcome, Outcome::Unclear);
    assert_eq!(report.resamples, 0);

    let targets: Vec<f64> = (0..60).map(|i| f64::from(i) * 0.1).collect();
    let wobble = |i: usize| (i % 7) as f64 * 0.1 - 0.3;
    let good: Vec<f64> = targets.iter().enumerate().map(|(i, t)| t + wobble(i)).collect();
    let bad: Vec<f64> = targets.iter().map(|t| 6.0 - t).collect();
    for (predictions, outcome) in [(good, Outcome::Better), (bad, Outcome::Worse)] {
        let report =
            RegressionReport::compute(&targets, &predictions, &RegressionOptions::default())
                .unwrap();
        assert_eq!(report.verdict.unwrap().metric, Metric::R2);
        assert_eq!(report.verdict.unwrap().outcome, outcome);
        assert!(report.intervals.iter().all(|(m, i)| i.contains(report.scores.get(*m).unwrap())));
    }
}

#[test]
fn the_baseline_knows_only_the_training_part() {
    let labels = [0_u32, 0, 0, 1];
    let p = [0.5_f32; 8];
    let options = ClassificationOptions { shares: Some(&[0.1, 0.9]), ..Default::default() };
    let report = ClassificationReport::compute(&labels, &p, 2, &options).unwrap();
    assert_eq!(report.baseline.rule, BaselineRule::Majority { class: 1, shares: vec![0.1, 0.9] });
    assert_eq!(report.baseline.scores.get(Metric::Accuracy), Some(0.25));
    assert_eq!(report.baseline.scores.get(Metric::RocAuc), Some(0.5));
    let log_loss = report.baseline.scores.get(Metric::LogLoss).unwrap();
    assert!((log_loss + (3.0 * 0.1_f64.ln() + 0.9_f64.ln()) / 4.0).abs() < TOLERANCE);
    let report = RegressionReport::compute(
        &[1.0, 3.0],
        &[1.0, 2.0],
        &RegressionOptions { mean: Some(4.0), ..Default::default() },
    )
    .unwrap();
    assert_eq!(report.baseline.scores.get(Metric::Mse), Some(5.0));
    assert_eq!(report.baseline.scores.get(Metric::R2), Some(-4.0));
}

#[test]
fn the_bootstrap_interval_of_a_mean_is_the_textbook_one() {
    let mut random = uniform(2);
    let targets = vec![0.0; 4000];
    let predictions: Vec<f64> = targets.iter().map(|_| random() + random()).collect();
    let report =
        RegressionReport::compute(&targets, &predictions, &RegressionOptions::default()).unwrap();
    let mean = report.scores.get(Metric::Mae).unwrap();
    let variance = predictions.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / 4000.0;
    let half = 1.96 * (variance / 4000.0).sqrt();
    let interval = report.intervals[&Metric::Mae];
    // A 2.5 % quantile of 1,000 resamples has a standard error of 0.08 σ, here 0.04 of a half width; 4 of them.
    assert!(
        (interval.low - (mean - half)).abs() < 0.17 * half,
        "{interval:?} around {mean} ± {half}"
    );
    assert!(
        (interval.high - (mean + half)).abs() < 0.17 * half,
        "{interval:?} around {mean} ± {half}"
    );
    assert_eq!(interval.method, IntervalMethod::Bootstrap);
}

#[test]
fn the_interval_of_a_weighted_score_is_that_of_the_rows_it_weighs() {
    let (labels, p) = noisy(200, 1.0, 9);
    let weights: Vec<f32> = (0..400).map(|row| if row < 200 { 1.0 } else { 0.0 }).collect();
    let twice = |v: &[u32]| [v, v].concat();
    let doubled = [&p[..], &p[..]].concat();
    let options = ClassificationOptions { weights: Some(&weights), ..Default::default() };
    let weighted = ClassificationReport::compute(&twice(&labels), &doubled, 2, &options).unwrap();
    let plain =
        ClassificationReport::compute(&labels, &p, 2, &ClassificationOptions::default()).unwrap();
    assert_eq!(weighted.intervals[&Metric::Accuracy].method, IntervalMethod::Bootstrap);
    assert_eq!(plain.intervals[&Metric::Accuracy].method, IntervalMethod::Wilson);
    for metric in [Metric::Accuracy, Metric::RocAuc, Metric::LogLoss, Metric::F1Macro] {
        let (a, b) = (weighted.intervals[&metric], plain.intervals[&metric]);
        let width = b.high - b.low;
        // Ends of percentile intervals scatter by 0.04 of the width each time; 5 of both together.
        assert!(
            (a.low - b.low).abs() < 0.2 * width && (a.high - b.high).abs() < 0.2 * width,
            "{metric}: {a:?} {b:?}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let (labels, p) = noisy(150, 1.0, 5);
    let with = |seed| {
        let bootstrap = Some(Bootstrap { seed, ..Bootstrap::default() });
        let options = ClassificationOptions { bootstrap, ..Default::default() };
        ClassificationReport::compute(&labels, &p, 2, &options).unwrap()
    };
    assert_eq!(with(3), with(3));
    assert_ne!(with(3).intervals, with(4).intervals);
    assert_eq!(with(3).scores, with(4).scores);
}

#[test]
fn wilson_is_the_published_interval() {
    // Solutions of |p̂ − p| = z √(p (1 − p) / n), the interval's definition.
    for (hits, rows) in [(8.0, 10.0), (1.0, 3.0), (999.0, 1000.0), (0.0, 5.0), (5.0, 5.0)] {
        let interval = wilson(hits, rows).unwrap();
        for p in [interval.low, interval.high] {
            let gap = (hits / rows - p).abs();
            let expected = 1.959_963_984_540_054 * (p * (1.0 - p) / rows).sqrt();
            assert!((gap - expected).abs() < 1e-12, "{hits} of {rows}: {interval:?}");
        }
    }
    assert_eq!(wilson(0.0, 0.0), None);
    assert_eq!(wilson(0.0, 5.0).unwrap().low, 0.0);
    assert_eq!(wilson(5.0, 5.0).unwrap().high, 1.0);
}

#[test]
fn reports_survive_json_under_stable_names() {
    let (labels, p) = noisy(50, 1.0, 6);
    let report =
        ClassificationReport::compute(&labels, &p, 2, &ClassificationOptions::default()).unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<ClassificationReport>(&text).unwrap(), report);
    let json: Value = serde_json::from_str(&text).unwrap();
    for name in [
        "accuracy",
        "balanced_accuracy",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "f1_micro",
        "f1_weighted",
        "roc_auc",
        "pr_auc",
        "log_loss",
        "brier",
        "ece",
        "precision",
        "recall",
        "f1",
    ] {
        assert!(json["scores"][name].is_f64(), "{name} in {}", json["scores"]);
    }
    assert!(json["intervals"]["roc_auc"]["low"].is_f64());
    assert_eq!(json["verdict"]["metric"], "accuracy");
    assert_eq!(json["verdict"]["direction"], "higher_is_better");

    let report = RegressionReport::compute(
        &[1.0, 2.0, 4.0],
        &[1.0, 2.5, 3.0],
        &RegressionOptions::default(),
    )
    .unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<RegressionReport>(&text).unwrap(), report);
    let json: Value = serde_json::from_str(&text).unwrap();
    for name in ["mse", "rmse", "mae", "r2", "mape", "median_absolute_error"] {
        assert!(json["scores"][name].is_f64(), "{name}");
    }
}

#[test]
fn metrics_are_known_by_one_name() {
    for metric in Metric::ALL {
        assert_eq!(metric.name().parse::<Metric>().unwrap(), *metric);
        assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
    }
    assert!("f1macro".parse::<Metric>().unwrap_err().to_string().contains("f1_macro"));
    assert!(
        Direction::LowerIsBetter.better(0.1, 0.2)
            && !Direction::LowerIsBetter.better(0.2, f64::NAN)
    );
}

#[test]
fn many_classes_have_no_matrix_but_all_scores() {
    let classes = 300;
    let labels: Vec<u32> = (0..classes as u32).collect();
    let mut p = vec![0.0_f32; classes * classes];
    for row in 0..classes {
        p[row * classes + row] = 0.6;
        p[row * classes + (row + 1) % classes] = 0.4;
    }
    let report =
        ClassificationReport::compute(&labels, &p, classes, &ClassificationOptions::default())
            .unwrap();
    assert_eq!(report.scores.get(Metric::Accuracy), Some(1.0));
    assert_eq!(report.scores.get(Metric::RocAuc), Some(1.0));
    assert!(report.confusion.is_none() && report.curves.len() == 10);
}
