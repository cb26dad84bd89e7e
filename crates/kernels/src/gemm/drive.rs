//! Blocking and threads: which part of C is computed when, from which panels.
//!
//! K is cut into chunks of at most [`CHUNK`] steps; for each, both operands are packed into panels once, by all threads, and
//! then threads take blocks of C. Within a block, a panel of A stays in the first-level cache while the block's panels of B
//! pass by from the second-level one. A value of C is one sum over a chunk, K ascending, added to what earlier chunks
//! left: neither blocks nor tiles nor threads show in it.

use super::pack::{Operand, Panel};
use super::tile::{Kernels, Packed, Sum, Tile};
use super::vector::Vector;
use super::{Epilogue, Finished};
use crate::rows::Shared;
use ff_tensor::CpuDevice;
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Steps of K at a time: a panel of A (14 rows of f32) then takes 21 KiB of a first-level cache of 32.
const CHUNK: usize = 384;
/// The most rows and columns that are packed at a time, so that panels stay in the last-level cache.
const PART: usize = 4096;
/// Bytes of B that a block passes by: less than half of a second-level cache of 1 MiB.
const BLOCK_BYTES: usize = 400 << 10;
/// Below so many multiply-adds for each thread, one thread is done before another one wakes.
const WORTH_A_THREAD: usize = 1 << 16;
/// A block of so many multiply-adds takes about 100 µs: enough of them even out what threads lose to others.
const WORTH_A_BLOCK: usize = 1 << 22;
/// Packing fewer values than this is done before another thread wakes.
const WORTH_PACKING: usize = 1 << 14;

/// A product to compute: C = A · B, or += where `accumulate`; then the epilogue.
pub(super) struct Product<'a, A, B, T> {
    pub(super) a: A,
    /// The transpose of B.
    pub(super) b: B,
    pub(super) accumulate: bool,
    pub(super) epilogue: Option<&'a dyn Epilogue<T>>,
}

/// A cache line, so that panels start at one.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; 64]);

thread_local! {
    /// The panels. The caller's thread holds them for all threads, so that a shape seen before never asks for memory.
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Runs a product with an instruction set's kernels.
pub(super) fn drive<K: Kernels, A: Operand<Packed<K>>, B: Operand<Packed<K>>>(
    cpu: &CpuDevice,
    product: &Product<'_, A, B, Sum<K>>,
    c: &mut [Sum<K>],
) {
    let ((m, k), (n, _)) = (product.a.size(), product.b.size());
    let chunk = k.div_ceil(k.div_ceil(CHUNK).max(1)).next_multiple_of(2).max(1);
    let c = Shared::new(c);
    SCRATCH.with_borrow_mut(|scratch| {
        for start in (0..k.max(1)).step_by(chunk) {
            for j in (0..n).step_by(PART) {
                for i in (0..m).step_by(PART) {
                    let part = Part::<A, B, K> {
                        cpu,
                        product,
                        c: &c,
                        c_row: n,
                        rows: (i, PART.min(m - i)),
                        cols: (j, PART.min(n - j)),
                        steps: (start, chunk.min(k - start)),
                        add: product.accumulate || start > 0,
                        last: start + chunk >= k,
                    };
                    part.run(scratch);
                }
            }
        }
    });
}

/// One chunk of K for a part of C: rows, columns and steps as (first, how many).
struct Part<'a, A, B, K: Kernels> {
    cpu: &'a CpuDevice,
    product: &'a Product<'a, A, B, Sum<K>>,
    c: &'a Shared<'a, Sum<K>>,
    c_row: usize,
    rows: (usize, usize),
    cols: (usize, usize),
    steps: (usize, usize),
    /// Whether C holds something to add to.
    add: bool,
    /// Whether this is the last chunk, after which a value of C is complete.
    last: bool,
}

/// The most values of a tile of any instruction set.
const TILE: usize = 14 * 32;

/// A tile that an epilogue works on before it goes to C.
#[repr(align(64))]
struct Buffer<T>([MaybeUninit<T>; TILE]);

impl<T> Buffer<T> {
    fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; TILE])
    }

    fn start(&mut self) -> *mut T {
        self.0.as_mut_ptr().cast()
    }

    /// # Safety
    /// The first `len` values have been written.
    unsafe fn values(&mut self, len: usize) -> &mut [T] {
        let written = &mut self.0[..len];
        // SAFETY: in bounds, and initialised by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(written.as_mut_ptr().cast(), len) }
    }
}

