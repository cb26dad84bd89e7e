//! The backward pass: over tiles of keys, whose gradients sum over all queries that see them;
//! gradients of queries accumulate from tile to tile.

use super::distance::{Lines, over_sequences};
use super::dropout::Draws;
use super::layout::{Cut, Heads, Inputs, Sizes};
use super::mask::{Look, Mask, band};
use super::scores::{LANES, Scores, join};
use super::sinks::sink_gradients;
use super::{Attention, DistanceBuckets, TILE, Value};
use ff_graph::{Cx, Kept, OpResult, Slot};
use ff_kernels::{
    BlockFloat, BlockTrim, Float, MatMut, MatRef, Stored, dispatch, for_heads, for_rows,
};
use ff_tensor::{CpuDevice, Element, Tensor, TensorMut};
use std::ops::Range;

impl Attention {
    pub(super) fn run_backward<S: Value>(
        &self,
        cx: &Cx<'_>,
        draws: Option<Draws>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        let sizes = self.sizes(|i| *kept.spec(i))?;
        let Sizes { batch, queries, keys, heads, kv_heads, dim } = sizes;
        let Some(dy) = &mut dy[0] else { return Ok(()) };
        let (wide, narrow) = (heads * dim, kv_heads * dim);
        let output = |values| Heads::new(values, 0, (wide, queries * wide), dim);
        let segments = |i: usize| -> OpResult<_> {
            let given = i < self.segments.count();
            let input = given.then(|| kept.input(self.tensors() + i)).transpose()?;
            Ok(input.map(|s| s.slice::<i32>()).transpose()?)
        };
        let (key_segments, query_segments) = (segments(0)?, segments(1)?);
        let inputs = Inputs::<S>::new(self, &sizes, |i| kept.input(i))?;
        let (y, dy) = (kept.output(0)?.slice::<S>()?, dy.slice_mut()?);
        let (y, dy) = (output(y), output(&*dy));
        let logs = kept.saved(0)?.slice::<S::Compute>()?;
        if self.sinks {
            let at = self.inputs() - 1;
            let sinks = kept.input(at)?.slice::<S::Compute>()?;
            if let Some(slot) = dx[at].take::<S::Compute>()? {
                sink_gradients(cx, &sizes, (y, dy), (logs, sinks), slot);
            }
        }

        let learned = match (self.distances, self.table()) {
            (Some(distances), Some(at)) => {
                Some((distances, at, kept.input(at)?.slice::<S::Compute>()?))
            }
            _ => None,
        };
        // The gradients of the scores by distance of each sequence and head.
        let parts = learned.filter(|(_, at, _)| dx[*at].is_needed()).map(|(distances, ..)| {
            let shape = [batch, heads, distances.count].into();
            Tensor::uninit(cx.device, shape, <S::Compute as Element>::DTYPE)
        });
        let mut parts = parts.transpose()?;
        let part_sums = parts.as_mut().map(|parts| {
            let row = parts.shape().len() / batch.max(1);
            parts.slice_mut::<S::Compute>().map(|parts| MatMut::new(parts, batch, row))
        });
        let part_sums = part_sums.transpose()?;
        // If sums have another type, dq accumulates in separate memory.
        let apart = S::DTYPE != <S::Compute as Element>::DTYPE && dx[0].is_needed();
        let shape = [batch, queries, wide].into();
        let own = || Tensor::uninit(cx.device, shape, <S::Compute as Element>::DTYPE);
        let mut sums = apart.then(own).transpose()?;
        let mut taken = [None, None, None];
        for (taken, slot) in taken.iter_mut().zip(&mut dx[..self.tensors()]) {
            *taken = slot.take::<S>()?;
        }
        let add: [bool; 3] = std::array::from_fn(|i| {
            taken[if self.fused { 0 } else { i }].as_ref().is_some_and(|(_, add)| *add)
        });
        let mut slices = taken.map(|taken| taken.map(|(values, _)| values));
        let [dq, dk, dv] = if self.fused {
            let row = wide + 2 * narrow;
            let all = slices[0].as_deref_mut();
            let all = all.map(|all| MatMut::new(all, batch * queries, row));
            all.map_or([None, None, None], |all| {
                all.split_columns([wide, narrow, narrow]).map(Some)
            })
        } else {
            let [q, k, v] = &mut slices;
            [
                q.as_deref_mut().map(|q| MatMut::new(q, batch * queries, wide)),
                k.as_deref_mut().map(|k| MatMut::new(k, batch * keys, narrow)),
                v.as_deref_mut().map(|v| MatMut::new(v, batch * keys, narrow)),
            ]
        };
        let dq_sums = match &mut sums {
            Some(sums) => {
                let sums = sums.slice_mut::<S::Compute>()?;
                Some(MatMut::new(sums, batch * queries, wide))
            }
            None => dq.and_then(S::sums),
        };
        let room = Room::<S>::len(&sizes);
        let line = if learned.is_some() { DistanceBuckets::line_len(&sizes) } else { 0 };
        let lines = line * sizes.group();
        let work = queries * keys * dim * sizes.group();
        let band = band(self, queries, keys);
        // Sums of the same type go to their destination, others first to separate memory.
        let direct = S::DTYPE == <S::Compute as Element>::DTYPE;
        for_heads(
            cx.cpu(),
            (batch, kv_heads),
            work,
            room + 2 * lines,
            [dk, dv],
            [dq_sums, part_sums],
            |(b, kv_head), scratch, [mut dk, mut dv], [dq, parts]| {
                let (scratch, scores) = scratch.split_at_mut(room);
                let (scores, score_sums) = scores.split_at_mut(lines);
                if let Some((distances, _, table)) = learned {
                    for (g, line) in scores.chunks_exact_mut(line).enumerate() {
                        distances.line(table, kv_head * sizes.group() + g, &sizes, line);
                    }
                    score_sums.fill(S::Compute::ZERO);
                }
                let mut cut = Cut::new(scratch);
                let room = Room::<S>::new(&sizes, &mut cut);
                let [dk_sums, dv_sums] = if direct {
                    [dk.take().and_then(S::sums), dv.take().and_then(S::sums)]
                } else {
                    let mut own = || &mut cut.take(sizes.rows(TILE))[..TILE * dim];
                    [own(), own()].map(|own| Some(MatMut::new(own, TILE, dim)))
                };
                let mut pass = HeadBackward {
                    op: self,
                    draws,
                    cpu: cx.cpu(),
                    sizes: &sizes,
                    key_head: (b, kv_head),
                    mask: Mask {
                        band,
                        keys: key_segments.map(|s| &s[b * keys..][..keys]),
                        queries: query_segments.map(|s| &s[b * queries..][..queries]),
                    },
                    inputs,
                    y,
                    dy,
                    logs,
                    sums: [dq, dk_sums, dv_sums],
                    direct,
                    add: add.map(|add| add && direct),
                    lines: learned.map(|_| Lines {
                        scores: &*scores,
                        sums: &mut *score_sums,
                        len: line,
                    }),
                    room,
                };
                pass.unseen();
                for first in (0..keys).step_by(TILE) {
                    let tile = first..keys.min(first + TILE);
                    pass.keys(tile.clone());
                    if !direct {
                        let [_, dk_sums, dv_sums] = &mut pass.sums;
                        put(cx.cpu(), dk_sums.as_mut(), dk.as_mut(), &tile, add[1]);
                        put(cx.cpu(), dv_sums.as_mut(), dv.as_mut(), &tile, add[2]);
                    }
                }
                if let (Some((distances, ..)), Some(mut parts)) = (learned, parts) {
                    let parts = parts.row(0).chunks_exact_mut(distances.count);
                    for (line, part) in score_sums.chunks_exact(line).zip(parts) {
                        distances.sum(line, &sizes, part);
                    }
                }
            },
        );
        if let (Some((distances, at, _)), Some(parts)) = (learned, &parts)
            && let Some((to, add)) = dx[at].take::<S::Compute>()?
        {
            let parts = parts.slice::<S::Compute>()?;
            over_sequences(parts, (heads, distances.count), to, add);
        }
        if let (Some(sums), Some(dq)) = (&sums, &mut slices[0]) {
            let sums = sums.slice::<S::Compute>()?;
            let row = if self.fused { wide + 2 * narrow } else { wide };
            for_rows(
                cx.cpu(),
                batch * queries,
                2 * wide,
                [(&mut **dq, row)],
                #[inline(always)]
                |t, [dq]| {
                    for (dq, &sum) in dq.iter_mut().zip(&sums[t * wide..][..wide]) {
                        *dq = S::from_compute(if add[0] { dq.compute() + sum } else { sum });
                    }
                },
            );
        }
        Ok(())
    }
}

