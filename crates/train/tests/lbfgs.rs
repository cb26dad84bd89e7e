//! L-BFGS against PyTorch's (`fixtures/optim.py`), on functions with known minima, and its limits.

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use ff_graph::{ParamKind, ParamSpec, Params};
use ff_kernels::Float;
use ff_tensor::{DType, Device, DeviceOptions};
use ff_train::optim::{
    Closure, Error, Lbfgs, LineSearch, LossSum, Optimizer, OptimizerConfig, OptimizerKind,
    OptimizerScalars, Status,
};
use serde::Deserialize;
use std::marker::PhantomData;

/// A function of the weights in f64 that returns its value and writes its gradient.
type Function = fn(&[f64], &mut [f64]) -> f64;

/// A function as an objective over weights of type T, summed over four rows.
struct Model<T> {
    params: Params,
    function: Function,
    evaluations: usize,
    t: PhantomData<T>,
}

impl<T: Float> Model<T> {
    fn new(device: &Device, start: &[f64], kind: ParamKind, function: Function) -> Self {
        let specs = vec![ParamSpec::new("x", [1, start.len()], kind)];
        let mut params = Params::allocate(device, T::DTYPE, specs, true).unwrap();
        let x = params.flat_mut::<T>().unwrap();
        x.iter_mut().zip(start).for_each(|(x, &start)| *x = T::of(start));
        Self { params, function, evaluations: 0, t: PhantomData }
    }

    fn x(&self) -> Vec<f64> {
        self.params.flat::<T>().unwrap().iter().map(|x| x.f64()).collect()
    }
}

impl<T: Float> Closure for Model<T> {
    type Error = Error;

    fn params(&mut self) -> &mut Params {
        &mut self.params
    }

    fn evaluate(&mut self) -> Result<LossSum, Error> {
        self.evaluations += 1;
        self.params.clear_gradients();
        let x = self.x();
        let mut dx = vec![0.0; x.len()];
        let loss = (self.function)(&x, &mut dx);
        let g = self.params.gradients::<T>()?;
        g.iter_mut().zip(&dx).for_each(|(g, &dx)| *g = T::of(4.0 * dx));
        Ok(LossSum { sum: 4.0 * loss, count: 4.0 })
    }
}

fn quadratic(x: &[f64], dx: &mut [f64]) -> f64 {
    let a = [[4.0, 1.0, 0.5], [1.0, 3.0, -0.25], [0.5, -0.25, 2.0]];
    let b = [1.0, -2.0, 0.5];
    let ax: Vec<f64> = a.iter().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect();
    (0..3).for_each(|i| dx[i] = ax[i] - b[i]);
    (0..3).map(|i| 0.5 * x[i] * ax[i] - b[i] * x[i]).sum()
}

fn rosenbrock(x: &[f64], dx: &mut [f64]) -> f64 {
    let valley = x[1] - x[0] * x[0];
    dx[0] = -2.0 * (1.0 - x[0]) - 400.0 * x[0] * valley;
    dx[1] = 200.0 * valley;
    (1.0 - x[0]).powi(2) + 100.0 * valley * valley
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    problem: String,
    start: Vec<f64>,
    config: OptimizerConfig,
    points: Vec<Vec<f64>>,
}

#[test]
fn the_points_agree_with_pytorch() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/optim/lbfgs.json")).unwrap();
    assert_eq!(fixture.cases.len(), 4);
    let device = Device::default();
    for case in fixture.cases {
        let function = if case.problem == "quadratic" { quadratic } else { rosenbrock };
        let mut model = Model::<f64>::new(&device, &case.start, ParamKind::Weight, function);
        let mut optimizer = Optimizer::new(&case.config, &model.params, &device).unwrap();
        for (call, expected) in case.points.iter().enumerate() {
            optimizer.minimize(&mut model, case.config.lr()).unwrap();
            for (x, expected) in model.x().iter().zip(expected) {
                // Sums in another order, with errors amplified a thousandfold by the curvature of
                // the valley.
                assert!((x - expected).abs() < 1e-9, "{} {call}: {x} {expected}", case.problem);
            }
        }
    }
}

fn config(line_search: LineSearch) -> OptimizerConfig {
    Lbfgs { max_iter: 200, line_search, ..Lbfgs::default() }.into()
}

