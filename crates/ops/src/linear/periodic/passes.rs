//! The passes: blocks of rows, each value of a block in its own lane, since vectors are narrow.

use super::{Periodic, PeriodicForm};
use ff_graph::{Cx, OpResult, Slot};
use ff_kernels::{Float, for_rows};
use ff_tensor::{Tensor, TensorRef};
use std::f64::consts::TAU;

/// The rows of a block.
const BLOCK: usize = 32;
/// The frequencies of a tile, whose waves stay in the cache.
const TILE: usize = 16;
/// The work of a wave, in multiply-adds.
const WAVE: usize = 20;

/// A value of each row of a block.
type Lanes<T> = [T; BLOCK];

/// The sums over rows of an embedded column: those of c, φ, V and b.
pub(super) fn sums(k: usize, m: usize, waves: usize) -> usize {
    2 * k + m * waves + m
}

/// The parameters, with their sizes.
#[derive(Clone, Copy)]
pub(super) struct Params<'a, T> {
    op: &'a Periodic,
    c: &'a [T],
    phases: Option<&'a [T]>,
    v: &'a [T],
    /// Empty in backward passes.
    b: &'a [T],
    k: usize,
    m: usize,
}

/// What backward passes read: x, dy, and y of relu.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) count: usize,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) y: Option<&'a [T]>,
}

/// Σ a ⊙ b, in one order.
#[inline(always)]
fn dot<T: Float>(a: &Lanes<T>, b: &Lanes<T>) -> T {
    let mut sums = [T::ZERO; 16];
    for (l, sum) in sums.iter_mut().enumerate() {
        *sum = a[l] * b[l] + a[l + 16] * b[l + 16];
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            sums[l] += sums[l + half];
        }
    }
    sums[0]
}

/// Values `at`, `at + stride`, … of each row; 0 beyond the last one.
#[inline(always)]
fn load<T: Float>(values: &[T], at: usize, stride: usize) -> Lanes<T> {
    let mut lanes = [T::ZERO; BLOCK];
    let values = values[at.min(values.len())..].iter().step_by(stride);
    for (lane, &v) in lanes.iter_mut().zip(values) {
        *lane = v;
    }
    lanes
}

#[inline(always)]
fn store<T: Float>(lanes: &Lanes<T>, values: &mut [T], at: usize, stride: usize) {
    let values = values[at..].iter_mut().step_by(stride);
    for (v, &lane) in values.zip(lanes) {
        *v = lane;
    }
}

