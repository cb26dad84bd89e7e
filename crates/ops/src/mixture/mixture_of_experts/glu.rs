//! The product of gate and up: with an activation, or the clamped one of gpt-oss.

use super::MixtureOfExperts;
use ff_kernels::{Float, Stored, for_pieces, for_rows};
use ff_tensor::CpuDevice;

/// α and the limit of a clamped gate.
#[derive(Debug, Clone, Copy)]
struct Clamped<T> {
    alpha: T,
    limit: T,
}

impl<T: Float> Clamped<T> {
    fn new([alpha, limit]: [f64; 2]) -> Self {
        Self { alpha: T::of(alpha), limit: T::of(limit) }
    }

    /// g σ(αg) with g = min(z, limit), and its derivative by z; NaN stays NaN.
    #[inline(always)]
    fn gate(self, z: T) -> (T, T) {
        let g = if z > self.limit { self.limit } else { z };
        let s = (self.alpha * g).sigmoid();
        let slope = s + self.alpha * g * s * (T::ONE - s);
        (g * s, if z > self.limit { T::ZERO } else { slope })
    }

    /// u within ±limit plus 1, and its derivative by u.
    #[inline(always)]
    fn up(self, u: T) -> (T, T) {
        if u > self.limit {
            return (self.limit + T::ONE, T::ZERO);
        }
        if u < -self.limit {
            return (T::ONE - self.limit, T::ZERO);
        }
        (u + T::ONE, T::ONE)
    }
}

impl MixtureOfExperts {
    /// h from `a` (z, or f(z) if f′ can be computed from it) and u.
    pub(super) fn join<T: Float, S: Stored<Compute = T>>(
        &self,
        cpu: &CpuDevice,
        a: &[S],
        u: &[S],
        h: &mut [S],
    ) {
        let Some(clamp) = self.clamp else {
            return self.activation.gate(cpu, a, Some(u), h);
        };
        let clamped = Clamped::<T>::new(clamp);
        for_pieces(
            cpu,
            h,
            #[inline(always)]
            |start, h| {
                let own = clamped;
                for ((h, &a), &u) in h.iter_mut().zip(&a[start..]).zip(&u[start..]) {
                    let (gate, up) = (own.gate(a.compute()).0, own.up(u.compute()).0);
                    *h = S::from_compute(up * gate);
                }
            },
        );
    }

    /// du, and dz in place of dh; rows of `width`.
    pub(super) fn join_backward<T: Float, S: Stored<Compute = T>>(
        &self,
        cpu: &CpuDevice,
        (a, u): (&[S], &[S]),
        dh: &mut [S],
        du: &mut [S],
        width: usize,
    ) {
        let Some(clamp) = self.clamp else {
            return self.activation.gate_backward(cpu, (a, u), dh, du, width);
        };
        let clamped = Clamped::<T>::new(clamp);
        for_rows(
            cpu,
            dh.len() / width.max(1),
            width * 16,
            [(dh, width), (du, width)],
            #[inline(always)]
            |row, [dh, du]| {
                let own = clamped;
                let (a, u) = (&a[row * width..][..width], &u[row * width..][..width]);
                for (((dh, du), &a), &u) in dh.iter_mut().zip(du).zip(a).zip(u) {
                    let (gate, gate_slope) = own.gate(a.compute());
                    let (up, up_slope) = own.up(u.compute());
                    let d = dh.compute();
                    *du = S::from_compute(d * gate * up_slope);
                    *dh = S::from_compute(d * up * gate_slope);
                }
            },
        );
    }
}
