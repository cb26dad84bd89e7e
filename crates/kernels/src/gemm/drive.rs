//! Blocking and threads: the order in which parts of C are computed, and from which panels.
//!
//! Each thread takes blocks of C. A block packs its panels of B, as many at a time as fit in the L2
//! cache for one chunk of K, and the rows of A stream past them, one panel in the L1 cache at a
//! time. A small A is read in place. For a larger A, each block packs its own rows, since reading a
//! line just written by another core takes longer than packing its values again. If A is too large
//! for that, all threads pack it together beforehand.
//!
//! A value of C is one sum over each chunk of K, K ascending, added to the sums of earlier chunks:
//! results depend on neither blocks nor tiles nor threads.

use super::finish::{Buffer, Earlier, Finish, Spot, Tail};
use super::pack::{Ahead, Operand, Panel, Part};
use super::tile::{Kernels, Packed, Sum, Tile};
use crate::Stored;
use crate::rows::Shared;
use crate::scratch::{MAX_SLOTS, SCRATCH, Scratch, ScratchSlot, Space};
use crate::simd::dispatch_on;
use ff_tensor::{CpuDevice, DType, Element};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

/// Maximum bytes of A that each block packs for itself.
const OWN_BYTES: usize = 2 << 20;
/// Bytes of A packed at a time: half of a last-level cache of 32 MiB.
const PART_BYTES: usize = 16 << 20;
/// Multiply-adds per block, 5 to 20 ms; several blocks per thread balance the load. Smaller blocks
/// would cost more than they save, since each block packs its part of A and of B.
const WORTH_A_BLOCK: usize = 1 << 30;
/// Minimum multiply-adds for packing A; below it, reading A in place costs less.
const WORTH_PACKING: usize = 1 << 23;
/// Maximum bytes of an operand that stays in or close to the L1 cache, packed or not.
const FEW_BYTES: usize = 64 << 10;

/// A product to compute: C = A · B, or += if `accumulate`, then the epilogue.
pub(super) struct Product<'a, A, B, C: Stored> {
    pub(super) a: A,
    /// The transpose of B.
    pub(super) b: B,
    pub(super) accumulate: bool,
    pub(super) finish: Option<Finish<'a, C>>,
}

/// Runs a product with the kernels of an instruction set.
pub(super) fn drive<K, A, B, C>(cpu: &CpuDevice, product: &Product<'_, A, B, C>, c: &mut [C])
where
    K: Kernels,
    A: Operand<Packed<K>>,
    B: Operand<Packed<K>>,
    C: Stored<Compute = Sum<K>>,
{
    let ((m, k), (n, _)) = (product.a.size(), product.b.size());
    if m == 0 || n == 0 {
        return;
    }
    let whole = K::STEPS * K::GRAIN;
    let chunk = k.div_ceil(k.div_ceil(K::CHUNK).max(1)).next_multiple_of(whole.max(2)).max(1);
    let c = Shared::new(c);
    let row_bytes = |steps: usize| K::packed(steps).max(1) * size_of::<Packed<K>>();
    // Where C holds the sums, a long K is split into parts short enough for each block to pack its
    // own rows.
    let part = if Run::<A, B, C, K>::SUMS_IN_C {
        (OWN_BYTES / (row_bytes(chunk) * m)).max(1).saturating_mul(chunk)
    } else {
        k.max(1)
    };
    let most_rows = (PART_BYTES / row_bytes(part.min(k))).max(K::ROWS);
    let rows = m.div_ceil(m.div_ceil(most_rows)).next_multiple_of(K::ROWS);
    SCRATCH.with_borrow_mut(|scratch| {
        for start in (0..k.max(1)).step_by(part) {
            let steps = start..k.min(start + part);
            for first in (0..m).step_by(rows) {
                let (rows, steps) = (rows.min(m - first), steps.clone());
                let cut = Cut::new::<K>(cpu, rows, n, steps.len(), chunk);
                let kernels = PhantomData;
                let run: Run<'_, A, B, C, K> =
                    Run { cpu, product, c: &c, first, rows, n, k, steps, chunk, cut, kernels };
                run.run(scratch);
            }
        }
    });
}

/// The partition of C.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// The number of threads worth starting.
    threads: usize,
    /// Rows of every tile but the last.
    height: usize,
    /// Tiles and panels of C.
    tiles: usize,
    panels: usize,
    /// Tiles and panels of a block.
    high: usize,
    wide: usize,
    /// Panels of B packed at a time.
    at_once: usize,
}