#[test]
fn it_finds_minima() {
    let device = Device::default();
    for line_search in [LineSearch::StrongWolfe, LineSearch::Backtracking] {
        let config = config(line_search);
        let mut model = Model::<f64>::new(&device, &[-1.2, 1.0], ParamKind::Weight, rosenbrock);
        let mut optimizer = Optimizer::new(&config, &model.params, &device).unwrap();
        let report = optimizer.minimize(&mut model, 1.0).unwrap();
        assert!(report.converged() && report.iterations < 80, "{report:?}");
        assert_eq!(report.evaluations, model.evaluations);
        // The loss changes by less than 1e-9 near a minimum with curvatures of about 0.4 and 1000.
        assert!(model.x().iter().all(|x| (x - 1.0).abs() < 1e-4), "{:?}", model.x());

        let mut model = Model::<f32>::new(&device, &[2.0, 1.0, -3.0], ParamKind::Weight, quadratic);
        let mut optimizer = Optimizer::new(&config, &model.params, &device).unwrap();
        let report = optimizer.minimize(&mut model, 1.0).unwrap();
        assert!(report.converged() && report.grad_norm < 1e-4, "{report:?}");
    }
}

#[test]
fn the_l2_penalty_is_part_of_the_loss() {
    fn parabola(x: &[f64], dx: &mut [f64]) -> f64 {
        dx[0] = x[0] - 3.0;
        0.5 * (x[0] - 3.0).powi(2)
    }
    let device = Device::default();
    let config = OptimizerConfig { l2: Some(0.5), ..config(LineSearch::StrongWolfe) };
    for (kind, expected) in [(ParamKind::Weight, 2.0), (ParamKind::Bias, 3.0)] {
        let mut model = Model::<f64>::new(&device, &[10.0], kind, parabola);
        let mut optimizer = Optimizer::new(&config, &model.params, &device).unwrap();
        let report = optimizer.minimize(&mut model, 1.0).unwrap();
        assert!((model.x()[0] - expected).abs() < 1e-7);
        // (x − 3)²/2 + x²/4 at 2, or 0 at 3.
        let loss = if kind == ParamKind::Weight { 1.5 } else { 0.0 };
        assert!((report.loss - loss).abs() < 1e-12);
    }
}

#[test]
fn a_wall_of_infinity_is_stepped_back_from() {
    /// A parabola with its minimum at 0.9 before a logarithmic wall at 1.
    fn barrier(x: &[f64], dx: &mut [f64]) -> f64 {
        dx[0] = 1.0 / (1.0 - x[0]) + 4.0 * (x[0] - 0.9);
        -(1.0 - x[0]).ln() + 2.0 * (x[0] - 0.9).powi(2)
    }
    let device = Device::default();
    for line_search in [LineSearch::StrongWolfe, LineSearch::Backtracking] {
        let mut model = Model::<f64>::new(&device, &[-2.0], ParamKind::Weight, barrier);
        let mut optimizer = Optimizer::new(&config(line_search), &model.params, &device).unwrap();
        // With a rate of 100, the first step of every search ends beyond the wall.
        let report = optimizer.minimize(&mut model, 100.0).unwrap();
        assert!(report.loss.is_finite());
        let mut dx = [0.0];
        barrier(&model.x(), &mut dx);
        assert!(model.x()[0] < 1.0 && dx[0].abs() < 1e-3, "{line_search:?} {report:?}");
    }
}

#[test]
fn nothing_happens_at_a_minimum_or_at_a_bad_start() {
    let device = Device::default();
    let config = config(LineSearch::StrongWolfe);
    let mut model = Model::<f64>::new(&device, &[1.0, 1.0], ParamKind::Weight, rosenbrock);
    let mut optimizer = Optimizer::new(&config, &model.params, &device).unwrap();
    let report = optimizer.minimize(&mut model, 1.0).unwrap();
    assert_eq!((report.status, report.iterations, model.evaluations), (Status::Gradient, 0, 1));
    assert_eq!(model.x(), [1.0, 1.0]);

    let mut model = Model::<f64>::new(&device, &[f64::NAN, 1.0], ParamKind::Weight, rosenbrock);
    let report = optimizer.minimize(&mut model, 1.0).unwrap();
    assert_eq!((report.status, model.x()[1]), (Status::NonFinite, 1.0));
    assert_eq!(optimizer.updates(), 1);

    // A rate of 0 moves nothing, and returns.
    let mut model = Model::<f64>::new(&device, &[-1.2, 1.0], ParamKind::Weight, rosenbrock);
    let mut optimizer = Optimizer::new(&config, &model.params, &device).unwrap();
    optimizer.minimize(&mut model, 0.0).unwrap();
    assert_eq!(model.x(), [-1.2, 1.0]);

    let mut empty = Model::<f64>::new(&device, &[], ParamKind::Weight, |_, _| 2.0);
    let mut optimizer = Optimizer::new(&config, &empty.params, &device).unwrap();
    assert_eq!(optimizer.minimize(&mut empty, 1.0).unwrap().evaluations, 1);
}

