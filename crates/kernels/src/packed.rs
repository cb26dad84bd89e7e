//! A matrix packed once for products with few rows, as in inference.
//!
//! With one row, a product reads every weight once and runs at the speed of the cache that holds
//! the weights; with a few rows, each register of weights serves all of them. The order of
//! additions depends only on the number of rows: for one row, four sums by k mod 4, added at the
//! end; for more rows, one sum in the order of k.

use crate::rows::Shared;
use crate::simd::{Work, dispatch_on, later};
use crate::vector::Vector;
use crate::{Float, MatRef};
use ff_tensor::{CpuDevice, Device, Isa, Result, Tensor};
use std::marker::PhantomData;

/// The width of a panel in vectors of the instruction set: two hide the latency of the multiplier
/// with few rows.
const VECTORS: usize = 2;

/// The bytes of the rows that meet a panel while it is in the second cache.
const ROWS: usize = 1 << 18;

/// Parallel sums over the depth of a product with one row.
const STREAMS: usize = 4;

/// A float type with a vector for each instruction set.
#[allow(private_bounds)]
pub trait Packable: Float + Registers {}
impl<T: Registers> Packable for T {}

pub(crate) trait Registers: Float {
    type Plain: Vector<T = Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx2: Vector<T = Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx512: Vector<T = Self>;
}

impl Registers for f32 {
    type Plain = [f32; 4];
    #[cfg(target_arch = "x86_64")]
    type Avx2 = std::arch::x86_64::__m256;
    #[cfg(target_arch = "x86_64")]
    type Avx512 = std::arch::x86_64::__m512;
}

impl Registers for f64 {
    type Plain = [f64; 2];
    #[cfg(target_arch = "x86_64")]
    type Avx2 = [f64; 2];
    #[cfg(target_arch = "x86_64")]
    type Avx512 = [f64; 2];
}

/// A matrix `[K, N]` in panels two vectors of the device's instruction set wide: for each k, a
/// panel holds its columns' values of row k contiguously, with zeros past the last column.
///
/// ```
/// use ff_kernels::{MatRef, PackedMatrix};
/// let device = ff_tensor::Device::default();
/// let weight = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]; // [out 3, in 2]
/// let packed = PackedMatrix::pack(&device, MatRef::new(&weight, 3, 2).t())?;
/// let mut y = [0.0; 3];
/// packed.product(device.cpu(), &[1.0, -1.0], Some(&[0.5, 0.5, 2.0]), &mut y, |v| v.max(0.0));
/// assert_eq!(y, [0.0, 0.0, 1.0]);
/// # Ok::<(), ff_tensor::Error>(())
/// ```
#[derive(Debug)]
pub struct PackedMatrix<T> {
    /// Aligned to cache lines, like all tensors.
    panels: Tensor,
    rows: usize,
    cols: usize,
    width: usize,
    isa: Isa,
    of: PhantomData<T>,
}

