//! Matrix products: operands are packed into panels, cut into blocks and summed in register tiles.
//!
//! - `vector`: a register of sums, for each instruction set
//! - `tile`: the micro-kernel, a few rows of C by one or two registers
//! - `amx`: tile registers, for bf16 on CPUs with AMX
//! - `pack`: packing of operands into panels; `rounded`: the same for bf16
//! - `drive`: chunks of K, blocks of C, threads
//! - `block`: products of small blocks, on the calling thread
//! - `finish`: the epilogue of a tile
//!
//! Each value of C is the sum of the same terms in the same order (K ascending, one partial sum for
//! each chunk of K), whatever the blocks, so results do not depend on the number of threads.

mod amx;
mod block;
mod drive;
mod finish;
mod pack;
mod rounded;
mod sums;
mod tile;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::{TILE_FLOPS, tile_chains};
pub use block::{BLOCK_WIDTH, Band, BlockFloat, BlockTrim};
pub use rounded::Bf16Operand;

use crate::simd::soon;
use crate::{Float, Stored};
use drive::{Product, drive};
use ff_tensor::{Bf16Kernels, CpuDevice, DType, Element, Isa, bf16};
use finish::Finish;
use rounded::AnyRounded;

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
    /// If `data` holds fewer values than the matrix.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// A matrix with the given strides of rows and columns.
    ///
    /// # Panics
    /// If the last element lies outside `data`.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row: usize, col: usize) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * row + (cols - 1) * col;
            assert!(last < data.len(), "a {rows} × {cols} matrix exceeds its values");
        }
        Self { data, rows, cols, row, col }
    }

    /// The transpose.
    #[must_use]
    pub fn t(self) -> Self {
        Self { data: self.data, rows: self.cols, cols: self.rows, row: self.col, col: self.row }
    }

    /// The underlying values, in memory order.
    pub fn values(&self) -> &'a [T] {
        self.data
    }

    /// Prefetches the rows: where they lie far apart, the hardware prefetcher does not.
    #[inline]
    pub fn prefetch(&self) {
        for first in (0..self.rows).map(|i| i * self.row) {
            for j in (0..self.cols).step_by(64 / size_of::<T>().max(1)) {
                soon(self.data.as_ptr().wrapping_add(first + j * self.col));
            }
        }
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If the row does not exist or its values are not contiguous.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows && (self.col == 1 || self.cols < 2), "row {i}");
        &self.data[i * self.row..][..self.cols]
    }

    /// The values from the first row on, and the distance between rows.
    ///
    /// # Panics
    /// If the values of a row are not contiguous.
    pub(crate) fn contiguous_rows(&self) -> (&'a [T], usize) {
        assert!(self.col == 1 || self.cols < 2, "rows of contiguous values");
        (self.data, self.row)
    }

    /// Element (i, j).
    ///
    /// # Panics
    /// If the element does not exist.
    pub fn get(&self, i: usize, j: usize) -> T
    where
        T: Copy,
    {
        assert!(i < self.rows && j < self.cols, "element ({i}, {j})");
        self.data[i * self.row + j * self.col]
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }
}

/// An in-place function of a slice of values.
type InPlace<'a, T> = &'a (dyn Fn(&mut [T]) + Sync);

/// The epilogue of a product, applied to sums of C while they are in the L1 cache: with z = A · B +
/// bias, C becomes f(z).
pub struct Epilogue<'a, C: Stored> {
    /// The bias, added to every row.
    pub bias: Option<&'a [C::Compute]>,
    /// The destination of z, `[M, N]`.
    pub z: Option<&'a mut [C]>,
    /// f, in place; called on many values at a time, in any order, from several threads, and also
    /// on padding values outside C, whose results are discarded.
    pub f: Option<InPlace<'a, C::Compute>>,
}

impl<C: Stored> Default for Epilogue<'_, C> {
    /// The empty epilogue.
    fn default() -> Self {
        Self { bias: None, z: None, f: None }
    }
}

