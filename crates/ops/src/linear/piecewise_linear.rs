//! Embeddings of numbers.

use ff_graph::{
    Case, CaseInput, Contract, Cx, Fill, FloatOp, Kept, Op, OpError, OpResult, Slot, Spec, check,
};
use ff_kernels::{Float, for_row_blocks, for_rows};
use ff_tensor::{Tensor, TensorMut, TensorRef};
use std::sync::Arc;

/// A learned vector for each number: linear within each bin between a column's edges e, continuous,
/// and open beyond the first and the last edge.
///
/// With the bin j that x lies in, t = (x − eⱼ) / (eⱼ₊₁ − eⱼ), which is the piecewise-linear
/// encoding (1, …, 1, t, 0, …, 0) of x times V without forming it:
///
/// Forward:  y = x w + b + Σᵢ₍ᵢ﹤ⱼ₎ Vᵢ + t Vⱼ
/// Backward:  dw = Σ x dy,  db = Σ dy,  dVᵢ = Σ dy over rows of later bins + Σ t dy over rows of
///   bin i,  dx = dy · (w + Vⱼ / (eⱼ₊₁ − eⱼ))
///
/// A column of no bins passes through as it is; edges have no gradient. Inputs: x, edges, w, b, V.
/// Kept: x, the edges, w and V.
///
/// # Shapes
/// x `[…, columns]`, for n columns with bins, the most of which a column has is B: edges
/// `[n, B + 1]`, w `[n, d]`, b `[n, d]`, V `[n, B, d]` → y `[…, columns − n + n d]`
///
/// Gorishniy et al., "On embeddings for numerical features in tabular deep learning", 2022.
///
/// ```
/// use ff_graph::{Op, Spec};
/// use ff_ops::PiecewiseLinear;
/// use ff_tensor::{DType, Shape};
/// let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
/// let x = [spec(&[9, 3]), spec(&[2, 5]), spec(&[2, 8]), spec(&[2, 8]), spec(&[2, 4, 8])];
/// let op = PiecewiseLinear::op([4, 0, 2]);
/// assert_eq!(op.contract(&x, &[false; 5])?.outputs[0], spec(&[9, 2 * 8 + 1]));
/// # Ok::<(), ff_graph::OpError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PiecewiseLinear {
    /// The number of bins of each column; 0 for one that passes through.
    pub bins: Arc<[usize]>,
}

impl PiecewiseLinear {
    /// The operation, ready for [`ff_graph::Graph::apply`].
    pub fn op(bins: impl Into<Arc<[usize]>>) -> Arc<dyn Op> {
        Arc::new(Self { bins: bins.into() })
    }

    /// Embedded columns and their most bins.
    fn sizes(&self) -> [usize; 2] {
        let embedded = self.bins.iter().filter(|&&bins| bins > 0).count();
        [embedded, self.bins.iter().copied().max().unwrap_or(0)]
    }

    /// The embedded columns: column, bins.
    fn embedded(&self) -> impl Iterator<Item = (usize, usize)> {
        self.bins.iter().copied().enumerate().filter(|&(_, bins)| bins > 0)
    }

    /// Where the values of each column start in a row of y.
    #[inline(always)]
    fn start(&self, column: usize, d: usize) -> usize {
        self.bins[..column].iter().map(|&bins| if bins > 0 { d } else { 1 }).sum()
    }
}

/// Rows whose places are found side by side, a lane of a register each.
const ROWS: usize = 16;

/// The bins of `N` numbers of a column, their places within them, and the bins' widths.
struct Places<T, const N: usize> {
    bin: [u32; N],
    place: [T; N],
    width: [T; N],
}

impl<T: Float, const N: usize> Places<T, N> {
    /// The places among `bins + 1` edges.
    #[inline(always)]
    fn find(x: &[T; N], edges: &[T], bins: usize) -> Self {
        // Edges from x downwards are counted, as a search of few mispredicts more than it skips.
        // The first and the last edge do not count: their bins are open.
        let mut bin = [0u32; N];
        if bins <= 64 {
            for &edge in &edges[1..bins] {
                for (bin, &x) in bin.iter_mut().zip(x) {
                    *bin += u32::from(edge <= x);
                }
            }
        } else {
            for (bin, &x) in bin.iter_mut().zip(x) {
                *bin = edges[1..bins].partition_point(|&edge| edge <= x) as u32;
            }
        }
        let from = bin.map(|j| edges[j as usize]);
        let to = bin.map(|j| edges[j as usize + 1]);
        let width = std::array::from_fn(|l| to[l] - from[l]);
        let place = std::array::from_fn(|l| (x[l] - from[l]) / width[l]);
        Self { bin, place, width }
    }
}

