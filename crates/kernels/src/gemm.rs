//! The matrix product, blocked and packed.
//!
//! C is cut into blocks that threads take; a block walks K in steps of [`KC`], packs the panels of A and B it needs
//! into memory of its own, and an inner loop holds a tile of C in registers. One value of C is always the sum of
//! the same terms in the same order (K ascending, one partial sum per `KC`), whatever the blocks: so threads never show.

use crate::Float;
use crate::rows::Shared;
use crate::simd::{Vector, Work, dispatch};
use ff_tensor::{CpuDevice, Isa};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// A panel of this depth times a tile's width stays in the first-level cache.
const KC: usize = 256;
/// Rows of a block: a packed block of A (`MC` × `KC` f32: 192 KiB) stays in the second-level cache.
const MC: usize = 192;
/// Columns of a block.
const NC: usize = 512;
/// Below so many multiply-adds one thread is done before another one wakes.
const WORTH_A_THREAD: usize = 1 << 17;

/// A matrix as a strided view: element (i, j) is `data[i·row + j·col]`.
///
/// ```
/// use ff_kernels::MatRef;
/// let w = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let a = MatRef::new(&w, 2, 3);
/// assert_eq!(a.t().shape(), (3, 2));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row: usize,
    col: usize,
}

impl<'a, T> MatRef<'a, T> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// There are fewer values than the matrix has.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// A matrix with the given distances between rows and between columns.
    ///
    /// # Panics
    /// The last element lies outside of `data`.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row: usize, col: usize) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * row + (cols - 1) * col;
            assert!(last < data.len(), "a {rows} × {cols} matrix reaches outside its values");
        }
        Self { data, rows, cols, row, col }
    }

    /// The transpose.
    #[must_use]
    pub fn t(self) -> Self {
        Self { data: self.data, rows: self.cols, cols: self.rows, row: self.col, col: self.row }
    }

    /// The values that it views, in their order in memory.
    pub fn values(&self) -> &'a [T] {
        self.data
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }
}

/// C = A · B, or C += A · B where `accumulate` is set; C is row-major.
///
/// # Shapes
/// `[M, K] · [K, N] → [M, N]`
///
/// # Panics
/// The shapes do not fit.
///
/// ```
/// use ff_kernels::{gemm, MatRef};
/// let device = ff_tensor::Device::default();
/// let (x, w) = ([1.0f32, 2.0], [2.0, 1.0, 1.0, 3.0]);
/// let mut y = [0.0; 2];
/// gemm(device.cpu(), MatRef::new(&x, 1, 2), MatRef::new(&w, 2, 2).t(), &mut y, false);
/// assert_eq!(y, [4.0, 7.0]);
/// ```
pub fn gemm<T: Float>(cpu: &CpuDevice, a: MatRef<T>, b: MatRef<T>, c: &mut [T], accumulate: bool) {
    check(&a, &b, c);
    if !accumulate {
        c.fill(T::ZERO);
    }
    // T is f32 or f64: the casts below only happen where it is the type they name.
    if let (Some(a), Some(b), Some(c)) =
        (cast::<T, f32>(a), cast::<T, f32>(b), cast_mut::<T, f32>(c))
    {
        match cpu.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => blocks::<std::arch::x86_64::__m512, 12, 2>(cpu, a, b, c, &PACKED_F32),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => blocks::<std::arch::x86_64::__m256, 6, 2>(cpu, a, b, c, &PACKED_F32),
            _ => blocks::<[f32; 4], 4, 2>(cpu, a, b, c, &PACKED_F32),
        }
    } else if let (Some(a), Some(b), Some(c)) =
        (cast::<T, f64>(a), cast::<T, f64>(b), cast_mut::<T, f64>(c))
    {
        match cpu.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => blocks::<std::arch::x86_64::__m512d, 12, 2>(cpu, a, b, c, &PACKED_F64),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => blocks::<std::arch::x86_64::__m256d, 6, 2>(cpu, a, b, c, &PACKED_F64),
            _ => blocks::<[f64; 2], 4, 2>(cpu, a, b, c, &PACKED_F64),
        }
    }
}

