//! The decision threshold.

use super::*;

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
            ThresholdAim::RecallAtFalsePositiveRate(0.1),
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
                    ThresholdAim::RecallAtFalsePositiveRate(bound) => {
                        (fp / (tn + fp) <= bound, recall)
                    }
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
    assert!(one_class.unwrap_err().to_string().contains("only rows of one class"));
    for (aim, word) in [
        (ThresholdAim::RecallAtPrecision(0.0), "greater than 0"),
        (ThresholdAim::PrecisionAtRecall(f64::NAN), "greater than 0"),
        (ThresholdAim::RecallAtFalsePositiveRate(1.0), "less than 1"),
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
fn of_equals_the_threshold_nearest_to_one_half_is_taken() {
    // Both thresholds are correct on three of four rows: after the first row or after the third.
    let labels = [true, false, true, false];
    for (p, nearest) in [([0.95, 0.9, 0.5, 0.25], 0.375), ([0.75, 0.5, 0.25, 0.125], 0.625)] {
        let chosen = choose_threshold(&p, &labels, None, ThresholdAim::BalancedAccuracy).unwrap();
        assert_eq!((chosen.threshold, chosen.value), (nearest, 0.75));
    }
}

#[test]
fn one_of_several_classes_has_a_threshold_and_the_likeliest_of_the_others_is_taken_below_it() {
    let p = [0.5, 0.3, 0.2, 0.1, 0.6, 0.3, 0.45, 0.1, 0.45, 0.2, 0.2, 0.6];
    assert_eq!(predict_classes(&p, 3, 2, Some(0.25)).unwrap(), [0, 2, 2, 2]);
    assert_eq!(predict_classes(&p, 3, 0, Some(0.48)).unwrap(), [0, 1, 2, 2]);
    assert_eq!(predict_classes(&p, 3, 1, Some(0.7)).unwrap(), [0, 2, 0, 2]);
    let options = ClassificationOptions {
        positive: Some(2),
        threshold: Some(0.25),
        ..ClassificationOptions::default()
    };
    let report = ClassificationReport::compute(&[0_u32, 2, 1, 1], &p, 3, &options).unwrap();
    // Precision, recall and F1 as single scores stay those of two classes.
    assert_eq!((report.positive, report.scores.get(Metric::Recall)), (None, None));
    let class = &report.per_class[2];
    assert_eq!((class.recall, class.false_positive_rate), (Some(1.0), Some(2.0 / 3.0)));
}
