use super::BatchNorm;
use ff_graph::{Cx, Kept, OpError, OpResult, Slot};
use ff_kernels::{Float, MAX_COLUMNS, for_columns};
use ff_tensor::{TensorMut, TensorRef};
use std::ops::Range;

/// One value per column of a task.
type PerColumn<T> = [T; MAX_COLUMNS];

/// These columns of row `i`.
#[inline(always)]
fn row<'a, T>(x: &'a [T], i: usize, width: usize, columns: &Range<usize>) -> &'a [T] {
    &x[i * width + columns.start..i * width + columns.end]
}

impl BatchNorm {
    /// w and b; `None` if not affine.
    fn affine<'a, T: Float>(&self, x: &[TensorRef<'a>]) -> OpResult<Option<[&'a [T]; 2]>> {
        Ok(if self.affine { Some([x[1].slice()?, x[2].slice()?]) } else { None })
    }

    /// A task reads its columns three times (mean, variance, y); at usual batch sizes they stay in
    /// its cache.
    pub(super) fn forward_batch<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, width) = (x[0].shape().rows(), x[0].shape().last());
        let affine = self.affine::<T>(x)?;
        let x = x[0].slice::<T>()?;
        let [y, mean, variance] = y else { return Ok(()) };
        let rstd = match saved {
            [rstd, ..] => rstd.slice_mut::<T>()?,
            [] => &mut [],
        };
        let outputs = [y.slice_mut()?, mean.slice_mut()?, variance.slice_mut()?, rstd];
        for_columns(
            cx.cpu(),
            width,
            8 * rows,
            outputs,
            #[inline(always)]
            |columns, [mut y, mut mean, mut variance, mut rstd]| {
                let mut means: PerColumn<f64> = [0.0; MAX_COLUMNS];
                for i in 0..rows {
                    let x = row(x, i, width, &columns);
                    means.iter_mut().zip(x).for_each(|(m, &x)| *m += x.f64());
                }
                let means = means.map(|m| m / rows as f64);
                let mut squares: PerColumn<f64> = [0.0; MAX_COLUMNS];
                for i in 0..rows {
                    let x = row(x, i, width, &columns);
                    for ((s, &m), &x) in squares.iter_mut().zip(&means).zip(x) {
                        let d = x.f64() - m;
                        *s += d * d;
                    }
                }
                let rstds = squares.map(|s| 1.0 / (s / rows as f64 + self.eps).sqrt());
                mean.put(&means, false);
                variance.put(&squares.map(|s| s / (rows as f64 - 1.0)), false);
                rstd.put(&rstds, false);
                let (means, rstds) = (means.map(T::of), rstds.map(T::of));
                for i in 0..rows {
                    write_row(
                        row(x, i, width, &columns),
                        y.row(i),
                        &means,
                        &rstds,
                        affine,
                        &columns,
                    );
                }
            },
        );
        Ok(())
    }

    pub(super) fn forward_running<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
    ) -> OpResult {
        let (rows, width) = (x[0].shape().rows(), x[0].shape().last());
        let affine = self.affine::<T>(x)?;
        let mean = x[self.mean()].slice::<T>()?;
        let variance = x[self.mean() + 1].slice::<T>()?;
        let x = x[0].slice::<T>()?;
        let y = y[0].slice_mut()?;
        for_columns(
            cx.cpu(),
            width,
            4 * rows,
            [y],
            #[inline(always)]
            |columns, [mut y]| {
                let rstds = self.rstds(&variance[columns.clone()]);
                let means = &mean[columns.clone()];
                for i in 0..rows {
                    write_row(
                        row(x, i, width, &columns),
                        y.row(i),
                        means,
                        &rstds,
                        affine,
                        &columns,
                    );
                }
            },
        );
        Ok(())
    }

    fn rstds<T: Float>(&self, variance: &[T]) -> PerColumn<T> {
        let mut rstds = [T::ZERO; MAX_COLUMNS];
        for (r, v) in rstds.iter_mut().zip(variance) {
            *r = T::of(1.0 / (v.f64() + self.eps).sqrt());
        }
        rstds
    }

    pub(super) fn backward_batch<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let (rows, width) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let need_x = dx[0].is_needed();
        let need_w = self.affine && dx[1].is_needed();
        if !need_x && !need_w {
            return self.dbias::<T>(cx, dy, dx);
        }
        let x = kept.input(0)?.slice::<T>()?;
        let mean = kept.output(1)?.slice::<T>()?;
        let rstd = kept.saved(0)?.slice::<T>()?;
        let weight = if self.affine && need_x { Some(kept.input(1)?) } else { None };
        let weight = weight.map(|w| w.slice::<T>()).transpose()?;
        let ([dx, dw, db], add) = self.take::<T>(dx)?;
        for_columns(
            cx.cpu(),
            width,
            10 * rows,
            [dx, dw, db],
            #[inline(always)]
            |columns, [mut dx, mut dw, mut db]| {
                let (mean, rstd) = (&mean[columns.clone()], &rstd[columns.clone()]);
                let (sums, products) = sums(rows, width, &columns, x, dy, mean, rstd);
                dw.put(&products, add[1]);
                db.put(&sums, add[2]);
                if dx.rows() == 0 {
                    return;
                }
                // dx = factor (dy − shift − (x − μ) slope)
                let n = rows as f64;
                let mut coefficients = [[T::ZERO; 3]; MAX_COLUMNS];
                for (j, [factor, shift, slope]) in
                    coefficients.iter_mut().enumerate().take(columns.len())
                {
                    *factor = weight.map_or(rstd[j], |w| w[columns.start + j] * rstd[j]);
                    *shift = T::of(sums[j] / n);
                    *slope = T::of(products[j] / n) * rstd[j];
                }
                for i in 0..rows {
                    let (x, dy) = (row(x, i, width, &columns), row(dy, i, width, &columns));
                    let values = dx.row(i).iter_mut().zip(x).zip(dy).zip(mean).zip(&coefficients);
                    for ((((dx, &x), &dy), &mean), &[factor, shift, slope]) in values {
                        let d = factor * (dy - shift - (x - mean) * slope);
                        *dx = if add[0] { *dx + d } else { d };
                    }
                }
            },
        );
        Ok(())
    }

    pub(super) fn backward_running<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let (rows, width) = (kept.spec(0).shape.rows(), kept.spec(0).shape.last());
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        if dx[self.mean()..].iter().any(Slot::is_needed) {
            let message = "no gradient flows to running statistics; give them as `Graph::input`, \
                           not as variables";
            return Err(OpError::shape(message));
        }
        let (need_x, need_w) = (dx[0].is_needed(), self.affine && dx[1].is_needed());
        if !need_x && !need_w {
            return self.dbias::<T>(cx, dy, dx);
        }
        let variance = kept.input(self.mean() + 1)?.slice::<T>()?;
        let weight = if self.affine && need_x { Some(kept.input(1)?) } else { None };
        let weight = weight.map(|w| w.slice::<T>()).transpose()?;
        let x_and_mean = if need_w {
            let (x, mean) = (kept.input(0)?, kept.input(self.mean())?);
            Some((x.slice::<T>()?, mean.slice::<T>()?))
        } else {
            None
        };
        self.dbias::<T>(cx, dy, dx)?;
        let ([dx, dw, _], add) = self.take::<T>(dx)?;
        for_columns(
            cx.cpu(),
            width,
            5 * rows,
            [dx, dw],
            #[inline(always)]
            |columns, [mut dx, mut dw]| {
                let rstds = self.rstds(&variance[columns.clone()]);
                if let Some((x, mean)) = x_and_mean {
                    let mean = &mean[columns.clone()];
                    let (_, products) = sums(rows, width, &columns, x, dy, mean, &rstds);
                    dw.put(&products, add[1]);
                }
                if dx.rows() == 0 {
                    return;
                }
                let mut factors = rstds;
                if let Some(weight) = weight {
                    factors.iter_mut().zip(&weight[columns.clone()]).for_each(|(f, &w)| *f *= w);
                }
                for i in 0..rows {
                    let values =
                        dx.row(i).iter_mut().zip(row(dy, i, width, &columns)).zip(&factors);
                    for ((dx, &dy), &factor) in values {
                        *dx = if add[0] { *dx + dy * factor } else { dy * factor };
                    }
                }
            },
        );
        Ok(())
    }

    /// db alone, which only needs dy.
    fn dbias<T: Float>(&self, cx: &Cx<'_>, dy: &[T], dx: &mut [Slot<'_>]) -> OpResult {
        if self.affine
            && let Some((db, accumulate)) = dx[2].take::<T>()?
        {
            ff_kernels::sum_columns(cx.cpu(), dy, db, accumulate);
        }
        Ok(())
    }

    /// The slots of x, w and b, empty for gradients not needed, and whether to add to them.
    #[allow(clippy::type_complexity)]
    fn take<'a, T: Float>(&self, dx: &mut [Slot<'a>]) -> OpResult<([&'a mut [T]; 3], [bool; 3])> {
        let mut taken: [(&'a mut [T], bool); 3] = Default::default();
        for (taken, slot) in taken.iter_mut().zip(dx).take(self.mean()) {
            *taken = slot.take::<T>()?.unwrap_or_default();
        }
        let add = [taken[0].1, taken[1].1, taken[2].1];
        Ok((taken.map(|(slice, _)| slice), add))
    }
}

/// y = w ⊙ (x − μ) r + b for a part of a row.
#[inline(always)]
fn write_row<T: Float>(
    x: &[T],
    y: &mut [T],
    mean: &[T],
    rstd: &[T],
    affine: Option<[&[T]; 2]>,
    columns: &Range<usize>,
) {
    for (((y, &x), &mean), &rstd) in y.iter_mut().zip(x).zip(mean).zip(rstd) {
        *y = (x - mean) * rstd;
    }
    if let Some([weight, bias]) = affine {
        let (weight, bias) = (&weight[columns.clone()], &bias[columns.clone()]);
        y.iter_mut().zip(weight).zip(bias).for_each(|((y, &w), &b)| *y = *y * w + b);
    }
}

/// Σ dy and Σ dy x̂ of each column.
#[inline(always)]
fn sums<T: Float>(
    rows: usize,
    width: usize,
    columns: &Range<usize>,
    x: &[T],
    dy: &[T],
    mean: &[T],
    rstd: &[T],
) -> (PerColumn<f64>, PerColumn<f64>) {
    let mut sums = [0.0; MAX_COLUMNS];
    let mut products = [0.0; MAX_COLUMNS];
    for i in 0..rows {
        let (x, dy) = (row(x, i, width, columns), row(dy, i, width, columns));
        let values = x.iter().zip(dy).zip(mean);
        for ((sum, product), ((&x, &dy), &mean)) in sums.iter_mut().zip(&mut products).zip(values) {
            *sum += dy.f64();
            *product += (dy * (x - mean)).f64();
        }
    }
    products.iter_mut().zip(rstd).for_each(|(p, r)| *p *= r.f64());
    (sums, products)
}