/// The same as [`gemm`] as its definition says it, one sum after the other: what the fast paths are tested against.
///
/// # Panics
/// The shapes do not fit.
pub fn gemm_reference<T: Float>(a: MatRef<T>, b: MatRef<T>, c: &mut [T], accumulate: bool) {
    check(&a, &b, c);
    for i in 0..a.rows {
        for j in 0..b.cols {
            let sum = (0..a.cols)
                .map(|k| a.data[i * a.row + k * a.col] * b.data[k * b.row + j * b.col])
                .sum::<T>();
            let c = &mut c[i * b.cols + j];
            *c = if accumulate { *c + sum } else { sum };
        }
    }
}

fn check<T>(a: &MatRef<T>, b: &MatRef<T>, c: &[T]) {
    assert!(
        a.cols == b.rows && c.len() == a.rows * b.cols,
        "gemm: [{}, {}] · [{}, {}] into {} values",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        c.len()
    );
}

thread_local! {
    static PACKED_F32: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static PACKED_F64: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

type Scratch<T> = std::thread::LocalKey<RefCell<Vec<T>>>;

/// Cuts C into blocks and lets the threads take them.
fn blocks<V: Vector<T: Float>, const MR: usize, const NV: usize>(
    cpu: &CpuDevice,
    a: MatRef<V::T>,
    b: MatRef<V::T>,
    c: &mut [V::T],
    scratch: &'static Scratch<V::T>,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let nr = NV * V::LANES;
    let threads = cpu.threads().count().min((m * n * k / WORTH_A_THREAD).max(1));
    // Enough blocks for the threads, and none larger than the caches like; where they are cut never shows in a result.
    let (mut mc, mut nc) = (MC.min(m.next_multiple_of(MR)), NC.min(n.next_multiple_of(nr)));
    while m.div_ceil(mc) * n.div_ceil(nc) < threads && (mc > MR || nc > nr) {
        if mc >= nc && mc > MR || nc <= nr {
            mc = (mc / 2).next_multiple_of(MR);
        } else {
            nc = (nc / 2).next_multiple_of(nr);
        }
    }
    let across = n.div_ceil(nc);
    let tasks = m.div_ceil(mc) * across;
    let out = Shared::new(c);
    let run = |t: usize, scratch: &mut [V::T]| {
        let (i0, j0) = (t / across * mc, t % across * nc);
        let (rows, cols) = ((i0, mc.min(m - i0)), (j0, nc.min(n - j0)));
        dispatch(cpu, Block::<V, MR, NV> { a, b, c: &out, rows, cols, scratch });
    };
    // The caller's thread holds the panels of all tasks at work, so that a shape seen before never asks for memory,
    // whichever thread takes which task.
    let places = if threads == 1 { 1 } else { cpu.threads().count().min(tasks).min(MAX_PLACES) };
    let panels = (mc.next_multiple_of(MR) + nc.next_multiple_of(nr)) * KC;
    scratch.with_borrow_mut(|scratch| {
        if scratch.len() < places * panels {
            scratch.resize(places * panels, V::T::ZERO);
        }
        if places == 1 {
            return (0..tasks).for_each(|t| run(t, &mut *scratch));
        }
        let scratch = Shared::new(scratch);
        let free = AtomicU64::new(u64::MAX >> (MAX_PLACES - places));
        cpu.threads().run(tasks, &|t| {
            let place = Place::take(&free);
            // SAFETY: a place belongs to one task until it is dropped, and places do not overlap.
            run(t, unsafe { scratch.range(place.number * panels, panels) });
        });
    });
}

/// As many tasks have panels of their own as a word has bits; more threads than that take turns.
const MAX_PLACES: usize = 64;

/// The right to use one of several places until dropped.
struct Place<'a> {
    free: &'a AtomicU64,
    number: usize,
}

