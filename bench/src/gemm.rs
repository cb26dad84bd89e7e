//! Matrix products alone, in the three layouts that training needs.

use crate::clock::Clock;
use crate::network::normal;
use crate::work::{Arithmetic, Work};
use ff_kernels::{MatRef, gemm};
use ff_tensor::Device;

/// C[m, n] = A[m, k] · B[k, n]: squares, and the products of the feedforward blocks.
const SIZES: [[usize; 3]; 9] = [
    [64, 64, 64],
    [128, 128, 128],
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [128, 512, 784],
    [1024, 3072, 768],
    [512, 5632, 2048],
];

#[derive(Clone, Copy)]
enum Layout {
    /// A and B as they lie: dx = dz · W.
    Nn,
    /// B transposed: y = x · Wᵀ.
    Nt,
    /// A transposed: dW = dzᵀ · x.
    Tn,
}

pub(crate) fn works() -> Vec<Work> {
    let mut works = Vec::new();
    for (name, layout) in [("nn", Layout::Nn), ("nt", Layout::Nt), ("tn", Layout::Tn)] {
        for [m, n, k] in SIZES {
            works.push(Work {
                name: format!("gemm-{name}/{m}x{n}x{k}"),
                arithmetic: Arithmetic::F32,
                flops: (2 * m * n * k) as f64,
                run: Box::new(move |device, clock| {
                    run(layout, [m, n, k], device, clock);
                    Ok(())
                }),
            });
        }
    }
    works
}

fn run(layout: Layout, [m, n, k]: [usize; 3], device: &Device, clock: &mut Clock) {
    let (a, b) = (normal(m * k, 1), normal(k * n, 2));
    let mut c = vec![0.0f32; m * n];
    let (a, b) = match layout {
        Layout::Nn => (MatRef::new(&a, m, k), MatRef::new(&b, k, n)),
        Layout::Nt => (MatRef::new(&a, m, k), MatRef::new(&b, n, k).t()),
        Layout::Tn => (MatRef::new(&a, k, m).t(), MatRef::new(&b, k, n)),
    };
    while clock.go_on() {
        gemm(device.cpu(), a, b, &mut c, false);
    }
}