#[test]
fn a_restored_history_goes_on_with_the_same_bits() {
    let device = Device::default();
    let with_history = |history_size| -> OptimizerConfig {
        let rule = Lbfgs { max_iter: 2, max_eval: Some(30), history_size, ..Lbfgs::default() };
        OptimizerConfig { ema: Some(0.9), ..rule.into() }
    };
    let config = with_history(3);
    let start = [-1.2, 1.0];
    let mut model = Model::<f64>::new(&device, &start, ParamKind::Weight, rosenbrock);
    let mut optimizer = Optimizer::new(&config, &model.params, &device).unwrap();
    for call in 0..6 {
        let mut other = Model::<f64>::new(&device, &model.x(), ParamKind::Weight, rosenbrock);
        let mut restored = Optimizer::new(&config, &other.params, &device).unwrap();
        let json = serde_json::to_string(&optimizer.scalars()).unwrap();
        let scalars: OptimizerScalars = serde_json::from_str(&json).unwrap();
        let tensors = optimizer.state_tensors(&model.params).unwrap();
        let steps = scalars.rule["lbfgs"]["rho"].as_array().unwrap().len();
        assert_eq!((steps, tensors.len()), ((2 * call).min(3), 2 * steps + 1));
        let named = tensors.iter().map(|(name, tensor)| (name.as_str(), *tensor));
        restored.load_state(&other.params, &scalars, named).unwrap();

        let report = optimizer.minimize(&mut model, 1.0).unwrap();
        assert_eq!(restored.minimize(&mut other, 1.0).unwrap(), report);
        assert_eq!(model.x(), other.x());
    }
    let short = with_history(2);
    let mut smaller = Optimizer::new(&short, &model.params, &device).unwrap();
    let error = smaller.load_state(&model.params, &optimizer.scalars(), []).unwrap_err();
    assert_eq!(
        error.to_string(),
        "optimizer state `lbfgs`: remembers 3 steps, `history_size` allows 2"
    );
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    /// Σ i-dependent parabolas and a coupling of neighbours.
    fn chain(x: &[f64], dx: &mut [f64]) -> f64 {
        let mut loss = 0.0;
        for i in 0..x.len() {
            let (weight, next) = (1.0 + (i % 7) as f64, x[(i + 1) % x.len()]);
            let (own, apart) = (x[i] - (i as f64).sin(), x[i] - next);
            loss += 0.5 * weight * own * own + 0.25 * apart * apart;
            dx[i] += weight * own + 0.5 * apart;
            dx[(i + 1) % x.len()] -= 0.5 * apart;
        }
        loss
    }
    let start = vec![0.5; 40_001];
    let config =
        Lbfgs { history_size: 4, max_iter: 8, max_eval: Some(40), ..Lbfgs::default() }.into();
    let runs = [1, 2, 4].map(|threads| {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let mut model = Model::<f32>::new(&device, &start, ParamKind::Weight, chain);
        let mut optimizer = Optimizer::new(&config, &model.params, &device).unwrap();
        let report = optimizer.minimize(&mut model, 1.0).unwrap();
        assert!(report.iterations == 8);
        model.x()
    });
    assert!(runs[0] == runs[1] && runs[0] == runs[2]);
}

#[test]
fn each_kind_of_step_belongs_to_its_rule() {
    let device = Device::default();
    let mut model = Model::<f64>::new(&device, &[0.0, 0.0], ParamKind::Weight, rosenbrock);
    let config = OptimizerConfig::new(OptimizerKind::Lbfgs);
    let mut lbfgs = Optimizer::new(&config, &model.params, &device).unwrap();
    assert!(lbfgs.needs_closure());
    assert_eq!(lbfgs.step(&mut model.params, 1.0, 1.0), Err(Error::NeedsClosure));
    assert_eq!(lbfgs.state_bytes(), 2 * 8 * (2 * 100 + 6));
    assert!(matches!(lbfgs.minimize(&mut model, -1.0), Err(Error::Rate(_))));
    let mut adam = Optimizer::new(&OptimizerConfig::default(), &model.params, &device).unwrap();
    let report = adam.minimize(&mut model, 1e-3).unwrap();
    assert_eq!((report.evaluations, report.iterations, report.loss), (1, 1, 1.0));
    assert!(model.x()[0] > 0.0); // downhill, by about the rate
    assert!(adam.load_state(&model.params, &lbfgs.scalars(), []).is_err());

    let planning = Device::planning();
    let before = planning.pool().stats().live;
    let specs = vec![ParamSpec::new("x", [10, 100], ParamKind::Weight)];
    let params = Params::allocate(&planning, DType::F32, specs, true).unwrap();
    let arena = planning.pool().stats().live - before;
    let optimizer = Optimizer::new(&config, &params, &planning).unwrap();
    let rounding = 206 * 64;
    let counted = planning.pool().stats().live - arena;
    assert!((optimizer.state_bytes()..optimizer.state_bytes() + rounding).contains(&counted));
}