/// A column's values in rows `first` and on; 0 beyond the last row.
#[inline(always)]
fn column_of<T: Float>(x: &[T], columns: usize, column: usize, first: usize) -> [T; ROWS] {
    let mut values = [T::ZERO; ROWS];
    let rows = x.get(first * columns..).unwrap_or_default().chunks_exact(columns.max(1));
    for (value, row) in values.iter_mut().zip(rows) {
        *value = row[column];
    }
    values
}

/// The `C` values from `at` on.
#[inline(always)]
fn chunk<T: Float, const C: usize>(values: &[T], at: usize) -> [T; C] {
    values[at..at + C].as_chunks::<C>().0[0]
}

/// What a column's rows add to its gradients.
struct Sums<'a, T> {
    /// Σ x dy.
    slopes: &'a mut [T],
    /// For each bin Σ dy and Σ t dy.
    bins: &'a mut [T],
}

impl<T: Float> Sums<'_, T> {
    /// Adds the values from `at` on of some rows, `C` at a time, which stay in a register; returns
    /// where the rest starts.
    #[inline(always)]
    fn add<const C: usize>(
        &mut self,
        mut at: usize,
        (x, places): (&[T], &Places<T, ROWS>),
        (dy, width): (&[T], usize),
    ) -> usize {
        let d = self.slopes.len();
        while at + C <= d {
            let mut slopes = chunk::<T, C>(self.slopes, at);
            for (l, &x) in x.iter().enumerate() {
                let dy = chunk::<T, C>(dy, l * width + at);
                let (t, start) = (places.place[l], 2 * places.bin[l] as usize * d + at);
                let mut whole = chunk::<T, C>(self.bins, start);
                let mut part = chunk::<T, C>(self.bins, start + d);
                for k in 0..C {
                    slopes[k] += x * dy[k];
                    whole[k] += dy[k];
                    part[k] += t * dy[k];
                }
                self.bins[start..start + C].copy_from_slice(&whole);
                self.bins[start + d..start + d + C].copy_from_slice(&part);
            }
            self.slopes[at..at + C].copy_from_slice(&slopes);
            at += C;
        }
        at
    }
}