/// Writes the sums of a tile of keys to their rows, or adds them.
fn put<S: BlockFloat>(
    cpu: &CpuDevice,
    sums: Option<&mut MatMut<'_, S::Compute>>,
    to: Option<&mut MatMut<'_, S>>,
    rows: &Range<usize>,
    add: bool,
) {
    let (Some(sums), Some(to)) = (sums, to) else { return };
    dispatch(
        cpu,
        #[inline(always)]
        || {
            for (i, s) in rows.clone().enumerate() {
                for (to, &sum) in to.row(s).iter_mut().zip(&*sums.row(i)) {
                    *to = S::from_compute(if add { to.compute() + sum } else { sum });
                }
            }
        },
    );
}

/// The scratch memory of a task.
struct Room<'a, S: BlockFloat> {
    p: &'a mut [S::Compute],
    dp: &'a mut [S::Compute],
    /// Packed blocks: k and v transposed, k, q, dy.
    packed: [&'a mut [S::Compute]; 5],
    wide: [&'a mut [S::Compute]; 2],
}

impl<'a, S: BlockFloat> Room<'a, S> {
    fn len(sizes: &Sizes) -> usize {
        2 * TILE * TILE
            + 2 * sizes.packed_t()
            + 3 * sizes.packed(TILE)
            // Copies of q and dy, sums of dk and dv.
            + 4 * sizes.widened::<S>()
    }

    fn new(sizes: &Sizes, cut: &mut Cut<'a, S::Compute>) -> Self {
        let (across, down) = (sizes.packed_t(), sizes.packed(TILE));
        Self {
            p: cut.take(TILE * TILE),
            dp: cut.take(TILE * TILE),
            packed: [across, across, down, down, down].map(|len| cut.take(len)),
            wide: [0, 1].map(|_| cut.take(sizes.widened::<S>())),
        }
    }
}

/// One key head of one sequence.
struct HeadBackward<'a, S: Value> {
    op: &'a Attention,
    /// The masks of dropped weights.
    draws: Option<Draws>,
    cpu: &'a CpuDevice,
    sizes: &'a Sizes,
    /// The sequence and the key head.
    key_head: (usize, usize),
    mask: Mask<'a>,
    inputs: Inputs<'a, S>,
    y: Heads<'a, S>,
    dy: Heads<'a, S>,
    logs: &'a [S::Compute],
    /// Where dq, dk and dv accumulate: for all rows, or, unless `direct` is set, dk and dv for one
    /// tile of keys.
    sums: [Option<MatMut<'a, S::Compute>>; 3],
    direct: bool,
    /// Whether each already holds a gradient.
    add: [bool; 3],
    /// The scores by distance of each head of the group.
    lines: Option<Lines<'a, S::Compute>>,
    room: Room<'a, S>,
}

impl<S: Value> HeadBackward<'_, S> {
    /// Zeros for queries that see no key, one tile at a time.
    fn unseen(&mut self) {
        let Sizes { queries, keys, .. } = *self.sizes;
        let (Some(dq), false) = (&mut self.sums[0], self.add[0]) else { return };
        for start in (0..queries).step_by(TILE) {
            let rows = start..queries.min(start + TILE);
            if self.mask.band.columns(rows.clone(), keys).is_empty() {
                rows.for_each(|t| dq.row(t).fill(S::Compute::ZERO));
            }
        }
    }

    /// Sums dk and dv of a tile of keys, and adds to dq.
    fn keys(&mut self, keys: Range<usize>) {
        let (cpu, sizes, (b, kv_head)) = (self.cpu, self.sizes, self.key_head);
        let (dim, group) = (sizes.dim, sizes.group());
        let mut started = false;
        let visible = self.mask.band.t().columns(keys.clone(), sizes.queries);
        if visible.is_empty() {
            return self.nothing(&keys);
        }
        let Room { packed: [k_t, v_t, k, ..], wide: [wide, _], .. } = &mut self.room;
        let tile = S::widen(cpu, self.inputs.k.rows(b, kv_head, keys.clone()), wide);
        S::pack_block(cpu, tile.t(), k_t);
        S::pack_block(cpu, tile, k);
        let tile = S::widen(cpu, self.inputs.v.rows(b, kv_head, keys.clone()), wide);
        S::pack_block(cpu, tile.t(), v_t);
        let segments = self.mask.tile(&keys);
        for g in 0..group {
            let line = self.lines.as_ref().map(|lines| lines.scores(g));
            let scores = Scores::new(self.op, kv_head * group + g).with_line(line, sizes.keys);
            for start in (visible.start / TILE * TILE..visible.end).step_by(TILE) {
                let rows = start..sizes.queries.min(start + TILE);
                let look = self.mask.look(&rows, &keys);
                // The first tile of keys in the band writes dq; later ones add to it.
                let first = self.mask.band.columns(rows.clone(), sizes.keys).start / TILE;
                let add_q = self.add[0] || first != keys.start / TILE;
                if look == Look::Nothing {
                    if let (Some(dq), false) = (&mut self.sums[0], add_q) {
                        let mut dq = dq.block(rows.clone(), g * dim..(g + 1) * dim);
                        (0..rows.len()).for_each(|i| dq.row(i).fill(S::Compute::ZERO));
                    }
                    continue;
                }
                let band = self.mask.band.at(start, keys.start);
                let scores = scores.tile(
                    band,
                    start as isize + sizes.keys as isize
                        - sizes.queries as isize
                        - keys.start as isize,
                    (look == Look::Pairs).then_some(&segments),
                    self.mask.queries.map(|queries| &queries[rows.clone()]),
                );
                let add = [add_q, started || self.add[1], started || self.add[2]];
                self.tile(g, scores, &rows, &keys, add);
                started = true;
            }
        }
        if !started {
            self.nothing(&keys);
        }
    }

    /// No query sees these keys.
    fn nothing(&mut self, keys: &Range<usize>) {
        let rows = if self.direct { keys.clone() } else { 0..keys.len() };
        for (sums, add) in self.sums.iter_mut().zip(self.add).skip(1) {
            if let (Some(sums), false) = (sums, add) {
                rows.clone().for_each(|s| sums.row(s).fill(S::Compute::ZERO));
            }
        }
    }

    /// One tile of queries and keys.
    fn tile(
        &mut self,
        g: usize,
        scores: Scores<'_, S::Compute>,
        rows: &Range<usize>,
        keys: &Range<usize>,
        [add_q, add_k, add_v]: [bool; 3],
    ) {
        let (cpu, sizes, (b, kv_head)) = (self.cpu, self.sizes, self.key_head);
        let (dim, width, height) = (sizes.dim, keys.len(), rows.len());
        let head = kv_head * sizes.group() + g;
        let band = self.mask.band.at(rows.start, keys.start);
        let Room { p, dp, packed: [k_t, v_t, k, q_packed, dy_packed], wide: [one, two] } =
            &mut self.room;
        let y = self.y.rows(b, head, rows.clone());
        let q = S::widen(cpu, self.inputs.q.rows(b, head, rows.clone()), one);
        let dy = S::widen(cpu, self.dy.rows(b, head, rows.clone()), two);
        S::pack_block(cpu, q, q_packed);
        S::pack_block(cpu, dy, dy_packed);
        y.prefetch();
        let (p, dp) = (&mut p[..height * TILE], &mut dp[..height * TILE]);
        let output = BlockTrim::Output(band);
        let [to] = MatMut::new(p, height, TILE).split_columns([width]);
        S::multiply_block(cpu, q, k_t, to, output, false);
        let [to] = MatMut::new(dp, height, TILE).split_columns([width]);
        S::multiply_block(cpu, dy, v_t, to, output, false);
        let (mut logs, mut deltas) = ([S::Compute::ZERO; TILE], [S::Compute::ZERO; TILE]);
        for (i, log) in logs.iter_mut().enumerate().take(height) {
            *log = self.logs[(b * sizes.queries + rows.start + i) * sizes.heads + head];
        }
        let dy = self.dy.rows(b, head, rows.clone());
        let mut sums = self.lines.as_mut().map(|lines| lines.sums(g));
        let dropped = self.draws.map(|draws| draws.of::<S::Compute>(sizes, (b, head)));
        dispatch(
            cpu,
            #[inline(always)]
            || {
                for (i, delta) in deltas.iter_mut().enumerate().take(height) {
                    *delta = product::<S>(y.row(i), dy.row(i));
                }
                if let Some(dropped) = dropped {
                    dropped.apply(dp, rows, keys.start);
                }
                scores.gradients(p, dp, width, (&logs, &deltas), sums.as_deref_mut());
                if let Some(dropped) = dropped {
                    dropped.apply(p, rows, keys.start);
                }
            },
        );
        let (p, dp) = (
            MatRef::strided(p, height, width, TILE, 1),
            MatRef::strided(dp, height, width, TILE, 1),
        );
        let columns = BlockTrim::Depth(band.t());
        let [dq, dk, dv] = &mut self.sums;
        let range = if self.direct { keys.clone() } else { 0..width };
        if let Some(dv) = dv {
            let dv = dv.block(range.clone(), 0..dim);
            S::multiply_block(cpu, p.t(), dy_packed, dv, columns, add_v);
        }
        if let Some(dk) = dk {
            let dk = dk.block(range, 0..dim);
            S::multiply_block(cpu, dp.t(), q_packed, dk, columns, add_k);
        }
        if let Some(dq) = dq {
            let dq = dq.block(rows.clone(), g * dim..(g + 1) * dim);
            S::multiply_block(cpu, dp, k, dq, BlockTrim::Depth(band), add_q);
        }
    }
}

/// Σ a b, with one running sum per lane of a register.
#[inline(always)]
fn product<S: Stored>(a: &[S], b: &[S]) -> S::Compute {
    let mut sums = [S::Compute::ZERO; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for l in 0..LANES {
            sums[l] += a[l].compute() * b[l].compute();
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a.compute() * b.compute();
    }
    join(sums, |a, b| a + b)
}
