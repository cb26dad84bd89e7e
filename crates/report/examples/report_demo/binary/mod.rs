//! A binary classifier, modelled on the passengers of the Titanic.

mod data;
mod evaluation;

use ff_report::{
    Command, Curves, Fact, Layer, Mark, Model, Panel, ReportData, Resource, Series, Status,
    StatusKind, Timing, Unit,
};

use crate::noise::{Noise, steps};

pub(crate) fn report() -> ReportData {
    let mut noise = Noise(7);
    // (is positive, predicted probability), better separated than chance.
    let scores: Vec<(bool, f64)> = (0..134)
        .map(|i| {
            let positive = i % 13 < 5;
            let x = if positive { 0.75 } else { -0.95 } + 1.05 * noise.normal();
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
        verdict: Some(evaluation::verdict(&scores)),
        decisions: data::decisions(),
        data: Some(data::data()),
        split: Some(data::split()),
        curves: Some(curves(&mut noise)),
        classification: Some(evaluation::classification(&scores)),
        importance: Some(evaluation::importance()),
        dependence: evaluation::dependence(),
        mistakes: Some(evaluation::mistakes(&scores)),
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
                "Train again, with bit-identical results",
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
