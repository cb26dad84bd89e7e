//! Optimisers against PyTorch's (`fixtures/optim.py`), the order of a step, limits and messages.

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use ff_graph::{ParamKind, ParamSpec, Params};
use ff_kernels::Float;
use ff_tensor::{DType, Device, DeviceOptions, TensorRef};
use ff_train::optim::{
    Adam, AdamW, AdjustLr, Error, GroupConfig, Muon, Optimizer, OptimizerConfig, OptimizerKind,
    OptimizerScalars, RmsProp, Sgd, Skip, first_non_finite_gradient,
};
use ff_train::schedule::{Cosine, ScheduleConfig, Span};
use serde::Deserialize;

#[derive(Deserialize)]
struct MuonFixture {
    matrices: Vec<Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    shape: [usize; 2],
    adjust_lr_fn: AdjustLr,
    f64: Vec<f64>,
    bf16: Vec<f64>,
}

#[derive(Deserialize)]
struct AverageFixture {
    start: Vec<f64>,
    gradients: Vec<Vec<f64>>,
    average: Vec<f64>,
}

/// A weight [2, 2] and a bias [2].
fn small(dtype: DType) -> Params {
    let specs = vec![
        ParamSpec::new("layer.weight", [2, 2], ParamKind::Weight),
        ParamSpec::new("layer.bias", [2], ParamKind::Bias),
    ];
    Params::allocate(&Device::default(), dtype, specs, true).unwrap()
}

fn set<T: Float>(to: &mut [T], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = T::of(from));
}

fn flat<T: Float>(params: &Params) -> Vec<f64> {
    params.flat::<T>().unwrap().iter().map(|v| v.f64()).collect()
}

/// The largest difference, relative to 1 or to the value if that is larger.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
}

#[test]
fn every_rule_has_a_fixture() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/optim");
    for kind in OptimizerKind::ALL {
        let text = std::fs::read_to_string(format!("{folder}/{kind}.json")).unwrap();
        assert!(text.contains(&format!("\"kind\":\"{kind}\"")), "{kind}");
    }
}

/// Three steps of Muon on a weight of these dimensions, as in `optim.py`.
fn orthogonalised<T: Float>(dims: &[usize], config: &OptimizerConfig) -> Vec<f64> {
    let shape = ff_tensor::Shape::new(dims).unwrap();
    let specs = vec![ParamSpec::new("weight", shape, ParamKind::Weight)];
    let mut params = Params::allocate(&Device::default(), T::DTYPE, specs, true).unwrap();
    let n: Vec<f64> = (0..shape.len()).map(|i| i as f64).collect();
    let values = |f: &dyn Fn(f64) -> f64| -> Vec<f64> { n.iter().map(|&n| f(n)).collect() };
    set(params.flat_mut::<T>().unwrap(), &values(&f64::sin));
    let mut optimizer = Optimizer::new(config, &params, &Device::default()).unwrap();
    for step in 0..3 {
        let gradients = values(&|n| (n * (1.5 + f64::from(step))).cos());
        set(params.gradients::<T>().unwrap(), &gradients);
        optimizer.step(&mut params, 1.0, config.lr()).unwrap();
    }
    flat::<T>(&params)
}

