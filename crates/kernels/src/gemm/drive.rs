//! Blocking and threads: which part of C is computed when, from which panels.
//!
//! Threads take blocks of C, as wide as the panels of B that a second-level cache holds for one chunk of K, and as high as C
//! where there are enough of them. A block packs its own panels of B, so that they lie in the cache of the core that
//! reads them; all rows of A are packed before, by all threads, or read where they are if they are few. Within a block, a
//! panel of A stays in the first-level cache while the block's panels of B pass by.
//!
//! A value of C is one sum over each chunk of K, K ascending, added to what earlier chunks left: neither blocks nor tiles
//! nor threads show in it.

use super::pack::{Operand, Panel};
use super::tile::{Kernels, Packed, Sum, Tile};
use super::vector::Vector;
use super::{Epilogue, Finished};
use crate::rows::Shared;
use ff_tensor::CpuDevice;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Steps of K at a time: a panel of A (14 rows of f32) then takes 21 KiB of a first-level cache of 32.
const CHUNK: usize = 384;
/// Bytes of B that a block passes by: less than half of a second-level cache of 1 MiB.
const BLOCK_BYTES: usize = 400 << 10;
/// Bytes of A that are packed at a time: half of a last-level cache of 32 MiB.
const PART_BYTES: usize = 16 << 20;
/// Below so many multiply-adds for each thread, one thread is done before another one wakes.
const WORTH_A_THREAD: usize = 1 << 16;
/// A block of so many multiply-adds takes about a millisecond: several of them even out what threads lose to others.
const WORTH_A_BLOCK: usize = 1 << 26;
/// Below so many multiply-adds, packing A costs more than reading it where it is.
const WORTH_PACKING: usize = 1 << 23;
/// An operand of so many bytes stays in a first-level cache or close to it, packed or not.
const FEW_BYTES: usize = 64 << 10;
/// Steps of K that are packed before the next panel's.
const STRIP: usize = 64;
/// Values that are packed by one task, at least.
const PACKED_AT_ONCE: usize = 1 << 13;

/// A product to compute: C = A · B, or += where `accumulate`; then the epilogue.
pub(super) struct Product<'a, A, B, T> {
    pub(super) a: A,
    /// The transpose of B.
    pub(super) b: B,
    pub(super) accumulate: bool,
    pub(super) epilogue: Option<&'a dyn Epilogue<T>>,
}

/// Runs a product with an instruction set's kernels.
pub(super) fn drive<K: Kernels, A: Operand<Packed<K>>, B: Operand<Packed<K>>>(
    cpu: &CpuDevice,
    product: &Product<'_, A, B, Sum<K>>,
    c: &mut [Sum<K>],
) {
    let ((m, k), (n, _)) = (product.a.size(), product.b.size());
    if m == 0 || n == 0 {
        return;
    }
    let chunk = k.div_ceil(k.div_ceil(CHUNK).max(1)).next_multiple_of(2).max(1);
    let row_bytes = k.div_ceil(K::V::STEPS).max(1) * size_of::<Packed<K>>();
    let most_rows = (PART_BYTES / row_bytes).max(K::ROWS);
    let parts = m.div_ceil(most_rows);
    let rows = m.div_ceil(parts).next_multiple_of(K::ROWS);
    let c = Shared::new(c);
    SCRATCH.with_borrow_mut(|scratch| {
        for first in (0..m).step_by(rows) {
            let rows = rows.min(m - first);
            let cut = Cut::new::<K>(cpu, rows, n, k, chunk);
            let part = Part::<A, B, K> { cpu, product, c: &c, first, rows, chunk, cut, kernels: PhantomData };
            part.run(scratch);
        }
    });
}

/// A cache line, so that panels start at one.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; 64]);

thread_local! {
    /// The panels. The caller's thread holds them for all threads, so that a shape seen before never asks for memory.
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Space for packed values, cut into ranges that threads write to, each its own.
fn space<P: Copy>(scratch: &mut Vec<Line>, values: usize) -> Shared<'_, P> {
    let per_line = size_of::<Line>() / size_of::<P>();
    let lines = values.div_ceil(per_line);
    if scratch.len() < lines {
        scratch.resize(lines, Line([0; 64]));
    }
    // SAFETY: a line is 64 bytes of any bits, initialised, and aligned for the packed type, of which any bits are a value;
    // the borrow is exclusive.
    Shared::new(unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), values) })
}

/// How C is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// How many threads are worth it.
    threads: usize,
    /// Rows of a tile; all tiles but the last have as many.
    height: usize,
    /// Tiles and panels of C.
    tiles: usize,
    panels: usize,
    /// Tiles and panels of a block.
    high: usize,
    wide: usize,
    /// Panels of B that are packed at a time.
    at_once: usize,
}