impl<'a, T: Float> Params<'a, T> {
    /// Of c, φ (dense form), V and perhaps b.
    pub(super) fn of(op: &'a Periodic, inputs: &[TensorRef<'a>]) -> OpResult<Self> {
        let dense = usize::from(op.form == PeriodicForm::Dense);
        let (k, v) = (inputs[0].shape().last(), inputs[1 + dense]);
        let b = match inputs.get(2 + dense) {
            Some(b) => b.slice::<T>()?,
            None => &[],
        };
        let phases = if dense == 1 { Some(inputs[1].slice::<T>()?) } else { None };
        let m = v.shape().dims()[1];
        Ok(Self { op, c: inputs[0].slice::<T>()?, phases, v: v.slice::<T>()?, b, k, m })
    }

    /// The kinds of waves of a frequency: cosines, and perhaps sines.
    fn kinds(&self) -> usize {
        self.op.form.waves(1)
    }

    fn waves(&self) -> usize {
        self.op.form.waves(self.k)
    }

    /// The width of a vector.
    fn d(&self) -> usize {
        self.m + self.op.form.extra()
    }

    fn columns(&self) -> usize {
        self.op.embedded.len()
    }

    fn width(&self) -> usize {
        self.op.width(self.d())
    }

    fn work(&self) -> usize {
        self.op.count() * self.waves() * (WAVE + 2 * self.m)
    }

    /// sin and cos of 2π x c + φ, of frequency j of embedded column i.
    #[inline(always)]
    fn wave(&self, i: usize, j: usize, x: &Lanes<T>) -> (Lanes<T>, Lanes<T>) {
        let at = i * self.k + j;
        let (c, phase) = (self.c[at], self.phases.map_or(T::ZERO, |p| p[at]));
        let phase = phase * T::of(1.0 / TAU);
        let (mut sin, mut cos) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
        for ((sin, cos), &x) in sin.iter_mut().zip(&mut cos).zip(x) {
            (*sin, *cos) = (x * c + phase).turn();
        }
        (sin, cos)
    }

    /// Cosines and sines of a tile of frequencies.
    #[inline(always)]
    fn waves_of(&self, i: usize, [first, tile]: [usize; 2], x: &Lanes<T>, z: &mut Waves<T>) {
        let [cos, sin] = z;
        for (j, (cos, sin)) in cos.iter_mut().zip(sin).enumerate().take(tile) {
            (*sin, *cos) = self.wave(i, first + j, x);
        }
    }

    /// Calls `f(start, values)` for the rows of each block, of `width` values.
    fn for_blocks(
        &self,
        cx: &Cx<'_>,
        rows: usize,
        (values, width): (&mut [T], usize),
        f: impl Fn(usize, &mut [T]) + Sync + Copy,
    ) {
        let whole = rows / BLOCK;
        let (blocks, rest) = values.split_at_mut(whole * BLOCK * width);
        let work = self.work();
        for_rows(
            cx.cpu(),
            whole,
            BLOCK * work,
            [(blocks, BLOCK * width)],
            #[inline(always)]
            |block, [y]| f(block * BLOCK, y),
        );
        let left = usize::from(!rest.is_empty());
        let width = rest.len();
        for_rows(
            cx.cpu(),
            left,
            BLOCK * work,
            [(rest, width)],
            #[inline(always)]
            |_, [y]| f(whole * BLOCK, y),
        );
    }

    pub(super) fn forward(&self, cx: &Cx<'_>, rows: usize, x: &[T], y: &mut [T]) {
        let (params, width, columns) = (*self, self.width(), self.columns());
        self.for_blocks(
            cx,
            rows,
            (y, width),
            #[inline(always)]
            move |start, y| {
                let x = &x[start * columns..][..y.len() / width * columns];
                let (mut at, mut i) = (0, 0);
                for (column, &embedded) in params.op.embedded.iter().enumerate() {
                    let x = load(x, column, columns);
                    if embedded {
                        params.vectors(i, &x, y, at);
                        (at, i) = (at + params.d(), i + 1);
                    } else {
                        store(&x, y, at, width);
                        at += 1;
                    }
                }
            },
        );
    }

    /// The vectors of a block of embedded column i, from value `at` of a row on.
    #[inline(always)]
    fn vectors(&self, i: usize, x: &Lanes<T>, y: &mut [T], at: usize) {
        let (width, waves) = (self.width(), self.waves());
        for m in 0..self.m {
            store(&[self.b[i * self.m + m]; BLOCK], y, at + m, width);
        }
        for first in (0..self.k).step_by(TILE) {
            let tile = TILE.min(self.k - first);
            let mut z = [[[T::ZERO; BLOCK]; TILE]; 2];
            self.waves_of(i, [first, tile], x, &mut z);
            for m in 0..self.m {
                let mut h = load(y, at + m, width);
                for (kind, z) in z[..self.kinds()].iter().enumerate() {
                    let v = &self.v[(i * self.m + m) * waves + kind * self.k + first..][..tile];
                    for (&v, z) in v.iter().zip(z) {
                        h.iter_mut().zip(z).for_each(|(h, &z)| *h += v * z);
                    }
                }
                store(&h, y, at + m, width);
            }
        }
        if self.op.form == PeriodicForm::Dense {
            store(x, y, at + self.m, width);
            return;
        }
        for m in 0..self.m {
            let h = load(y, at + m, width).map(|h| h.maximum(T::ZERO));
            store(&h, y, at + m, width);
        }
    }

    /// dh of value m of a vector that starts at value `at` of a row, of a block.
    #[inline(always)]
    fn dh(&self, rows: &Rows<'_, T>, start: usize, at: usize) -> Lanes<T> {
        let width = self.width();
        let part = start * width..(start + BLOCK).min(rows.count) * width;
        let mut dh = load(&rows.dy[part.clone()], at, width);
        if let Some(y) = rows.y {
            let y = load(&y[part], at, width);
            dh.iter_mut().zip(&y).for_each(|(d, &y)| *d = if y > T::ZERO { *d } else { T::ZERO });
        }
        dh
    }

    /// dz of the waves of a tile, by kind.
    #[inline(always)]
    fn dz(&self, i: usize, [first, tile]: [usize; 2], m: usize, dh: &Lanes<T>, dz: &mut Waves<T>) {
        for (kind, dz) in dz[..self.kinds()].iter_mut().enumerate() {
            let v = &self.v[(i * self.m + m) * self.waves() + kind * self.k + first..][..tile];
            for (&v, dz) in v.iter().zip(dz) {
                dz.iter_mut().zip(dh).for_each(|(dz, &dh)| *dz += v * dh);
            }
        }
    }

    /// Σ z′ dz over the kinds of waves, with z′ = −sin of a cosine and cos of a sine.
    #[inline(always)]
    fn slope(&self, (sin, cos): &(Lanes<T>, Lanes<T>), dz: [&Lanes<T>; 2]) -> Lanes<T> {
        let mut slope = [T::ZERO; BLOCK];
        for l in 0..BLOCK {
            slope[l] = -sin[l] * dz[0][l];
        }
        if self.kinds() == 2 {
            for l in 0..BLOCK {
                slope[l] += cos[l] * dz[1][l];
            }
        }
        slope
    }

    pub(super) fn dx(&self, cx: &Cx<'_>, rows: Rows<'_, T>, dx: &mut [T], accumulate: bool) {
        let (params, columns) = (*self, self.columns());
        self.for_blocks(
            cx,
            rows.count,
            (dx, columns),
            #[inline(always)]
            move |start, dx| {
                let x = &rows.x[start * columns..][..dx.len()];
                let (mut at, mut i) = (0, 0);
                for (column, &embedded) in params.op.embedded.iter().enumerate() {
                    let mut sum =
                        if accumulate { load(dx, column, columns) } else { [T::ZERO; BLOCK] };
                    if embedded {
                        let x = load(x, column, columns);
                        let d = params.dx_of_vectors(&rows, [start, at, i], &x);
                        sum.iter_mut().zip(&d).for_each(|(sum, &d)| *sum += d);
                        (at, i) = (at + params.d(), i + 1);
                    } else {
                        let part = start * params.width()..;
                        let dy = load(&rows.dy[part], at, params.width());
                        sum.iter_mut().zip(&dy).for_each(|(sum, &dy)| *sum += dy);
                        at += 1;
                    }
                    store(&sum, dx, column, columns);
                }
            },
        );
    }

    #[inline(always)]
    fn dx_of_vectors(
        &self,
        rows: &Rows<'_, T>,
        [start, at, i]: [usize; 3],
        x: &Lanes<T>,
    ) -> Lanes<T> {
        let mut sum = match self.op.form {
            PeriodicForm::Dense => self.dh(rows, start, at + self.m),
            PeriodicForm::Relu => [T::ZERO; BLOCK],
        };
        for first in (0..self.k).step_by(TILE) {
            let tile = TILE.min(self.k - first);
            let mut dz = [[[T::ZERO; BLOCK]; TILE]; 2];
            for m in 0..self.m {
                self.dz(i, [first, tile], m, &self.dh(rows, start, at + m), &mut dz);
            }
            let [dcos, dsin] = &dz;
            for (j, dz) in dcos.iter().zip(dsin).enumerate().take(tile) {
                let slope = self.slope(&self.wave(i, first + j, x), dz.into());
                let c = self.c[i * self.k + first + j] * T::of(TAU);
                sum.iter_mut().zip(&slope).for_each(|(sum, &slope)| *sum += c * slope);
            }
        }
        sum
    }

    /// The gradients of c, φ (dense form), V and b.
    pub(super) fn dparams(&self, cx: &Cx<'_>, rows: Rows<'_, T>, out: &mut [Slot<'_>]) -> OpResult {
        if !out.iter().any(Slot::is_needed) {
            return Ok(());
        }
        let (n, k, m) = (self.op.count(), self.k, self.m);
        let size = sums(k, m, self.waves());
        let mut all = Tensor::uninit(cx.device, [n, size].into(), T::DTYPE)?;
        let all = all.slice_mut::<T>()?;
        let params = *self;
        for_rows(
            cx.cpu(),
            n,
            2 * rows.count * self.waves() * (WAVE + 4 * m),
            [(&mut *all, size)],
            #[inline(always)]
            |i, [sums]| params.sums_of_column(&rows, i, sums),
        );
        let ends = [k, k, m * self.waves(), m];
        let dense = self.op.form == PeriodicForm::Dense;
        let parts = [0, 1, 2, 3].into_iter().filter(|&part| dense || part != 1);
        for (part, slot) in parts.zip(out) {
            let Some((out, accumulate)) = slot.take::<T>()? else { continue };
            let (from, len) = (ends[..part].iter().sum::<usize>(), ends[part]);
            let sums = all.chunks_exact(size.max(1)).flat_map(|sums| &sums[from..from + len]);
            out.iter_mut().zip(sums).for_each(|(out, &sum)| {
                *out = if accumulate { *out + sum } else { sum };
            });
        }
        Ok(())
    }

    /// The sums over all rows of embedded column i.
    #[inline(always)]
    fn sums_of_column(&self, rows: &Rows<'_, T>, i: usize, sums: &mut [T]) {
        sums.fill(T::ZERO);
        let (mut at, mut column, mut left) = (0, 0, i);
        for &embedded in &*self.op.embedded {
            if embedded && left == 0 {
                break;
            }
            left -= usize::from(embedded);
            at += if embedded { self.d() } else { 1 };
            column += 1;
        }
        let (k, waves) = (self.k, self.waves());
        let (dc, rest) = sums.split_at_mut(k);
        let (dphase, rest) = rest.split_at_mut(k);
        let (dv, db) = rest.split_at_mut(self.m * waves);
        let ones = [T::ONE; BLOCK];
        for start in (0..rows.count).step_by(BLOCK) {
            let x = load(&rows.x[start * self.columns()..], column, self.columns());
            for (m, db) in db.iter_mut().enumerate() {
                *db += dot(&ones, &self.dh(rows, start, at + m));
            }
            for first in (0..k).step_by(TILE) {
                let tile = TILE.min(k - first);
                let mut z = [[[T::ZERO; BLOCK]; TILE]; 2];
                let mut dz = [[[T::ZERO; BLOCK]; TILE]; 2];
                self.waves_of(i, [first, tile], &x, &mut z);
                for m in 0..self.m {
                    let dh = self.dh(rows, start, at + m);
                    for (kind, z) in z[..self.kinds()].iter().enumerate() {
                        let dv = &mut dv[m * waves + kind * k + first..][..tile];
                        dv.iter_mut().zip(z).for_each(|(dv, z)| *dv += dot(&dh, z));
                    }
                    self.dz(i, [first, tile], m, &dh, &mut dz);
                }
                let waves = z[1].iter().zip(&z[0]).zip(dz[0].iter().zip(&dz[1]));
                for (j, ((sin, cos), dz)) in waves.enumerate().take(tile) {
                    let slope = self.slope(&(*sin, *cos), dz.into());
                    dphase[first + j] += dot(&ones, &slope);
                    dc[first + j] += T::of(TAU) * dot(&x, &slope);
                }
            }
        }
    }
}

/// Waves of a tile, by kind.
type Waves<T> = [[Lanes<T>; TILE]; 2];