#[test]
fn muon_agrees_with_pytorch_on_matrices_of_every_shape() {
    let fixture: MuonFixture =
        serde_json::from_str(include_str!("fixtures/optim/muon.json")).unwrap();
    for case in fixture.matrices {
        let [rows, columns] = case.shape;
        let muon = Muon { adjust_lr_fn: case.adjust_lr_fn, ..Muon::default() };
        let config = OptimizerConfig { lr: Some(0.02), ..muon.clone().into() };
        let apart =
            |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Five iterations amplify rounding errors near a singular value of 0 by up to 3.4445⁵,
        // about 500.
        let found = orthogonalised::<f64>(&case.shape, &config);
        assert!(apart(&found, &case.f64) < 1e-13, "{:?}", case.shape);
        let found = orthogonalised::<f32>(&case.shape, &config);
        assert!(apart(&found, &case.f64) < 3e-6, "{:?}", case.shape);
        // PyTorch rounds to bf16, 8 bits, after every product: a tenth of the distance of three
        // steps.
        let way = 3.0 * 0.02 * case.adjust_lr_fn.factor(rows, columns);
        assert!(apart(&found, &case.bf16) < 0.1 * way, "{:?}", case.shape);
        let muon = Muon { ns_bf16: true, ..muon };
        let config = OptimizerConfig { lr: Some(0.02), ..muon.into() };
        let found = orthogonalised::<f32>(&case.shape, &config);
        assert!(apart(&found, &case.f64) < 0.1 * way, "{:?}", case.shape);
        assert!(apart(&found, &case.f64) > 0.0, "{:?}", case.shape);
    }
}

#[test]
fn muon_takes_a_stack_of_matrices_apart() {
    let config = OptimizerConfig { lr: Some(0.02), ..OptimizerConfig::new(OptimizerKind::Muon) };
    let stack = orthogonalised::<f64>(&[2, 3, 4], &config);
    let first = orthogonalised::<f64>(&[3, 4], &config);
    assert_eq!(stack[..12], first);
    assert_ne!(stack, orthogonalised::<f64>(&[6, 4], &config));
}

#[test]
fn a_group_gives_a_matrix_to_adamw() {
    let group =
        GroupConfig { pattern: "layer.weight".into(), adamw: Some(true), ..GroupConfig::default() };
    let muon = OptimizerConfig {
        lr: Some(0.5),
        groups: vec![group],
        ..Muon { adamw_lr: Some(0.1), ..Muon::default() }.into()
    };
    let adamw = OptimizerConfig { weight_decay: Some(0.1), ..OptimizerConfig::default() };
    let (weights, gradients) = ([1.0, -2.0, 0.0, 4.0, 0.5, -0.5], [0.5, 1.0, -1.0, 2.0, 0.25, 3.0]);
    // A fifth of the scheduled rate.
    let found = step_once(&muon, &weights, &gradients, 0.25);
    let expected = step_once(&adamw, &weights, &gradients, 0.05);
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-15));
    assert_ne!(
        step_once(&OptimizerConfig { groups: vec![], ..muon }, &weights, &gradients, 0.25),
        found
    );
}

#[test]
fn the_average_agrees_with_pytorch_and_swaps_in_and_out() {
    let fixture: AverageFixture =
        serde_json::from_str(include_str!("fixtures/optim/average.json")).unwrap();
    let config = OptimizerConfig {
        lr: Some(0.05),
        weight_decay: Some(0.3),
        ema: Some(0.9),
        ..OptimizerConfig::default()
    };
    let mut params = small(DType::F64);
    set(params.flat_mut::<f64>().unwrap(), &fixture.start);
    let mut optimizer = Optimizer::new(&config, &params, &Device::default()).unwrap();
    assert!(!optimizer.swap_average(&mut params).unwrap()); // nothing to swap in yet
    assert_eq!(flat::<f64>(&params), fixture.start);
    for gradient in &fixture.gradients {
        set(params.gradients::<f64>().unwrap(), gradient);
        optimizer.step(&mut params, 1.0, 0.05).unwrap();
    }
    let weights = flat::<f64>(&params);
    assert!(optimizer.swap_average(&mut params).unwrap());
    assert!(difference(&flat::<f64>(&params), &fixture.average) < 1e-14);
    assert_eq!(optimizer.step(&mut params, 1.0, 0.05), Err(Error::Swapped));
    assert_eq!(optimizer.state_tensors(&params).unwrap_err(), Error::Swapped);
    assert!(optimizer.swap_average(&mut params).unwrap());
    assert_eq!(flat::<f64>(&params), weights);
}

