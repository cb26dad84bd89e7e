//! Spans beside seqeval, labels beside scikit-learn (`fixtures/make_spans.py`).

use ff_metrics::{LabelReport, SpanReport, SpanScore, TagScheme, spans};
use serde_json::Value;

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn near(found: f64, wanted: &Value, what: &str) {
    let wanted = wanted.as_f64().unwrap();
    assert!((found - wanted).abs() < 1e-12, "{what}: {found}, expected {wanted}");
}

#[test]
fn spans_and_their_scores_equal_those_of_seqeval() {
    let mut compared = 0;
    for case in cases(include_str!("../fixtures/spans.json")) {
        let scheme: TagScheme = serde_json::from_value(case["scheme"].clone()).unwrap();
        let tags =
            |key: &str| -> Vec<Vec<String>> { serde_json::from_value(case[key].clone()).unwrap() };
        let (truth, found) = (tags("truth"), tags("found"));
        let wanted: Vec<Vec<(String, usize, usize)>> =
            serde_json::from_value(case["spans"].clone()).unwrap();
        for (tags, wanted) in truth.iter().zip(wanted) {
            let spans = spans(tags, scheme).unwrap();
            let spans: Vec<_> = spans.into_iter().map(|s| (s.kind, s.start, s.end)).collect();
            assert_eq!(spans, wanted, "{} {tags:?}", scheme.name());
            compared += spans.len();
        }
        let report = SpanReport::compute(&truth, &found, scheme).unwrap();
        let same = |score: &SpanScore, wanted: &Value, what: &str| {
            near(score.precision, &wanted["precision"], what);
            near(score.recall, &wanted["recall"], what);
            near(score.f1, &wanted["f1-score"], what);
            near(score.support as f64, &wanted["support"], what);
        };
        let wanted = &case["report"];
        same(&report.micro, &wanted["micro avg"], "micro");
        same(&report.macro_mean, &wanted["macro avg"], "macro");
        same(&report.weighted, &wanted["weighted avg"], "weighted");
        for (kind, score) in &report.types {
            same(score, &wanted[kind], kind);
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn tags_outside_of_a_scheme_are_named() {
    for (tag, scheme) in [
        ("E-PER", TagScheme::Iob2),
        ("X-PER", TagScheme::Lenient),
        ("B", TagScheme::Iob1),
        ("B-", TagScheme::Lenient),
        ("PER", TagScheme::Bioes),
        ("O-PER", TagScheme::Lenient),
        ("", TagScheme::Lenient),
        ("É-PER", TagScheme::Lenient),
    ] {
        let error = spans(&["O", tag], scheme).unwrap_err().to_string();
        assert!(error.contains(&format!("`{tag}` at position 1")), "{error}");
        assert!(error.contains(scheme.name()) && error.contains("B-PER"), "{error}");
    }
    let plain = spans(&["NOUN", "O", "NOUN", "B-PER"], TagScheme::Plain).unwrap();
    assert_eq!(
        plain.iter().map(|s| s.kind.as_str()).collect::<Vec<_>>(),
        ["NOUN", "NOUN", "B-PER"]
    );
    let uneven = SpanReport::compute(&[vec!["O"]], &[vec!["O", "O"]], TagScheme::Iob2);
    assert!(uneven.unwrap_err().to_string().contains("expected 1 values"));
}

#[test]
fn labels_are_scored_as_by_scikit_learn() {
    for case in cases(include_str!("../fixtures/labels.json")) {
        let of = |key: &str| -> Vec<f64> { serde_json::from_value(case[key].clone()).unwrap() };
        let truth: Vec<bool> = serde_json::from_value(case["truth"].clone()).unwrap();
        let report = LabelReport::compute(&truth, &of("probabilities"), &of("thresholds")).unwrap();
        near(report.subset_accuracy, &case["subset_accuracy"], "subset accuracy");
        near(report.hamming_loss, &case["hamming_loss"], "Hamming loss");
        for (found, key) in [(&report.micro, "micro"), (&report.macro_mean, "macro")] {
            if !case[key].is_null() {
                near(found.precision, &case[key]["precision"], key);
                near(found.recall, &case[key]["recall"], key);
                near(found.f1, &case[key]["f1"], key);
            }
        }
        let micro = report.micro.average_precision.unwrap();
        near(micro, &case["micro_average_precision"], "micro average precision");
        for (i, label) in report.labels.iter().enumerate() {
            near(label.f1, &case["f1"][i], "F1");
            match label.average_precision {
                Some(found) => near(found, &case["average_precision"][i], "average precision"),
                None => assert!(case["average_precision"][i].is_null()),
            }
        }
    }
    assert!(LabelReport::compute(&[true; 3], &[0.5; 3], &[0.5; 2]).is_err());
    assert!(LabelReport::compute(&[], &[], &[0.5]).is_err());
    assert!(LabelReport::compute(&[true], &[f64::NAN], &[0.5]).is_err());
}
