//! A classifier of two classes, in the likeness of the Titanic's passengers.

use ff_train::report::{
    Alert, Calibration, CalibrationBin, ClassScores, Classification, Column, Command, Curves, Data,
    Decision, DecisionKind, Dependence, Distribution, Fact, Grid, Importance, ImportanceItem,
    Layer, Level, Mark, Mistake, Mistakes, Model, Panel, RateCurve, ReportData, Resource, Score,
    Series, Split, SplitPart, Status, StatusKind, Tally, ThresholdCurve, Timing, Unit, Verdict,
};

use crate::noise::{Noise, bell, steps};

pub(crate) fn report() -> ReportData {
    let mut noise = Noise(7);
    // (is positive, predicted probability), better separated than chance.
    let scores: Vec<(bool, f64)> = (0..134)
        .map(|i| {
            let positive = i % 13 < 5;
            let x = if positive { 1.0 } else { -1.25 } + 1.05 * noise.normal();
            (positive, 1.0 / (1.0 + (-1.25 * x).exp()))
        })
        .collect();
    ReportData {
        title: "titanic · survived".into(),
        subtitle: "Two classes from 10 columns · network 28 → 64 relu → 32 relu → 2".into(),
        created: "2026-03-02 14:07".into(),
        status: Some(Status {
            kind: StatusKind::Stopped,
            message: "no gain for 20 epochs; kept epoch 37".into(),
        }),
        verdict: Some(verdict()),
        decisions: decisions(),
        data: Some(data()),
        split: Some(split()),
        curves: Some(curves(&mut noise)),
        classification: Some(classification(&scores)),
        importance: Some(importance()),
        dependence: dependence(),
        mistakes: Some(mistakes()),
        model: Some(model()),
        resources: resources(),
        timings: [
            ("read", 0.012),
            ("prepare", 0.034),
            ("train", 1.84),
            ("evaluate", 0.021),
            ("explain", 0.44),
            ("save", 0.015),
        ]
        .map(|(phase, seconds)| Timing { phase: phase.into(), seconds })
        .to_vec(),
        commands: [
            (
                "Train it again, to the same bits",
                "feedforward train runs/titanic-1/recipe.toml --seed 0",
            ),
            (
                "Predict new rows, with probabilities",
                "feedforward predict runs/titanic-1 --data new.csv --proba",
            ),
            ("Evaluate on another file", "feedforward evaluate runs/titanic-1 --data other.csv"),
            (
                "Try a wider network",
                "feedforward train runs/titanic-1/recipe.toml --set model.hidden=[128,64]",
            ),
        ]
        .map(|(purpose, line)| Command { purpose: purpose.into(), line: line.into() })
        .to_vec(),
        environment: [
            ("feedforward", "0.1.0"),
            ("Processor", "AVX-512, bf16 · 2 threads"),
            ("Kernel path", "avx512"),
            ("Operating system", "Linux, x86-64"),
            ("Seed", "0"),
            ("Data", "xxh3 8f3a1c09d2b74e55"),
            ("Recipe", "xxh3 17c4e0ab93d1f286"),
            ("Run format", "1"),
        ]
        .map(|(label, value)| Fact::new(label, value))
        .to_vec(),
        ..ReportData::default()
    }
}

fn verdict() -> Verdict {
    Verdict {
        split: "test".into(),
        rows: 134,
        baseline: "always 0".into(),
        interval: "95 %, bootstrap of 1,000 samples".into(),
        scores: vec![
            Score::new("accuracy", 0.828, true).interval(0.761, 0.881).baseline(0.612),
            Score::new("ROC AUC", 0.874, true).interval(0.806, 0.929).baseline(0.5),
            Score::new("F1 of 1", 0.772, true).interval(0.676, 0.849).baseline(0.0),
            Score::new("log loss", 0.441, false).interval(0.352, 0.552).baseline(0.668),
            Score::new("Brier", 0.134, false).interval(0.103, 0.171).baseline(0.238),
        ],
        caveats: vec!["The test part has 134 rows: the interval spans 12 points. Cross-validation (--folds 5) narrows it.".into()],
        ..Verdict::default()
    }
}

