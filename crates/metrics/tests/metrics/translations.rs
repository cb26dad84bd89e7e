//! BLEU and chrF beside sacrebleu (`fixtures/make_translations.py`).

use crate::TOLERANCE;
use ff_metrics::{Bootstrap, MetricError, TranslationReport};
use serde_json::Value;

fn texts(case: &Value, key: &str) -> Vec<String> {
    serde_json::from_value(case[key].clone()).unwrap()
}

#[test]
fn scores_equal_those_of_sacrebleu() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../fixtures/translations.json")).unwrap();
    let mut different = std::collections::BTreeSet::new();
    for case in &cases {
        let (found, wanted) = (texts(case, "found"), texts(case, "wanted"));
        let report = TranslationReport::compute(&found, &wanted, None).unwrap();
        for (name, value) in [("bleu", report.bleu), ("chrf", report.chrf)] {
            let expected = case[name].as_f64().unwrap();
            let off = (value - expected).abs();
            assert!(off <= 100.0 * TOLERANCE, "{name} of {found:?}: {value}, not {expected}");
            different.insert(format!("{name} {value:.3}"));
        }
        let same = found.iter().zip(&wanted).filter(|(a, b)| a == b).count();
        assert!((report.exact - same as f64 / found.len() as f64).abs() < TOLERANCE);
    }
    assert!(different.len() > 20, "{different:?}");
}

#[test]
fn intervals_hold_the_scores_and_depend_on_the_seed_alone() {
    let wanted: Vec<String> = (0..40).map(|i| format!("the cat number {i} sees a dog")).collect();
    let found: Vec<String> =
        (0..40).map(|i| format!("the cat number {} sees a bird", i / 3 * 3)).collect();
    let of = |seed| {
        let bootstrap = Bootstrap { resamples: 300, seed, ..Bootstrap::default() };
        TranslationReport::compute(&found, &wanted, Some(bootstrap)).unwrap()
    };
    let report = of(1);
    for (value, interval) in [report.bleu, report.chrf].into_iter().zip(report.intervals) {
        let interval = interval.unwrap();
        assert!(interval.contains(value) && interval.high - interval.low > 0.1, "{interval:?}");
    }
    assert_eq!(report, of(1));
    assert_ne!(report.intervals, of(2).intervals);
    let few = TranslationReport::compute(&found[..9], &wanted[..9], Some(Bootstrap::default()));
    assert_eq!(few.unwrap().intervals, [None; 3]);
}

#[test]
fn as_many_texts_as_wanted_ones() {
    let compute = |found: &[&str], wanted: &[&str]| {
        TranslationReport::compute(found, wanted, None).unwrap_err()
    };
    assert_eq!(compute(&[], &[]), MetricError::Empty);
    assert!(compute(&["a"], &["a", "b"]).to_string().contains("expected 2 values"));
}