/// How a part is cut: rows of a tile, tiles of a block, panels of B of a block, and how many threads are worth it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    height: usize,
    tiles: usize,
    panels: usize,
    threads: usize,
}

/// Where panels are read from: their start, the distance between panels, between rows, and between steps of K.
struct Panels<P> {
    start: *const P,
    panel: usize,
    row: usize,
    step: usize,
}

// SAFETY: written before the threads start and only read by them.
unsafe impl<P: Sync> Sync for Panels<P> {}

impl<A: Operand<Packed<K>>, B: Operand<Packed<K>>, K: Kernels> Part<'_, A, B, K> {
    fn run(&self, scratch: &mut Vec<Line>) {
        let cut = self.cut();
        let packed_steps = self.steps.1.div_ceil(K::V::STEPS);
        let (a_panel, b_panel) = (cut.height * packed_steps, K::COLS * packed_steps);
        let tiles = self.rows.1.div_ceil(cut.height);
        let panels = self.cols.1.div_ceil(K::COLS);
        let per_line = size_of::<Line>() / size_of::<Packed<K>>();
        let b_lines = (panels * b_panel).div_ceil(per_line);
        let lines = b_lines + (tiles * a_panel).div_ceil(per_line);
        if scratch.len() < lines {
            scratch.resize(lines, Line([0; 64]));
        }
        // SAFETY: a line is 64 bytes of any bits, initialised, and aligned for the packed type; the borrow is exclusive.
        let packed = unsafe {
            std::slice::from_raw_parts_mut(
                scratch.as_mut_ptr().cast::<Packed<K>>(),
                lines * per_line,
            )
        };
        let (packed_b, packed_a) = packed.split_at_mut(b_lines * per_line);
        let (shared_a, shared_b) = (Shared::new(&mut *packed_a), Shared::new(&mut *packed_b));
        self.pack(&cut, (&shared_a, tiles, a_panel), (&shared_b, panels, b_panel));
        let a = Panels { start: packed_a.as_ptr(), panel: a_panel, row: 1, step: cut.height };
        let b = Panels { start: packed_b.as_ptr(), panel: b_panel, row: 1, step: K::COLS };
        let across = tiles.div_ceil(cut.tiles);
        let blocks = panels.div_ceil(cut.panels) * across;
        let block = |t: usize| {
            let (first_panel, first_tile) = (t / across * cut.panels, t % across * cut.tiles);
            let panels = first_panel..panels.min(first_panel + cut.panels);
            for tile in first_tile..tiles.min(first_tile + cut.tiles) {
                for panel in panels.clone() {
                    self.tile(&a, &b, &cut, tile, panel, packed_steps);
                }
            }
        };
        self.share(cut.threads, blocks, &block);
    }

    /// Runs tasks on the pool, or here where one thread is enough.
    fn share(&self, threads: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if threads == 1 { (0..tasks).for_each(task) } else { self.cpu.threads().run(tasks, task) }
    }

    fn cut(&self) -> Cut {
        let ((_, m), (_, n), (_, k)) = (self.rows, self.cols, self.steps);
        let work = m * n * k.max(1);
        let threads = self.cpu.threads().count().min(work / WORTH_A_THREAD).max(1);
        let panels = n.div_ceil(K::COLS);
        // As many tiles as the threads can share evenly, unless that makes them low.
        let least = m.div_ceil(K::ROWS);
        let even = least.next_multiple_of(threads);
        let height = m.div_ceil(if even * 2 <= least * 3 { even } else { least });
        let tiles = m.div_ceil(height);
        let panel_bytes = K::COLS * k.div_ceil(K::V::STEPS).max(1) * size_of::<Packed<K>>();
        let most_panels = (BLOCK_BYTES / panel_bytes).max(1);
        let wanted = threads * (work / threads / WORTH_A_BLOCK).clamp(1, 8);
        if threads == 1 {
            let groups = panels.div_ceil(most_panels);
            return Cut { height, tiles, panels: panels.div_ceil(groups), threads };
        }
        // The division among blocks whose slowest thread has the least to do; more blocks where that makes no difference.
        let (mut best, mut least_load) = (Cut { height, tiles, panels: 1, threads }, usize::MAX);
        for groups in
            panels.div_ceil(most_panels)..=panels.min(panels.div_ceil(most_panels) + wanted)
        {
            let width = panels.div_ceil(groups);
            let groups = panels.div_ceil(width);
            let rows = wanted.div_ceil(groups).min(tiles);
            let high = tiles.div_ceil(rows);
            let blocks = groups * tiles.div_ceil(high);
            let load = blocks.div_ceil(threads) * high * width;
            if load < least_load {
                (best, least_load) = (Cut { height, tiles: high, panels: width, threads }, load);
            }
        }
        best
    }

    fn pack(
        &self,
        cut: &Cut,
        (to_a, tiles, a_panel): (&Shared<'_, Packed<K>>, usize, usize),
        (to_b, panels, b_panel): (&Shared<'_, Packed<K>>, usize, usize),
    ) {
        let one = |p: usize| {
            if p < tiles {
                // SAFETY: panels do not overlap, and each is packed by one task.
                let to = unsafe { to_a.range(p * a_panel, a_panel) };
                self.product.a.pack(self.cpu, &self.panel(self.rows, p, cut.height), to);
            } else {
                // SAFETY: as above.
                let to = unsafe { to_b.range((p - tiles) * b_panel, b_panel) };
                self.product.b.pack(self.cpu, &self.panel(self.cols, p - tiles, K::COLS), to);
            }
        };
        let values = tiles * a_panel + panels * b_panel;
        let threads = cut.threads.min(values / WORTH_PACKING).max(1);
        let all = tiles + panels;
        let at_once = (all * (WORTH_PACKING / 2)).div_ceil(values.max(1)).clamp(1, all.max(1));
        self.share(threads, all.div_ceil(at_once), &|t| {
            (t * at_once..all.min((t + 1) * at_once)).for_each(one);
        });
    }

    fn panel(&self, (first, count): (usize, usize), p: usize, width: usize) -> Panel {
        let (start, depth) = self.steps;
        let rows = width.min(count - p * width);
        Panel { first: first + p * width, rows, start, depth, width }
    }

    fn tile(
        &self,
        a: &Panels<Packed<K>>,
        b: &Panels<Packed<K>>,
        cut: &Cut,
        tile: usize,
        panel: usize,
        depth: usize,
    ) {
        let (i, j) = (tile * cut.height, panel * K::COLS);
        let (rows, width) = (cut.height.min(self.rows.1 - i), K::COLS.min(self.cols.1 - j));
        let registers = width.div_ceil(K::V::LANES);
        let stride = registers * K::V::LANES;
        let (i, j) = (self.rows.0 + i, self.cols.0 + j);
        let mut finished = Buffer::<Sum<K>>::new();
        let finish = self.product.epilogue.filter(|_| self.last);
        let (c, c_row) = match finish {
            Some(_) => (finished.start(), stride),
            // SAFETY: row i, column j lie in C, see `drive`.
            None => (unsafe { self.c.start().add(i * self.c_row + j) }, self.c_row),
        };
        let args = Tile {
            depth,
            // SAFETY: the panel lies in the packed operand.
            a: unsafe { a.start.add(tile * a.panel) },
            a_row: a.row,
            a_k: a.step,
            // SAFETY: as above.
            b: unsafe { b.start.add(panel * b.panel) },
            b_k: b.step,
            c,
            c_row,
            width: if finish.is_some() { stride } else { width },
            add: self.add && finish.is_none(),
        };
        // SAFETY: the instruction set is the device's; panels hold `depth` steps of `height` rows and of `COLS` columns; a
        // tile's rows and columns of C belong to one block, which one thread computes, and the buffer holds a whole tile.
        unsafe { K::kernel(rows, registers, true)(&args) };
        let Some(epilogue) = finish else { return };
        // SAFETY: the kernel has written `rows` rows of `stride` values.
        let values = unsafe { finished.values(rows * stride) };
        let row = |r: usize| {
            // SAFETY: this tile's part of C, see above.
            unsafe { self.c.range((i + r) * self.c_row + j, width) }
        };
        if self.add {
            for (r, values) in values.chunks_exact_mut(stride).enumerate() {
                values.iter_mut().zip(row(r)).for_each(|(v, c)| *v = *c + *v);
            }
        }
        epilogue.finish(&mut Finished { row: i, column: j, rows, width, stride, values });
        for (r, values) in values.chunks_exact(stride).enumerate() {
            row(r).copy_from_slice(&values[..width]);
        }
    }
}
