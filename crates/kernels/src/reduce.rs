//! Reductions of one row in f64, over a fixed number of running sums: the order of additions
//! depends on the length alone. They are inlined, so that the surrounding loop determines their
//! instruction set.

use crate::Float;
use crate::rows::Shared;
use ff_tensor::CpuDevice;
use std::ops::Range;

/// Running sums: two registers of f64 with AVX-512, four with AVX2, enough to hide an addition's
/// latency.
const LANES: usize = 16;

/// Adds the running sums pairwise.
#[inline(always)]
fn join(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ x, for losses and norms; bit-identical for any number of threads.
///
/// ```
/// assert_eq!(ff_kernels::sum(&[1.0f32, 2.0, 3.5]), 6.5);
/// ```
#[inline(always)]
pub fn sum<T: Float>(x: &[T]) -> f64 {
    sum_of(x, T::f64)
}

/// Σ f(x).
///
/// ```
/// assert_eq!(ff_kernels::sum_of(&[1.0f32, 2.0, 3.0], |x| f64::from(x * x)), 14.0);
/// ```
#[inline(always)]
pub fn sum_of<T: Float>(x: &[T], f: impl Fn(T) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for x in chunks {
        // A loop rather than `for_each`, whose closure would not be inlined into each instruction
        // set's copy.
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    join(lanes)
}

/// Replaces each value by f(x) and returns the sum of the new values.
///
/// ```
/// let mut x = [1.0f32, 2.0];
/// assert_eq!(ff_kernels::map_sum(&mut x, |x| 3.0 * x), 9.0);
/// assert_eq!(x, [3.0, 6.0]);
/// ```
#[inline(always)]
pub fn map_sum<T: Float>(x: &mut [T], f: impl Fn(T) -> T) -> f64 {
    let mut lanes = [0.0; LANES];
    // One loop would compute f in registers half as wide, since two of f64 hold as many values as
    // one of f32.
    for x in x.chunks_mut(16 * LANES) {
        for x in x.iter_mut() {
            *x = f(*x);
        }
        for x in x.chunks(LANES) {
            for (lane, &x) in lanes.iter_mut().zip(x) {
                *lane += x.f64();
            }
        }
    }
    join(lanes)
}

/// Σ f(a, b) over pairs; the excess of the longer slice is ignored.
///
/// ```
/// let difference = ff_kernels::sum_of2(&[5.0f32, 7.0], &[1.0, 2.0], |a, b| f64::from(a - b));
/// assert_eq!(difference, 9.0);
/// ```
#[inline(always)]
pub fn sum_of2<T: Float>(a: &[T], b: &[T], f: impl Fn(T, T) -> f64) -> f64 {
    let len = a.len().min(b.len());
    let mut lanes = [0.0; LANES];
    let (a, b) = (a[..len].chunks_exact(LANES), b[..len].chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    for (a, b) in a.zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f(a, b);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(rest) {
        *lane += f(a, b);
    }
    join(lanes)
}

/// Σ a · b.
///
/// ```
/// assert_eq!(ff_kernels::dot(&[1.0f32, 2.0], &[3.0, 4.0]), 11.0);
/// ```
#[inline(always)]
pub fn dot<T: Float>(a: &[T], b: &[T]) -> f64 {
    sum_of2(
        a,
        b,
        #[inline(always)]
        |a, b| a.f64() * b.f64(),
    )
}

/// The greatest value; NaN if any value is, −∞ for an empty slice.
///
/// ```
/// assert_eq!(ff_kernels::maximum(&[1.0f32, 3.0, 2.0]), 3.0);
/// assert!(ff_kernels::maximum(&[f32::NAN, 3.0]).is_nan());
/// ```
#[inline(always)]
pub fn maximum<T: Float>(x: &[T]) -> T {
    // NaN is tracked separately: a comparison that ignores NaN is one instruction.
    let mut nan = false;
    for x in x {
        nan |= x.is_nan();
    }
    if nan {
        return T::of(f64::NAN);
    }
    let (mut lanes, mut more) = ([T::NEG_INFINITY; LANES], [T::NEG_INFINITY; LANES]);
    let chunks = x.chunks_exact(2 * LANES);
    let rest = chunks.remainder();
    for x in chunks {
        for l in 0..LANES {
            lanes[l] = greater(x[l], lanes[l]);
            more[l] = greater(x[LANES + l], more[l]);
        }
    }
    for (lane, &x) in lanes.iter_mut().chain(&mut more).zip(rest) {
        *lane = greater(x, *lane);
    }
    for l in 0..LANES {
        lanes[l] = greater(more[l], lanes[l]);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] = greater(lanes[l + half], lanes[l]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The greater of two numbers.
#[inline(always)]
fn greater<T: Float>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// Σ f(piece) over pieces of `0..len` with boundaries determined by `len` alone, added in order: a
/// sum shared by all threads.
///
/// ```
/// let device = ff_tensor::Device::default();
/// let x = [1.0f32, 2.0, 4.0];
/// assert_eq!(ff_kernels::sum_pieces(device.cpu(), 3, |piece| ff_kernels::sum(&x[piece])), 7.0);
/// ```
pub fn sum_pieces(cpu: &CpuDevice, len: usize, f: impl Fn(Range<usize>) -> f64 + Sync) -> f64 {
    const MOST: usize = 64;
    const SMALLEST: usize = 1 << 13;
    let piece = len.div_ceil(MOST).max(SMALLEST);
    let pieces = len.div_ceil(piece);
    let mut sums = [0.0; MOST];
    let each = Shared::new(&mut sums[..pieces]);
    // Not by `for_rows`, which would call an `f` that is not inlined from vector code.
    let task = |p: usize| {
        // SAFETY: each piece is visited once.
        let sum = unsafe { each.range(p, 1) };
        sum[0] = f(p * piece..len.min((p + 1) * piece));
    };
    if pieces <= 1 {
        (0..pieces).for_each(task);
    } else {
        cpu.threads().run(pieces, &task);
    }
    sums[..pieces].iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{Device, DeviceOptions};

    #[test]
    fn sums_of_every_length() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let squares: f64 = x.iter().map(|&x| f64::from(x * x)).sum();
            assert_eq!(sum_of(&x, |x| f64::from(x * x)), squares); // integers: exact
            assert_eq!(dot(&x, &x), squares);
            let mut mapped = x.clone();
            assert_eq!(map_sum(&mut mapped, |x| x * x), squares);
            assert!(mapped.iter().zip(&x).all(|(&y, &x)| y == x * x));
            let greatest = if n == 0 { f32::NEG_INFINITY } else { n as f32 - 1.0 };
            assert_eq!(maximum(&x), greatest);
        }
    }

    #[test]
    fn a_nan_anywhere_is_the_maximum() {
        for at in 0..40 {
            let mut x = vec![1.0f32; 40];
            x[at] = f32::NAN;
            assert!(maximum(&x).is_nan());
        }
    }

    #[test]
    fn pieces_are_the_same_for_any_number_of_threads() {
        for n in [0, 1, 8192, 8193, 600_001] {
            let x: Vec<f64> = (0..n).map(|i| 1.0 / (1.0 + f64::from(i))).collect();
            let sums = [1, 2, 3].map(|threads| {
                let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
                sum_pieces(device.cpu(), x.len(), |piece| crate::sum(&x[piece]))
            });
            assert!(sums.iter().all(|s| s.to_bits() == sums[0].to_bits()));
            // Each of n roundings is at most half an ulp of the sum, which is below 20.
            let plain: f64 = x.iter().sum();
            assert!((sums[0] - plain).abs() <= f64::from(n) * 20.0 * f64::EPSILON);
        }
    }
}