fn decisions() -> Vec<Decision> {
    use DecisionKind::{Changed, Chosen, Dropped, Inferred};
    [
        (
            Inferred,
            "Task: two classes",
            "survived holds 2 distinct integers, 0 and 1",
            "--task regression",
        ),
        (
            Inferred,
            "pclass is a category",
            "3 distinct integers in 891 rows",
            "--set data.columns.pclass=number",
        ),
        (
            Dropped,
            "Column passenger_id",
            "an identifier: 891 distinct values in 891 rows",
            "--set data.columns.passenger_id=number",
        ),
        (Dropped, "Column name", "text: 891 distinct values", "--set data.columns.name=category"),
        (
            Changed,
            "age: 177 missing values become the median",
            "28.0, fitted on train; a column age_missing tells the model",
            "--set data.impute=mean",
        ),
        (Chosen, "Positive class: 1", "the rarer of the two", "--set data.positive=0"),
        (
            Chosen,
            "Early stopping after 20 epochs without gain",
            "the default for fewer than 10,000 rows",
            "--set train.patience=0",
        ),
        (Chosen, "Threshold 0.46", "best F1 on valid", "--set evaluate.threshold=0.5"),
    ]
    .map(|(kind, what, why, undo)| Decision {
        kind,
        what: what.into(),
        why: why.into(),
        undo: undo.into(),
    })
    .to_vec()
}

fn data() -> Data {
    let number = |name: &str, range: &str, unique, missing, low, high, counts| Column {
        name: name.into(),
        kind: "number".into(),
        range: range.into(),
        unique: Some(unique),
        missing,
        role: if missing > 0 { "standardised, median, missing flag" } else { "standardised" }
            .into(),
        distribution: Distribution::Numeric { edges: steps(low, high, 25), counts },
        ..Column::default()
    };
    let category = |name: &str, kind: &str, role: &str, missing, tallies: &[(&str, u64)]| Column {
        name: name.into(),
        kind: kind.into(),
        range: tallies.iter().map(|t| t.0).take(3).collect::<Vec<_>>().join(", "),
        unique: Some(tallies.len() as u64),
        missing,
        role: role.into(),
        distribution: Distribution::Categories(
            tallies.iter().map(|t| Tally::new(t.0, t.1)).collect(),
        ),
        ..Column::default()
    };
    let dropped = |name: &str, kind: &str, unique, why: &str| Column {
        name: name.into(),
        kind: kind.into(),
        unique: Some(unique),
        role: why.into(),
        dropped: true,
        ..Column::default()
    };
    let mut cabin = category(
        "cabin",
        "category",
        "one-hot, rare merged",
        687,
        &[("C", 59), ("B", 47), ("D", 33), ("E", 32), ("A", 15), ("F", 13), ("G", 4)],
    );
    cabin.alerts = vec![Alert::new(Level::Warning, "77 % missing", "687 of 891")];
    let mut fare = number("fare", "0 to 512, median 14.5", 248, 0, 0.0, 512.0, {
        let mut c: Vec<u64> =
            (0..24).map(|i| (520.0 * (-0.8 * f64::from(i)).exp()) as u64).collect();
        c[23] = 3;
        c
    });
    fare.alerts =
        vec![Alert::new(Level::Note, "skewed", "skewness 4.8; quantile scaling was tried")];
    Data {
        source: "titanic.csv · comma, header, UTF-8 · 12 columns".into(),
        rows_read: 893,
        rows_used: 891,
        dropped: vec![Tally::new("target missing", 2)],
        columns: vec![
            dropped("passenger_id", "identifier", 891, "dropped: an identifier"),
            Column {
                target: true,
                ..category("survived", "boolean", "two classes", 0, &[("0", 549), ("1", 342)])
            },
            category("pclass", "category", "one-hot", 0, &[("3", 491), ("1", 216), ("2", 184)]),
            dropped("name", "text", 891, "dropped: text"),
            category("sex", "category", "one-hot", 0, &[("male", 577), ("female", 314)]),
            number(
                "age",
                "0.42 to 80, median 28",
                88,
                177,
                0.42,
                80.0,
                bell(0.36, 0.17, 24, 714.0),
            ),
            number("sibsp", "0 to 8", 7, 0, 0.0, 8.0, vec![608, 209, 28, 16, 18, 5, 0, 7]),
            number("parch", "0 to 6", 7, 0, 0.0, 6.0, vec![678, 118, 80, 5, 4, 5, 1]),
            fare,
            cabin,
            category("embarked", "category", "one-hot", 2, &[("S", 644), ("C", 168), ("Q", 77)]),
        ],
        checks: vec![
            Alert::new(Level::Passed, "No duplicate rows", ""),
            Alert::new(
                Level::Passed,
                "No column gives the target away",
                "best single column: sex, AUC 0.77",
            ),
            Alert::new(Level::Warning, "cabin is mostly missing", "687 of 891 rows (77 %)"),
        ],
    }
}

