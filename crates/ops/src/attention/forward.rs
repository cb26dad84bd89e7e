//! The forward pass: a running softmax over tiles of keys, for a few hundred queries of a head at a
//! time.

use super::dropout::{Draws, Dropped};
use super::layout::{Cut, Heads, Inputs, Sizes};
use super::mask::{Look, Mask, band};
use super::scores::{LANES, Scores, join};
use super::{Attention, DistanceBuckets, TILE, Value};
use ff_graph::{Cx, OpResult, Spec};
use ff_kernels::{BlockFloat, BlockTrim, Float, MatMut, MatRef, dispatch, for_heads};
use ff_tensor::{CpuDevice, TensorMut, TensorRef};
use std::ops::Range;

/// The number of queries per packed tile of keys.
const ROWS: usize = 4 * TILE;

/// The inputs besides queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Others<'a, T> {
    /// The segments of keys and of queries.
    pub(super) segments: [Option<&'a [i32]>; 2],
    /// The scores by distance.
    pub(super) table: Option<&'a [T]>,
    pub(super) sinks: Option<&'a [T]>,
    /// The masks of dropped weights.
    pub(super) draws: Option<Draws>,
}

impl Attention {
    pub(super) fn run_forward<S: Value>(
        &self,
        cx: &Cx<'_>,
        draws: Option<Draws>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        let sizes = self.sizes(|i| Spec { shape: *x[i].shape(), dtype: x[i].dtype() })?;
        let inputs = Inputs::<S>::new(self, &sizes, |i| Ok(x[i]))?;
        let segments = |i: usize| match x.get(self.tensors() + i) {
            Some(segments) if i < self.segments.count() => segments.slice::<i32>().map(Some),
            _ => Ok(None),
        };
        let segments = [segments(0)?, segments(1)?];
        let y = y[0].slice_mut::<S>()?;
        let logs = match saved {
            [logs] => Some(logs.slice_mut::<S::Compute>()?),
            _ => None,
        };
        let sinks = match x.last() {
            Some(sinks) if self.sinks => Some(sinks.slice::<S::Compute>()?),
            _ => None,
        };
        let table = self.table().map(|at| x[at].slice::<S::Compute>()).transpose()?;
        let others = Others { segments, table, sinks, draws };
        self.attend_to(cx.cpu(), &sizes, &inputs, others, y, logs);
        Ok(())
    }

    /// Writes y and, if needed, ln Σ eᵘ.
    pub(super) fn attend_to<S: Value>(
        &self,
        cpu: &CpuDevice,
        sizes: &Sizes,
        inputs: &Inputs<'_, S>,
        Others { segments, table, sinks, draws }: Others<'_, S::Compute>,
        y: &mut [S],
        logs: Option<&mut [S::Compute]>,
    ) {
        let &Sizes { batch, queries, keys, heads, kv_heads, dim } = sizes;
        let rows = batch * queries;
        let y = MatMut::new(y, rows, heads * dim);
        let logs = logs.map(|logs| MatMut::new(logs, rows, heads));
        let learned = self.distances.zip(table);
        let room = Room::<S>::len(sizes);
        let line = if learned.is_some() { DistanceBuckets::line_len(sizes) } else { 0 };
        let work = queries * keys * dim * sizes.group();
        let band = band(self, queries, keys);
        for_heads(
            cpu,
            (batch, kv_heads),
            work,
            room + line,
            [Some(y)],
            [logs],
            |(b, kv_head), scratch, [y], [mut logs]| {
                let Some(mut y) = y else { return };
                let (scratch, line) = scratch.split_at_mut(room);
                let part = |i: usize, len: usize| segments[i].map(|s| &s[b * len..][..len]);
                let mask = Mask { band, keys: part(0, keys), queries: part(1, queries) };
                for g in 0..sizes.group() {
                    let head = kv_head * sizes.group() + g;
                    let query = |rows: Range<usize>| inputs.q.rows(b, head, rows);
                    if let Some((distances, table)) = learned {
                        distances.line(table, head, sizes, line);
                    }
                    let line = learned.map(|_| &*line);
                    let mut pass = HeadForward {
                        cpu,
                        sizes,
                        mask,
                        scores: Scores::new(self, head).with_line(line, keys),
                        sink: sinks.map(|sinks| sinks[head]),
                        dropped: draws.map(|draws| draws.of(sizes, (b, head))),
                        query: &query,
                        keys: (inputs.k, inputs.v, b, kv_head),
                        y: y.block(0..queries, g * dim..(g + 1) * dim),
                        logs: logs.as_mut().map(|logs| logs.block(0..queries, g..g + 1)),
                        room: Room::new(sizes, scratch),
                    };
                    for first in (0..queries).step_by(ROWS) {
                        pass.rows(first..queries.min(first + ROWS), false);
                    }
                }
            },
        );
    }
}

