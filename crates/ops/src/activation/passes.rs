//! The passes over slices that apply an activation.
//!
//! f and f′ are compiled once for each row of the table, type and instruction set, over a block of
//! values in the first-level cache. What surrounds them is compiled once for all rows.

#[allow(clippy::wildcard_imports)] // The rows of the table expand here, with their helpers.
use super::table::*;
use ff_kernels::{Float, Stored, for_pieces, for_rows, scale_by, scale_sum_columns};
use ff_tensor::CpuDevice;

/// The number of values of a block.
const BLOCK: usize = 256;

impl Activation {
    /// f(x).
    pub fn f<T: Float>(self, x: T) -> T {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, _) = ($f, $df);
                f(x)
            }};
        }
        with_functions!(self, T, go)
    }

    /// f′, from the output where that suffices, else from the input.
    pub fn df<T: Float>(self, v: T) -> T {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (_, df) = ($f, $df);
                df(v)
            }};
        }
        with_functions!(self, T, go)
    }

    /// v = f(v), on the calling thread.
    pub(crate) fn in_place<T: Float>(self, cpu: &CpuDevice, v: &mut [T]) {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, _) = ($f, $df);
                ff_kernels::dispatch_on::<T, _>(
                    cpu,
                    #[inline(always)]
                    || {
                        let own = f; // The captures stay in registers.
                        for v in &mut *v {
                            *v = own(*v);
                        }
                    },
                )
            }};
        }
        with_functions!(self, T, go);
    }

    /// v = v ⊙ f′, on the calling thread; `kept` is the argument of f′.
    pub(crate) fn scale_in_place<T: Float>(self, cpu: &CpuDevice, kept: &[T], v: &mut [T]) {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (_, df) = ($f, $df);
                ff_kernels::dispatch_on::<T, _>(
                    cpu,
                    #[inline(always)]
                    || {
                        let own = df; // The captures stay in registers.
                        for (v, &kept) in v.iter_mut().zip(kept) {
                            *v *= own(kept);
                        }
                    },
                )
            }};
        }
        with_functions!(self, T, go);
    }

    /// y = f(x).
    pub(crate) fn forward<T: Float, S: Stored<Compute = T>>(
        self,
        cpu: &CpuDevice,
        x: &[S],
        y: &mut [S],
    ) {
        for_pieces(
            cpu,
            y,
            #[inline(always)]
            |start, y| {
                let mut block = [T::ZERO; BLOCK];
                for (y, x) in y.chunks_mut(BLOCK).zip(x[start..].chunks(BLOCK)) {
                    let f = load(&mut block, x);
                    self.in_place(cpu, f);
                    for (y, &f) in y.iter_mut().zip(&*f) {
                        *y = S::from_compute(f);
                    }
                }
            },
        );
    }

    /// dx = dy ⊙ f′, or dx += if `accumulate` is set; `kept` is the argument of f′.
    pub(crate) fn backward<T: Float>(
        self,
        cpu: &CpuDevice,
        kept: &[T],
        dy: &[T],
        dx: &mut [T],
        accumulate: bool,
    ) {
        for_pieces(
            cpu,
            dx,
            #[inline(always)]
            |start, dx| {
                let adds = accumulate; // In a register, as captures are not.
                let mut block = [T::ZERO; BLOCK];
                let values = kept[start..].chunks(BLOCK).zip(dy[start..].chunks(BLOCK));
                for (dx, (kept, dy)) in dx.chunks_mut(BLOCK).zip(values) {
                    let d = load(&mut block, dy);
                    self.scale_in_place(cpu, kept, d);
                    for (dx, &d) in dx.iter_mut().zip(&*d) {
                        *dx = if adds { *dx + d } else { d };
                    }
                }
            },
        );
    }

    /// dz = dy ⊙ f′ in place of dy, and db\[j\] = Σ dz\[·, j\], or db += if `accumulate` is set;
    /// `kept` is the argument of f′.
    pub(crate) fn backward_in_place<T: Float, S: Stored<Compute = T>>(
        self,
        cpu: &CpuDevice,
        kept: &[S],
        dy: &mut [S],
        dbias: Option<(&mut [T], bool)>,
    ) {
        let scaling = |kept: &[T], v: &mut [T]| self.scale_in_place(cpu, kept, v);
        match dbias {
            None => scale_by(cpu, kept, dy, &scaling),
            Some((dbias, accumulate)) => {
                scale_sum_columns(cpu, kept, dy, dbias, accumulate, &scaling);
            }
        }
    }

    /// g = f(x) − x and y = x + a ⊙ g, in rows of `width`; g where it is kept.
    pub(super) fn parametric<T: Float>(
        self,
        cpu: &CpuDevice,
        (x, share): (&[T], &[T]),
        y: &mut [T],
        gap: Option<&mut [T]>,
        width: usize,
    ) {
        let (rows, work) = (y.len() / width.max(1), width * 8);
        let (gap, gap_width) = gap.map_or((&mut [][..], 0), |gap| (gap, width));
        for_rows(
            cpu,
            rows,
            work,
            [(y, width), (gap, gap_width)],
            #[inline(always)]
            |row, [y, gap]| {
                let x = &x[row * width..][..width];
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x;
                }
                self.in_place(cpu, y);
                for (gap, (&f, &x)) in gap.iter_mut().zip(y.iter().zip(x)) {
                    *gap = f - x;
                }
                for ((y, &x), &a) in y.iter_mut().zip(x).zip(share) {
                    *y = x + a * (*y - x);
                }
            },
        );
    }

    /// dx = dy ⊙ (1 + a ⊙ (f′ − 1)), or dx += if `accumulate` is set, from \[x, a, g, dy\].
    pub(super) fn parametric_backward<T: Float>(
        self,
        cpu: &CpuDevice,
        [x, share, gap, dy]: [&[T]; 4],
        dx: &mut [T],
        accumulate: bool,
        width: usize,
    ) {
        let output = super::parametric::from_output(self);
        for_rows(
            cpu,
            dx.len() / width.max(1),
            width * 8,
            [(dx, width)],
            #[inline(always)]
            |row, [dx]| {
                let adds = accumulate; // In a register, as captures are not.
                let part = row * width..(row + 1) * width;
                let (x, gap, dy) = (&x[part.clone()], &gap[part.clone()], &dy[part]);
                let [mut values, mut slopes] = [[T::ZERO; BLOCK]; 2];
                for start in (0..width).step_by(BLOCK) {
                    let end = width.min(start + BLOCK);
                    let value = load(&mut values, &x[start..end]);
                    if output {
                        for (v, &g) in value.iter_mut().zip(&gap[start..]) {
                            *v += g;
                        }
                    }
                    let slope = &mut slopes[..end - start];
                    slope.fill(T::ONE);
                    self.scale_in_place(cpu, value, slope);
                    let values = dy[start..].iter().zip(&share[start..]).zip(&*slope);
                    for (dx, ((&dy, &a), &slope)) in dx[start..end].iter_mut().zip(values) {
                        let d = dy * (T::ONE + a * (slope - T::ONE));
                        *dx = if adds { *dx + d } else { d };
                    }
                }
            },
        );
    }

    /// h = f ⊙ u, where `a` is the argument of f′; without u, h ← f ⊙ h.
    pub(crate) fn gate<T: Float, S: Stored<Compute = T>>(
        self,
        cpu: &CpuDevice,
        a: &[S],
        u: Option<&[S]>,
        h: &mut [S],
    ) {
        for_pieces(
            cpu,
            h,
            #[inline(always)]
            |start, h| {
                let mut block = [T::ZERO; BLOCK];
                for (i, h) in h.chunks_mut(BLOCK).enumerate() {
                    let start = start + i * BLOCK;
                    let f = load(&mut block, &a[start..][..h.len()]);
                    self.value_in_place(cpu, f);
                    if let Some(u) = u {
                        for ((h, &f), &u) in h.iter_mut().zip(&*f).zip(&u[start..]) {
                            *h = S::from_compute(f * u.compute());
                        }
                    } else {
                        for (h, &f) in h.iter_mut().zip(&*f) {
                            *h = S::from_compute(f * h.compute());
                        }
                    }
                }
            },
        );
    }

    /// With h = f ⊙ u: du = dh ⊙ f, and dz = dh ⊙ u ⊙ f′ in place of dh; rows of `width`.
    pub(crate) fn gate_backward<T: Float, S: Stored<Compute = T>>(
        self,
        cpu: &CpuDevice,
        (a, u): (&[S], &[S]),
        dh: &mut [S],
        du: &mut [S],
        width: usize,
    ) {
        let rows = dh.len() / width.max(1);
        for_rows(
            cpu,
            rows,
            width * 8,
            [(dh, width), (du, width)],
            #[inline(always)]
            |row, [dh, du]| {
                let (a, u) = (&a[row * width..][..width], &u[row * width..][..width]);
                let [mut values, mut products] = [[T::ZERO; BLOCK]; 2];
                for start in (0..width).step_by(BLOCK) {
                    let part = start..width.min(start + BLOCK);
                    let (dh, du) = (&mut dh[part.clone()], &mut du[part.clone()]);
                    let value = load(&mut values, &a[part.clone()]);
                    let product = load(&mut products, dh);
                    for (product, u) in product.iter_mut().zip(&u[part]) {
                        *product *= u.compute();
                    }
                    self.scale_in_place(cpu, value, product);
                    self.value_in_place(cpu, value);
                    let found = product.iter().zip(&*value);
                    for ((dh, du), (&product, &value)) in dh.iter_mut().zip(du).zip(found) {
                        *du = S::from_compute(dh.compute() * value);
                        *dh = S::from_compute(product);
                    }
                }
            },
        );
    }

    /// v = f from the argument of f′, which is f itself where that suffices.
    #[inline(always)]
    fn value_in_place<T: Float>(self, cpu: &CpuDevice, v: &mut [T]) {
        if self.derivative_from() == DerivativeFrom::Input {
            self.in_place(cpu, v);
        }
    }
}