impl Cut {
    fn new<K: Kernels>(cpu: &CpuDevice, m: usize, n: usize, k: usize, chunk: usize) -> Self {
        let work = m * n * k.max(1);
        let threads = cpu.threads().count().min(work / WORTH_A_THREAD).max(1);
        // As many tiles as the threads can share evenly, unless that makes them low.
        let least = m.div_ceil(K::ROWS);
        let even = least.next_multiple_of(threads);
        let height = m.div_ceil(if even * 3 <= least * 4 { even } else { least });
        let (tiles, panels) = (m.div_ceil(height), n.div_ceil(K::COLS));
        let panel_bytes = K::COLS * chunk.div_ceil(K::V::STEPS) * size_of::<Packed<K>>();
        let at_once = (BLOCK_BYTES / panel_bytes).clamp(1, panels);
        let cut = Self { threads, height, tiles, panels, high: tiles, wide: panels, at_once };
        if threads == 1 {
            return cut;
        }
        // The division whose slowest thread has the least to do: multiply-adds, reading A, and packing B.
        let wanted = threads * (work / threads / WORTH_A_BLOCK).clamp(1, 4);
        let mut best = (usize::MAX, cut);
        let mut across = panels.div_ceil(at_once);
        loop {
            let wide = panels.div_ceil(across);
            let groups = panels.div_ceil(wide);
            let high = tiles.div_ceil(wanted.div_ceil(groups).min(tiles));
            let blocks = groups * tiles.div_ceil(high);
            let load = blocks.div_ceil(threads)
                * (high * height * (2 * wide + READ_COST) + wide * PACK_COST);
            if load < best.0 {
                best = (load, Self { high, wide, ..cut });
            }
            if across == panels {
                break;
            }
            across = (across + across.div_ceil(4)).min(panels);
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

/// Packs panels `some` of rows (first, how many), steps of K (first, how many), one panel after the other.
///
/// It goes down K in strips, so that lines and pages which several panels share are read while they are at hand.
fn pack<P, O: Operand<P>>(
    cpu: &CpuDevice,
    operand: &O,
    (first, count): (usize, usize),
    width: usize,
    some: Range<usize>,
    (start, depth): (usize, usize),
    to: &mut [P],
) {
    let panel_values = to.len() / some.len().max(1);
    for strip in (0..depth).step_by(STRIP) {
        let depth = STRIP.min(depth - strip);
        for (panel, to) in some.clone().zip(to.chunks_exact_mut(panel_values.max(1))) {
            let rows = width.min(count - panel * width);
            let first = first + panel * width;
            let panel = Panel { first, rows, start: start + strip, depth, width };
            operand.pack(cpu, &panel, &mut to[strip * width..]);
        }
    }
}

/// What packing a step of a panel of B costs, in multiply-adds of a register.
const PACK_COST: usize = 11;
/// What reading a value of A from the last-level cache costs, in the same.
const READ_COST: usize = 1;

/// Where panels are read: their start, and the distances between panels, rows, and steps of K.
struct Panels<P> {
    start: *const P,
    panel: usize,
    row: usize,
    step: usize,
}

// SAFETY: what it points to is written before it is shared, and only read through it.
unsafe impl<P: Sync> Sync for Panels<P> {}

/// Some rows of C.
struct Part<'a, A, B, K: Kernels> {
    cpu: &'a CpuDevice,
    product: &'a Product<'a, A, B, Sum<K>>,
    c: &'a Shared<'a, Sum<K>>,
    first: usize,
    rows: usize,
    /// Steps of K of a chunk.
    chunk: usize,
    cut: Cut,
    kernels: PhantomData<fn() -> K>,
}

impl<A: Operand<Packed<K>>, B: Operand<Packed<K>>, K: Kernels> Part<'_, A, B, K> {
    fn run(&self, scratch: &mut Vec<Line>) {
        let (_, k) = self.product.a.size();
        let (n, _) = self.product.b.size();
        let cut = &self.cut;
        let line = size_of::<Line>() / size_of::<Packed<K>>();
        let steps = self.packed(self.chunk);
        let b_room = (cut.at_once.min(cut.wide) * K::COLS * steps).next_multiple_of(line);
        let b_total = if cut.threads == 1 { b_room } else { b_room * cut.blocks() };
        let direct = self.product.a.direct().filter(|_| {
            self.rows * n * k <= WORTH_PACKING && self.chunk * size_of::<Packed<K>>() * K::ROWS <= FEW_BYTES
        });
        let a_total = if direct.is_some() { 0 } else { cut.tiles * cut.height * self.packed(k) };
        let space = space::<Packed<K>>(scratch, b_total + a_total);
        let a = match direct {
            Some((start, row, step)) => Panels {
                start: start.wrapping_add(self.first * row),
                panel: cut.height * row,
                row,
                step,
            },
            None => self.pack_a(&space, b_total, a_total),
        };
        self.share(cut.blocks(), &|number| {
            let start = if cut.threads == 1 { 0 } else { number * b_room };
            // SAFETY: each block has a range of its own, or they are computed one after the other.
            let to = unsafe { space.range(start, b_room) };
            self.block(number, &a, to);
        });
    }

    fn packed(&self, steps: usize) -> usize {
        steps.div_ceil(K::V::STEPS)
    }

    /// Runs tasks on the pool, or here where one thread is enough.
    fn share(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.cut.threads == 1 {
            (0..tasks).for_each(task);
        } else {
            self.cpu.threads().run(tasks, task);
        }
    }

    /// Packs all rows of A: a panel holds all chunks, one after the other.
    fn pack_a(
        &self,
        space: &Shared<'_, Packed<K>>,
        start: usize,
        len: usize,
    ) -> Panels<Packed<K>> {
        let (_, k) = self.product.a.size();
        let (height, tiles) = (self.cut.height, self.cut.tiles);
        let panel = height * self.packed(k);
        let at_once = PACKED_AT_ONCE.div_ceil(panel.max(1)).clamp(tiles.div_ceil(self.cut.threads * 8), tiles);
        self.share(tiles.div_ceil(at_once), &|t| {
            let some = t * at_once..tiles.min((t + 1) * at_once);
            // SAFETY: tasks have ranges of their own.
            let to = unsafe { space.range(start + some.start * panel, some.len() * panel) };
            let rows = (self.first, self.rows);
            pack(self.cpu, &self.product.a, rows, height, some, (0, k), to);
        });
        // SAFETY: nobody writes to this range any more.
        let packed = unsafe { space.range(start, len) };
        Panels { start: packed.as_ptr(), panel, row: 1, step: height }
    }

    /// Computes a block of C, chunk after chunk; `to` holds its panels of B.
    fn block(&self, number: usize, a: &Panels<Packed<K>>, to: &mut [Packed<K>]) {
        let (_, k) = self.product.a.size();
        let (n, _) = self.product.b.size();
        let (tiles, panels) = self.cut.block(number);
        // Columns that are neighbours are read where they are if they are read a few times only.
        let b_direct = self.product.b.direct().filter(|&(_, row, _)| {
            row == 1 && k * n * size_of::<Packed<K>>() <= FEW_BYTES
        });
        let mut from = panels.start;
        while from < panels.end {
            let some = from..panels.end.min(from + self.cut.at_once);
            for start in (0..k.max(1)).step_by(self.chunk) {
                let depth = self.chunk.min(k - start);
                let panel_values = K::COLS * self.packed(depth);
                let packed = Panels { start: to.as_ptr(), panel: panel_values, row: 1, step: K::COLS };
                // The last panel may be narrower than its registers, which would read past the end of the matrix.
                let whole = n / K::COLS;
                let some_packed = if b_direct.is_some() { some.start.max(whole)..some.end } else { some.clone() };
                if !some_packed.is_empty() {
                    let to = &mut to[(some_packed.start - some.start) * panel_values..][..some_packed.len() * panel_values];
                    pack(self.cpu, &self.product.b, (0, n), K::COLS, some_packed.clone(), (start, depth), to);
                }
                for tile in tiles.clone() {
                    for panel in some.clone() {
                        let (b, b_k) = match b_direct {
                            Some((b, _, step)) if panel < whole => {
                                (b.wrapping_add(panel * K::COLS + start * step), step)
                            }
                            _ => (packed.start.wrapping_add((panel - some.start) * panel_values), K::COLS),
                        };
                        let a_start = tile * a.panel + self.packed(start) * a.step;
                        let args = Tile {
                            depth: self.packed(depth),
                            a: a.start.wrapping_add(a_start),
                            a_row: a.row,
                            a_k: a.step,
                            b,
                            b_k,
                            c: std::ptr::null_mut(),
                            c_row: n,
                            width: K::COLS.min(n - panel * K::COLS),
                            add: self.product.accumulate || start > 0,
                        };
                        self.tile(args, tile, panel, start + depth >= k);
                    }
                }
            }
            from = some.end;
        }
    }

    /// Computes one tile over one chunk; `last` says that its sums are then complete.
    fn tile(&self, mut args: Tile<Packed<K>, Sum<K>>, tile: usize, panel: usize, last: bool) {
        let c_row = args.c_row;
        let (i, j) = (self.first + tile * self.cut.height, panel * K::COLS);
        let rows = self.cut.height.min(self.first + self.rows - i);
        let registers = args.width.div_ceil(K::V::LANES);
        let kernel = K::kernel(rows, registers, args.a_row == 1);
        let Some(epilogue) = self.product.epilogue.filter(|_| last) else {
            args.c = self.c.start().wrapping_add(i * c_row + j);
            // SAFETY: the instruction set is the device's; panels hold `depth` steps of the tile's rows and of whole registers
            // of columns; the tile's part of C belongs to one block, which one thread computes.
            return unsafe { kernel(&args) };
        };
        let (width, add) = (args.width, args.add);
        let stride = registers * K::V::LANES;
        let mut buffer = Buffer::<Sum<K>>::new();
        (args.c, args.c_row, args.width, args.add) = (buffer.start(), stride, stride, false);
        // SAFETY: as above; the buffer holds a whole tile.
        unsafe { kernel(&args) };
        // SAFETY: the kernel has written `rows` rows of `stride` values.
        let values = unsafe { buffer.values(rows * stride) };
        let row = |r: usize| {
            // SAFETY: the tile's part of C belongs to one block, which one thread computes.
            unsafe { self.c.range((i + r) * c_row + j, width) }
        };
        if add {
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
