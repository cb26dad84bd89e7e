//! A training step whose shapes have been seen before asks the system for no memory.
//!
//! Alone in its file: the allocator counts what every thread of the process does.
#![allow(clippy::unwrap_used)]

use ff_nn::Builder;
use ff_nn::layers::{Feedforward, Layer, Sequence};
use ff_ops::{Activation, Graph, Op, SoftmaxCrossEntropy};
use ff_tensor::{DType, Device, DeviceOptions, Element, Key, Rng, Tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const FEATURES: usize = 64;
const CLASSES: usize = 10;
const BATCH: usize = 200;
/// What is left of an epoch for its last batch.
const LAST_BATCH: usize = 37;

struct Training {
    device: Device,
    graph: Graph,
    network: Sequence,
    loss: Arc<dyn Op>,
    x: Vec<f32>,
    labels: Vec<i32>,
}

impl Training {
    fn new(threads: usize) -> Self {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let mut builder = Builder::new();
        let mut network = Sequence::new();
        let sizes = [(FEATURES, 128, Activation::Relu), (128, 64, Activation::Gelu)];
        for (i, (inputs, outputs, f)) in sizes.into_iter().enumerate() {
            let name = format!("layers.{i}");
            network.push(builder.scope(&name, |b| Feedforward::new(b, inputs, outputs, f)));
        }
        network.push(
            builder.scope("head", |b| Feedforward::new(b, 64, CLASSES, Activation::Identity)),
        );
        let params = builder.build(&device, DType::F32, 0, true).unwrap();
        let mut rng = Rng::new(Key::new(1));
        Self {
            graph: Graph::new(&device, params),
            device,
            network,
            loss: SoftmaxCrossEntropy::default().op(),
            x: (0..BATCH * FEATURES).map(|_| rng.normal() as f32).collect(),
            labels: (0..BATCH).map(|_| rng.below(CLASSES as u64) as i32).collect(),
        }
    }

    fn tensor<T: Element>(&self, values: &[T], dims: &[usize]) -> Tensor {
        Tensor::from_slice(&self.device, values, dims).unwrap()
    }

    /// Forward, loss, backward and an update in place.
    fn step(&mut self, rows: usize) -> f64 {
        self.graph.reset();
        let x = self.tensor(&self.x[..rows * FEATURES], &[rows, FEATURES]);
        let labels = self.tensor(&self.labels[..rows], &[rows]);
        let x = self.graph.input(x);
        let logits = self.network.forward(&mut self.graph, x).unwrap();
        let labels = self.graph.input(labels);
        let loss = self.graph.apply(&self.loss, &[&logits, &labels]).unwrap();
        drop(logits);
        let value = loss.item().unwrap();
        self.graph.backward(loss).unwrap();
        let (values, gradients) = self.graph.params_mut().flat_and_gradients::<f32>().unwrap();
        values.iter_mut().zip(gradients).for_each(|(v, g)| *v -= 0.1 * *g);
        self.graph.params_mut().clear_gradients();
        value
    }

    /// The first and the last loss of epochs of four batches, the last one smaller.
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

#[test]
fn a_step_in_steady_state_allocates_nothing() {
    for threads in [1, 2, 4] {
        let mut training = Training::new(threads);
        training.epochs(2);
        let pool = training.device.pool().stats();
        let before = ALLOCATIONS.load(Relaxed);
        let (first, last) = training.epochs(10);
        let allocations = ALLOCATIONS.load(Relaxed) - before;
        assert_eq!(allocations, 0, "{threads} threads: 40 steps asked the system for memory");
        assert_eq!(training.device.pool().stats().allocations, pool.allocations);
        assert!(last < first, "it really trained: loss {first} became {last}");
    }
    let before = ALLOCATIONS.load(Relaxed);
    drop(std::hint::black_box(vec![0u8; 100]));
    assert!(ALLOCATIONS.load(Relaxed) > before, "the allocator counts");
}
