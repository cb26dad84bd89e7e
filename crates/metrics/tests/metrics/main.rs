//! Metrics against scikit-learn (fixtures/make.py), against their definitions, and on invalid
//! input.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod definitions;
mod inputs;
mod labels;
mod reports;
mod sklearn;
mod thresholds;
mod translations;

use ff_metrics::*;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Both sides add at most 80 terms in f64, in different orders: their sums differ by less than 80 ·
/// 2⁻⁵³ ≈ 1e-14 of their size, and no score here is a small difference of large numbers.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct ClassificationFixture {
    bins: usize,
    cases: Vec<ClassificationCase>,
}

#[derive(Deserialize)]
struct ClassificationCase {
    name: String,
    classes: usize,
    positive: Option<usize>,
    threshold: Option<f64>,
    top_k: usize,
    labels: Vec<u32>,
    probabilities: Vec<f64>,
    weights: Option<Vec<f32>>,
    scores: BTreeMap<Metric, Option<f64>>,
    per_class: Vec<BTreeMap<String, Option<f64>>>,
    confusion: Vec<Vec<f64>>,
    baseline: BTreeMap<Metric, f64>,
    roc: Option<Vec<(Option<f64>, f64, f64)>>,
    pr: Option<Vec<(Option<f64>, f64, f64)>>,
}

impl ClassificationCase {
    fn options(&self) -> ClassificationOptions<'_> {
        ClassificationOptions {
            positive: self.positive,
            threshold: self.threshold,
            weights: self.weights.as_deref(),
            top_k: Some(self.top_k),
            bootstrap: None,
            curve_points: 10_000,
            ..ClassificationOptions::default()
        }
    }

    fn report(&self) -> ClassificationReport {
        ClassificationReport::compute(
            &self.labels,
            &self.probabilities,
            self.classes,
            &self.options(),
        )
        .unwrap()
    }
}

fn classification() -> ClassificationFixture {
    serde_json::from_str(include_str!("../fixtures/classification.json")).unwrap()
}

#[track_caller]
fn close(what: &str, ours: Option<f64>, theirs: Option<f64>, tolerance: f64) {
    let equal = match (ours, theirs) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance * b.abs().max(1.0),
        (None, None) => true,
        _ => false,
    };
    assert!(equal, "{what}: ours {ours:?}, scikit-learn's {theirs:?}");
}

/// A separate generator, so that tests do not depend on the code under test.
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(2) + 1;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Two classes, with scores of `signal` for the true class plus noise.
fn noisy(rows: usize, signal: f64, seed: u64) -> (Vec<u32>, Vec<f64>) {
    let mut random = uniform(seed);
    let labels: Vec<u32> = (0..rows).map(|_| u32::from(random() < 0.35)).collect();
    let p = labels
        .iter()
        .flat_map(|&label| {
            let noise = 2.0 * (random() + random() + random()) - 3.0;
            let p = 1.0 / (1.0 + (-signal * (f64::from(label) * 2.0 - 1.0) - noise).exp());
            [1.0 - p, p]
        })
        .collect();
    (labels, p)
}
