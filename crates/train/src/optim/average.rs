//! The running average of the weights, and the limit on the norm of their rows.

use super::error::NAME;
use ff_graph::{Error, ParamKind, Params, Result, Segment};
use ff_kernels::{Float, for_ranges, for_rows};
use ff_tensor::{CpuDevice, Device, Tensor};
use std::ops::Range;

/// An exponential average of the weights: a = d a + (1 − d) w.
///
/// The first update copies the weights, so no bias correction is needed. After t updates, d =
/// min(ema, (1 + t) / (10 + t)), so that the average quickly forgets the start (TensorFlow's
/// `ExponentialMovingAverage` with `num_updates`). Statistics, such as those of batch norm, are
/// averages already.
#[derive(Debug)]
pub(super) struct Average {
    pub(super) values: Tensor,
    pub(super) decay: f64,
    pub(super) updates: u64,
    pub(super) swapped: bool,
}

impl Average {
    pub(super) fn new(device: &Device, params: &Params, decay: f64) -> Result<Self> {
        let shape = [params.trainable_len()].into();
        let values = Tensor::zeros(device, shape, params.dtype()).map_err(Error::of(NAME))?;
        Ok(Self { values, decay, updates: 0, swapped: false })
    }

    pub(super) fn update<T: Float>(
        &mut self,
        cpu: &CpuDevice,
        bounds: &[usize],
        w: &[T],
    ) -> Result<()> {
        let average = self.values.slice_mut::<T>().map_err(Error::of(NAME))?;
        if self.updates == 0 {
            average.copy_from_slice(w);
        } else {
            let t = self.updates as f64;
            let fresh = T::of(1.0 - self.decay.min((1.0 + t) / (10.0 + t)));
            for_ranges(
                cpu,
                bounds,
                [average],
                #[inline(always)]
                |piece, [average]| {
                    for (a, &w) in average.iter_mut().zip(&w[bounds[piece]..bounds[piece + 1]]) {
                        *a += fresh * (w - *a);
                    }
                },
            );
        }
        self.updates += 1;
        Ok(())
    }

    /// Swaps the average and the weights, after the first update.
    pub(super) fn swap<T: Float>(&mut self, w: &mut [T]) -> Result<()> {
        if self.updates > 0 {
            let average = self.values.slice_mut::<T>().map_err(Error::of(NAME))?;
            average.swap_with_slice(w);
            self.swapped = !self.swapped;
        }
        Ok(())
    }
}

/// ‖row‖ ≤ c for each row of each weight matrix, the inputs of one unit (Srivastava et al. 2014,
/// section 5.1).
#[derive(Debug)]
pub(super) struct MaxNorm {
    limit: f64,
    /// The range of each weight and the number of its rows.
    weights: Vec<(Range<usize>, usize)>,
}

impl MaxNorm {
    pub(super) fn new(params: &Params, limit: f64) -> Self {
        let weights = params.infos().iter().filter(|info| {
            info.spec.segment == Segment::Trainable
                && info.spec.kind == ParamKind::Weight
                && info.spec.shape.rank() >= 2
                && !info.spec.shape.is_empty()
        });
        let weights = weights.map(|info| (info.range(), info.spec.shape.dims()[0])).collect();
        Self { limit, weights }
    }

    pub(super) fn apply<T: Float>(&self, cpu: &CpuDevice, w: &mut [T]) {
        for (range, rows) in &self.weights {
            let width = range.len() / rows;
            for_rows(cpu, *rows, width, [(&mut w[range.clone()], width)], |_, [row]| {
                let norm = row.iter().map(|w| w.f64() * w.f64()).sum::<f64>().sqrt();
                if norm > self.limit {
                    let shrink = T::of(self.limit / norm);
                    for w in row {
                        *w *= shrink;
                    }
                }
            });
        }
    }
}
