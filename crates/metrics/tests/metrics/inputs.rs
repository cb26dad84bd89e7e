//! Invalid and degenerate input.

use super::*;

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
            .contains("choose one of accuracy")
    );
    let three = ClassificationReport::compute(
        &[0_u32],
        &[0.2, 0.3, 0.5],
        3,
        &ClassificationOptions { threshold: Some(0.5), ..base },
    );
    assert!(three.unwrap_err().to_string().contains("of 3 classes it needs a positive one"));

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
        "ROC AUC needs rows of every class, but class 2 has none here"
    );
    assert_eq!(report.scores.get(Metric::PrAuc), None);
    assert!(report.per_class[0].roc_auc.is_some());
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