/// The scratch memory of a task.
struct Room<'a, S: BlockFloat> {
    scores: &'a mut [S::Compute],
    keys: &'a mut [S::Compute],
    values: &'a mut [S::Compute],
    y: &'a mut [S::Compute],
    wide: &'a mut [S::Compute],
    /// A copy of a tile of values, with zeros for keys that the query does not see.
    seen: &'a mut [S::Compute],
}

impl<'a, S: BlockFloat> Room<'a, S> {
    fn len(sizes: &Sizes) -> usize {
        let some = sizes.queries.min(ROWS);
        TILE * TILE
            + sizes.packed_t()
            + sizes.packed(TILE)
            + sizes.rows(some)
            + sizes.widened::<S>()
            + sizes.rows(TILE)
    }

    fn new(sizes: &Sizes, scratch: &'a mut [S::Compute]) -> Self {
        let mut cut = Cut::new(scratch);
        Self {
            scores: cut.take(TILE * TILE),
            keys: cut.take(sizes.packed_t()),
            values: cut.take(sizes.packed(TILE)),
            y: cut.take(sizes.rows(sizes.queries.min(ROWS))),
            wide: cut.take(sizes.widened::<S>()),
            seen: cut.take(sizes.rows(TILE)),
        }
    }
}

/// One head of one sequence.
struct HeadForward<'a, S: Value> {
    cpu: &'a CpuDevice,
    sizes: &'a Sizes,
    mask: Mask<'a>,
    scores: Scores<'a, S::Compute>,
    /// The score without a key.
    sink: Option<S::Compute>,
    dropped: Option<Dropped<S::Compute>>,
    query: &'a dyn Fn(Range<usize>) -> MatRef<'a, S>,
    /// Keys, values, their sequence and their head.
    keys: (Heads<'a, S>, Heads<'a, S>, usize, usize),
    y: MatMut<'a, S>,
    logs: Option<MatMut<'a, S::Compute>>,
    room: Room<'a, S>,
}

impl<S: Value> HeadForward<'_, S> {
    /// Some queries; `alone` marks a single query whose sum must exclude the values it does not
    /// see, since those are not finite.
    fn rows(&mut self, rows: Range<usize>, alone: bool) {
        let (cpu, dim, mask) = (self.cpu, self.sizes.dim, self.mask);
        let (zero, least) = (S::Compute::ZERO, S::Compute::NEG_INFINITY);
        let (mut greatest, mut sums) = ([least; ROWS], [zero; ROWS]);
        let Room { scores: x, keys: packed_k, values: packed_v, y, wide, seen } = &mut self.room;
        let mut started = [false; ROWS / TILE];
        let (k, v, b, kv_head) = self.keys;
        let visible = mask.band.columns(rows.clone(), self.sizes.keys);
        for first in (visible.start / TILE * TILE..visible.end).step_by(TILE) {
            let keys = first..self.sizes.keys.min(first + TILE);
            let width = keys.len();
            let segments = mask.tile(&keys);
            let mut packed = false;
            for start in rows.clone().step_by(TILE) {
                let some = start..rows.end.min(start + TILE);
                let band = mask.band.at(start, keys.start);
                let look = mask.look(&some, &keys);
                if look == Look::Nothing || band.columns(0..some.len(), width).is_empty() {
                    continue;
                }
                let q = (self.query)(some.clone());
                if !packed {
                    q.prefetch();
                    let keys_t = S::widen(cpu, k.rows(b, kv_head, keys.clone()), wide).t();
                    S::pack_block(cpu, keys_t, packed_k);
                    let values = S::widen(cpu, v.rows(b, kv_head, keys.clone()), wide);
                    let values = if alone {
                        let sees = |j: usize| mask.sees(start, keys.start + j);
                        only(values, seen, sees)
                    } else {
                        values
                    };
                    S::pack_block(cpu, values, packed_v);
                    packed = true;
                }
                // The first product of a tile of queries writes; later ones add.
                let add = std::mem::replace(&mut started[(start - rows.start) / TILE], true);
                let q = S::widen(cpu, q, wide);
                let x = &mut x[..some.len() * TILE];
                let to = MatMut::new(x, some.len(), TILE).split_columns([width]);
                let [to] = to;
                S::multiply_block(cpu, q, packed_k, to, BlockTrim::Output(band), false);
                let at = start - rows.start..some.end - rows.start;
                let y = &mut y[at.start * dim..at.end * dim];
                let scores = self.scores.tile(
                    band,
                    start as isize + self.sizes.keys as isize
                        - self.sizes.queries as isize
                        - keys.start as isize,
                    (look == Look::Pairs).then_some(&segments),
                    mask.queries.map(|queries| &queries[some.clone()]),
                );
                let (greatest, sums) = (&mut greatest[at.clone()], &mut sums[at]);
                dispatch(
                    cpu,
                    #[inline(always)]
                    || scores.softmax(x, width, greatest, sums, (y, dim)),
                );
                if let Some(dropped) = self.dropped {
                    dispatch(
                        cpu,
                        #[inline(always)]
                        || dropped.apply(x, &some, first),
                    );
                }
                let p = MatRef::strided(x, some.len(), width, TILE, 1);
                let y = MatMut::new(y, some.len(), dim);
                S::multiply_block(cpu, p, packed_v, y, BlockTrim::Depth(band), add);
            }
        }
        for (y, _) in y[..rows.len() * dim].chunks_mut(TILE * dim).zip(started).filter(|(_, s)| !s)
        {
            y.fill(zero);
        }
        let spoilt = self.finish(&rows, &greatest, &sums);
        if !alone {
            for (i, _) in spoilt.iter().enumerate().filter(|(_, spoilt)| **spoilt) {
                self.again(rows.start + i, sums[i] == zero);
            }
        }
    }

    /// A query with a non-finite result or with all weights zero.
    fn again(&mut self, t: usize, no_weight: bool) {
        let (_, v, b, kv_head) = self.keys;
        let band = self.mask.band.columns(t..t + 1, self.sizes.keys);
        let mut seen = band.filter(|&s| self.mask.sees(t, s));
        match (seen.next(), seen.next()) {
            (None, _) => self.y.row(t).fill(S::from_compute(S::Compute::ZERO)),
            // The softmax over a single score is 1, whatever the score.
            (Some(s), None) if self.sink.is_none() => {
                let value = v.rows(b, kv_head, s..s + 1);
                let Some(dropped) = self.dropped else {
                    return self.y.row(t).copy_from_slice(value.row(0));
                };
                let factor = dropped.factor(t, s);
                for (y, v) in self.y.row(t).iter_mut().zip(value.row(0)) {
                    *y = S::from_compute(factor * v.compute());
                }
            }
            // Every score is −∞: no weights are correct.
            _ if no_weight => self.y.row(t).fill(S::from_compute(S::Compute::of(f64::NAN))),
            _ => self.rows(t..t + 1, true),
        }
    }

    /// Writes y and ln Σ eᵘ; returns the rows with a non-finite value or with no weight at all.
    fn finish(
        &mut self,
        rows: &Range<usize>,
        greatest: &[S::Compute],
        sums: &[S::Compute],
    ) -> [bool; ROWS] {
        let dim = self.sizes.dim;
        let mut spoilt = [false; ROWS];
        let sink = self.sink;
        let (y, logs, sum) = (&mut self.y, &mut self.logs, &self.room.y[..rows.len() * dim]);
        dispatch(
            self.cpu,
            #[inline(always)]
            || {
                for (i, t) in rows.clone().enumerate() {
                    let (top, scale, total) = with_sink(greatest[i], sums[i], sink);
                    let factor =
                        if total == S::Compute::ZERO { S::Compute::ZERO } else { scale / total };
                    let spoils = write(y.row(t), &sum[i * dim..][..dim], factor);
                    spoilt[i] = spoils || total == S::Compute::ZERO;
                    if let Some(logs) = logs {
                        logs.row(t)[0] = top + total.ln();
                    }
                }
            },
        );
        spoilt
    }
}

