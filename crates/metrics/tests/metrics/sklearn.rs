//! Values and curves against scikit-learn's.

use super::*;
use serde_json::Value;

#[derive(Deserialize)]
struct RegressionCase {
    name: String,
    targets: Vec<f64>,
    predictions: Vec<f64>,
    weights: Option<Vec<f32>>,
    scores: BTreeMap<Metric, Option<f64>>,
    baseline: BTreeMap<Metric, Option<f64>>,
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
        // Our curve omits points on straight lines: every point of ours is one of theirs, and every
        // point of theirs lies on one of our lines.
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
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/regression.json")).unwrap();
    let cases: Vec<RegressionCase> = serde_json::from_value(fixture["cases"].clone()).unwrap();
    for case in cases {
        let options = RegressionOptions { weights: case.weights.as_deref(), ..Default::default() };
        let report = RegressionReport::compute(&case.targets, &case.predictions, &options).unwrap();
        // Targets near 1e6 with a spread of 3e-3 add a rounding error of 2⁻³³ · 3e-3 to every
        // difference.
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
