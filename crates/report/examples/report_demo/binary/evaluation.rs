//! Made-up scores, evaluated like real ones.

use ff_report::{
    Calibration, CalibrationBin, ClassScores, Classification, Dependence, Distribution, Grid,
    Importance, ImportanceItem, Mistake, Mistakes, RateCurve, Score, ThresholdCurve, Verdict,
};

use crate::noise::{bell, steps};

/// The decision threshold in use.
const THRESHOLD: f64 = 0.46;

/// Scores of a list of (is positive, probability), counted as in a real evaluation.
struct Figures {
    accuracy: f64,
    f1: f64,
    auc: f64,
    log_loss: f64,
    brier: f64,
    wrong: u64,
}

impl Figures {
    fn of(scores: &[(bool, f64)]) -> Self {
        let n = scores.len() as f64;
        let mean = |f: &dyn Fn(&(bool, f64)) -> f64| scores.iter().map(f).sum::<f64>() / n;
        let count = |actual, predicted| {
            scores.iter().filter(|s| s.0 == actual && (s.1 >= THRESHOLD) == predicted).count()
                as f64
        };
        let (hits, errors) = (count(true, true), count(true, false) + count(false, true));
        let (mut above, mut pairs) = (0.0, 0.0);
        for p in scores.iter().filter(|s| s.0) {
            for q in scores.iter().filter(|s| !s.0) {
                above += f64::from(u8::from(p.1 > q.1));
                pairs += 1.0;
            }
        }
        Self {
            accuracy: 1.0 - errors / n,
            f1: 2.0 * hits / (2.0 * hits + errors),
            auc: above / pairs,
            log_loss: mean(&|s| -(if s.0 { s.1 } else { 1.0 - s.1 }).ln()),
            brier: mean(&|s| (s.1 - f64::from(u8::from(s.0))).powi(2)),
            wrong: errors as u64,
        }
    }
}

pub(super) fn verdict(scores: &[(bool, f64)]) -> Verdict {
    let f = Figures::of(scores);
    let score = |name: &str, value: f64, half: f64, base, up| {
        Score::new(name, value, up).interval(value - half, value + 0.9 * half).baseline(base)
    };
    Verdict {
        split: "test".into(),
        rows: 134,
        baseline: "always 0".into(),
        interval: "95 %, bootstrap of 1,000 samples".into(),
        scores: vec![
            score("accuracy", f.accuracy, 0.067, 80.0 / 134.0, true),
            score("ROC AUC", f.auc, 0.061, 0.5, true),
            score("F1 of 1", f.f1, 0.09, 0.0, true),
            score("log loss", f.log_loss, 0.08, 0.674, false),
            score("Brier", f.brier, 0.028, 0.241, false),
        ],
        caveats: vec![
            "The test part has 134 rows: the interval spans 13 points. Cross-validation \
                       (--folds 5) narrows it."
                .into(),
        ],
        ..Verdict::default()
    }
}

pub(super) fn classification(scores: &[(bool, f64)]) -> Classification {
    let count = |t: f64, actual: bool, predicted: bool| {
        scores.iter().filter(|s| s.0 == actual && (s.1 >= t) == predicted).count() as u64
    };
    let thresholds = steps(0.0, 1.0, 201);
    let counts = |actual, predicted| {
        thresholds.iter().map(|t| count(*t, actual, predicted)).collect::<Vec<_>>()
    };
    let (tp, fp) = (counts(true, true), counts(false, true));
    let (fnn, tn) = (counts(true, false), counts(false, false));
    let (p, n) = (count(0.0, true, true) as f64, count(0.0, false, true) as f64);
    let fpr: Vec<f64> = fp.iter().map(|x| *x as f64 / n).collect();
    let recall: Vec<f64> = tp.iter().map(|x| *x as f64 / p).collect();
    let precision: Vec<f64> = tp
        .iter()
        .zip(&fp)
        .map(|(t, f)| if t + f == 0 { 1.0 } else { *t as f64 / (t + f) as f64 })
        .collect();
    let bins = (0..10)
        .filter_map(|i| {
            let inside = |s: &&(bool, f64)| (s.1 * 10.0) as usize == i;
            let group: Vec<&(bool, f64)> = scores.iter().filter(inside).collect();
            let n = group.len() as f64;
            let observed = group.iter().filter(|s| s.0).count() as f64 / n;
            let half = 1.96 * (observed * (1.0 - observed) / n).sqrt().max(0.05);
            (n > 0.0).then(|| CalibrationBin {
                predicted: group.iter().map(|s| s.1).sum::<f64>() / n,
                observed,
                low: Some((observed - half).max(0.0)),
                high: Some((observed + half).min(1.0)),
                count: group.len() as u64,
            })
        })
        .collect();
    let (figures, at) = (Figures::of(scores), THRESHOLD);
    let (a, b, c, d) = (
        count(at, false, false),
        count(at, false, true),
        count(at, true, false),
        count(at, true, true),
    );
    let class = |name: &str, right: u64, wrong: u64, missed: u64| {
        let (precision, recall) =
            (right as f64 / (right + wrong) as f64, right as f64 / (right + missed) as f64);
        ClassScores {
            name: name.into(),
            precision,
            recall,
            f1: 2.0 * precision * recall / (precision + recall),
            support: right + missed,
            roc_auc: None,
        }
    };
    let (zero, one) = (class("0", a, c, b), class("1", d, b, c));
    let mean = ClassScores {
        name: "macro mean".into(),
        precision: f64::midpoint(zero.precision, one.precision),
        recall: f64::midpoint(zero.recall, one.recall),
        f1: f64::midpoint(zero.f1, one.f1),
        support: a + b + c + d,
        roc_auc: None,
    };
    Classification {
        split: "test".into(),
        classes: vec!["0".into(), "1".into()],
        positive: Some(1),
        confusion: vec![vec![a, b], vec![c, d]],
        per_class: vec![zero, one],
        means: vec![mean],
        roc: vec![RateCurve {
            name: "1".into(),
            x: fpr,
            y: recall.clone(),
            area: Some(figures.auc),
            chance: None,
        }],
        precision_recall: vec![RateCurve {
            name: "1".into(),
            x: recall,
            y: precision,
            area: Some(0.846),
            chance: Some(p / (p + n)),
        }],
        calibration: Some(Calibration {
            of: "1".into(),
            bins,
            error: Some(0.041),
            brier: Some(figures.brier),
        }),
        threshold: Some(ThresholdCurve {
            split: "valid".into(),
            thresholds,
            true_positive: tp,
            false_positive: fp,
            false_negative: fnn,
            true_negative: tn,
            chosen: Some(at),
            aim: "best F1".into(),
            ..ThresholdCurve::default()
        }),
    }
}

