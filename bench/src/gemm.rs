//! Matrix products alone, in the three layouts of training.

use crate::clock::Clock;
use crate::network::{normal, normal_tensor};
use crate::work::{Arithmetic, Error, Work};
use ff_kernels::{Epilogue, MatRef, gemm, gemm_bf16};
use ff_tensor::{DType, Device, Tensor, bf16};

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
                run: Box::new(move |device, clock| run(layout, [m, n, k], device, clock)),
            });
            works.push(Work {
                name: format!("gemm-bf16-{name}/{m}x{n}x{k}"),
                arithmetic: Arithmetic::Bf16,
                flops: (2 * m * n * k) as f64,
                run: Box::new(move |device, clock| run_bf16(layout, [m, n, k], device, clock)),
            });
        }
    }
    works
}

fn run(
    layout: Layout,
    [m, n, k]: [usize; 3],
    device: &Device,
    clock: &mut Clock,
) -> Result<(), Error> {
    let (a, b) = (normal_tensor(device, [m, k])?, normal_tensor(device, [k, n])?);
    let mut c = Tensor::zeros(device, [m, n].into(), DType::F32)?;
    let c = c.slice_mut::<f32>()?;
    let (a, b) = layout.views([m, n, k], a.slice::<f32>()?, b.slice::<f32>()?);
    while clock.go_on() {
        gemm(device.cpu(), a, b, c, false);
    }
    Ok(())
}

/// Operands and product in bf16, as in PyTorch.
fn run_bf16(
    layout: Layout,
    [m, n, k]: [usize; 3],
    device: &Device,
    clock: &mut Clock,
) -> Result<(), Error> {
    let half = |rows: usize, cols: usize, seed: u64| {
        let values = normal(rows * cols, seed).into_iter().map(bf16::from_f32);
        Tensor::from_slice(device, &values.collect::<Vec<_>>(), &[rows, cols])
    };
    let (a, b) = (half(m, k, 1)?, half(k, n, 2)?);
    let mut c = Tensor::zeros(device, [m, n].into(), DType::BF16)?;
    let c = c.slice_mut::<bf16>()?;
    let (a, b) = layout.views([m, n, k], a.slice::<bf16>()?, b.slice::<bf16>()?);
    while clock.go_on() {
        gemm_bf16(device.cpu(), a, b, c, false, Epilogue::default());
    }
    Ok(())
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
