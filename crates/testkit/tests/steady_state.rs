//! Training steps with shapes seen before request no memory from the system.
//!
//! The only test in its file, since the allocator counts for all threads of the process.
#![allow(clippy::unwrap_used)]

use ff_graph::{Graph, ParamKind, ParamSpec, Params, Recompute, Value};
use ff_nn::models::{Mlp, MlpConfig, MlpInput, Predictor};
use ff_nn::{ActivationKind, Builder, Loss, LossConfig, ModelConfig, NormKind};
use ff_ops::{Activation, Dropout, Feedforward};
use ff_tensor::{DType, Device, DeviceOptions, Element, Key, Rng, Tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are passed on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const FEATURES: usize = 64;
const CATEGORIES: usize = 7;
const CLASSES: usize = 10;
const BATCH: usize = 120;
/// The size of the last batch of an epoch.
const LAST_BATCH: usize = 37;

struct Training {
    device: Device,
    graph: Graph,
    network: Mlp,
    loss: Loss,
    x: Vec<f32>,
    ids: Vec<i32>,
    labels: Vec<i32>,
    step: u64,
}

impl Training {
    fn new(threads: usize, network: ModelConfig) -> Self {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let mut builder = Builder::new();
        let config = MlpConfig {
            numeric: FEATURES,
            cardinalities: vec![CATEGORIES],
            outputs: CLASSES,
            network,
            ..Default::default()
        };
        let network = Mlp::new(&mut builder, &config);
        let params = builder.build(&device, DType::F32, 0, true).unwrap();
        let mut rng = Rng::new(Key::new(1));
        Self {
            graph: Graph::new(&device, params),
            device,
            network,
            loss: Loss::new(&LossConfig::default(), Some(CLASSES), None).unwrap(),
            x: (0..BATCH * FEATURES).map(|_| rng.normal() as f32).collect(),
            ids: (0..BATCH).map(|_| rng.below(CATEGORIES as u64) as i32).collect(),
            labels: (0..BATCH).map(|_| rng.below(CLASSES as u64) as i32).collect(),
            step: 0,
        }
    }

    fn input<T: Element>(&self, values: &[T], dims: &[usize]) -> Value {
        self.graph.input(Tensor::from_slice(&self.device, values, dims).unwrap())
    }

    /// Forward, loss, backward, statistics and an update in place; returns the mean loss.
    fn step(&mut self, rows: usize) -> f64 {
        self.graph.reset();
        self.graph.set_step(self.step, 0);
        self.step += 1;
        let numeric = self.input(&self.x[..rows * FEATURES], &[rows, FEATURES]);
        let ids = self.input(&self.ids[..rows], &[rows]);
        let labels = self.input(&self.labels[..rows], &[rows]);
        let categorical = [ids].into_iter().collect();
        let input = MlpInput { numeric: Some(numeric), categorical, ..MlpInput::default() };
        let logits = self.network.forward(&mut self.graph, &input).unwrap();
        let (sum, count) = self.loss.apply(&mut self.graph, &logits, &labels, None).unwrap();
        drop((logits, input));
        let (value, count) = (sum.item().unwrap(), count.item().unwrap());
        self.graph.backward(sum).unwrap();
        self.graph.commit_state().unwrap();
        let rate = (0.1 / count) as f32;
        let (values, gradients) = self.graph.params_mut().flat_and_gradients::<f32>().unwrap();
        values.iter_mut().zip(gradients).for_each(|(v, g)| *v -= rate * *g);
        self.graph.params_mut().clear_gradients();
        value / count
    }

    /// The first and the last loss over epochs of four batches, the last one smaller.
    fn epochs(&mut self, epochs: usize) -> (f64, f64) {
        let (mut first, mut last) = (None, 0.0);
        for _ in 0..epochs {
            for rows in [BATCH, BATCH, BATCH, LAST_BATCH] {
                last = self.step(rows);
                first.get_or_insert(last);
            }
        }
        (first.unwrap_or(0.0), last)
    }
}

fn networks() -> [ModelConfig; 3] {
    let with = |activation, norm, dropout| ModelConfig {
        hidden: vec![128, 128],
        activation,
        norm,
        dropout,
        residual: true,
        ..Default::default()
    };
    [
        with(Activation::Relu.into(), NormKind::None, 0.0),
        with(ActivationKind::Prelu, NormKind::Batch, 0.1),
        with(Activation::Gelu.into(), NormKind::Layer, 0.1),
    ]
}

/// Waits for the start of every thread of the pool, since a starting thread requests memory.
fn all_threads_run(device: &Device) {
    let threads = device.cpu().threads();
    let arrived = AtomicUsize::new(0);
    threads.run(threads.count(), &|_| {
        arrived.fetch_add(1, Relaxed);
        while arrived.load(Relaxed) < threads.count() {
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_step_in_steady_state_allocates_nothing() {
    for (threads, network) in [1, 2, 4].into_iter().flat_map(|t| networks().map(|n| (t, n))) {
        let name = format!("{threads} threads, {:?}, {:?}", network.activation, network.norm);
        let mut training = Training::new(threads, network);
        all_threads_run(&training.device);
        training.epochs(2);
        let pool = training.device.pool().stats();
        let before = ALLOCATIONS.load(Relaxed);
        let (first, last) = training.epochs(6);
        let allocations = ALLOCATIONS.load(Relaxed) - before;
        assert_eq!(allocations, 0, "{name}: 24 steps requested memory from the system");
        assert_eq!(training.device.pool().stats().allocations, pool.allocations, "{name}");
        assert!(last < first, "{name}: no training: loss {first} became {last}");
    }
    predictions_allocate_nothing();
    what_runs_again_allocates_nothing();
    let before = ALLOCATIONS.load(Relaxed);
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(ALLOCATIONS.load(Relaxed) > before, "the allocator counts");
}

/// Called by the only test, since a concurrent one would be counted too.
fn predictions_allocate_nothing() {
    for (threads, network) in [1, 2].into_iter().flat_map(|t| networks().map(|n| (t, n))) {
        let name = format!("{threads} threads, {:?}, {:?}", network.activation, network.norm);
        let training = Training::new(threads, network.clone());
        let config = MlpConfig {
            numeric: FEATURES,
            cardinalities: vec![CATEGORIES],
            outputs: CLASSES,
            network,
            ..Default::default()
        };
        let params = training.graph.params();
        let mut predictor = Predictor::new(&config, params, &training.device).unwrap();
        all_threads_run(&training.device);
        let mut y = vec![0.0; BATCH * CLASSES];
        let before = ALLOCATIONS.load(Relaxed);
        for rows in [1, 2, LAST_BATCH, BATCH] {
            let (x, ids) = (&training.x[..rows * FEATURES], &training.ids[..rows]);
            predictor.predict_with_ids(x, ids, &mut y[..rows * CLASSES]).unwrap();
        }
        assert_eq!(ALLOCATIONS.load(Relaxed) - before, 0, "{name}: predictions requested memory");
        assert!(y.iter().all(|y| y.is_finite() && *y != 0.0), "{name}");
    }
}

/// Three layers with dropout, the first two recomputed, one within the other.
fn what_runs_again_allocates_nothing() {
    let device = Device::open(DeviceOptions { threads: 2, isa: None }).unwrap();
    let specs = (0..3).map(|i| ParamSpec::new(format!("{i}"), [FEATURES; 2], ParamKind::Weight));
    let mut params = Params::allocate(&device, DType::F32, specs.collect(), true).unwrap();
    params.flat_mut::<f32>().unwrap().fill(0.01);
    let ids: Vec<_> = params.iter().map(|(id, _)| id).collect();
    let layer = |i: usize| {
        let (op, id) = (Feedforward::op(Activation::Gelu, false), ids[i]);
        let dropout = Dropout::op(0.1, format!("{i}"));
        move |g: &mut Graph, x: &[Value]| {
            let weight = g.param(id);
            let y = g.apply(&op, &[&x[0], &weight])?;
            g.apply(&dropout, &[&y])
        }
    };
    let inner: Recompute = Arc::new(layer(1));
    let first = layer(0);
    let outer: Recompute = Arc::new(move |g: &mut Graph, x: &[Value]| {
        let y = first(g, x)?;
        g.recompute(Arc::clone(&inner), &[&y])
    });
    let last: Recompute = Arc::new(layer(2));
    let mut graph = Graph::new(&device, params);
    let x = Tensor::from_slice(&device, &vec![0.5f32; BATCH * FEATURES], &[BATCH, FEATURES]);
    let x = x.unwrap();
    let mut step = |number: u64| {
        graph.reset();
        graph.set_step(number, 0);
        let x = graph.input(x.clone());
        let y = graph.recompute(Arc::clone(&outer), &[&x]).unwrap();
        let y = graph.recompute(Arc::clone(&last), &[&y]).unwrap();
        graph.backward_from(y, None).unwrap();
    };
    all_threads_run(&device);
    (0..3).for_each(&mut step);
    let before = ALLOCATIONS.load(Relaxed);
    (3..9).for_each(&mut step);
    assert_eq!(ALLOCATIONS.load(Relaxed) - before, 0, "recomputation requested memory");
    assert!(graph.params_mut().gradients::<f32>().unwrap().iter().all(|&g| g > 0.0));
}