impl<T: Packable> PackedMatrix<T> {
    /// Packs a matrix for products on this device.
    ///
    /// # Errors
    /// If memory is exhausted, or the device is a planning device.
    pub fn pack(device: &Device, b: MatRef<T>) -> Result<Self> {
        let (rows, cols) = b.shape();
        let isa = device.cpu().isa();
        let width = VECTORS
            * match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => T::Avx512::LANES,
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => T::Avx2::LANES,
                _ => T::Plain::LANES,
            };
        let len = cols.div_ceil(width) * rows * width;
        let mut panels = Tensor::uninit(device, [len].into(), T::DTYPE)?;
        let values = panels.slice_mut::<T>()?;
        values.fill(T::ZERO);
        for (p, panel) in values.chunks_exact_mut((rows * width).max(1)).enumerate() {
            for (k, row) in panel.chunks_exact_mut(width).enumerate() {
                for (j, value) in row.iter_mut().enumerate().take(cols - p * width) {
                    *value = b.get(k, p * width + j);
                }
            }
        }
        Ok(Self { panels, rows, cols, width, isa, of: PhantomData })
    }

    /// K and N.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The number of columns of a panel.
    pub fn panel_width(&self) -> usize {
        self.width
    }

    /// The panels, contiguous, `K` × [`PackedMatrix::panel_width`] values each.
    pub fn panels(&self) -> &[T] {
        self.panels.slice().unwrap_or_default()
    }

    /// y = f(x · B + bias), for contiguous rows x; the length of y gives the number of rows.
    ///
    /// Threads share the columns, each the same ones in every call, so that each core keeps its
    /// part of the matrix in its cache.
    ///
    /// # Shapes
    /// x `[M, K]`, bias `[N]` → y `[M, N]`
    ///
    /// # Panics
    /// If the shapes do not match, or the matrix was packed for another instruction set.
    pub fn product(
        &self,
        cpu: &CpuDevice,
        x: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
        f: impl Fn(T) -> T + Copy + Sync,
    ) {
        if self.cols == 0 || y.is_empty() {
            assert!(y.is_empty(), "a product of no columns");
            return;
        }
        let m = y.len() / self.cols;
        assert!(
            y.len() == m * self.cols
                && x.len() == m * self.rows
                && bias.is_none_or(|bias| bias.len() == self.cols)
                && cpu.isa() == self.isa,
            "a product of {} and [{}, {}] packed for {} into {} values on {}",
            x.len(),
            self.rows,
            self.cols,
            self.isa,
            y.len(),
            cpu.isa()
        );
        let panels = self.cols.div_ceil(self.width);
        // Reading a weight takes as long as using it twice.
        let worth = m.max(2) * self.rows * self.cols / cpu.tuning().layer_work;
        let tasks = cpu.threads().count().min(worth.max(1)).min(panels);
        let out = Shared::new(y);
        let run = |task: usize| {
            let columns = Columns {
                b: self,
                x,
                m,
                bias,
                out: &out,
                panels: (task * panels / tasks, (task + 1) * panels / tasks),
                f,
            };
            match self.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => {
                    dispatch_on::<T, _>(cpu, Run::<_, T::Avx512, _, 12, 8>(columns, PhantomData));
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => {
                    dispatch_on::<T, _>(cpu, Run::<_, T::Avx2, _, 6, 4>(columns, PhantomData));
                }
                _ => dispatch_on::<T, _>(cpu, Run::<_, T::Plain, _, 4, 4>(columns, PhantomData)),
            }
        };
        if tasks == 1 { run(0) } else { cpu.threads().run(tasks, &run) }
    }
}

/// One task's part of the product.
struct Columns<'a, T, F> {
    b: &'a PackedMatrix<T>,
    x: &'a [T],
    m: usize,
    bias: Option<&'a [T]>,
    out: &'a Shared<'a, T>,
    panels: (usize, usize),
    f: F,
}

/// That part on vectors `V`, in tiles of `HIGH`, `MID`, 4, 2 or 1 rows; taller tiles do not fit the
/// registers.
struct Run<'a, T, V, F, const HIGH: usize, const MID: usize>(Columns<'a, T, F>, PhantomData<V>);

impl<T: Packable, V: Vector<T = T>, F: Fn(T) -> T + Copy, const HIGH: usize, const MID: usize> Work
    for Run<'_, T, V, F, HIGH, MID>
{
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let part = self.0;
        if part.m == 1 {
            return one_row::<T, V, F>(&part);
        }
        // Each panel comes from memory once, for as many rows as stay in the cache beside it.
        let most = (ROWS / (part.b.rows * size_of::<T>()).max(1)).next_multiple_of(HIGH).max(HIGH);
        for block in (0..part.m).step_by(most) {
            let end = part.m.min(block + most);
            for panel in part.panels() {
                let mut first = block;
                while first < end {
                    let left = end - first;
                    // Two tiles of middling height are quicker than a high one and a low one.
                    first += if left >= HIGH && left != 2 * MID {
                        tile::<T, V, F, HIGH>(&part, first, panel)
                    } else if left >= MID {
                        tile::<T, V, F, MID>(&part, first, panel)
                    } else if left >= 4 {
                        tile::<T, V, F, 4>(&part, first, panel)
                    } else if left >= 2 {
                        tile::<T, V, F, 2>(&part, first, panel)
                    } else {
                        tile::<T, V, F, 1>(&part, first, panel)
                    };
                }
            }
        }
    }
}

/// `MR` rows from row `first` on, with one panel.
#[inline(always)]
fn tile<T: Packable, V: Vector<T = T>, F: Fn(T) -> T + Copy, const MR: usize>(
    part: &Columns<'_, T, F>,
    first: usize,
    (p, panel): (usize, &[T]),
) -> usize {
    let depth = part.b.rows;
    let rows: [&[T]; MR] = std::array::from_fn(|r| &part.x[(first + r) * depth..][..depth]);
    let sums = sums::<V, MR>(rows, &panel[..depth * VECTORS * V::LANES]);
    #[allow(clippy::needless_range_loop)]
    for r in 0..MR {
        part.finish(first + r, p, sums[r]);
    }
    MR
}