/// The values in the type of their computation, at the start of a block.
#[inline(always)]
fn load<'a, S: Stored>(block: &'a mut [S::Compute; BLOCK], from: &[S]) -> &'a mut [S::Compute] {
    let block = &mut block[..from.len()];
    for (to, from) in block.iter_mut().zip(from) {
        *to = from.compute();
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_stays_nan_and_large_inputs_stay_finite() {
        for &activation in Activation::ALL {
            assert!(activation.f(f32::NAN).is_nan(), "{}", activation.name());
            for x in [-1e30f32, -1e4, -100.0, 100.0, 1e4, 1e18] {
                let y = activation.f(x);
                assert!(
                    y.is_finite() || activation == Activation::Relu2,
                    "{} of {x} is {y}",
                    activation.name()
                );
                let v = if activation.derivative_from() == DerivativeFrom::Input { x } else { y };
                let slope = activation.df(v);
                assert!(
                    !slope.is_nan() && slope.abs() <= 2.5e18,
                    "{}′ at {x} is {slope}",
                    activation.name()
                );
            }
        }
    }

    #[test]
    fn infinities_give_the_limits() {
        let inf = f64::INFINITY;
        for activation in [
            Activation::Sigmoid,
            Activation::Relu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Silu,
            Activation::Mish,
            Activation::Softplus,
            Activation::HardSigmoid,
            Activation::HardSwish,
            Activation::Relu2,
        ] {
            assert_eq!(activation.f(-inf), 0.0, "{}", activation.name());
        }
        assert_eq!(Activation::Elu { alpha: 2.0 }.f(-inf), -2.0);
        assert_eq!(Activation::Tanh.f(inf), 1.0);
        assert_eq!(Activation::Silu.f(inf), inf);
        assert_eq!(Activation::Mish.f(inf), inf);
    }
}