pub(super) fn importance() -> Importance {
    let items = [
        ("sex", 0.151, 0.021),
        ("pclass", 0.062, 0.014),
        ("age", 0.041, 0.012),
        ("fare", 0.022, 0.011),
        ("cabin", 0.015, 0.006),
        ("sibsp", 0.012, 0.007),
        ("embarked", 0.004, 0.005),
        ("parch", -0.002, 0.004),
    ];
    Importance {
        split: "test".into(),
        metric: "accuracy".into(),
        repeats: 10,
        items: items
            .map(|(name, mean, deviation)| ImportanceItem { name: name.into(), mean, deviation })
            .to_vec(),
    }
}

pub(super) fn dependence() -> Vec<Dependence> {
    let curve = |column: &str, low: f64, high: f64, f: &dyn Fn(f64) -> f64, counts| {
        let x = steps(low, high, 30);
        let mean: Vec<f64> = x.iter().map(|x| f(*x)).collect();
        Dependence {
            column: column.into(),
            output: "probability of 1".into(),
            low: mean.iter().map(|m| m - 0.13).collect(),
            high: mean.iter().map(|m| m + 0.15).collect(),
            mean,
            grid: Grid::Numbers(x),
            distribution: Distribution::Numeric { edges: steps(low, high, 25), counts },
        }
    };
    vec![
        Dependence {
            column: "sex".into(),
            output: "probability of 1".into(),
            grid: Grid::Labels(vec!["female".into(), "male".into()]),
            mean: vec![0.71, 0.21],
            ..Dependence::default()
        },
        curve(
            "age",
            0.0,
            80.0,
            &|x| 0.33 + 0.3 * (-x / 12.0).exp() - 0.0012 * x,
            bell(0.36, 0.17, 24, 714.0),
        ),
        curve(
            "fare",
            0.0,
            300.0,
            &|x| 0.30 + 0.2 * (1.0 - (-x / 60.0).exp()),
            bell(0.0, 0.2, 24, 891.0),
        ),
    ]
}

pub(super) fn mistakes(scores: &[(bool, f64)]) -> Mistakes {
    let row = |row, actual: &str, predicted: &str, confidence: f64, cells: &[&str]| Mistake {
        row,
        actual: actual.into(),
        predicted: predicted.into(),
        confidence: Some(confidence),
        loss: -(1.0 - confidence).ln(),
        cells: cells.iter().map(|c| (*c).into()).collect(),
    };
    Mistakes {
        split: "test".into(),
        wrong: Some(Figures::of(scores).wrong),
        total: 134,
        loss: "cross-entropy".into(),
        columns: ["pclass", "sex", "age", "sibsp", "parch", "fare", "cabin", "embarked"]
            .map(String::from)
            .to_vec(),
        rows: vec![
            row(298, "0", "1", 0.981, &["1", "female", "2", "1", "2", "151.55", "C22 C26", "S"]),
            row(499, "0", "1", 0.969, &["1", "female", "25", "1", "2", "151.55", "C22 C26", "S"]),
            row(571, "1", "0", 0.942, &["2", "male", "62", "0", "0", "10.50", "", "S"]),
            row(284, "1", "0", 0.931, &["3", "male", "19", "0", "0", "8.05", "", "S"]),
            row(805, "1", "0", 0.917, &["3", "male", "27", "0", "0", "6.98", "", "S"]),
            row(178, "0", "1", 0.902, &["1", "female", "50", "0", "0", "28.71", "C49", "C"]),
        ],
        ..Mistakes::default()
    }
}