/// The sums of `MR` rows with a panel.
#[inline(always)]
fn sums<V: Vector, const MR: usize>(rows: [&[V::T]; MR], panel: &[V::T]) -> [[V; VECTORS]; MR] {
    let mut sums = [[V::splat(V::T::ZERO); VECTORS]; MR];
    for k in 0..panel.len() / (VECTORS * V::LANES) {
        let from = panel.as_ptr().wrapping_add(k * VECTORS * V::LANES);
        let mut b = [V::splat(V::T::ZERO); VECTORS];
        // Indexed loops, which the compiler unrolls: only then do values stay in registers.
        #[allow(clippy::needless_range_loop)]
        for v in 0..VECTORS {
            // SAFETY: the panel holds these registers of each k.
            b[v] = unsafe { V::read(from.wrapping_add(v * V::LANES)) };
            // The next panel comes while this one is at work.
            later(from.wrapping_add(panel.len() + v * V::LANES));
        }
        for r in 0..MR {
            // SAFETY: each row has a value for each k.
            let x = V::splat(unsafe { *rows[r].get_unchecked(k) });
            for v in 0..VECTORS {
                sums[r][v] = x.mul_add(b[v], sums[r][v]);
            }
        }
    }
    sums
}

/// One row, panel by panel: weights are read in memory order.
#[inline(always)]
fn one_row<T: Packable, V: Vector<T = T>, F: Fn(T) -> T + Copy>(part: &Columns<'_, T, F>) {
    for (p, panel) in part.panels() {
        // The second vectors of the last panel may be empty; they are then skipped.
        let sums = if part.b.cols - p * part.b.width > V::LANES {
            streams::<V, VECTORS>(part.x, panel)
        } else {
            let [sum] = streams::<V, 1>(part.x, panel);
            [sum, V::splat(T::ZERO)]
        };
        part.finish(0, p, sums);
    }
}

/// The sums of one row with the first `NV` vectors of a panel.
#[inline(always)]
fn streams<V: Vector, const NV: usize>(x: &[V::T], panel: &[V::T]) -> [V; NV] {
    let mut sums = [[V::splat(V::T::ZERO); NV]; STREAMS];
    let width = VECTORS * V::LANES;
    let step = STREAMS * width;
    for (x, b) in x.chunks_exact(STREAMS).zip(panel.chunks_exact(step)) {
        for s in 0..STREAMS {
            let x = V::splat(x[s]);
            for v in 0..NV {
                sums[s][v] = x.mul_add(V::load(&b[s * width + v * V::LANES..]), sums[s][v]);
            }
        }
    }
    let whole = x.len() / STREAMS * STREAMS;
    let rest = x[whole..].iter().zip(panel[whole * width..].chunks_exact(width));
    for (sums, (&x, b)) in sums.iter_mut().zip(rest) {
        let x = V::splat(x);
        for v in 0..NV {
            sums[v] = x.mul_add(V::load(&b[v * V::LANES..]), sums[v]);
        }
    }
    let one = V::splat(V::T::ONE);
    let add = |a: V, b: V| a.mul_add(one, b);
    std::array::from_fn(|v| add(add(sums[0][v], sums[1][v]), add(sums[2][v], sums[3][v])))
}

impl<'a, T: Packable, F: Fn(T) -> T + Copy> Columns<'a, T, F> {
    /// The panels of this part, with their indices.
    #[inline(always)]
    fn panels(&self) -> impl Iterator<Item = (usize, &'a [T])> {
        let (start, end) = self.panels;
        let size = self.b.rows * self.b.width;
        let all = self.b.panels();
        (start..end).map(move |p| (p, &all[p * size..][..size]))
    }