fn step_once(config: &OptimizerConfig, weights: &[f64], gradients: &[f64], lr: f64) -> Vec<f64> {
    let mut params = small(DType::F64);
    set(params.flat_mut::<f64>().unwrap(), weights);
    set(params.gradients::<f64>().unwrap(), gradients);
    let mut optimizer = Optimizer::new(config, &params, &Device::default()).unwrap();
    optimizer.step(&mut params, 2.0, lr).unwrap();
    flat::<f64>(&params)
}

#[test]
fn penalties_come_before_clipping_and_decay_after() {
    let sgd = OptimizerConfig::new(OptimizerKind::Sgd);
    let config = OptimizerConfig {
        l1: Some(0.5),
        l2: Some(0.25),
        clip_value: Some(2.0),
        weight_decay: Some(0.125),
        ..sgd.clone()
    };
    let weights = [2.0, -2.0, 0.0, 4.0, 2.0, -2.0];
    let gradients = [2.0, 2.0, 2.0, 8.0, 2.0, 8.0]; // of two rows
    // Weights: g/2 + l1 sign w + l2 w, clipped to 2, + 0.125 w. Biases: g/2, clipped.
    let g = [2.0 + 0.25, 0.0 - 0.25, 1.0, 2.0 + 0.5, 1.0, 2.0];
    let expected: Vec<f64> = weights.iter().zip(g).map(|(w, g)| w - 0.5 * g).collect();
    assert_eq!(step_once(&config, &weights, &gradients, 0.5), expected);

    // A norm of 5 after division by the count, clipped to 1.
    let config = OptimizerConfig { clip_norm: Some(1.0), ..sgd };
    let after = step_once(&config, &[0.0; 6], &[6.0, 0.0, 0.0, 0.0, 0.0, 8.0], 1.0);
    let shrink = 1.0 / (5.0 + 1e-6);
    assert_eq!(after, [-3.0 * shrink, 0.0, 0.0, 0.0, 0.0, -4.0 * shrink]);
}

#[test]
fn rows_are_scaled_down_to_the_max_norm() {
    let config =
        OptimizerConfig { max_norm: Some(2.5), ..OptimizerConfig::new(OptimizerKind::Sgd) };
    let after = step_once(&config, &[3.0, 4.0, 1.0, 2.0, 30.0, 40.0], &[0.0; 6], 0.1);
    assert_eq!(after, [1.5, 2.0, 1.0, 2.0, 30.0, 40.0]); // biases are not rows
}

#[test]
fn groups_by_name() {
    let group = |pattern: &str, lr_scale, weight_decay| GroupConfig {
        pattern: pattern.into(),
        lr_scale,
        weight_decay,
        ..GroupConfig::default()
    };
    let config = OptimizerConfig {
        weight_decay: Some(0.5),
        groups: vec![group("*.bias", Some(2.0), Some(0.25)), group("layer.*", Some(0.0), None)],
        ..OptimizerConfig::new(OptimizerKind::AdamW)
    };
    // Weights do not move at a rate of 0; biases match the first group, decay, and step by twice
    // the rate against the gradient's sign, as Adam's first step does.
    let after = step_once(&config, &[1.0; 6], &[8.0, 8.0, 8.0, 8.0, 8.0, -8.0], 0.1);
    assert_eq!(after[..4], [1.0; 4]);
    assert!((after[4] - (1.0 - 0.2 * 0.25 - 0.2)).abs() < 1e-8); // ε of 1e-8 under a gradient of 4
    assert!((after[5] - (1.0 - 0.2 * 0.25 + 0.2)).abs() < 1e-8);

    let defaults = OptimizerConfig { groups: vec![], ..config };
    let after = step_once(&defaults, &[1.0; 6], &[0.0; 6], 0.1);
    assert_eq!(after, [0.95, 0.95, 0.95, 0.95, 1.0, 1.0]); // only the matrix decays
}

