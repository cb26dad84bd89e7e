//! The two passes, chunk by chunk, for every combination of types.

use super::{LinearCrossEntropy, Sizes};
use crate::linear::feedforward::products::{Multiply, backward_input, backward_weight, forward};
use crate::loss::{Total, check_indices, scale, sum_rows};
use crate::{Activation, Reduction};
use ff_graph::{Cx, Kept, OpResult, Slot, Spec};
use ff_kernels::{Float, MAX_COLUMNS, MatRef, Stored, for_columns, map, zip_into};
use ff_tensor::{CpuDevice, Tensor, TensorMut, TensorRef};

/// The approximate cost of the exponential of a logit, in additions.
const WORK: usize = 8;

/// The factors of the logits.
struct Layer<'a, X, W> {
    op: &'a LinearCrossEntropy,
    cpu: &'a CpuDevice,
    sizes: Sizes,
    x: &'a [X],
    weight: &'a [W],
    bias: Option<&'a [W]>,
    targets: &'a [i32],
}

impl<X: Stored, W: Float> Layer<'_, X, W> {
    fn x(&self, start: usize, rows: usize) -> MatRef<'_, X> {
        let features = self.sizes.features;
        MatRef::new(&self.x[start * features..][..rows * features], rows, features)
    }

    fn weight(&self) -> MatRef<'_, W> {
        MatRef::new(self.weight, self.sizes.classes, self.sizes.features)
    }

    /// The loss of the rows from `start` on for which `z` has room; with a `scale`, scale · dz
    /// replaces their logits.
    fn loss<M: Multiply<X, W, W>>(&self, start: usize, z: &mut [W], scale: Option<f64>) -> Total {
        let classes = self.sizes.classes;
        let rows = z.len() / classes;
        let (x, weight) = (self.x(start, rows), self.weight());
        forward::<M, X, W, W>(self.cpu, Activation::Identity, x, weight, self.bias, z, None);
        let (op, targets) = (self.op, &self.targets[start..]);
        sum_rows(
            self.cpu,
            rows,
            1,
            classes * WORK,
            z,
            #[inline(always)]
            |row, z| op.row(z, targets[row.start], scale),
        )
    }

    /// Adds the gradients from dz of some rows; `spare` has the size of x, for a dz to be scaled
    /// first.
    fn gradients<M>(
        &self,
        start: usize,
        dz: &[W],
        scaled: Option<(f64, &mut [X])>,
        slots: &mut Gradients<'_, X, W>,
    ) where
        M: Multiply<W, W, X> + Multiply<W, X, W>,
    {
        let Sizes { features, classes, .. } = self.sizes;
        let rows = dz.len() / classes;
        let by = scaled.as_ref().map_or(1.0, |scaled| scaled.0);
        let dz_matrix = MatRef::new(dz, rows, classes);
        let (x, weight) = (self.x(start, rows), self.weight());
        let mut spare = scaled.map(|scaled| scaled.1);
        let factor = X::Compute::of(by);
        if let Some((dweight, accumulate)) = &mut slots.weight {
            let x = match &mut spare {
                Some(spare) => {
                    map(self.cpu, self.x, spare, |x| factor * x);
                    MatRef::new(spare, rows, features)
                }
                None => x,
            };
            backward_weight::<M, X, W, W>(self.cpu, dz_matrix, x, dweight, *accumulate);
            *accumulate = true;
        }
        if let Some((dx, accumulate)) = &mut slots.x {
            let dx = &mut dx[start * features..][..rows * features];
            match spare {
                Some(spare) => {
                    backward_input::<M, X, W, W>(self.cpu, dz_matrix, weight, spare, false);
                    if *accumulate {
                        zip_into(self.cpu, spare, dx, |dx, d| dx + factor * d);
                    } else {
                        map(self.cpu, spare, dx, |d| factor * d);
                    }
                }
                None => backward_input::<M, X, W, W>(self.cpu, dz_matrix, weight, dx, *accumulate),
            }
        }
        if let Some((dbias, accumulate)) = &mut slots.bias {
            for_columns(
                self.cpu,
                classes,
                rows,
                [&mut **dbias],
                #[inline(always)]
                |columns, [mut dbias]| {
                    let mut sums = [0.0; MAX_COLUMNS];
                    for row in dz.chunks_exact(classes) {
                        for (sum, dz) in sums.iter_mut().zip(&row[columns.clone()]) {
                            *sum += dz.f64();
                        }
                    }
                    for sum in &mut sums {
                        *sum *= by;
                    }
                    dbias.put(&sums, *accumulate);
                },
            );
            *accumulate = true;
        }
    }
}

