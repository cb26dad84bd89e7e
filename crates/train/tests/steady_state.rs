//! After the first, the steps of an optimiser request no memory from the system.

use ff_graph::{ParamKind, ParamSpec, Params};
use ff_tensor::{DType, Device, DeviceOptions};
use ff_train::optim::{Optimizer, OptimizerConfig, OptimizerKind};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are passed on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn steps_allocate_nothing() {
    let device = Device::open(DeviceOptions { threads: 2, isa: None }).unwrap();
    let specs = vec![
        ParamSpec::new("weight", [300, 300], ParamKind::Weight),
        ParamSpec::new("bias", [300], ParamKind::Bias),
    ];
    let mut params = Params::allocate(&device, DType::F32, specs, true).unwrap();
    for kind in OptimizerKind::ALL.into_iter().filter(|&kind| kind != OptimizerKind::Lbfgs) {
        let config = OptimizerConfig {
            l1: Some(1e-4),
            clip_norm: Some(1.0),
            max_norm: Some(3.0),
            ema: Some(0.9),
            ..OptimizerConfig::new(kind)
        };
        let mut optimizer = Optimizer::new(&config, &params, &device).unwrap();
        params.gradients::<f32>().unwrap().fill(0.5);
        optimizer.step(&mut params, 1.0, 0.1).unwrap();
        // Allocations of a step occur in every round; those of a starting thread, of the pool or
        // the test, in one.
        let round = || {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..10 {
                params.clear_gradients();
                params.gradients::<f32>().unwrap().fill(0.5);
                optimizer.step(&mut params, 1.0, 0.1).unwrap();
                optimizer.swap_average(&mut params).unwrap();
                optimizer.swap_average(&mut params).unwrap();
            }
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        let least = std::iter::repeat_with(round).take(5).min();
        assert_eq!(least, Some(0), "{kind}");
    }
}