impl<C: Stored> Epilogue<'_, C> {
    /// Whether the epilogue leaves C unchanged.
    pub fn is_nothing(&self) -> bool {
        self.bias.is_none() && self.z.is_none() && self.f.is_none()
    }

    fn check(&self, n: usize, c: &[C]) {
        assert!(self.bias.is_none_or(|bias| bias.len() == n), "gemm: the bias needs {n} values");
        assert!(self.z.as_ref().is_none_or(|z| z.len() == c.len()), "gemm: z must match C");
    }
}

/// C = A · B, or C += A · B if `accumulate` is set; C is row-major.
///
/// # Shapes
/// `[M, K] · [K, N] → [M, N]`
///
/// # Panics
/// If the shapes do not match.
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
    run(cpu, a, b, c, accumulate, None);
}

/// C = f(A · B + bias), in one pass over C.
///
/// # Shapes
/// `[M, K] · [K, N] → [M, N]`
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_kernels::{Epilogue, MatRef, gemm_with};
/// let device = ff_tensor::Device::default();
/// let (x, w, mut y) = ([1.0f32, -2.0], [5.0], [0.0; 2]);
/// let relu = |y: &mut [f32]| y.iter_mut().for_each(|y| *y = y.max(0.0));
/// let epilogue = Epilogue { bias: Some(&[1.0]), f: Some(&relu), ..Epilogue::default() };
/// gemm_with(device.cpu(), MatRef::new(&x, 2, 1), MatRef::new(&w, 1, 1), &mut y, epilogue);
/// assert_eq!(y, [6.0, 0.0]);
/// ```
pub fn gemm_with<T: Float>(
    cpu: &CpuDevice,
    a: MatRef<T>,
    b: MatRef<T>,
    c: &mut [T],
    epilogue: Epilogue<'_, T>,
) {
    epilogue.check(b.cols, c);
    run(cpu, a, b, c, false, Some(epilogue));
}

/// C = f(A · B + bias), or += if `accumulate` is set, with operands rounded to bf16 and sums in
/// f32.
///
/// The CPU's bf16 instructions flush subnormals to zero; the other paths keep them.
///
/// # Shapes
/// `[M, K] · [K, N] → [M, N]`
///
/// # Panics
/// If the shapes do not match.
///
/// ```
/// use ff_kernels::{Epilogue, MatRef, gemm_bf16};
/// use ff_tensor::bf16;
/// let device = ff_tensor::Device::default();
/// let (x, w) = ([bf16::from_f32(3.0), bf16::from_f32(0.5)], [1.0f32, 2.0 + 1.0 / 512.0]);
/// let mut y = [0.0f32];
/// let (x, w) = (MatRef::new(&x, 1, 2), MatRef::new(&w, 2, 1));
/// gemm_bf16(device.cpu(), x, w, &mut y, false, Epilogue::default());
/// assert_eq!(y, [4.0]); // 3 · 1 + 0.5 · 2
/// ```
pub fn gemm_bf16<A: Bf16Operand, B: Bf16Operand, C: Stored<Compute = f32>>(
    cpu: &CpuDevice,
    a: MatRef<A>,
    b: MatRef<B>,
    c: &mut [C],
    accumulate: bool,
    epilogue: Epilogue<'_, C>,
) {
    check(&a, &b, c);
    epilogue.check(b.cols, c);
    // Not generic over A and B, and compiled here for each C: the driver is most of the code.
    let operands = (A::operand(a), B::operand(b.t()), c, epilogue);
    if C::DTYPE == DType::F32 {
        if let Some(operands) = same::<C, f32, _, RoundedOperands<'_, f32>>(operands) {
            rounded_to_f32(cpu, operands, accumulate);
        }
    } else if let Some(operands) = same::<C, bf16, _, RoundedOperands<'_, bf16>>(operands) {
        rounded_to_bf16(cpu, operands, accumulate);
    }
}

