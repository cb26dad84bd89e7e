//! The comparison of a rule with stored reference steps (`tests/fixtures/optim.py`).

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use super::{Optimizer, OptimizerConfig};
use ff_graph::{ParamKind, ParamSpec, Params};
use ff_kernels::Float;
use ff_tensor::{DType, Device, Shape};
use serde::Deserialize;

/// The tolerance in f64, relative to 1 or to the value if larger.
pub(super) const F64: f64 = 1e-14;
/// The tolerance in f32: twenty steps of a few roundings each, of numbers up to about 3.
pub(super) const F32: f64 = 1e-6;

#[derive(Deserialize)]
struct Fixture {
    params: Vec<Param>,
    start: Vec<f64>,
    gradients: Vec<Vec<f64>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Param {
    name: String,
    shape: Vec<usize>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: OptimizerConfig,
    f64: Vec<Vec<f64>>,
    f32: Vec<Vec<f64>>,
}

/// Runs every case of a fixture in both types.
pub(super) fn agrees(fixture: &str, f64: f64, f32: f64) {
    let fixture: Fixture = serde_json::from_str(fixture).unwrap();
    assert!(!fixture.cases.is_empty());
    for case in &fixture.cases {
        assert_eq!((case.f64.len(), case.f32.len()), (20, 20));
        let error = difference(&steps::<f64>(&fixture, &case.config), &case.f64);
        assert!(error < f64, "{}: {error:e}", case.name);
        let error = difference(&steps::<f32>(&fixture, &case.config), &case.f32);
        assert!(error < f32, "{}: {error:e}", case.name);
    }
}

/// The parameters after each step; gradients are sums over four rows.
fn steps<T: Float>(fixture: &Fixture, config: &OptimizerConfig) -> Vec<Vec<f64>> {
    let device = Device::default();
    let spec = |param: &Param| {
        let shape = Shape::new(&param.shape).unwrap();
        let kind = if shape.rank() >= 2 { ParamKind::Weight } else { ParamKind::Bias };
        ParamSpec::new(&param.name, shape, kind)
    };
    let specs = fixture.params.iter().map(spec).collect();
    let mut params = Params::allocate(&device, T::DTYPE, specs, true).unwrap();
    set(params.flat_mut::<T>().unwrap(), &fixture.start, 1.0);
    let mut optimizer = Optimizer::new(config, &params, &device).unwrap();
    let steps = fixture.gradients.iter().map(|gradient| {
        set(params.gradients::<T>().unwrap(), gradient, 4.0);
        let report = optimizer.step(&mut params, 4.0, config.lr()).unwrap();
        assert_eq!(report.skipped, None);
        params.flat::<T>().unwrap().iter().map(|v| v.f64()).collect()
    });
    steps.collect()
}

fn set<T: Float>(to: &mut [T], from: &[f64], scale: f64) {
    assert_eq!(to.len(), from.len());
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = T::of(scale * from));
}

fn difference(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
}

/// The values kept by a rule for a weight [4, 6] and a bias [4].
pub(super) fn kept(config: impl Into<OptimizerConfig>) -> usize {
    let specs = vec![
        ParamSpec::new("weight", [4, 6], ParamKind::Weight),
        ParamSpec::new("bias", [4], ParamKind::Bias),
    ];
    let device = Device::planning();
    let params = Params::allocate(&device, DType::F32, specs, true).unwrap();
    Optimizer::new(&config.into(), &params, &device).unwrap().state_bytes() / 4
}