impl FloatOp for PiecewiseLinear {
    fn name(&self) -> &'static str {
        "piecewise_linear"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        check::inputs(x, 5, "x, edges, w, b, V")?;
        check::float(&x[0])?;
        let columns = self.bins.len();
        if x[0].shape.rank() == 0 || x[0].shape.last() != columns {
            return Err(OpError::shape(format!("x must be […, {columns}], found {}", x[0].shape)));
        }
        let d = if x[2].shape.rank() == 2 { x[2].shape.last() } else { 0 };
        let [n, most] = self.sizes();
        let expected = [&[n, most + 1][..], &[n, d], &[n, d], &[n, most, d]];
        for ((what, dims), spec) in ["edges", "w", "b", "V"].into_iter().zip(expected).zip(&x[1..])
        {
            check::same_dtype(what, spec, &x[0])?;
            if spec.shape.dims() != dims {
                let message = format!("{what} must be {dims:?}, found {}", spec.shape);
                return Err(OpError::shape(message));
            }
        }
        let width = self.start(columns, d);
        let y = x[0].with_shape(x[0].shape.with_last(width));
        let work = 4 * x[0].shape.rows() * n * d;
        let table = x[0].with_shape([n, most, d]);
        let mut contract = Contract::new([y]).cost(work, 2 * work).scratch(table);
        if need.contains(&true) {
            contract = contract.keep_input(0).keep_input(1).keep_input(2).keep_input(4);
        }
        let sums = x[0].with_shape([n, 2 * most + 1, d]);
        Ok(if need[2] || need[3] || need[4] { contract.dscratch(sums) } else { contract })
    }

    fn forward<T: Float>(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        _saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let ([n, most], d) = (self.sizes(), x[2].shape().last());
        let (rows, columns) = (x[0].shape().rows(), self.bins.len());
        let (edges, w) = (x[1].slice::<T>()?, x[2].slice::<T>()?);
        let (b, v) = (x[3].slice::<T>()?, x[4].slice::<T>()?);
        let x = x[0].slice::<T>()?;
        // b + the V of earlier bins.
        let mut table = Tensor::uninit(cx.device, [n, most, d].into(), T::DTYPE)?;
        let table = table.slice_mut::<T>()?;
        for (i, table) in table.chunks_exact_mut((most * d).max(1)).enumerate() {
            table[..d].copy_from_slice(&b[i * d..][..d]);
            for k in d..most * d {
                table[k] = table[k - d] + v[i * most * d + k - d];
            }
        }
        let table = &*table;
        let width = self.start(columns, d);
        for_row_blocks(
            cx.cpu(),
            [rows, width],
            ROWS,
            4 * width,
            y[0].slice_mut::<T>()?,
            #[inline(always)]
            |block, y| {
                let (mut at, mut i) = (0, 0);
                for (column, &bins) in self.bins.iter().enumerate() {
                    let x = column_of(x, columns, column, block.start);
                    if bins == 0 {
                        for (y, &x) in y.chunks_exact_mut(width).zip(&x) {
                            y[at] = x;
                        }
                        at += 1;
                        continue;
                    }
                    let places = Places::find(&x, &edges[i * (most + 1)..], bins);
                    let of_column = i * most * d..(i + 1) * most * d;
                    let (table, v) = (&table[of_column.clone()], &v[of_column]);
                    let w = &w[i * d..][..d];
                    for (l, y) in y.chunks_exact_mut(width).enumerate() {
                        let (x, t, bin) = (x[l], places.place[l], places.bin[l] as usize * d);
                        let values = w.iter().zip(&table[bin..bin + d]).zip(&v[bin..bin + d]);
                        for (y, ((&w, &before), &v)) in y[at..at + d].iter_mut().zip(values) {
                            *y = x * w + before + t * v;
                        }
                    }
                    (at, i) = (at + d, i + 1);
                }
            },
        );
        Ok(())
    }

    fn backward<T: Float>(
        &self,
        cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let ([n, most], d) = (self.sizes(), kept.spec(2).shape.last());
        let (rows, columns) = (kept.spec(0).shape.rows(), self.bins.len());
        let width = self.start(columns, d);
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let dy = &*dy.slice_mut::<T>()?;
        let (x, edges) = (kept.input(0)?.slice::<T>()?, kept.input(1)?.slice::<T>()?);
        if let Some((dx, accumulate)) = dx[0].take::<T>()? {
            let (w, v) = (kept.input(2)?.slice::<T>()?, kept.input(4)?.slice::<T>()?);
            for_rows(
                cx.cpu(),
                rows,
                4 * width,
                [(dx, columns)],
                #[inline(always)]
                |row, [dx]| {
                    let mut rest = &dy[row * width..][..width];
                    let mut i = 0;
                    for (column, (dx, &bins)) in dx.iter_mut().zip(&*self.bins).enumerate() {
                        let take = if bins > 0 { d } else { 1 };
                        let (dy, tail) = rest.split_at(take);
                        rest = tail;
                        let mut sum = if bins > 0 { T::ZERO } else { dy[0] };
                        if bins > 0 {
                            let edges = &edges[i * (most + 1)..];
                            let x = [x[row * columns + column]];
                            let Places { bin: [j], width: [width], .. } =
                                Places::find(&x, edges, bins);
                            let j = j as usize;
                            let (w, v) = (&w[i * d..][..d], &v[(i * most + j) * d..][..d]);
                            for ((&dy, &w), &v) in dy.iter().zip(w).zip(v) {
                                sum += dy * (w + v / width);
                            }
                            i += 1;
                        }
                        *dx = if accumulate { *dx + sum } else { sum };
                    }
                },
            );
        }
        let (dw, db, dv) = (dx[2].take::<T>()?, dx[3].take::<T>()?, dx[4].take::<T>()?);
        if dw.is_none() && db.is_none() && dv.is_none() {
            return Ok(());
        }
        // For each embedded column Σ x dy, and for each of its bins Σ dy and Σ t dy.
        let size = (2 * most + 1) * d;
        let mut sums = Tensor::uninit(cx.device, [n, 2 * most + 1, d].into(), T::DTYPE)?;
        let sums = sums.slice_mut::<T>()?;
        for_rows(
            cx.cpu(),
            n,
            8 * rows * d,
            [(&mut *sums, size)],
            #[inline(always)]
            |i, [sums]| {
                sums.fill(T::ZERO);
                let Some((column, bins)) = self.embedded().nth(i) else { return };
                let (start, edges) = (self.start(column, d), &edges[i * (most + 1)..]);
                let (slopes, bins_sums) = sums.split_at_mut(d);
                let mut sums = Sums { slopes, bins: bins_sums };
                for first in (0..rows).step_by(ROWS) {
                    let x = column_of(x, columns, column, first);
                    let places = Places::find(&x, edges, bins);
                    let found = (&x[..ROWS.min(rows - first)], &places);
                    let dy = (&dy[first * width + start..], width);
                    // Vectors of numbers are usually eight or four values.
                    let at = sums.add::<8>(0, found, dy);
                    let at = sums.add::<4>(at, found, dy);
                    sums.add::<1>(at, found, dy);
                }
            },
        );
        let sums = &*sums;
        let put = |out: &mut T, value: T, add: bool| *out = if add { *out + value } else { value };
        if let Some((dw, add)) = dw {
            for (dw, sums) in dw.chunks_exact_mut(d.max(1)).zip(sums.chunks_exact(size.max(1))) {
                dw.iter_mut().zip(sums).for_each(|(dw, &sum)| put(dw, sum, add));
            }
        }
        // Of the last bin backwards: Σ dy over later bins.
        let bin = |i: usize, j: usize, k: usize| i * size + (1 + 2 * j) * d + k;
        if let Some((db, add)) = db {
            for (at, db) in db.iter_mut().enumerate() {
                let (i, k) = (at / d, at % d);
                put(db, (0..most).map(|j| sums[bin(i, j, k)]).sum(), add);
            }
        }
        if let Some((dv, add)) = dv {
            for (i, dv) in dv.chunks_exact_mut((most * d).max(1)).enumerate() {
                for k in 0..d {
                    let mut later = T::ZERO;
                    for j in (0..most).rev() {
                        put(&mut dv[j * d + k], later + sums[bin(i, j, k) + d], add);
                        later += sums[bin(i, j, k)];
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, bins: &[usize], leading: &[usize], d: usize| {
        let op = PiecewiseLinear { bins: bins.into() };
        let [n, most] = op.sizes();
        let edges: Vec<f64> = op
            .embedded()
            .flat_map(|(column, bins)| {
                // Edges that differ between columns; beyond a column's own they are not read.
                let edge = move |j: usize| {
                    let step = 2.3 * j as f64 / bins as f64;
                    if j <= bins { -1.1 + 0.13 * column as f64 + step } else { 0.0 }
                };
                (0..=most).map(edge)
            })
            .collect();
        let mut x = leading.to_vec();
        x.push(bins.len());
        let inputs = vec![
            CaseInput::normal(x),
            CaseInput::constant([n, most + 1], Fill::Values(edges)),
            CaseInput::normal([n, d]),
            CaseInput::normal([n, d]),
            CaseInput::normal([n, most, d]),
        ];
        Case::new(format!("piecewise_linear/{name}"), Arc::new(op), inputs)
    };
    vec![
        case("bins", &[4, 3], &[9], 5),
        case("one_bin", &[1], &[6], 3),
        case("passing_through", &[2, 0, 5, 0], &[7], 4),
        case("folded", &[3, 2], &[4, 3], 2),
        case("one", &[2], &[1], 1),
        case("no_rows", &[2], &[0], 3),
        case("wide", &[8, 6], &[9], 17),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{DType, Shape};

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let spec = |dims: &[usize]| Spec::new(Shape::new(dims).unwrap(), DType::F32);
        let good = [spec(&[9, 2]), spec(&[1, 5]), spec(&[1, 8]), spec(&[1, 8]), spec(&[1, 4, 8])];
        let message = |i: usize, dims: &[usize]| {
            let mut x = good;
            x[i] = spec(dims);
            PiecewiseLinear::op([4, 0]).contract(&x, &[false; 5]).unwrap_err().to_string()
        };
        assert!(message(0, &[9, 3]).contains("x must be […, 2], found [9, 3]"));
        assert!(message(1, &[1, 4]).contains("edges must be [1, 5], found [1, 4]"));
        assert!(message(4, &[4, 8]).contains("V must be [1, 4, 8], found [4, 8]"));
    }
}