    /// Adds the bias to a row's sums with a panel, applies `f` and writes the existing columns.
    #[inline(always)]
    fn finish<V: Vector<T = T>>(&self, row: usize, p: usize, sums: [V; VECTORS]) {
        let width = VECTORS * V::LANES;
        let (first, cols) = (p * width, self.b.cols);
        let present = width.min(cols - first);
        let mut values = [T::ZERO; MOST];
        for (v, sum) in sums.into_iter().enumerate() {
            sum.store(&mut values[v * V::LANES..]);
        }
        let values = &mut values[..width];
        if let Some(bias) = self.bias {
            for (value, &b) in values.iter_mut().zip(&bias[first..first + present]) {
                *value += b;
            }
        }
        for value in &mut *values {
            *value = (self.f)(*value);
        }
        // SAFETY: each task has its own panels, hence columns, and each of their rows is finished
        // once.
        let y = unsafe { self.out.range(row * cols + first, present) };
        y.copy_from_slice(&values[..present]);
    }
}

/// The widest panel: two vectors of 16 values.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm_reference;
    use ff_tensor::{DeviceOptions, Key, Rng};

    fn devices(threads: usize) -> impl Iterator<Item = Device> {
        let isas = [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter();
        isas.filter(|&isa| isa <= Isa::detect())
            .map(move |isa| Device::open(DeviceOptions { threads, isa: Some(isa) }).unwrap())
    }

    fn values<T: Float>(rng: &mut Rng, n: usize) -> Vec<T> {
        (0..n).map(|_| T::of(rng.uniform() * 2.0 - 1.0)).collect()
    }

    /// Checks the error bound of a sum of terms in [-1, 1]: k + 1 roundings of at most k·eps/2
    /// each, so (k + 2)·eps is generous.
    fn agrees<T: Packable>(eps: f64) {
        let mut rng = Rng::new(Key::new(5));
        for device in devices(2) {
            for m in [0, 1, 2, 3, 5, 8, 13, 31] {
                for (k, n) in [(0, 5), (3, 0), (1, 1), (7, 16), (50, 17), (64, 33), (65, 100)] {
                    let (x, w) = (values::<T>(&mut rng, m * k), values::<T>(&mut rng, k * n));
                    let bias = values::<T>(&mut rng, n);
                    // Both layouts of weights.
                    let b =
                        if n % 2 == 0 { MatRef::new(&w, k, n) } else { MatRef::new(&w, n, k).t() };
                    let packed = PackedMatrix::pack(&device, b).unwrap();
                    let (mut y, mut expected) = (values(&mut rng, m * n), vec![T::ZERO; m * n]);
                    gemm_reference(MatRef::new(&x, m, k), b, &mut expected, false);
                    let f = |v: T| v * T::of(2.0);
                    packed.product(device.cpu(), &x, Some(&bias), &mut y, f);
                    for (i, (y, e)) in y.iter().zip(&expected).enumerate() {
                        let e = 2.0 * (e.f64() + bias[i % n].f64());
                        let error = (y.f64() - e).abs();
                        let isa = device.cpu().isa();
                        assert!(
                            error <= 2.0 * eps * (k + 2) as f64,
                            "{isa} {m}×{n}×{k} at {i}: {y:?}, expected {e}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_path_agrees_with_the_definition() {
        agrees::<f32>(f64::from(f32::EPSILON));
        agrees::<f64>(f64::EPSILON);
    }

    #[test]
    fn threads_give_the_same_bits() {
        let mut rng = Rng::new(Key::new(6));
        let (k, n) = (533, 700);
        let w = values::<f32>(&mut rng, k * n);
        for m in [1, 2, 7, 14] {
            let x = values::<f32>(&mut rng, m * k);
            let results = [1, 2, 3, 4].map(|threads| {
                let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
                let packed = PackedMatrix::pack(&device, MatRef::new(&w, k, n)).unwrap();
                let mut y = vec![0.0; m * n];
                packed.product(device.cpu(), &x, None, &mut y, |v| v);
                y
            });
            assert!(results.iter().all(|r| *r == results[0]), "{m} rows");
        }
    }

    #[test]
    fn nan_and_infinity_stay_in_their_row() {
        for device in devices(1) {
            let packed = PackedMatrix::pack(&device, MatRef::new(&[1.0f32, 1.0], 2, 1)).unwrap();
            for m in [1, 2, 3] {
                let mut x = vec![1.0f32; 2 * m];
                x[0] = f32::NAN;
                x[2 * m - 1] = if m == 1 { 1.0 } else { f32::INFINITY };
                let mut y = vec![0.0; m];
                packed.product(device.cpu(), &x, None, &mut y, |v| v);
                assert!(y[0].is_nan());
                assert!(m == 1 || y[m - 1] == f32::INFINITY);
                assert!(m < 3 || y[1] == 2.0);
            }
        }
    }
}
