//! Intervals, baselines, verdicts and JSON.

use super::*;
use serde_json::Value;

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
    // Twelve rows cannot distinguish a small gain from chance.
    let (labels, p) = noisy(12, 0.3, 4);
    let report =
        ClassificationReport::compute(&labels, &p, 2, &ClassificationOptions::default()).unwrap();
    assert_eq!(report.verdict.unwrap().outcome, Outcome::Unclear);
    // A single correct prediction is no evidence.
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
    let bootstrap = Some(Bootstrap { resamples: 4000, seed: 1, threads: None });
    let options = RegressionOptions { bootstrap, ..RegressionOptions::default() };
    let report = RegressionReport::compute(&targets, &predictions, &options).unwrap();
    assert_eq!(report.resamples, 4000);
    let mean = report.scores.get(Metric::Mae).unwrap();
    let variance = predictions.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / 4000.0;
    let half = 1.96 * (variance / 4000.0).sqrt();
    let interval = report.intervals[&Metric::Mae];
    // A 2.5 % quantile of 4,000 resamples has a standard error of 0.042 σ, 0.022 of a half-width; 4
    // of them.
    assert!(
        (interval.low - (mean - half)).abs() < 0.09 * half,
        "{interval:?} around {mean} ± {half}"
    );
    assert!(
        (interval.high - (mean + half)).abs() < 0.09 * half,
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
        // Ends of percentile intervals have a standard error of 0.04 of the width; 5 of both
        // together.
        assert!(
            (a.low - b.low).abs() < 0.2 * width && (a.high - b.high).abs() < 0.2 * width,
            "{metric}: {a:?} {b:?}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let (labels, p) = noisy(150, 1.0, 5);
    let pool = ff_tensor::ThreadPool::new(3);
    let on = |seed, threads| {
        let bootstrap = Some(Bootstrap { seed, threads, ..Bootstrap::default() });
        let options = ClassificationOptions { bootstrap, ..Default::default() };
        ClassificationReport::compute(&labels, &p, 2, &options).unwrap()
    };
    let with = |seed| on(seed, None);
    assert_eq!(with(3), with(3));
    assert_eq!(with(3), on(3, Some(&pool)), "whatever the threads");
    assert_ne!(with(3).intervals, with(4).intervals);
    assert_eq!(with(3).scores, with(4).scores);
}

#[test]
fn wilson_is_the_published_interval() {
    // Solutions of |p̂ − p| = z √(p (1 − p) / n), the definition of the interval.
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
fn a_gain_within_the_interval_is_unclear() {
    // The model is correct on the rows of the majority rule and on 8 more of 100: the gain is above
    // 0, but the model's own interval includes the rule's 0.60.
    let labels: Vec<u32> = (0..100).map(|row| u32::from(row < 40)).collect();
    let p: Vec<f64> =
        (0..100).flat_map(|row| if row < 8 { [0.2, 0.8] } else { [0.8, 0.2] }).collect();
    let report =
        ClassificationReport::compute(&labels, &p, 2, &ClassificationOptions::default()).unwrap();
    let verdict = report.verdict.unwrap();
    assert_eq!((verdict.model, verdict.baseline), (0.68, 0.6));
    assert!(verdict.gain.unwrap().low > 0.0 && verdict.interval.unwrap().contains(0.6));
    assert_eq!(verdict.outcome, Outcome::Unclear);
}

#[test]
fn each_resample_has_its_own_variance() {
    // A resample varies less around its own mean than around the mean of all rows, so the mean of
    // all rows has an R² of 0 on all of them and below 0 on every resample with another mean.
    let mut random = uniform(8);
    let targets: Vec<f64> = (0..50).map(|_| random()).collect();
    let mean = targets.iter().sum::<f64>() / 50.0;
    let report =
        RegressionReport::compute(&targets, &[mean; 50], &RegressionOptions::default()).unwrap();
    let interval = report.intervals[&Metric::R2];
    // The loss is mean² / variance, with a 97.5 % quantile of 5.0 / 50.
    assert!(interval.low < -0.07 && interval.low > -0.15, "{interval:?}");
    assert!(interval.high <= 0.0 && interval.high > -0.001, "{interval:?}");
}