impl<'a> Place<'a> {
    fn take(free: &'a AtomicU64) -> Self {
        loop {
            let bits = free.load(Ordering::Relaxed);
            let number = bits.trailing_zeros();
            if bits == 0 {
                std::thread::yield_now();
            } else if free.fetch_and(!(1 << number), Ordering::Acquire) & 1 << number != 0 {
                return Self { free, number: number as usize };
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.free.fetch_or(1 << self.number, Ordering::Release);
    }
}

/// Adds A · B to one block of C: rows and columns as (first, how many).
struct Block<'a, V: Vector<T: Float>, const MR: usize, const NV: usize> {
    a: MatRef<'a, V::T>,
    b: MatRef<'a, V::T>,
    c: &'a Shared<'a, V::T>,
    rows: (usize, usize),
    cols: (usize, usize),
    scratch: &'a mut [V::T],
}

impl<V: Vector<T: Float>, const MR: usize, const NV: usize> Work for Block<'_, V, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { a, b, c, rows: (i0, rows), cols: (j0, cols), scratch } = self;
        let nr = NV * V::LANES;
        let (rows_up, cols_up) = (rows.next_multiple_of(MR), cols.next_multiple_of(nr));
        let (packed_a, packed_b) = scratch.split_at_mut(rows_up * KC);
        let mut k0 = 0;
        while k0 < a.cols {
            let depth = KC.min(a.cols - k0);
            pack(packed_a, a, i0, rows, k0, depth, MR);
            pack(packed_b, b.t(), j0, cols, k0, depth, nr);
            for (jp, b_panel) in packed_b.chunks_exact(depth * nr).take(cols_up / nr).enumerate() {
                for (ip, a_panel) in
                    packed_a.chunks_exact(depth * MR).take(rows_up / MR).enumerate()
                {
                    let tile = tile::<V, MR, NV>(a_panel, b_panel);
                    let (i, j) = (ip * MR, jp * nr);
                    let width = nr.min(cols - j);
                    for (r, registers) in tile.iter().enumerate().take(MR.min(rows - i)) {
                        // SAFETY: blocks do not overlap, and this thread alone works on this block: the part of row
                        // i0 + i + r between columns j0 + j and j0 + j + width belongs to it.
                        let c = unsafe { c.range((i0 + i + r) * b.cols + j0 + j, width) };
                        add(registers, c);
                    }
                }
            }
            k0 += depth;
        }
    }
}

/// Adds a row of a tile to a row of C, whole registers first.
#[inline(always)]
fn add<V: Vector<T: Float>, const NV: usize>(registers: &[V; NV], c: &mut [V::T]) {
    let one = V::splat(V::T::ONE);
    for (v, chunk) in registers.iter().zip(c.chunks_mut(V::LANES)) {
        if chunk.len() == V::LANES {
            v.mul_add(one, V::load(chunk)).store(chunk);
        } else {
            let mut values = [V::T::ZERO; 16];
            v.store(&mut values);
            for (c, &v) in chunk.iter_mut().zip(&values) {
                *c += v;
            }
        }
    }
}

/// The inner loop: a tile of C, `MR` rows of `NV` registers, over the whole depth of two panels.
#[inline(always)]
fn tile<V: Vector<T: Float>, const MR: usize, const NV: usize>(
    a: &[V::T],
    b: &[V::T],
) -> [[V; NV]; MR] {
    let mut c = [[V::splat(V::T::ZERO); NV]; MR];
    for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NV * V::LANES)) {
        let b: [V; NV] = std::array::from_fn(|v| V::load(&b[v * V::LANES..]));
        for i in 0..MR {
            let a = V::splat(a[i]);
            for v in 0..NV {
                c[i][v] = a.mul_add(b[v], c[i][v]);
            }
        }
    }
    c
}

/// Copies rows `i0..i0 + rows`, columns `k0..k0 + depth` into panels of `width` rows, column after column, rows that are
/// not there as zeros.
#[inline(always)]
fn pack<T: Float>(
    packed: &mut [T],
    m: MatRef<T>,
    i0: usize,
    rows: usize,
    k0: usize,
    depth: usize,
    width: usize,
) {
    for (p, panel) in packed.chunks_exact_mut(depth * width).take(rows.div_ceil(width)).enumerate()
    {
        let first = p * width;
        let present = width.min(rows - first);
        let start = (i0 + first) * m.row + k0 * m.col;
        if present < width {
            panel.fill(T::ZERO);
        }
        if m.row == 1 {
            for (k, column) in panel.chunks_exact_mut(width).enumerate() {
                let from = start + k * m.col;
                column[..present].copy_from_slice(&m.data[from..from + present]);
            }
        } else {
            for r in 0..present {
                let from = start + r * m.row;
                let values = m.data[from..].iter().step_by(m.col.max(1)).take(depth);
                for (column, &value) in panel.chunks_exact_mut(width).zip(values) {
                    column[r] = value;
                }
            }
        }
    }
}

fn cast<'a, T: Float, U: Float>(m: MatRef<'a, T>) -> Option<MatRef<'a, U>> {
    let data = same::<&'a [T], &'a [U]>(m.data, T::DTYPE == U::DTYPE)?;
    Some(MatRef { data, rows: m.rows, cols: m.cols, row: m.row, col: m.col })
}