impl Cut {
    fn new<K: Kernels>(cpu: &CpuDevice, m: usize, n: usize, k: usize, chunk: usize) -> Self {
        let work = m * n * k.max(1);
        let tuning = cpu.tuning();
        let threads = cpu.threads().count().min(work / (tuning.product_work * K::SPEED)).max(1);
        // As many tiles as the threads can share evenly, unless that makes the tiles too short.
        let least = m.div_ceil(K::ROWS);
        let even = least.next_multiple_of(threads);
        let height = m.div_ceil(if even * 3 <= least * 4 { even } else { least });
        let height = height.next_multiple_of(K::ROW_GRAIN);
        let (tiles, panels) = (m.div_ceil(height), n.div_ceil(K::COLS));
        let panel_bytes = K::COLS * K::packed(chunk) * size_of::<Packed<K>>();
        let at_once = (tuning.block_bytes / panel_bytes).clamp(1, panels);
        let cut = Self { threads, height, tiles, panels, high: tiles, wide: panels, at_once };
        if threads == 1 {
            return cut;
        }
        // The partition whose slowest thread has the least work: multiply-adds, reading and packing
        // A, and packing B.
        let wanted = threads * (work / threads / (WORTH_A_BLOCK * K::SPEED)).clamp(1, 4);
        let mut best = (usize::MAX, cut);
        for across in 1..=panels.min(2 * wanted) {
            let wide = panels.div_ceil(across);
            let groups = panels.div_ceil(wide);
            let high = tiles.div_ceil(wanted.div_ceil(groups).min(tiles));
            let blocks = groups * tiles.div_ceil(high);
            let load = blocks.div_ceil(threads)
                * (high * height * (2 * wide + READ_COST) + wide * PACK_COST);
            if load < best.0 {
                best = (load, Self { high, wide, ..cut });
            }
        }
        best.1
    }

    /// Tiles and panels of a block.
    fn block(&self, number: usize) -> (Range<usize>, Range<usize>) {
        let down = self.tiles.div_ceil(self.high);
        let (tile, panel) = (number % down * self.high, number / down * self.wide);
        (tile..self.tiles.min(tile + self.high), panel..self.panels.min(panel + self.wide))
    }

    fn blocks(&self) -> usize {
        self.tiles.div_ceil(self.high) * self.panels.div_ceil(self.wide)
    }
}

/// Packs panels `some` of rows (first, count), steps of K (first, count), one panel after the
/// other.
///
/// K is traversed in strips, see [`Operand::strip`].
fn pack<K: Kernels, O: Operand<Packed<K>>>(
    cpu: &CpuDevice,
    operand: &O,
    (first, count): (usize, usize),
    (width, tiled): (usize, bool),
    some: Range<usize>,
    (start, depth): (usize, usize),
    to: &mut [Packed<K>],
) {
    let panel_values = to.len() / some.len().max(1);
    let most = operand.strip().next_multiple_of(K::STEPS * K::GRAIN);
    for strip in (0..depth).step_by(most) {
        let depth = most.min(depth - strip);
        for (panel, to) in some.clone().zip(to.chunks_exact_mut(panel_values.max(1))) {
            let rows = width.min(count - panel * width);
            let first = first + panel * width;
            let panel =
                Panel { first, rows, start: start + strip, depth, width, tiled, grain: K::GRAIN };
            operand.pack(cpu, &panel, &mut to[strip / K::STEPS * width..]);
        }
    }
}

/// The part of an operand to pack next, prefetched in equal shares.
struct Next<'a, O> {
    operand: &'a O,
    part: Part,
    lines: Range<usize>,
    share: usize,
}