/// The destinations of gradients, and whether to add to them.
struct Gradients<'a, X, W> {
    x: Option<(&'a mut [X], bool)>,
    weight: Option<(&'a mut [W], bool)>,
    bias: Option<(&'a mut [W], bool)>,
}

impl Sizes {
    /// The start and the number of rows of each chunk; at least one chunk, possibly empty.
    fn chunks(self) -> impl Iterator<Item = (usize, usize)> {
        let step = self.chunk.max(1);
        let starts = (0..self.rows.max(1)).step_by(step);
        starts.map(move |start| (start, step.min(self.rows - start)))
    }

    fn logits<W: Float>(self, cx: &Cx<'_>) -> OpResult<Tensor> {
        let shape = [self.chunk, self.classes].into();
        Ok(Tensor::uninit(cx.device, shape, W::DTYPE)?)
    }
}

impl LinearCrossEntropy {
    pub(super) fn run_forward<M, X, W>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult
    where
        M: Multiply<X, W, W>,
        X: Stored<Compute = W>,
        W: Float,
    {
        let spec = |i: usize| Spec { shape: *x[i].shape(), dtype: x[i].dtype() };
        let sizes = self.sizes(&spec(0), &spec(1))?;
        let targets = x[self.targets()].slice::<i32>()?;
        check_indices(targets, sizes.classes, self.ignore_index)?;
        let layer = Layer {
            op: self,
            cpu: cx.cpu(),
            sizes,
            x: x[0].slice::<X>()?,
            weight: x[1].slice::<W>()?,
            bias: if self.bias { Some(x[2].slice::<W>()?) } else { None },
            targets,
        };
        let total = if let [dz] = saved {
            layer.loss::<M>(0, dz.slice_mut::<W>()?, Some(1.0))
        } else {
            let mut z = sizes.logits::<W>(cx)?;
            let z = z.slice_mut::<W>()?;
            let mut total = Total::default();
            for (start, rows) in sizes.chunks() {
                let chunk = layer.loss::<M>(start, &mut z[..rows * sizes.classes], None);
                total.loss += chunk.loss;
                total.count += chunk.count;
            }
            total
        };
        total.write::<W>(Reduction::Sum, y)
    }

    pub(super) fn run_backward<M, X, W>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult
    where
        M: Multiply<X, W, W> + Multiply<W, W, X> + Multiply<W, X, W>,
        X: Stored<Compute = W>,
        W: Float,
    {
        let sizes = self.sizes(kept.spec(0), kept.spec(1))?;
        let scale = scale::<W>(Reduction::Sum, kept, dy)?;
        let mut layer = Layer {
            op: self,
            cpu: cx.cpu(),
            sizes,
            x: kept.input(0)?.slice::<X>()?,
            weight: kept.input(1)?.slice::<W>()?,
            bias: None,
            targets: &[],
        };
        let mut slots = Gradients {
            x: dx[0].take::<X>()?,
            weight: dx[1].take::<W>()?,
            bias: if self.bias { dx[2].take::<W>()? } else { None },
        };
        if sizes.is_whole() {
            let shape = [sizes.rows, sizes.features].into();
            let mut spare = Tensor::uninit(cx.device, shape, X::DTYPE)?;
            let spare = spare.slice_mut::<X>()?;
            let dz = kept.saved(0)?.slice::<W>()?;
            let scaled = if scale == 1.0 { None } else { Some((scale, spare)) };
            layer.gradients::<M>(0, dz, scaled, &mut slots);
            return Ok(());
        }
        if self.bias {
            layer.bias = Some(kept.input(2)?.slice::<W>()?);
        }
        layer.targets = kept.input(self.targets())?.slice::<i32>()?;
        let mut z = sizes.logits::<W>(cx)?;
        let z = z.slice_mut::<W>()?;
        for (start, rows) in sizes.chunks() {
            let dz = &mut z[..rows * sizes.classes];
            layer.loss::<M>(start, dz, Some(scale));
            layer.gradients::<M>(start, dz, None, &mut slots);
        }
        Ok(())
    }
}
