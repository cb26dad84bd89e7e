//! The last steps of L-BFGS, and the direction derived from them.

use super::{dot_product, scaled, slice, slice_mut, sum_squares};
use crate::optim::error::Result;
use ff_kernels::{Float, map2, zip_into};
use ff_tensor::{CpuDevice, Tensor};

/// The minimum yᵀs of a step; smaller ones carry no information on curvature and are dropped.
const LEAST_CURVATURE: f64 = 1e-10;

/// The scalars of the last steps s and gradient changes y, with their arrays in a ring: pair i is
/// `pairs[2 i]` and `pairs[2 i + 1]`.
#[derive(Debug, Clone)]
pub(super) struct History {
    oldest: usize,
    len: usize,
    /// 1 / yᵀs of each pair.
    rho: Vec<f64>,
    /// The scale of the initial inverse Hessian.
    pub(super) diagonal: f64,
    /// Scratch of the two loops.
    alphas: Vec<f64>,
}

impl History {
    pub(super) fn new(capacity: usize) -> Self {
        let zeros = vec![0.0; capacity];
        Self { oldest: 0, len: 0, rho: zeros.clone(), diagonal: 1.0, alphas: zeros }
    }

    pub(super) fn capacity(&self) -> usize {
        self.rho.len()
    }

    /// The pairs from the oldest to the newest.
    pub(super) fn order(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let (oldest, capacity) = (self.oldest, self.capacity());
        (0..self.len).map(move |age| (oldest + age) % capacity)
    }

    /// d = −H g by the two loops over the steps, newest to oldest and back (Nocedal and Wright
    /// 2006, algorithm 7.4).
    pub(super) fn direction<T: Float>(
        &mut self,
        cpu: &CpuDevice,
        pairs: &[Tensor],
        gradient: &[T],
        d: &mut [T],
    ) -> Result<()> {
        scaled(cpu, -T::ONE, gradient, d);
        for pair in self.order().rev() {
            let alpha = dot_product(cpu, slice(&pairs[2 * pair])?, d) * self.rho[pair];
            self.alphas[pair] = alpha;
            add(cpu, -alpha, slice(&pairs[2 * pair + 1])?, d);
        }
        let diagonal = T::of(self.diagonal);
        ff_kernels::for_pieces(cpu, d, |_, d| d.iter_mut().for_each(|d| *d *= diagonal));
        for pair in self.order() {
            let beta = dot_product(cpu, slice(&pairs[2 * pair + 1])?, d) * self.rho[pair];
            add(cpu, self.alphas[pair] - beta, slice(&pairs[2 * pair])?, d);
        }
        Ok(())
    }

    /// Adds the step s = t · direction with y = new − old, in place of the oldest if the ring is
    /// full.
    pub(super) fn remember<T: Float>(
        &mut self,
        cpu: &CpuDevice,
        pairs: &mut [Tensor],
        direction: &[T],
        t: f64,
        [old, new]: [&[T]; 2],
    ) -> Result<()> {
        let change = t * (dot_product(cpu, new, direction) - dot_product(cpu, old, direction));
        if !(change.is_finite() && change > LEAST_CURVATURE) {
            return Ok(());
        }
        let pair = (self.oldest + self.len) % self.capacity();
        scaled(cpu, T::of(t), direction, slice_mut(&mut pairs[2 * pair])?);
        map2(cpu, new, old, slice_mut(&mut pairs[2 * pair + 1])?, false, |new, old| new - old);
        let (s, y) = (slice::<T>(&pairs[2 * pair])?, slice::<T>(&pairs[2 * pair + 1])?);
        let curvature = dot_product(cpu, y, s);
        self.rho[pair] = 1.0 / curvature;
        self.diagonal = curvature / sum_squares(cpu, y);
        if self.len == self.capacity() {
            self.oldest = (self.oldest + 1) % self.capacity();
        } else {
            self.len += 1;
        }
        Ok(())
    }

    /// 1 / yᵀs of each step, the oldest first.
    pub(super) fn rho(&self) -> Vec<f64> {
        self.order().map(|pair| self.rho[pair]).collect()
    }

    /// Restores the scalars of a saved history; its arrays are loaded from the oldest on.
    pub(super) fn restore(&mut self, rho: &[f64], diagonal: f64) {
        self.rho[..rho.len()].copy_from_slice(rho);
        (self.oldest, self.len, self.diagonal) = (0, rho.len(), diagonal);
    }
}

/// y += a x.
fn add<T: Float>(cpu: &CpuDevice, a: f64, x: &[T], y: &mut [T]) {
    let a = T::of(a);
    zip_into(cpu, x, y, |y, x| y + a * x);
}