fn cast_mut<T: Float, U: Float>(values: &mut [T]) -> Option<&mut [U]> {
    same(values, T::DTYPE == U::DTYPE)
}

/// Renames a type to itself; `is_same` says that the element types have the same dtype.
fn same<A, B>(a: A, is_same: bool) -> Option<B> {
    let a = std::mem::ManuallyDrop::new(a);
    // SAFETY: `Element` is sealed and each dtype has one type, so with equal dtypes A and B are one and the same type
    // (a slice reference of the same lifetime); the original is not dropped.
    is_same.then(|| unsafe { std::mem::transmute_copy::<A, B>(&a) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions, Key, Rng};

    fn values(rng: &mut Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| rng.uniform() * 2.0 - 1.0).collect()
    }

    /// With terms in [-1, 1], k roundings of at most k·eps/2 each: k·eps bounds the error of a sum of k terms well.
    fn agrees<T: Float>(isa: Isa, threads: usize, eps: f64) {
        let device = Device::open(DeviceOptions { threads, isa: Some(isa) }).unwrap();
        let mut rng = Rng::new(Key::new(5));
        let sizes = [
            (0, 3, 2),
            (3, 0, 2),
            (2, 3, 0),
            (1, 1, 1),
            (1, 7, 300),
            (5, 33, 17),
            (12, 32, 256),
            (13, 31, 257),
            (64, 10, 128),
            (100, 100, 100),
            (193, 513, 300),
            (400, 40, 600),
        ];
        for (m, n, k) in sizes {
            let (a, b, c) =
                (values(&mut rng, m * k), values(&mut rng, k * n), values(&mut rng, m * n));
            let (a, b, c): (Vec<T>, Vec<T>, Vec<T>) = (
                a.into_iter().map(T::of).collect(),
                b.into_iter().map(T::of).collect(),
                c.into_iter().map(T::of).collect(),
            );
            for layout in 0..4 {
                let a =
                    if layout & 1 == 0 { MatRef::new(&a, m, k) } else { MatRef::new(&a, k, m).t() };
                let b =
                    if layout & 2 == 0 { MatRef::new(&b, k, n) } else { MatRef::new(&b, n, k).t() };
                for accumulate in [false, true] {
                    let (mut fast, mut plain) = (c.clone(), c.clone());
                    gemm(device.cpu(), a, b, &mut fast, accumulate);
                    gemm_reference(a, b, &mut plain, accumulate);
                    for (i, (x, y)) in fast.iter().zip(&plain).enumerate() {
                        let error = (x.f64() - y.f64()).abs();
                        assert!(
                            error <= eps * (k + 1) as f64,
                            "{isa} {m}×{n}×{k} layout {layout} at {i}: {x:?}, expected {y:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_path_agrees_with_the_definition() {
        for isa in [Isa::Plain, Isa::Avx2, Isa::Avx512] {
            if isa <= Isa::detect() {
                agrees::<f32>(isa, 1, f64::from(f32::EPSILON));
                agrees::<f64>(isa, 2, f64::EPSILON);
            }
        }
    }

    #[test]
    fn threads_give_the_same_bits() {
        let mut rng = Rng::new(Key::new(6));
        let (m, n, k) = (301, 257, 530);
        let a: Vec<f32> = values(&mut rng, m * k).into_iter().map(|v| v as f32).collect();
        let b: Vec<f32> = values(&mut rng, k * n).into_iter().map(|v| v as f32).collect();
        let results: Vec<Vec<f32>> = [1, 2, 3, 4]
            .map(|threads| {
                let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
                let mut c = vec![0.0; m * n];
                gemm(device.cpu(), MatRef::new(&a, m, k), MatRef::new(&b, k, n), &mut c, false);
                c
            })
            .to_vec();
        assert!(results.iter().all(|r| *r == results[0]));
    }

    #[test]
    fn nan_and_infinity_go_through() {
        let device = Device::default();
        let a = [1.0f32, f32::NAN, f32::INFINITY, 1.0];
        let mut c = [0.0f32; 2];
        gemm(device.cpu(), MatRef::new(&a, 2, 2), MatRef::new(&[1.0, 1.0], 2, 1), &mut c, false);
        assert!(c[0].is_nan() && c[1] == f32::INFINITY);
    }
}
