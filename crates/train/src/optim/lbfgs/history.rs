use super::{Result, dot_product, scaled, slice, slice_mut, sum_squares};
use ff_kernels::{Float, map2, zip_into};
use ff_tensor::{CpuDevice, Tensor};

/// yᵀs below this says nothing about the curvature, and the step is forgotten.
const LEAST_CURVATURE: f64 = 1e-10;

/// The last steps s with the gradient's changes y, as a ring.
#[derive(Debug)]
pub(in crate::optim) struct History {
    pairs: Vec<Pair>,
    oldest: usize,
    len: usize,
    pub(in crate::optim) diagonal: f64,
    /// Scratch of the two loops.
    alphas: Vec<f64>,
}

#[derive(Debug)]
struct Pair {
    s: Tensor,
    y: Tensor,
    /// 1 / yᵀs.
    rho: f64,
}

impl History {
    pub(super) const DEFAULT: usize = 100;

    pub(super) fn new(
        capacity: usize,
        array: impl Fn() -> Result<Tensor, ff_graph::Error>,
    ) -> Result<Self> {
        let pair = |_| Ok(Pair { s: array()?, y: array()?, rho: 0.0 });
        let pairs = (0..capacity).map(pair).collect::<Result<_>>()?;
        Ok(Self { pairs, oldest: 0, len: 0, diagonal: 1.0, alphas: vec![0.0; capacity] })
    }

    fn place(&self, age: usize) -> usize {
        (self.oldest + age) % self.pairs.len()
    }

    /// d = −H g by the two loops over the steps, newest to oldest and back (Nocedal and Wright 2006, algorithm 7.4).
    pub(super) fn direction<T: Float>(
        &mut self,
        cpu: &CpuDevice,
        gradient: &[T],
        d: &mut [T],
    ) -> Result<()> {
        scaled(cpu, -T::ONE, gradient, d);
        for age in (0..self.len).rev() {
            let pair = &self.pairs[self.place(age)];
            let alpha = dot_product(cpu, slice(&pair.s)?, d) * pair.rho;
            self.alphas[age] = alpha;
            add(cpu, -alpha, slice(&pair.y)?, d);
        }
        let diagonal = T::of(self.diagonal);
        ff_kernels::for_pieces(cpu, d, |_, d| d.iter_mut().for_each(|d| *d *= diagonal));
        for age in 0..self.len {
            let pair = &self.pairs[self.place(age)];
            let beta = dot_product(cpu, slice(&pair.y)?, d) * pair.rho;
            add(cpu, self.alphas[age] - beta, slice(&pair.s)?, d);
        }
        Ok(())
    }

    /// Takes in the step s = t · direction with y = new − old, in place of the oldest where the ring is full.
    pub(super) fn remember<T: Float>(
        &mut self,
        cpu: &CpuDevice,
        direction: &[T],
        t: f64,
        old: &[T],
        new: &[T],
    ) -> Result<()> {
        let full = self.len == self.pairs.len();
        let place = if full { self.oldest } else { self.place(self.len) };
        let change = t * (dot_product(cpu, new, direction) - dot_product(cpu, old, direction));
        if !(change.is_finite() && change > LEAST_CURVATURE) {
            return Ok(());
        }
        let pair = &mut self.pairs[place];
        scaled(cpu, T::of(t), direction, slice_mut(&mut pair.s)?);
        map2(cpu, new, old, slice_mut(&mut pair.y)?, false, |new, old| new - old);
        let (s, y) = (slice::<T>(&pair.s)?, slice::<T>(&pair.y)?);
        let curvature = dot_product(cpu, y, s);
        pair.rho = 1.0 / curvature;
        self.diagonal = curvature / sum_squares(cpu, y);
        if full {
            self.oldest = self.place(1);
        } else {
            self.len += 1;
        }
        Ok(())
    }

    /// 1 / yᵀs of each step, the oldest first.
    pub(in crate::optim) fn rho(&self) -> Vec<f64> {
        (0..self.len).map(|age| self.pairs[self.place(age)].rho).collect()
    }

    /// How many steps it can hold.
    pub(in crate::optim) fn capacity(&self) -> usize {
        self.pairs.len()
    }

    /// s and y of each step, the oldest first.
    pub(in crate::optim) fn arrays(&self) -> impl Iterator<Item = &Tensor> {
        (0..self.len).flat_map(|age| {
            let pair = &self.pairs[self.place(age)];
            [&pair.s, &pair.y]
        })
    }

    /// Takes up the numbers of a saved history and gives its arrays to be filled, in the order of [`History::arrays`].
    pub(in crate::optim) fn restore(
        &mut self,
        rho: &[f64],
        diagonal: f64,
    ) -> impl Iterator<Item = &mut Tensor> {
        self.oldest = 0;
        self.len = rho.len().min(self.pairs.len());
        self.diagonal = diagonal;
        self.pairs.iter_mut().zip(rho).flat_map(|(pair, &rho)| {
            pair.rho = rho;
            [&mut pair.s, &mut pair.y]
        })
    }
}

/// y += a x.
fn add<T: Float>(cpu: &CpuDevice, a: f64, x: &[T], y: &mut [T]) {
    let a = T::of(a);
    zip_into(cpu, x, y, |y, x| y + a * x);
}
