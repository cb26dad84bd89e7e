//! Matrix products alone, in the three layouts of training.

use crate::clock::Clock;
use crate::network::normal;
use crate::work::{Arithmetic, Work};
use ff_kernels::{Epilogue, MatRef, gemm, gemm_bf16};
use ff_tensor::{Device, bf16};

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
    /// A and B as stored: dx = dz · W.
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
            works.push(Work {
                name: format!("gemm-bf16-{name}/{m}x{n}x{k}"),
                arithmetic: Arithmetic::Bf16,
                flops: (2 * m * n * k) as f64,
                run: Box::new(move |device, clock| {
                    run_bf16(layout, [m, n, k], device, clock);
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
    let (a, b) = layout.views([m, n, k], &a, &b);
    while clock.go_on() {
        gemm(device.cpu(), a, b, &mut c, false);
    }
}

/// Operands and product in bf16, as in PyTorch.
fn run_bf16(layout: Layout, [m, n, k]: [usize; 3], device: &Device, clock: &mut Clock) {
    let half = |values: Vec<f32>| values.into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    let (a, b) = (half(normal(m * k, 1)), half(normal(k * n, 2)));
    let mut c = vec![bf16::ZERO; m * n];
    let (a, b) = layout.views([m, n, k], &a, &b);
    while clock.go_on() {
        gemm_bf16(device.cpu(), a, b, &mut c, false, Epilogue::default());
    }
}

impl Layout {
    fn views<'a, T>(
        self,
        [m, n, k]: [usize; 3],
        a: &'a [T],
        b: &'a [T],
    ) -> (MatRef<'a, T>, MatRef<'a, T>) {
        match self {
            Layout::Nn => (MatRef::new(a, m, k), MatRef::new(b, k, n)),
            Layout::Nt => (MatRef::new(a, m, k), MatRef::new(b, n, k).t()),
            Layout::Tn => (MatRef::new(a, k, m).t(), MatRef::new(b, k, n)),
        }
    }
}