#[test]
fn a_step_without_rows_or_with_a_bad_gradient_changes_nothing() {
    for dtype in [DType::F32, DType::F64] {
        for clip_value in [None, Some(1.0)] {
            let config =
                OptimizerConfig { clip_value, ema: Some(0.9), ..OptimizerConfig::default() };
            let mut params = small(dtype);
            let mut optimizer = Optimizer::new(&config, &params, &Device::default()).unwrap();
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let gradients = [1.0, 0.0, 0.0, 0.0, 0.0, bad];
                let after = if dtype == DType::F32 {
                    set(params.gradients::<f32>().unwrap(), &gradients);
                    let report = optimizer.step(&mut params, 1.0, 0.1).unwrap();
                    assert_eq!(report.skipped, Some(Skip::NonFinite));
                    assert!(!report.grad_norm.is_finite());
                    flat::<f32>(&params)
                } else {
                    set(params.gradients::<f64>().unwrap(), &gradients);
                    let report = optimizer.step(&mut params, 1.0, 0.1).unwrap();
                    assert_eq!(report.skipped, Some(Skip::NonFinite));
                    assert!(!report.grad_norm.is_finite());
                    flat::<f64>(&params)
                };
                assert_eq!(after, [0.0; 6]);
                let found = first_non_finite_gradient(&mut params).unwrap().unwrap();
                assert_eq!((found.name.as_str(), found.index), ("layer.bias", 1));
                assert_eq!(found.value.is_nan(), bad.is_nan());
            }
            let report = optimizer.step(&mut params, 0.0, 0.1).unwrap();
            assert_eq!(report.skipped, Some(Skip::Nothing));
            assert_eq!(optimizer.updates(), 0);
            for state in optimizer.state_tensors(&params).unwrap() {
                assert!(values(state.1).iter().all(|&v| v == 0.0));
            }
        }
    }
    assert_eq!(first_non_finite_gradient(&mut small(DType::F32)), Ok(None));
}

fn values(tensor: TensorRef<'_>) -> Vec<f64> {
    match tensor.slice::<f32>() {
        Ok(values) => values.iter().map(|&v| f64::from(v)).collect(),
        Err(_) => tensor.slice::<f64>().unwrap().to_vec(),
    }
}