type RoundedOperands<'a, C> = (AnyRounded<'a>, AnyRounded<'a>, &'a mut [C], Epilogue<'a, C>);

#[inline(never)]
fn rounded_to_f32(cpu: &CpuDevice, operands: RoundedOperands<'_, f32>, accumulate: bool) {
    // C of the sums' own type needs no conversion.
    let done = operands.3.is_nothing();
    run_rounded(cpu, operands, accumulate, done);
}

#[inline(never)]
fn rounded_to_bf16(cpu: &CpuDevice, operands: RoundedOperands<'_, bf16>, accumulate: bool) {
    run_rounded(cpu, operands, accumulate, false);
}

fn run_rounded<C: Stored<Compute = f32>>(
    cpu: &CpuDevice,
    (a, b, c, epilogue): RoundedOperands<'_, C>,
    accumulate: bool,
    done: bool,
) {
    let finish = (!done).then(|| Finish::new(epilogue));
    let product = Product { a, b, accumulate, finish };
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if cpu.bf16() == Bf16Kernels::Tiles => {
            drive::<amx::Amx<amx::Hardware>, _, _, _>(cpu, &product, c);
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if cpu.bf16() == Bf16Kernels::Pairs => {
            drive::<tile::Avx512Bf16, _, _, _>(cpu, &product, c);
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => drive::<tile::Avx512F32, _, _, _>(cpu, &product, c),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => drive::<tile::Avx2F32, _, _, _>(cpu, &product, c),
        _ => drive::<tile::PlainF32, _, _, _>(cpu, &product, c),
    }
}

type Operands<'a, T> = (MatRef<'a, T>, MatRef<'a, T>, &'a mut [T], Option<Epilogue<'a, T>>);

fn run<'a, T: Float>(
    cpu: &CpuDevice,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    c: &'a mut [T],
    accumulate: bool,
    epilogue: Option<Epilogue<'a, T>>,
) {
    check(&a, &b, c);
    let operands = (a, b.t(), c, epilogue);
    if T::DTYPE == DType::F32 {
        if let Some(operands) = same::<T, f32, _, Operands<'_, f32>>(operands) {
            run_f32(cpu, operands, accumulate);
        }
    } else if let Some(operands) = same::<T, f64, _, Operands<'_, f64>>(operands) {
        run_f64(cpu, operands, accumulate);
    }
}

// Not generic: compiled in this crate, once.
#[inline(never)]
fn run_f32(cpu: &CpuDevice, (a, b, c, epilogue): Operands<'_, f32>, accumulate: bool) {
    let product = Product { a, b, accumulate, finish: epilogue.map(Finish::new) };
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => drive::<tile::Avx512F32, _, _, _>(cpu, &product, c),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => drive::<tile::Avx2F32, _, _, _>(cpu, &product, c),
        _ => drive::<tile::PlainF32, _, _, _>(cpu, &product, c),
    }
}

#[inline(never)]
fn run_f64(cpu: &CpuDevice, (a, b, c, epilogue): Operands<'_, f64>, accumulate: bool) {
    let product = Product { a, b, accumulate, finish: epilogue.map(Finish::new) };
    match cpu.isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => drive::<tile::Avx512F64, _, _, _>(cpu, &product, c),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => drive::<tile::Avx2F64, _, _, _>(cpu, &product, c),
        _ => drive::<tile::PlainF64, _, _, _>(cpu, &product, c),
    }
}

/// Converts between two names of one type: `A` mentions `T`, `B` mentions `U` in its place.
fn same<T: Element, U: Element, A, B>(a: A) -> Option<B> {
    if T::DTYPE != U::DTYPE || size_of::<A>() != size_of::<B>() {
        return None;
    }
    let a = std::mem::ManuallyDrop::new(a);
    // SAFETY: `Element` is sealed and each dtype has one type, so T and U are the same type, and so
    // are A and B, which callers write with T in one and U in the other; the original is not
    // dropped.
    Some(unsafe { std::mem::transmute_copy::<A, B>(&a) })
}