/// The greatest score of a row with its sink, what its sums count beside that, and the sum of all
/// weights.
#[inline(always)]
fn with_sink<T: Float>(greatest: T, sum: T, sink: Option<T>) -> (T, T, T) {
    let Some(sink) = sink else { return (greatest, T::ONE, sum) };
    let top = if greatest > sink { greatest } else { sink };
    let scale = if greatest == T::NEG_INFINITY { T::ZERO } else { (greatest - top).exp() };
    (top, scale, sum * scale + (sink - top).exp())
}

/// y = sums times a factor; returns whether a value is not finite.
#[inline(always)]
fn write<S: BlockFloat>(y: &mut [S], sums: &[S::Compute], factor: S::Compute) -> bool {
    // The product with a finite value is 0.
    let mut zeros = [S::Compute::ZERO; LANES];
    let (y_chunks, y_rest) = y.as_chunks_mut::<LANES>();
    let (chunks, rest) = sums.as_chunks::<LANES>();
    for (y, sums) in y_chunks.iter_mut().zip(chunks) {
        for l in 0..LANES {
            let value = sums[l] * factor;
            zeros[l] += value * S::Compute::ZERO;
            y[l] = S::from_compute(value);
        }
    }
    for ((y, &sum), zero) in y_rest.iter_mut().zip(rest).zip(&mut zeros) {
        let value = sum * factor;
        *zero += value * S::Compute::ZERO;
        *y = S::from_compute(value);
    }
    join(zeros, |a, b| a + b).is_nan()
}

/// A copy of the visible rows; zeros in place of the others.
fn only<'a, T: Float>(
    values: MatRef<'a, T>,
    to: &'a mut [T],
    sees: impl Fn(usize) -> bool,
) -> MatRef<'a, T> {
    let (rows, cols) = values.shape();
    for (i, to) in to[..rows * cols].chunks_exact_mut(cols).enumerate() {
        for (j, to) in to.iter_mut().enumerate() {
            *to = if sees(i) { values.get(i, j) } else { T::ZERO };
        }
    }
    MatRef::new(to, rows, cols)
}