fn split() -> Split {
    let part = |name: &str, zero, one| SplitPart {
        name: name.into(),
        rows: zero + one,
        classes: vec![zero, one],
        ..SplitPart::default()
    };
    Split {
        method: "Stratified by survived, seed 0".into(),
        parts: vec![part("train", 384, 239), part("valid", 83, 51), part("test", 82, 52)],
        classes: vec!["0".into(), "1".into()],
        checks: vec![
            Alert::new(Level::Passed, "No row is in two parts", ""),
            Alert::new(
                Level::Note,
                "18 passengers of test share a ticket with one of train",
                "--set split.group=ticket keeps them together",
            ),
        ],
    }
}

fn curves(noise: &mut Noise) -> Curves {
    let epochs = steps(1.0, 57.0, 57);
    let mut along = |f: &dyn Fn(f64) -> f64, sigma: f64| -> Vec<f64> {
        epochs.iter().map(|&e| f(e) + sigma * noise.normal()).collect()
    };
    let train = along(&|e| 0.36 + 0.33 * (-e / 9.0).exp() - 0.0012 * e, 0.003);
    let mut valid =
        along(&|e| 0.425 + 0.27 * (-e / 8.0).exp() + 0.00004 * (e - 30.0).max(0.0).powi(2), 0.004);
    valid[36] = 0.419;
    let accuracy = along(&|e| 0.815 - 0.2 * (-e / 7.0).exp(), 0.006);
    let norm = along(&|e| 1.1 * (-e / 14.0).exp() + 0.35, 0.05);
    let rate: Vec<f64> = epochs
        .iter()
        .map(|e| {
            if *e <= 5.0 {
                2e-4 * e
            } else {
                1e-3 * (0.5 + 0.5 * ((e - 5.0) / 195.0 * std::f64::consts::PI).cos())
            }
        })
        .collect();
    let series = |name: &str, y| Series::new(name, epochs.clone(), y);
    Curves {
        panels: vec![
            Panel::new("Loss", "epoch", "cross-entropy ↓")
                .with(series("train", train))
                .with(series("valid", valid)),
            Panel::new("Accuracy", "epoch", "share of rows ↑").with(series("valid", accuracy)),
            Panel::new("Learning rate", "epoch", "").with(series("", rate)),
            Panel::new("Gradient norm", "epoch", "before clipping").with(series("", norm)),
        ],
        marks: vec![Mark { x: 37.0, label: "best 37".into() }],
        note: "Stopped: no gain for 20 epochs. The weights of epoch 37 were kept.".into(),
    }
}

fn classification(scores: &[(bool, f64)]) -> Classification {
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
    let at = 0.46;
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
    Classification {
        split: "test".into(),
        classes: vec!["0".into(), "1".into()],
        positive: Some(1),
        confusion: vec![vec![a, b], vec![c, d]],
        per_class: vec![class("0", a, c, b), class("1", d, b, c)],
        means: vec![ClassScores {
            name: "macro mean".into(),
            precision: 0.81,
            recall: 0.812,
            f1: 0.811,
            support: 134,
            roc_auc: None,
        }],
        roc: vec![RateCurve {
            name: "1".into(),
            x: fpr,
            y: recall.clone(),
            area: Some(0.874),
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
            brier: Some(0.134),
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

fn importance() -> Importance {
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

fn dependence() -> Vec<Dependence> {
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

fn mistakes() -> Mistakes {
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
        wrong: Some(23),
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

fn model() -> Model {
    let layer = |name: &str, kind: &str, shape: &str, parameters| Layer {
        name: name.into(),
        kind: kind.into(),
        shape: shape.into(),
        parameters,
        ..Layer::default()
    };
    Model {
        summary: "28 → 64 relu → 32 relu → 2".into(),
        layers: vec![
            layer("hidden.0", "feedforward, relu", "[64, 28]", 1856),
            layer("hidden.1", "feedforward, relu", "[32, 64]", 2080),
            layer("dropout", "dropout 0.1", "[32]", 0),
            layer("output", "feedforward", "[2, 32]", 66),
        ],
    }
}

fn resources() -> Vec<Resource> {
    let r = |name: &str, planned, measured, unit| Resource {
        name: name.into(),
        planned,
        measured,
        unit,
    };
    vec![
        r("parameters", Some(4002.0), Some(4002.0), Unit::Count),
        r("weights", Some(16_008.0), Some(16_008.0), Unit::Bytes),
        r("gradients", Some(16_008.0), Some(16_008.0), Unit::Bytes),
        r("optimiser state", Some(32_016.0), Some(32_016.0), Unit::Bytes),
        r("activations", Some(98_304.0), Some(96_256.0), Unit::Bytes),
        r("compute of a step", Some(1.54e6), None, Unit::Flop),
        r("time of a step", Some(6.0e-5), Some(7.4e-5), Unit::Seconds),
        r("rows", None, Some(19_300.0), Unit::PerSecond),
        r("peak memory", Some(2.0e6), Some(2.13e6), Unit::Bytes),
    ]
}
