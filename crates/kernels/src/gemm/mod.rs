//! The matrix product: packed into panels, cut into blocks, summed in tiles of registers.
//!
//! - `vector`: a register of sums, for each instruction set
//! - `tile`: a few rows of C by one or two registers, the inner loop
//! - `pack`: operands side by side, as tiles read them
//! - `drive`: chunks of K, blocks of C, threads
//!
//! One value of C is always the sum of the same terms in the same order (K ascending, one partial sum for each chunk of
//! K), whatever the blocks: so threads never show.

mod drive;
mod pack;
mod tile;
mod vector;

use crate::Float;
use drive::{Product, drive};
use ff_tensor::{CpuDevice, Element, Isa};

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

    /// Element (i, j).
    ///
    /// # Panics
    /// It is not there.
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

/// What happens to values of C once their sums are complete, while they are in the first-level cache: a bias, an activation.
///
/// ```
/// use ff_kernels::{Epilogue, Finished, MatRef, gemm_with};
/// struct Double;
/// impl Epilogue<f32> for Double {
///     fn finish(&self, tile: &mut Finished<'_, f32>) {
///         tile.values.iter_mut().for_each(|v| *v *= 2.0);
///     }
/// }
/// let device = ff_tensor::Device::default();
/// let (x, mut y) = ([1.0f32, 2.0, 3.0], [0.0; 3]);
/// gemm_with(device.cpu(), MatRef::new(&x, 3, 1), MatRef::new(&[5.0], 1, 1), &mut y, &Double);
/// assert_eq!(y, [10.0, 20.0, 30.0]);
/// ```
pub trait Epilogue<T>: Sync {
    /// Changes the values of a tile, each seen once. Called from several threads, for tiles in any order.
    fn finish(&self, tile: &mut Finished<'_, T>);
}

/// A tile of C whose sums are complete.
#[derive(Debug)]
pub struct Finished<'a, T> {
    /// The first row.
    pub row: usize,
    /// The first column.
    pub column: usize,
    /// How many rows.
    pub rows: usize,
    /// How many columns.
    pub width: usize,
    /// The distance between rows in `values`: `width`, rounded up to whole registers.
    pub stride: usize,
    /// The values, rows · stride of them; what is beyond a row's width is not used afterwards.
    pub values: &'a mut [T],
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
    run(cpu, a, b, c, accumulate, None);
}

/// C = f(A · B), with an epilogue for f.
///
/// # Shapes
/// `[M, K] · [K, N] → [M, N]`
///
/// # Panics
/// The shapes do not fit.
pub fn gemm_with<T: Float>(
    cpu: &CpuDevice,
    a: MatRef<T>,
    b: MatRef<T>,
    c: &mut [T],
    epilogue: &dyn Epilogue<T>,
) {
    run(cpu, a, b, c, false, Some(epilogue));
}

fn run<T: Float>(
    cpu: &CpuDevice,
    a: MatRef<T>,
    b: MatRef<T>,
    c: &mut [T],
    accumulate: bool,
    epilogue: Option<&dyn Epilogue<T>>,
) {
    check(&a, &b, c);
    let b = b.t();
    // T is f32 or f64: the casts below only happen where it is the type they name.
    let is = |dtype| T::DTYPE == dtype;
    if let (Some(a), Some(b), Some(c), Some(epilogue)) = (
        cast::<T, f32>(a),
        cast::<T, f32>(b),
        cast_mut::<T, f32>(c),
        same::<_, Option<&dyn Epilogue<f32>>>(epilogue, is(f32::DTYPE)),
    ) {
        let product = Product { a, b, accumulate, epilogue };
        match cpu.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => drive::<tile::Avx512F32, _, _>(cpu, &product, c),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => drive::<tile::Avx2F32, _, _>(cpu, &product, c),
            _ => drive::<tile::PlainF32, _, _>(cpu, &product, c),
        }
    } else if let (Some(a), Some(b), Some(c), Some(epilogue)) = (
        cast::<T, f64>(a),
        cast::<T, f64>(b),
        cast_mut::<T, f64>(c),
        same::<_, Option<&dyn Epilogue<f64>>>(epilogue, is(f64::DTYPE)),
    ) {
        let product = Product { a, b, accumulate, epilogue };
        match cpu.isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => drive::<tile::Avx512F64, _, _>(cpu, &product, c),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => drive::<tile::Avx2F64, _, _>(cpu, &product, c),
            _ => drive::<tile::PlainF64, _, _>(cpu, &product, c),
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
    // (the callers' differ in the element type alone); the original is not dropped.
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
