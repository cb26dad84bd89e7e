//! A regression, modelled on diabetes progression.

use ff_report::{
    Alert, Command, Curves, Decision, DecisionKind, Dependence, Distribution, Grid, Importance,
    ImportanceItem, Level, Mark, Panel, Regression, ReportData, Score, Segment, Series, Split,
    SplitPart, Status, StatusKind, Verdict,
};

use crate::noise::{Noise, bell, steps};

pub(crate) fn report() -> ReportData {
    let mut noise = Noise(11);
    let (mut actual, mut predicted) = (Vec::new(), Vec::new());
    for _ in 0..89 {
        let signal = 152.0 + 50.0 * noise.normal();
        predicted.push(signal.clamp(50.0, 300.0));
        actual.push((signal + 48.0 * noise.normal()).clamp(25.0, 346.0));
    }
    let x = steps(1.0, 2000.0, 2000);
    let mut line = |a: f64, b: f64, sigma: f64| -> Vec<f64> {
        x.iter().map(|e| a + b * (-e / 300.0).exp() + sigma * noise.normal()).collect()
    };
    let train = line(0.44, 0.55, 0.035);
    let norm = line(0.3, 1.4, 0.09);
    let every: Vec<f64> = steps(50.0, 2000.0, 40);
    let valid = every
        .iter()
        .map(|e| 0.50 + 0.5 * (-e / 280.0).exp() + 2e-8 * (e - 900.0).powi(2))
        .collect();
    let target = |total| Distribution::Numeric {
        edges: steps(25.0, 346.0, 17),
        counts: bell(0.35, 0.24, 16, total),
    };
    let part = |name: &str, rows: u64| SplitPart {
        name: name.into(),
        rows,
        target: target(rows as f64),
        ..SplitPart::default()
    };
    let curve = |column: &str, low: f64, high: f64, slope: f64| {
        let x = steps(low, high, 20);
        let mean: Vec<f64> = x
            .iter()
            .map(|x| 152.0 + slope * (x - f64::midpoint(low, high)) / (high - low))
            .collect();
        Dependence {
            column: column.into(),
            output: "progression".into(),
            low: mean.iter().map(|m| m - 22.0).collect(),
            high: mean.iter().map(|m| m + 24.0).collect(),
            mean,
            grid: Grid::Numbers(x),
            distribution: Distribution::Numeric {
                edges: steps(low, high, 25),
                counts: bell(0.45, 0.18, 24, 353.0),
            },
        }
    };
    ReportData {
        title: "diabetes · progression".into(),
        subtitle: "Regression from 10 columns · network 10 → 32 silu → 1".into(),
        created: "2026-03-02 14:12".into(),
        status: Some(Status {
            kind: StatusKind::Stopped,
            message: "no gain for 600 steps; kept step 900".into(),
        }),
        verdict: Some(Verdict {
            split: "test".into(),
            rows: 89,
            baseline: "mean of train".into(),
            interval: "95 %, bootstrap of 1,000 samples".into(),
            scores: vec![
                Score::new("R²", 0.484, true).interval(0.32, 0.597).baseline(-0.012),
                Score::new("RMSE", 53.2, false).interval(46.8, 59.4).baseline(74.5),
                Score::new("MAE", 43.1, false).interval(37.6, 48.9).baseline(63.2),
                Score::new("MAPE", 0.37, false).interval(0.30, 0.45).baseline(0.62),
            ],
            ..Verdict::default()
        }),
        decisions: vec![
            Decision {
                kind: DecisionKind::Inferred,
                what: "Task: regression".into(),
                why: "progression holds 214 distinct numbers, 25 to 346".into(),
                undo: "--task classes".into(),
            },
            Decision {
                kind: DecisionKind::Chosen,
                what: "The target is standardised".into(),
                why: "mean 152.1, deviation 77.1, fitted on train".into(),
                undo: "--set data.target.scale=none".into(),
            },
        ],
        split: Some(Split {
            method: "Shuffled, seed 0".into(),
            parts: vec![part("train", 265), part("valid", 88), part("test", 89)],
            checks: vec![Alert::new(Level::Passed, "No row is in two parts", "")],
            ..Split::default()
        }),
        curves: Some(Curves {
            panels: vec![
                Panel::new("Loss", "step", "squared error, standardised ↓")
                    .with(Series::new("train", x.clone(), train))
                    .with(Series::new("valid", every, valid)),
                Panel::new("Gradient norm", "step", "before clipping")
                    .with(Series::new("", x, norm)),
            ],
            marks: vec![Mark { x: 900.0, label: "best 900".into() }],
            ..Curves::default()
        }),
        regression: Some(Regression {
            split: "test".into(),
            target: "progression".into(),
            unit: "score".into(),
            actual,
            predicted,
            error: "RMSE".into(),
            overall: Some(53.2),
            segments: [
                ("bmi", "≥ 32.1", 18, 71.3),
                ("bp", "≥ 113", 17, 66.0),
                ("s5", "< 4.1", 22, 61.2),
                ("sex", "2", 41, 56.8),
            ]
            .map(|(column, range, rows, error)| Segment {
                column: column.into(),
                range: range.into(),
                rows,
                error,
            })
            .to_vec(),
        }),
        importance: Some(Importance {
            split: "test".into(),
            metric: "R²".into(),
            repeats: 10,
            items: [
                ("s5", 0.21, 0.05),
                ("bmi", 0.18, 0.04),
                ("bp", 0.07, 0.02),
                ("sex", 0.03, 0.015),
                ("s3", 0.02, 0.012),
                ("age", -0.004, 0.006),
            ]
            .map(|(name, mean, deviation)| ImportanceItem { name: name.into(), mean, deviation })
            .to_vec(),
        }),
        dependence: vec![
            curve("s5", 3.2, 6.1, 130.0),
            curve("bmi", 18.0, 42.0, 110.0),
            curve("bp", 62.0, 133.0, 45.0),
        ],
        commands: vec![Command {
            purpose: "Predict new rows".into(),
            line: "feedforward predict runs/diabetes-1 --data new.csv".into(),
        }],
        ..ReportData::default()
    }
}
