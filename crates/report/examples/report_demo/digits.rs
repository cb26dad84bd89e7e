//! A classifier of ten classes.

use ff_report::{
    Alert, ClassScores, Classification, Curves, Level, Mark, Panel, RateCurve, ReportData, Score,
    Series, Split, SplitPart, Status, Verdict,
};

use crate::noise::{Noise, steps};

pub(crate) fn report() -> ReportData {
    let mut noise = Noise(3);
    let names: Vec<String> = (0..10).map(|i| i.to_string()).collect();
    let mut confusion = vec![vec![0u64; 10]; 10];
    for (i, row) in confusion.iter_mut().enumerate() {
        row[i] = 35 + (noise.uniform() * 3.0) as u64;
    }
    for (i, j, n) in [(8, 1, 3), (9, 3, 2), (3, 8, 1), (1, 8, 1), (7, 9, 1), (4, 9, 1), (5, 9, 1)] {
        confusion[i][j] = n;
    }
    let per_class = (0..10)
        .map(|i| {
            let right = confusion[i][i] as f64;
            let support: u64 = confusion[i].iter().sum();
            let predicted: u64 = confusion.iter().map(|r| r[i]).sum();
            let (precision, recall) = (right / predicted as f64, right / support as f64);
            ClassScores {
                name: names[i].clone(),
                precision,
                recall,
                f1: 2.0 * precision * recall / (precision + recall),
                support,
                roc_auc: Some(0.999 - 0.001 * i as f64),
            }
        })
        .collect();
    let roc = [8usize, 9, 1, 3, 5, 7]
        .iter()
        .enumerate()
        .map(|(k, i)| {
            let x = steps(0.0, 1.0, 101);
            let y = x.iter().map(|x| x.powf(0.015 + 0.012 * (6 - k) as f64)).collect();
            RateCurve {
                name: names[*i].clone(),
                x,
                y,
                area: Some(0.95 + 0.008 * k as f64),
                chance: None,
            }
        })
        .collect();
    let x = steps(1.0, 40.0, 40);
    let line = |a: f64, b: f64, noise: &mut Noise| -> Vec<f64> {
        x.iter().map(|e| a + 2.0 * (-e / b).exp() + 0.004 * noise.normal().abs()).collect()
    };
    ReportData {
        title: "digits · label".into(),
        subtitle: "Ten classes from 64 columns · network 64 → 100 relu → 10".into(),
        status: Some(Status::default()),
        verdict: Some(Verdict {
            split: "test".into(),
            rows: 360,
            baseline: "most frequent class, 3".into(),
            interval: "95 %, bootstrap of 1,000 samples".into(),
            scores: vec![
                Score::new("accuracy", 0.9722, true).interval(0.953, 0.986).baseline(0.1028),
                Score::new("log loss", 0.091, false).interval(0.05, 0.14).baseline(2.31),
            ],
            ..Verdict::default()
        }),
        split: Some(Split {
            method: "Stratified by label, seed 0".into(),
            parts: [("train", 1077u64), ("valid", 360), ("test", 360)]
                .map(|(name, rows)| SplitPart {
                    name: name.into(),
                    rows,
                    classes: vec![rows / 10; 10],
                    ..SplitPart::default()
                })
                .to_vec(),
            classes: names.clone(),
            checks: vec![Alert::new(Level::Passed, "No row is in two parts", "")],
        }),
        curves: Some(Curves {
            panels: vec![
                Panel::new("Loss", "epoch", "cross-entropy ↓")
                    .log()
                    .with(Series::new("train", x.clone(), line(0.002, 5.0, &mut noise)))
                    .with(Series::new("valid", x.clone(), line(0.09, 4.0, &mut noise))),
            ],
            marks: vec![Mark { x: 39.0, label: "best 39".into() }],
            ..Curves::default()
        }),
        classification: Some(Classification {
            split: "test".into(),
            classes: names,
            confusion,
            per_class,
            roc,
            ..Classification::default()
        }),
        ..ReportData::default()
    }
}
