//! The two passes, chunk by chunk, for every combination of types.

use super::{LinearCrossEntropy, Sizes};
use crate::linear::feedforward::products::{Multiply, Weight, backward_weight};
use crate::loss::{Total, check_indices, scale, sum_rows};
use crate::{Activation, Reduction};
use ff_graph::{Cx, Kept, OpResult, Slot, Spec};
use ff_kernels::{Float, MAX_COLUMNS, MatRef, Stored, for_columns, map, zip_into};
use ff_tensor::{CpuDevice, Element, Tensor, TensorMut, TensorRef};

/// The approximate cost of the exponential of a logit, in additions.
const WORK: usize = 8;

/// The factors of the logits.
struct Layer<'a, X, W> {
    op: &'a LinearCrossEntropy,
    cpu: &'a CpuDevice,
    sizes: Sizes,
    x: &'a [X],
    weight: Weight<'a, W>,
    bias: Option<&'a [W]>,
    targets: &'a [i32],
}

impl<'a, X: Stored, W: Float> Layer<'a, X, W> {
    fn x(&self, start: usize, rows: usize) -> MatRef<'_, X> {
        let features = self.sizes.features;
        MatRef::new(&self.x[start * features..][..rows * features], rows, features)
    }

    /// Replaces the rows by those picked.
    fn pick(&mut self, picked: Option<&'a Picked>) -> OpResult {
        if let Some(picked) = picked {
            self.sizes.rows = picked.rows;
            self.x = &picked.x.slice::<X>()?[..picked.rows * self.sizes.features];
            self.targets = &picked.targets.slice::<i32>()?[..picked.rows];
        }
        Ok(())
    }

    /// z = x Wᵀ + b.
    fn logits<M: Multiply<X, W, W>>(&self, start: usize, z: &mut [W]) -> OpResult {
        let x = self.x(start, z.len() / self.sizes.classes);
        self.weight.forward::<M, X, W>(self.cpu, Activation::Identity, x, self.bias, z, None)
    }

    /// dx = dz W, or +=.
    fn input_gradient<M: Multiply<W, W, X>>(
        &self,
        dz: &[W],
        dx: &mut [X],
        accumulate: bool,
    ) -> OpResult {
        let classes = self.sizes.classes;
        let dz = MatRef::new(dz, dz.len() / classes, classes);
        self.weight.backward_input::<M, X, W>(self.cpu, dz, dx, accumulate)
    }

    /// The loss of the rows from `start` on for which `z` has room; with a `scale`, scale · dz
    /// replaces their logits.
    fn loss<M: Multiply<X, W, W>>(
        &self,
        start: usize,
        z: &mut [W],
        scale: Option<f64>,
    ) -> OpResult<Total> {
        let classes = self.sizes.classes;
        let rows = z.len() / classes;
        self.logits::<M>(start, z)?;
        let (op, targets) = (self.op, &self.targets[start..]);
        Ok(sum_rows(
            self.cpu,
            rows,
            1,
            classes * WORK,
            z,
            #[inline(always)]
            |row, z| op.row(z, targets[row.start], scale),
        ))
    }

    /// Adds the gradients from dz of some rows; `spare` has the size of x, for a dz to be scaled
    /// first.
    fn gradients<M>(
        &self,
        start: usize,
        dz: &[W],
        scaled: Option<(f64, &mut [X])>,
        slots: &mut Gradients<'_, X, W>,
    ) -> OpResult
    where
        M: Multiply<W, W, X> + Multiply<W, X, W>,
    {
        let Sizes { features, classes, .. } = self.sizes;
        let rows = dz.len() / classes;
        let by = scaled.as_ref().map_or(1.0, |scaled| scaled.0);
        let dz_matrix = MatRef::new(dz, rows, classes);
        let x = self.x(start, rows);
        let mut spare = scaled.map(|scaled| scaled.1);
        let factor = X::Compute::of(by);
        if let Some((dweight, accumulate)) = &mut slots.weight {
            let x = match &mut spare {
                Some(spare) => {
                    let spare = &mut spare[..rows * features];
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
                    let spare = &mut spare[..rows * features];
                    self.input_gradient::<M>(dz, spare, false)?;
                    if *accumulate {
                        zip_into(self.cpu, spare, dx, |dx, d| dx + factor * d);
                    } else {
                        map(self.cpu, spare, dx, |d| factor * d);
                    }
                }
                None => self.input_gradient::<M>(dz, dx, *accumulate)?,
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
        Ok(())
    }
}

/// The rows that are not ignored, one behind the other.
struct Picked {
    x: Tensor,
    targets: Tensor,
    rows: usize,
}

impl Picked {
    fn new<X: Stored>(
        cx: &Cx<'_>,
        op: &LinearCrossEntropy,
        sizes: Sizes,
        x: &[X],
        targets: &[i32],
    ) -> OpResult<Option<Self>> {
        let counts = |&target: &i32| target != op.ignore_index;
        let rows = targets.iter().filter(|&target| counts(target)).count();
        if !op.skip_ignored || rows == sizes.rows {
            return Ok(None);
        }
        let Sizes { rows: all, features, .. } = sizes;
        let mut picked = Self {
            x: Tensor::uninit(cx.device, [all, features].into(), X::DTYPE)?,
            targets: Tensor::uninit(cx.device, [all].into(), i32::DTYPE)?,
            rows,
        };
        let to = picked.targets.slice_mut::<i32>()?.iter_mut();
        to.zip(targets.iter().filter(|&t| counts(t))).for_each(|(to, &target)| *to = target);
        let to = picked.x.slice_mut::<X>()?.chunks_exact_mut(features.max(1));
        let from = x.chunks_exact(features.max(1)).zip(targets).filter(|(_, t)| counts(t));
        to.zip(from).for_each(|(to, (from, _))| to.copy_from_slice(from));
        Ok(Some(picked))
    }

    /// Writes the gradients of the picked rows to those of all.
    fn put<X: Stored>(
        op: &LinearCrossEntropy,
        features: usize,
        targets: &[i32],
        from: &[X],
        (to, accumulate): (&mut [X], bool),
    ) {
        let mut from = from.chunks_exact(features.max(1));
        for (to, &target) in to.chunks_exact_mut(features.max(1)).zip(targets) {
            let from = if target == op.ignore_index { None } else { from.next() };
            match from {
                Some(from) if accumulate => {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = X::from_compute(to.compute() + from.compute());
                    }
                }
                Some(from) => to.copy_from_slice(from),
                None if accumulate => {}
                None => to.fill(X::default()),
            }
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
        let sizes = self.sizes(&spec(0), &spec(1), !saved.is_empty())?;
        let targets = x[self.targets()].slice::<i32>()?;
        check_indices(targets, sizes.classes, self.ignore_index)?;
        let rows = x[0].slice::<X>()?;
        let picked = Picked::new(cx, self, sizes, rows, targets)?;
        let bias = if self.bias { Some(x[2].slice::<W>()?) } else { None };
        let weight = Weight::of(x[1])?;
        let mut layer = Layer { op: self, cpu: cx.cpu(), sizes, x: rows, weight, bias, targets };
        layer.pick(picked.as_ref())?;
        let (rows, classes) = (layer.sizes.rows, sizes.classes);
        let total = if let [dz] = saved {
            let (dz, rest) = dz.slice_mut::<W>()?.split_at_mut(rows * classes);
            rest.fill(W::ZERO);
            layer.loss::<M>(0, dz, Some(1.0))?
        } else {
            let mut z = sizes.logits::<W>(cx)?;
            let z = z.slice_mut::<W>()?;
            let mut total = Total::default();
            for (start, rows) in layer.sizes.chunks() {
                let chunk = layer.loss::<M>(start, &mut z[..rows * classes], None)?;
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
        let sizes = self.sizes(kept.spec(0), kept.spec(1), kept.saved(0).is_ok())?;
        let scale = scale::<W>(Reduction::Sum, kept, dy)?;
        let targets = if self.skip_ignored || !sizes.is_whole() {
            kept.input(self.targets())?.slice::<i32>()?
        } else {
            &[]
        };
        let mut layer = Layer {
            op: self,
            cpu: cx.cpu(),
            sizes,
            x: kept.input(0)?.slice::<X>()?,
            weight: Weight::of(kept.input(1)?)?,
            bias: None,
            targets,
        };
        let picked = Picked::new(cx, self, sizes, layer.x, targets)?;
        layer.pick(picked.as_ref())?;
        let rows = layer.sizes.rows;
        let input = || Tensor::uninit(cx.device, [sizes.rows, sizes.features].into(), X::DTYPE);
        let mut whole = dx[0].take::<X>()?;
        let mut part = if picked.is_some() && whole.is_some() { Some(input()?) } else { None };
        let x = match &mut part {
            Some(part) => Some((&mut part.slice_mut::<X>()?[..rows * sizes.features], false)),
            None => whole.as_mut().map(|(dx, accumulate)| (&mut **dx, *accumulate)),
        };
        let mut slots = Gradients {
            x,
            weight: dx[1].take::<W>()?,
            bias: if self.bias { dx[2].take::<W>()? } else { None },
        };
        if sizes.is_whole() {
            let mut spare = input()?;
            let spare = spare.slice_mut::<X>()?;
            let dz = &kept.saved(0)?.slice::<W>()?[..rows * sizes.classes];
            let scaled = if scale == 1.0 { None } else { Some((scale, spare)) };
            layer.gradients::<M>(0, dz, scaled, &mut slots)?;
        } else {
            if self.bias {
                layer.bias = Some(kept.input(2)?.slice::<W>()?);
            }
            let mut z = sizes.logits::<W>(cx)?;
            let z = z.slice_mut::<W>()?;
            for (start, rows) in layer.sizes.chunks() {
                let dz = &mut z[..rows * sizes.classes];
                layer.loss::<M>(start, dz, Some(scale))?;
                layer.gradients::<M>(start, dz, None, &mut slots)?;
            }
        }
        if let (Some(to), Some(part)) = (whole, &part) {
            Picked::put(self, sizes.features, targets, part.slice::<X>()?, to);
        }
        Ok(())
    }
}