#[test]
fn gradients_as_large_as_floats_go_are_clipped_not_skipped() {
    let config =
        OptimizerConfig { clip_norm: Some(1.0), ..OptimizerConfig::new(OptimizerKind::Sgd) };
    // In f64 the squares overflow.
    let mut params = small(DType::F64);
    set(params.gradients::<f64>().unwrap(), &[3e300, 0.0, 0.0, 0.0, 0.0, 4e300]);
    let mut optimizer = Optimizer::new(&config, &params, &Device::default()).unwrap();
    let report = optimizer.step(&mut params, 1.0, 1.0).unwrap();
    assert!((report.grad_norm / 5e300 - 1.0).abs() < 1e-15 && report.clipped);
    let after = flat::<f64>(&params);
    assert!((after[0] + 0.6).abs() < 1e-15 && (after[5] + 0.8).abs() < 1e-15);

    let mut params = small(DType::F32);
    set(params.gradients::<f32>().unwrap(), &[3e38, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let mut optimizer = Optimizer::new(&config, &params, &Device::default()).unwrap();
    let report = optimizer.step(&mut params, 1.0, 1.0).unwrap();
    assert!(report.clipped);
    assert!((flat::<f32>(&params)[0] + 1.0).abs() < 1e-6);
}

#[test]
fn a_model_without_parameters_steps() {
    let device = Device::default();
    let mut params = Params::allocate(&device, DType::F32, vec![], true).unwrap();
    for kind in OptimizerKind::ALL.into_iter().filter(|&k| k != OptimizerKind::Lbfgs) {
        let mut optimizer = Optimizer::new(&OptimizerConfig::new(kind), &params, &device).unwrap();
        let report = optimizer.step(&mut params, 1.0, 0.1).unwrap();
        assert_eq!((report.grad_norm, report.skipped), (0.0, None));
    }
}

#[test]
fn a_zero_gradient_moves_nothing_without_decay() {
    for kind in OptimizerKind::ALL.into_iter().filter(|&k| k != OptimizerKind::Lbfgs) {
        let mut config = OptimizerConfig::new(kind);
        config.weight_decay = Some(0.0);
        let weights = [1.0, -2.0, 0.0, 4.0, 0.5, -0.5];
        assert_eq!(step_once(&config, &weights, &[0.0; 6], 0.1), weights, "{kind}");
    }
}

/// A model of a few pieces, the last incomplete.
fn large(device: &Device, dtype: DType) -> Params {
    let specs = vec![
        ParamSpec::new("a.weight", [300, 301], ParamKind::Weight),
        ParamSpec::new("a.bias", [301], ParamKind::Bias),
        ParamSpec::new("b.weight", [77, 300], ParamKind::Weight),
        ParamSpec::new("b.bias", [3], ParamKind::Bias),
    ];
    let mut params = Params::allocate(device, dtype, specs, true).unwrap();
    let weights: Vec<f64> = (0..params.trainable_len()).map(|i| (i as f64).sin()).collect();
    match dtype {
        DType::F64 => set(params.flat_mut::<f64>().unwrap(), &weights),
        _ => set(params.flat_mut::<f32>().unwrap(), &weights),
    }
    params
}

fn train(params: &mut Params, optimizer: &mut Optimizer, steps: std::ops::Range<usize>) {
    for step in steps {
        params.clear_gradients();
        let gradient = |i: usize| ((i * 7 + step * 13) as f64 * 0.1).cos();
        let gradients: Vec<f64> = (0..params.trainable_len()).map(gradient).collect();
        match params.dtype() {
            DType::F64 => set(params.gradients::<f64>().unwrap(), &gradients),
            _ => set(params.gradients::<f32>().unwrap(), &gradients),
        }
        let report = optimizer.step(params, 3.0, 0.01).unwrap();
        assert!(report.clipped && report.skipped.is_none());
    }
}

fn everything(kind: OptimizerKind) -> OptimizerConfig {
    let rule = match kind {
        OptimizerKind::Sgd => Sgd { momentum: 0.9, ..Sgd::default() }.into(),
        OptimizerKind::Adam => Adam { amsgrad: true, ..Adam::default() }.into(),
        OptimizerKind::AdamW => AdamW { amsgrad: true, ..AdamW::default() }.into(),
        OptimizerKind::RmsProp => {
            RmsProp { momentum: 0.9, centered: true, ..RmsProp::default() }.into()
        }
        other => OptimizerConfig::new(other),
    };
    OptimizerConfig {
        weight_decay: Some(0.01),
        l1: Some(1e-4),
        clip_norm: Some(1.0),
        max_norm: Some(11.0),
        ema: Some(0.99),
        ..rule
    }
}

fn bits(params: &Params) -> Vec<u64> {
    match params.dtype() {
        DType::F64 => params.flat::<f64>().unwrap().iter().map(|v| v.to_bits()).collect(),
        _ => params.flat::<f32>().unwrap().iter().map(|v| u64::from(v.to_bits())).collect(),
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for kind in OptimizerKind::ALL.into_iter().filter(|&k| k != OptimizerKind::Lbfgs) {
        let runs = [1, 2, 4].map(|threads| {
            let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
            let mut params = large(&device, DType::F32);
            let mut optimizer = Optimizer::new(&everything(kind), &params, &device).unwrap();
            train(&mut params, &mut optimizer, 0..3);
            let weights = bits(&params);
            optimizer.swap_average(&mut params).unwrap();
            (weights, bits(&params))
        });
        assert!(runs[0] == runs[1] && runs[0] == runs[2], "{kind}");
    }
}

#[test]
fn a_restored_optimiser_gives_the_same_bits() {
    let device = Device::default();
    for kind in OptimizerKind::ALL.into_iter().filter(|&k| k != OptimizerKind::Lbfgs) {
        for dtype in [DType::F32, DType::F64] {
            let config = everything(kind);
            let mut params = large(&device, dtype);
            let mut optimizer = Optimizer::new(&config, &params, &device).unwrap();
            train(&mut params, &mut optimizer, 0..3);

            let mut other = large(&device, dtype);
            match dtype {
                DType::F64 => {
                    other.flat_mut().unwrap().copy_from_slice(params.flat::<f64>().unwrap());
                }
                _ => other.flat_mut().unwrap().copy_from_slice(params.flat::<f32>().unwrap()),
            }
            let mut restored = Optimizer::new(&config, &other, &device).unwrap();
            let tensors = optimizer.state_tensors(&params).unwrap();
            let averages = tensors.iter().filter(|(name, _)| name.starts_with("ema."));
            assert_eq!(averages.count(), 4);
            assert!(tensors.len() > 4, "{kind} keeps nothing");
            let json = serde_json::to_string(&optimizer.scalars()).unwrap();
            let scalars: OptimizerScalars = serde_json::from_str(&json).unwrap();
            let named = tensors.iter().map(|(name, tensor)| (name.as_str(), *tensor));
            restored.load_state(&other, &scalars, named).unwrap();

            train(&mut params, &mut optimizer, 3..6);
            train(&mut other, &mut restored, 3..6);
            assert_eq!(bits(&params), bits(&other), "{kind}");
            optimizer.swap_average(&mut params).unwrap();
            restored.swap_average(&mut other).unwrap();
            assert_eq!(bits(&params), bits(&other), "{kind}: the average");
        }
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let device = Device::default();
    let params = small(DType::F32);
    let config = OptimizerConfig::new(OptimizerKind::Adam);
    let mut optimizer = Optimizer::new(&config, &params, &device).unwrap();
    let wide = [1.0f64; 2];
    let view = |values: &'static [f32], dims: &[usize]| {
        TensorRef::new(values.into(), ff_tensor::Shape::new(dims).unwrap())
    };
    let full = || {
        vec![
            ("exp_avg.layer.weight", view(&[1.0; 4], &[2, 2])),
            ("exp_avg.layer.bias", view(&[1.0; 2], &[2])),
            ("exp_avg_sq.layer.weight", view(&[1.0; 4], &[2, 2])),
            ("exp_avg_sq.layer.bias", view(&[1.0; 2], &[2])),
        ]
    };
    let scalars = OptimizerScalars { updates: 3, ..OptimizerScalars::new(OptimizerKind::Adam) };
    let mut refuse = |scalars: &OptimizerScalars, tensors: Vec<(&str, TensorRef<'_>)>| {
        let error = optimizer.load_state(&params, scalars, tensors).unwrap_err().to_string();
        assert_eq!(optimizer.updates(), 0);
        let state = optimizer.state_tensors(&params).unwrap();
        assert!(state.iter().all(|(_, tensor)| values(*tensor).iter().all(|&v| v == 0.0)));
        error
    };
    let mut missing = full();
    missing.pop();
    let error = refuse(&scalars, missing);
    assert!(error.starts_with("optimizer state `exp_avg_sq.layer.bias`: is missing"), "{error}");
    let mut reshaped = full();
    reshaped[2].1 = view(&[1.0; 4], &[4, 1]);
    let error = refuse(&scalars, reshaped);
    assert!(error.contains("`exp_avg_sq.layer.weight`: has shape [4, 1] of type f32"), "{error}");
    let mut retyped = full();
    retyped[3].1 = TensorRef::new(wide.as_slice().into(), [2].into());
    assert!(refuse(&scalars, retyped).contains("of type f64, expected [2] of type f32"));
    let mut more = full();
    more.push(("exp_avg.head.weight", view(&[1.0], &[1])));
    let error = refuse(&scalars, more);
    assert!(error.contains("`exp_avg.head.weight`: belongs to no parameter"), "{error}");
    let other = OptimizerScalars::new(OptimizerKind::Lion);
    assert!(refuse(&other, full()).contains("was saved by lion, but the recipe asks for adam"));

    optimizer.load_state(&params, &scalars, full()).unwrap();
    assert_eq!(optimizer.scalars(), scalars);
}

#[test]
fn what_cannot_be_is_refused() {
    let device = Device::default();
    let mut params = small(DType::F32);
    let config = OptimizerConfig::default();
    let mut optimizer = Optimizer::new(&config, &params, &device).unwrap();
    for count in [-1.0, f64::NAN, f64::INFINITY] {
        let error = optimizer.step(&mut params, count, 0.1);
        assert!(matches!(error, Err(Error::Count(_))));
    }
    for lr in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(optimizer.step(&mut params, 1.0, lr), Err(Error::Rate(_))));
    }
    let mut wide = small(DType::F64);
    assert!(matches!(optimizer.step(&mut wide, 1.0, 0.1), Err(Error::OtherParams { .. })));
    let mut other = large(&device, DType::F32);
    assert!(matches!(optimizer.step(&mut other, 1.0, 0.1), Err(Error::OtherParams { .. })));
}

#[test]
fn settings_that_do_not_hold_together_are_named() {
    for (json, expected) in [
        (r#"{"lr":-0.1}"#, "lr: must be at least 0, found -0.1"),
        (
            r#"{"kind":"adamw","momentum":0.9}"#,
            "momentum: does not apply to adamw, only to sgd, rmsprop, muon",
        ),
        (
            r#"{"kind":"sgd","betas":[0.9,0.99]}"#,
            "betas: does not apply to sgd, only to adam, adamw, lion, muon",
        ),
        (
            r#"{"kind":"lbfgs","weight_decay":0.1}"#,
            "weight_decay: does not apply to lbfgs, only to sgd, adam, adamw, rmsprop, adagrad, \
             adafactor, lion, muon; `l2` does the same",
        ),
        (r#"{"adamw_lr":0.1}"#, "adamw_lr: does not apply to adamw, only to muon"),
        (
            r#"{"kind":"muon","momentum":1}"#,
            "momentum: must be at least 0 and less than 1, found 1",
        ),
        (r#"{"kind":"muon","ns_steps":100}"#, "ns_steps: must be below 100, found 100"),
        (r#"{"groups":[{"match":"a","adamw":false}]}"#, "groups[0].adamw: must be true"),
        (r#"{"betas":[0.9,1.0]}"#, "betas: must be at least 0 and less than 1, found 1"),
        (r#"{"kind":"sgd","nesterov":true}"#, "nesterov: needs `momentum` above 0"),
        (r#"{"ema":1.5}"#, "ema: must be at least 0 and less than 1, found 1.5"),
        (r#"{"clip_norm":0}"#, "clip_norm: must be greater than 0, found 0"),
        (r#"{"kind":"lbfgs","history_size":0}"#, "history_size: must be at least 1, found 0"),
        (
            r#"{"groups":[{"match":"a"},{"match":"b","lr_scale":-1}]}"#,
            "groups[1].lr_scale: must be at least 0, found -1",
        ),
        (r#"{"groups":[{"match":""}]}"#, "groups[0].match: must be a pattern"),
    ] {
        let config: OptimizerConfig = serde_json::from_str(json).unwrap();
        let message = config.validate().unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    for (json, expected) in [
        (r#"{"kind":"adamax"}"#, "unknown variant `adamax`, expected one of `sgd`"),
        (r#"{"learning_rate":0.1}"#, "unknown field `learning_rate`"),
        (r#"{"groups":[{"lr_scale":1}]}"#, "missing field `match`"),
    ] {
        let message = serde_json::from_str::<OptimizerConfig>(json).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    let infinite = OptimizerConfig { lr: Some(f64::INFINITY), ..OptimizerConfig::default() };
    assert_eq!(
        infinite.validate().unwrap_err().to_string(),
        "lr: must be a finite number, found inf"
    );
    let json = serde_json::to_string(&OptimizerConfig::default()).unwrap();
    assert_eq!(json, r#"{"kind":"adamw"}"#);
}

#[test]
fn a_plan_counts_the_state() {
    let device = Device::planning();
    let specs = vec![ParamSpec::new("weight", [1024, 16], ParamKind::Weight)];
    let mut params = Params::allocate(&device, DType::F32, specs, true).unwrap();
    let before = device.pool().stats().live;
    for kind in OptimizerKind::ALL.into_iter().filter(|&k| k != OptimizerKind::Lbfgs) {
        let config = everything(kind);
        let mut optimizer = Optimizer::new(&config, &params, &device).unwrap();
        optimizer.step(&mut params, 8.0, 0.1).unwrap();
        let counted = device.pool().stats().live - before;
        // An array takes at least a cache line and is rounded up to whole ones; no rule has ten.
        let rounding = 10 * 64;
        let bytes = optimizer.state_bytes();
        assert!((bytes..bytes + rounding).contains(&counted), "{kind}: {bytes} {counted}");
        assert!(bytes >= 4 * 16_384, "{kind} counts no average");
    }
}

#[test]
fn a_recipe_says_it_in_toml_and_mistakes_have_a_place() {
    #[derive(Debug, Deserialize)]
    struct Recipe {
        optimizer: OptimizerConfig,
        schedule: ScheduleConfig,
    }
    let text = r#"
        [optimizer]
        kind = "adamw"
        lr = 1
        betas = [0.9, 0.999]
        ema = 0.999
        groups = [{ match = "head.*", lr_scale = 10, weight_decay = 0 }]

        [schedule]
        kind = "cosine"
        warmup = 0.1
        cycle = 50
    "#;
    let recipe: Recipe = toml::from_str(text).unwrap();
    assert_eq!(recipe.optimizer.lr, Some(1.0));
    assert_eq!(recipe.optimizer.groups[0].lr_scale, Some(10.0));
    assert_eq!(recipe.schedule.warmup, Some(Span::Fraction(0.1)));
    let cosine = Cosine { cycle: Some(Span::Steps(50)), ..Cosine::default() };
    let expected = ScheduleConfig { warmup: recipe.schedule.warmup, ..cosine.into() };
    assert_eq!(recipe.schedule, expected);

    for (good, bad, place) in [
        // The program itself reports unknown keys earlier, with their position.
        ("ema = 0.999", "ema_decay = 0.999", "[optimizer]"),
        ("\"adamw\"", "\"adamax\"", "\"adamax\""),
        ("lr = 1", "lr = \"fast\"", "\"fast\""),
        ("lr_scale", "lr_scael", "lr_scael"),
        ("warmup = 0.1", "warmup = 1.1", "1.1"),
    ] {
        let text = text.replace(good, bad);
        let error = toml::from_str::<Recipe>(&text).unwrap_err();
        assert_eq!(&text[error.span().unwrap()], place, "{error}");
    }
}

#[test]
fn the_json_schema_describes_every_key_and_allows_no_other() {
    for schema in [schemars::schema_for!(OptimizerConfig), schemars::schema_for!(ScheduleConfig)] {
        assert_eq!(schema.get("additionalProperties").unwrap().as_bool(), Some(false));
        let keys = schema.get("properties").unwrap().as_object().unwrap();
        assert!(keys.len() > 20);
        assert!(keys.values().all(|key| key.get("description").is_some()));
    }
}
