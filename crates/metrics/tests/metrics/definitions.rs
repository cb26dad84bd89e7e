//! Consequences of the definitions of metrics.

use super::*;

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
        // Halves of integers below 2⁵³ are exact; only the last division rounds.
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
    // Rounding each probability by 2⁻²⁵ changes scikit-learn's values by at most that times 1/p
    // < 100.
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
            // Kept points lie 2 / (max − 1) apart along a monotone curve: each of the max gaps can
            // hide a triangle of at most half that squared.
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
fn zero_of_either_sign_is_one_score() {
    let ranking = Ranking::new(&[0.0, -0.0], &[false, true], None).unwrap();
    assert_eq!(ranking.roc_auc(), Some(0.5));
    assert_eq!(ranking.roc_curve(10).unwrap().len(), 2);
}