impl<'a, O> Next<'a, O> {
    fn new<P>(operand: &'a O, part: Part, shares: usize) -> Self
    where
        O: Operand<P>,
    {
        let lines = if part.rows.is_empty() { 0 } else { operand.lines(&part) };
        Self { operand, part, lines: 0..lines, share: lines.div_ceil(shares.max(1)) }
    }

    /// The next share.
    fn share<P>(&mut self) -> Option<Ahead>
    where
        O: Operand<P>,
    {
        if self.lines.is_empty() {
            return None;
        }
        let next = self.lines.end.min(self.lines.start + self.share);
        let ahead = self.operand.ahead(&self.part, self.lines.start..next);
        self.lines.start = next;
        Some(ahead)
    }
}

/// The cost of packing one step of a panel of B, in multiply-adds of a register.
const PACK_COST: usize = 11;
/// The cost of packing a value of A, or of reading it again for each group of panels, in the same
/// unit.
const READ_COST: usize = 1;

/// The location of panels: their start, and the strides of panels, rows and steps of K.
#[derive(Debug)]
struct Panels<P> {
    start: *const P,
    panel: usize,
    row: usize,
    step: usize,
}

// SAFETY: the memory is written before it is shared, and only read through this type.
unsafe impl<P: Sync> Sync for Panels<P> {}

impl<P> Clone for Panels<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Panels<P> {}

/// A product over some rows of C.
struct Run<'a, A, B, C: Stored, K> {
    cpu: &'a CpuDevice,
    product: &'a Product<'a, A, B, C>,
    c: &'a Shared<'a, C>,
    first: usize,
    rows: usize,
    n: usize,
    k: usize,
    /// The steps of K added by this run, out of `k`.
    steps: Range<usize>,
    /// Steps of K per chunk.
    chunk: usize,
    cut: Cut,
    kernels: PhantomData<fn() -> K>,
}

/// Some panels of a block over a chunk of K, and the sums of earlier chunks.
struct Stage<P, T> {
    tiles: Range<usize>,
    panels: Range<usize>,
    start: usize,
    depth: usize,
    a: Panels<P>,
    /// B in place, for panels before `packed_from`, and packed.
    b: Panels<P>,
    packed_b: Panels<P>,
    packed_from: usize,
    sums: *mut T,
    sums_row: usize,
}