/// The definition of [`gemm`], one sum after the other: the reference for the fast paths.
///
/// # Panics
/// If the shapes do not match.
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

fn check<A, B, C>(a: &MatRef<A>, b: &MatRef<B>, c: &[C]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions, Key, Rng};

    fn values(rng: &mut Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| rng.uniform() * 2.0 - 1.0).collect()
    }

    /// Checks the error bound of a sum of k terms in [-1, 1]: k roundings of at most k·eps/2 each,
    /// so k·eps is generous.
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
        for isa in Isa::ALL {
            if isa <= Isa::detect() {
                agrees::<f32>(isa, 1, f64::from(f32::EPSILON));
                agrees::<f64>(isa, 2, f64::EPSILON);
            }
        }
    }

    /// Sizes with every kind of edge: one row, one column, below and above a tile, a chunk of K and
    /// a block.
    const SIZES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (0, 3, 2),
        (3, 2, 0),
        (2, 17, 3),
        (13, 31, 257),
        (30, 33, 385),
        (65, 100, 771),
        (193, 513, 300),
        (17, 300, 1600),
    ];

    #[test]
    fn bias_z_and_f_are_applied_once_for_every_size_and_path() {
        let mut rng = Rng::new(Key::new(7));
        for isa in Isa::ALL.into_iter().filter(|&i| i <= Isa::detect()) {
            let device = Device::open(DeviceOptions { threads: 2, isa: Some(isa) }).unwrap();
            for (m, n, k) in SIZES {
                let (a, b) = (values(&mut rng, m * k), values(&mut rng, n * k));
                let bias = values(&mut rng, n);
                let (a, b) = (MatRef::new(&a, m, k), MatRef::new(&b, n, k).t());
                let (mut y, mut z, mut plain) =
                    (vec![9.0; m * n], vec![9.0; m * n], vec![0.0; m * n]);
                let double = |y: &mut [f64]| y.iter_mut().for_each(|y| *y *= 2.0);
                let epilogue = Epilogue { bias: Some(&bias), z: Some(&mut z), f: Some(&double) };
                gemm_with(device.cpu(), a, b, &mut y, epilogue);
                gemm_reference(a, b, &mut plain, false);
                for i in 0..m * n {
                    let expected = plain[i] + bias[i % n];
                    // As in `agrees`, with the bias as one more term.
                    assert!((z[i] - expected).abs() <= f64::EPSILON * (k + 2) as f64);
                    assert_eq!(y[i], 2.0 * z[i]);
                }
            }
        }
    }

    #[test]
    fn bf16_products_are_those_of_the_rounded_values() {
        use ff_tensor::bf16;
        let mut rng = Rng::new(Key::new(8));
        for isa in [Isa::Plain, Isa::Avx2, Isa::Avx512, Isa::Amx]
            .into_iter()
            .filter(|&i| i <= Isa::detect())
        {
            for (m, n, k) in SIZES {
                let single = |v: Vec<f64>| v.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
                let a = single(values(&mut rng, m * k));
                let b = single(values(&mut rng, n * k));
                let round = |v: &[f32]| v.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>();
                let exact =
                    |v: &[f32]| v.iter().map(|&v| bf16::from_f32(v).to_f64()).collect::<Vec<f64>>();
                let (a16, b16, a64, b64) = (round(&a), round(&b), exact(&a), exact(&b));
                let mut plain = vec![0.0; m * n];
                for layout in 0..4 {
                    macro_rules! views {
                        ($a:expr, $b:expr) => {
                            (
                                if layout & 1 == 0 {
                                    MatRef::new($a, m, k)
                                } else {
                                    MatRef::new($a, k, m).t()
                                },
                                if layout & 2 == 0 {
                                    MatRef::new($b, k, n)
                                } else {
                                    MatRef::new($b, n, k).t()
                                },
                            )
                        };
                    }
                    let (va, vb) = views!(&a64, &b64);
                    gemm_reference(va, vb, &mut plain, false);
                    let mut outputs = Vec::new();
                    for threads in [1, 2] {
                        let device =
                            Device::open(DeviceOptions { threads, isa: Some(isa) }).unwrap();
                        let cpu = device.cpu();
                        // One operand of each type, in both orders.
                        let mut c = vec![1.0f32; m * n];
                        let ((va, _), (_, vb)) = (views!(&a16, &b16), views!(&a, &b));
                        gemm_bf16(cpu, va, vb, &mut c, true, Epilogue::default());
                        let mut d = vec![bf16::ONE; m * n];
                        let ((va, _), (_, vb)) = (views!(&a, &b), views!(&a16, &b16));
                        gemm_bf16(cpu, va, vb, &mut d, true, Epilogue::default());
                        for i in 0..m * n {
                            let expected = plain[i] + 1.0;
                            let error = (f64::from(c[i]) - expected).abs();
                            // Products of bf16 are exact in f32; sums have the error bound of
                            // `agrees`.
                            let bound = f64::from(f32::EPSILON) * (k + 1) as f64;
                            assert!(error <= bound, "{isa} {m}×{n}×{k} layout {layout}: {error}");
                            // Plus half an ulp of bf16.
                            let error = (d[i].to_f64() - expected).abs();
                            assert!(error <= bound + expected.abs() / 256.0, "{isa} {m}×{n}×{k}");
                        }
                        outputs.push((c, d));
                    }
                    assert!(outputs[0] == outputs[1], "{isa} {m}×{n}×{k}: threads show");
                }
            }
        }
    }

    /// Enough rows and steps of K that A is packed in parts, or by all threads beforehand.
    #[test]
    fn a_large_left_side_agrees_with_the_definition() {
        use ff_tensor::bf16;
        let mut rng = Rng::new(Key::new(9));
        let (m, n, k) = (1101, 19, 2001);
        let half = |v: Vec<f64>| v.into_iter().map(bf16::from_f64).collect::<Vec<_>>();
        let (a, b) = (half(values(&mut rng, m * k)), half(values(&mut rng, k * n)));
        let single = |v: &[bf16]| v.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
        let (a32, b32) = (single(&a), single(&b));
        let mut plain = vec![1.0; m * n];
        let exact = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let (a64, b64) = (exact(&a32), exact(&b32));
        gemm_reference(MatRef::new(&a64, k, m).t(), MatRef::new(&b64, k, n), &mut plain, true);
        // As in `agrees`.
        let bound = f64::from(f32::EPSILON) * (k + 1) as f64;
        let mut outputs = Vec::new();
        for threads in [1, 2, 3] {
            let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
            let cpu = device.cpu();
            let (mut y, mut y16, mut y32) =
                (vec![1.0f32; m * n], vec![bf16::ONE; m * n], vec![1.0f32; m * n]);
            let (a32, b32) = (MatRef::new(&a32, k, m).t(), MatRef::new(&b32, k, n));
            let (a, b) = (MatRef::new(&a, k, m).t(), MatRef::new(&b, k, n));
            gemm(cpu, a32, b32, &mut y, true);
            gemm_bf16(cpu, a, b, &mut y16, true, Epilogue::default());
            gemm_bf16(cpu, a, b, &mut y32, true, Epilogue::default());
            for (i, &expected) in plain.iter().enumerate() {
                assert!((f64::from(y[i]) - expected).abs() <= bound, "f32 at {i}");
                assert!((f64::from(y32[i]) - expected).abs() <= bound, "bf16 at {i}");
                let error = (y16[i].to_f64() - expected).abs();
                assert!(error <= bound + expected.abs() / 256.0, "to bf16 at {i}");
            }
            outputs.push((y, y16, y32));
        }
        assert!(outputs.iter().all(|o| *o == outputs[0]), "threads show");
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