impl<A, B, C, K> Run<'_, A, B, C, K>
where
    K: Kernels,
    A: Operand<Packed<K>>,
    B: Operand<Packed<K>>,
    C: Stored<Compute = Sum<K>>,
{
    /// Whether C itself holds the sums of earlier chunks.
    const SUMS_IN_C: bool = matches!(
        (C::DTYPE, <Sum<K> as Element>::DTYPE),
        (DType::F32, DType::F32) | (DType::F64, DType::F64)
    );

    fn run(&self, scratch: &mut Scratch) {
        let cut = &self.cut;
        let steps = K::packed(self.chunk);
        let few = self.rows * self.n * self.steps.len() <= WORTH_PACKING
            && self.chunk * size_of::<Packed<K>>() * K::ROWS <= FEW_BYTES;
        let direct = self.product.a.direct().filter(|_| few);
        let block_rows = cut.high * cut.height * K::packed(self.steps.len());
        let own = block_rows * size_of::<Packed<K>>() <= OWN_BYTES;
        let (own_values, all_values) = match (direct, own) {
            (Some(_), _) => (0, 0),
            (None, true) => (block_rows, 0),
            (None, false) => (0, cut.tiles * cut.height * K::packed(self.steps.len())),
        };
        let b_values = cut.at_once.min(cut.wide) * K::COLS * steps;
        let sums_values = if Self::SUMS_IN_C || self.chunk >= self.k {
            0
        } else {
            cut.at_once.min(cut.wide) * K::COLS * cut.high * cut.height
        };
        let a_lines = Space::lines::<Packed<K>>(own_values);
        let b_lines = Space::lines::<Packed<K>>(b_values);
        let lines = a_lines + b_lines + Space::lines::<Sum<K>>(sums_values);
        let blocks = cut.blocks();
        let slots = cut.threads.min(blocks).min(MAX_SLOTS);
        let total = slots * lines + Space::lines::<Packed<K>>(all_values);
        let space = Space::new(scratch.lines(total));
        let shared = match direct {
            Some((start, row, step)) => {
                let start = start.wrapping_add(self.first * row + self.steps.start * step);
                Some(Panels { start, panel: cut.height * row, row, step })
            }
            None if own => None,
            // SAFETY: this range lies beyond those of the blocks; any bits are a valid packed
            // value.
            None => Some(self.pack_a(unsafe { space.range(slots * lines, all_values) })),
        };
        let free = AtomicU64::new(u64::MAX >> (MAX_SLOTS - slots));
        self.share(blocks, &|number| {
            // The pool gives a thread the same share of the blocks each time, hence the same slot,
            // still in its cache.
            let slot = ScratchSlot::take(&free, number * slots / blocks);
            let line = slot.number * lines;
            // SAFETY: a slot belongs to one block until dropped; any bits are a valid packed value
            // or sum.
            let (own, b, sums) = unsafe {
                let sums = space.range(line + a_lines + b_lines, sums_values);
                (space.range(line, own_values), space.range(line + a_lines, b_values), sums)
            };
            let own = &Shared::new(own);
            K::with_state(|| self.block(number, shared, own, b, sums));
        });
    }

    /// Runs tasks on the pool, or on this thread where one is enough.
    fn share(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.cut.threads == 1 {
            (0..tasks).for_each(task);
        } else {
            self.cpu.threads().run(tasks, task);
        }
    }

    /// Packs all rows of A on all threads; a panel holds all chunks, one after the other.
    fn pack_a(&self, to: &mut [Packed<K>]) -> Panels<Packed<K>> {
        let (height, tiles) = (self.cut.height, self.cut.tiles);
        let panel = height * K::packed(self.steps.len());
        let at_once = tiles.div_ceil(self.cut.threads * 8);
        let to = Shared::new(to);
        self.share(tiles.div_ceil(at_once), &|t| {
            let some = t * at_once..tiles.min((t + 1) * at_once);
            // SAFETY: the ranges of tasks are disjoint.
            let to = unsafe { to.range(some.start * panel, some.len() * panel) };
            let (rows, steps) = ((self.first, self.rows), (self.steps.start, self.steps.len()));
            pack::<K, _>(self.cpu, &self.product.a, rows, (height, K::TILED), some, steps, to);
        });
        Panels { start: to.start(), panel, row: 1, step: height }
    }

    /// Packs the rows of one tile into the block's own copy of A, which starts at tile `first`.
    fn pack_tile(&self, tile: usize, first: usize, to: &Shared<'_, Packed<K>>) {
        let height = self.cut.height;
        let panel = height * K::packed(self.steps.len());
        // SAFETY: the tile's own part of the block's own memory, written before it is read, by this
        // thread.
        let to = unsafe { to.range((tile - first) * panel, panel) };
        let (rows, steps) = ((self.first, self.rows), (self.steps.start, self.steps.len()));
        pack::<K, _>(
            self.cpu,
            &self.product.a,
            rows,
            (height, K::TILED),
            tile..tile + 1,
            steps,
            to,
        );
    }

    /// Computes a block of C; A is `shared`, or the block packs its rows into `own`, each just
    /// before its first use; `packed_b` holds some of the block's panels of B, `sums` the sums not
    /// in C yet.
    ///
    /// Computing a tile prefetches the next panel: tiles leave the memory idle.
    fn block(
        &self,
        number: usize,
        shared: Option<Panels<Packed<K>>>,
        own: &Shared<'_, Packed<K>>,
        packed_b: &mut [Packed<K>],
        sums: &mut [Sum<K>],
    ) {
        let Cut { height, at_once, .. } = self.cut;
        let (tiles, panels) = self.cut.block(number);
        let (product, all) = (self.product, &self.steps);
        // Contiguous columns are read in place if they are read only a few times, except for a last
        // panel narrower than its registers, whose reads would run past the end of the matrix.
        let few = self.k * self.n * size_of::<Packed<K>>() <= FEW_BYTES;
        let direct = product.b.direct().filter(|&(_, row, _)| row == 1 && few);
        let (b, packed_from) = match direct {
            Some((start, _, step)) => {
                (Panels { start, panel: K::COLS, row: 1, step }, self.n / K::COLS)
            }
            None => (Panels { start: std::ptr::null(), panel: 0, row: 1, step: 0 }, 0),
        };
        let a = shared.unwrap_or_else(|| {
            let panel = height * K::packed(all.len());
            let start = own.start().cast_const().wrapping_sub(tiles.start * panel);
            Panels { start, panel, row: 1, step: height }
        });
        let columns =
            |panels: Range<usize>| panels.start * K::COLS..self.n.min(panels.end * K::COLS);
        let steps = |start: usize| start..all.end.min(start + self.chunk);
        for from in panels.clone().step_by(at_once) {
            let some = from..panels.end.min(from + at_once);
            let (sums, sums_row) = if Self::SUMS_IN_C {
                let offset = (self.first + tiles.start * height) * self.n + from * K::COLS;
                (self.c.start().wrapping_add(offset).cast(), self.n)
            } else {
                (sums.as_mut_ptr(), some.len() * K::COLS)
            };
            for start in (all.start..all.end.max(1)).step_by(self.chunk) {
                let now = steps(start);
                let depth = K::packed(now.len());
                let to = &mut packed_b[..some.len() * K::COLS * depth];
                let packed = some.start.max(packed_from)..some.end;
                if !packed.is_empty() {
                    let to = &mut to[(packed.start - from) * K::COLS * depth..];
                    let (cols, now) = ((0, self.n), (start, now.len()));
                    pack::<K, _>(self.cpu, &product.b, cols, (K::COLS, false), packed, now, to);
                }
                let packed_b =
                    Panels { start: to.as_ptr(), panel: K::COLS * depth, row: 1, step: K::COLS };
                let stage = Stage {
                    tiles: tiles.clone(),
                    panels: some.clone(),
                    start,
                    depth: now.len(),
                    a: Panels {
                        start: a.start.wrapping_add(K::packed(start - all.start) * a.step),
                        ..a
                    },
                    b: Panels { start: b.start.wrapping_add(start * b.step), ..b },
                    packed_b,
                    packed_from,
                    sums,
                    sums_row,
                };
                let next_b = if now.end < all.end {
                    Part { rows: columns(some.clone()), steps: steps(now.end) }
                } else {
                    let next = some.end.max(packed_from)..panels.end.min(some.end + at_once);
                    Part { rows: columns(next), steps: steps(all.start) }
                };
                let first_pass = shared.is_none() && from == panels.start && start == all.start;
                // Half of the tiles are then left to prefetch lines of A.
                let shares = tiles.len() * some.len() / (1 + usize::from(first_pass));
                let mut next_b = Next::new(&product.b, next_b, shares);
                for tile in tiles.clone() {
                    let mut next_a = Part::default();
                    if first_pass {
                        self.pack_tile(tile, tiles.start, own);
                        if tile + 1 < tiles.end {
                            let row = self.first + (tile + 1) * height;
                            let end = self.first + self.rows;
                            next_a = Part { rows: row..end.min(row + height), steps: all.clone() };
                        }
                    }
                    let mut next_a = Next::new(&product.a, next_a, some.len().div_ceil(2));
                    for panel in some.clone() {
                        let ahead = next_a.share().or_else(|| next_b.share());
                        self.tile(&stage, tile, panel, ahead.unwrap_or(Ahead::NOTHING));
                    }
                }
            }
        }
    }

    /// Computes one tile over one chunk, and applies the epilogue after the last chunk.
    fn tile(&self, stage: &Stage<Packed<K>, Sum<K>>, tile: usize, panel: usize, ahead: Ahead) {
        let (height, accumulate) = (self.cut.height, self.product.accumulate);
        let (row, column) = (self.first + tile * height, panel * K::COLS);
        let rows = height.min(self.first + self.rows - row);
        let width = K::COLS.min(self.n - column);
        let registers = width.div_ceil(K::LANES);
        let (b, b_panel) = if panel < stage.packed_from {
            (&stage.b, panel)
        } else {
            (&stage.packed_b, panel - stage.panels.start)
        };
        let offset = (tile - stage.tiles.start) * height * stage.sums_row
            + (panel - stage.panels.start) * K::COLS;
        let sums = stage.sums.wrapping_add(offset);
        let last = stage.start + stage.depth >= self.k;
        let mut args = Tile {
            depth: K::packed(stage.depth),
            a: stage.a.start.wrapping_add(tile * stage.a.panel),
            a_row: stage.a.row,
            a_k: stage.a.step,
            b: b.start.wrapping_add(b_panel * b.panel),
            b_k: b.step,
            c: sums,
            c_row: stage.sums_row,
            rows,
            width,
            add: stage.start > 0 || Self::SUMS_IN_C && accumulate,
            ahead,
        };
        let kernel = K::kernel(rows, registers, stage.a.row == 1);
        let Some(finish) = self.product.finish.as_ref().filter(|_| last) else {
            // SAFETY: the instruction set is the device's; panels hold `depth` steps of the tile's
            // rows and of whole registers of columns; the tile's part of the sums belongs to one
            // block, which one thread computes.
            return unsafe { kernel(&args) };
        };
        let stride = registers * K::LANES;
        let mut buffer = Buffer::<Sum<K>>::new();
        let earlier = args.add.then_some(Earlier { start: sums, row: stage.sums_row });
        (args.c, args.c_row, args.width, args.add) = (buffer.start(), stride, stride, false);
        args.rows = rows.next_multiple_of(K::ROW_GRAIN);
        // SAFETY: as above; the buffer holds a whole tile.
        unsafe { kernel(&args) };
        // SAFETY: the kernel has written `rows` rows of `stride` values.
        let values = unsafe { buffer.values(rows * stride) };
        let add_c = accumulate && !Self::SUMS_IN_C;
        let spot = Spot { row, column, width, c_row: self.n };
        dispatch_on::<Sum<K>, _>(
            self.cpu,
            Tail { finish, values, stride, spot, c: self.c, earlier, add_c },
        );
    }
}
