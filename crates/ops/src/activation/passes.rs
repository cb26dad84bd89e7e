//! The passes over slices that apply an activation.

#[allow(clippy::wildcard_imports)] // The rows of the table expand here, with their helpers.
use super::table::*;
use ff_kernels::{Float, Stored, for_rows, map, map2, zip_into};
use ff_tensor::CpuDevice;

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

    /// y = f(x).
    pub(crate) fn forward<T: Float, S: Stored<Compute = T>>(
        self,
        cpu: &CpuDevice,
        x: &[S],
        y: &mut [S],
    ) {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, _) = ($f, $df);
                map(cpu, x, y, f)
            }};
        }
        with_functions!(self, T, go);
    }

    /// y = f(y), in place, on the calling thread.
    pub(crate) fn in_place<T: Float>(self, cpu: &CpuDevice, y: &mut [T]) {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, _) = ($f, $df);
                ff_kernels::dispatch(
                    cpu,
                    #[inline(always)]
                    || {
                        let own = f;
                        for y in &mut *y {
                            *y = own(*y);
                        }
                    },
                )
            }};
        }
        with_functions!(self, T, go);
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
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (_, df) = ($f, $df);
                map2(
                    cpu,
                    dy,
                    kept,
                    dx,
                    accumulate,
                    #[inline(always)]
                    move |dy, v| dy * df(v),
                )
            }};
        }
        with_functions!(self, T, go);
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
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (_, df) = ($f, $df);
                match dbias {
                    None => zip_into(
                        cpu,
                        kept,
                        dy,
                        #[inline(always)]
                        move |dy, v| dy * df(v),
                    ),
                    Some((dbias, accumulate)) => ff_kernels::zip_sum_columns(
                        cpu,
                        kept,
                        dy,
                        dbias,
                        accumulate,
                        #[inline(always)]
                        move |dy, v| dy * df(v),
                    ),
                }
            }};
        }
        with_functions!(self, T, go);
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
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, _) = ($f, $df);
                let (rows, work) = (y.len() / width.max(1), width * 8);
                let Some(gap) = gap else {
                    return for_rows(
                        cpu,
                        rows,
                        work,
                        [(y, width)],
                        #[inline(always)]
                        |row, [y]| {
                            let own = f;
                            let x = &x[row * width..][..width];
                            for ((y, &x), &a) in y.iter_mut().zip(x).zip(share) {
                                *y = x + a * (own(x) - x);
                            }
                        },
                    );
                };
                for_rows(
                    cpu,
                    rows,
                    work,
                    [(y, width), (gap, width)],
                    #[inline(always)]
                    |row, [y, gap]| {
                        let own = f;
                        let x = &x[row * width..][..width];
                        for (((y, gap), &x), &a) in y.iter_mut().zip(gap).zip(x).zip(share) {
                            let g = own(x) - x;
                            *gap = g;
                            *y = x + a * g;
                        }
                    },
                )
            }};
        }
        with_functions!(self, T, go);
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
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (_, df) = ($f, $df);
                let output = super::parametric::from_output(self);
                for_rows(
                    cpu,
                    dx.len() / width.max(1),
                    width * 8,
                    [(dx, width)],
                    #[inline(always)]
                    |row, [dx]| {
                        let (slope, output, accumulate) = (df, output, accumulate);
                        let part = row * width..(row + 1) * width;
                        let (x, gap, dy) = (&x[part.clone()], &gap[part.clone()], &dy[part]);
                        let values = x.iter().zip(gap).zip(dy).zip(share);
                        for (dx, (((&x, &g), &dy), &a)) in dx.iter_mut().zip(values) {
                            let v = if output { x + g } else { x };
                            let d = dy * (T::ONE + a * (slope(v) - T::ONE));
                            *dx = if accumulate { *dx + d } else { d };
                        }
                    },
                )
            }};
        }
        with_functions!(self, T, go);
    }

    /// h = f ⊙ u, where `a` is the argument of f′; without u, h ← f ⊙ h.
    pub(crate) fn gate<T: Float, S: Stored<Compute = T>>(
        self,
        cpu: &CpuDevice,
        a: &[S],
        u: Option<&[S]>,
        h: &mut [S],
    ) {
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, _) = ($f, $df);
                let output = self.derivative_from() != DerivativeFrom::Input;
                ff_kernels::for_pieces(
                    cpu,
                    h,
                    #[inline(always)]
                    |start, h| {
                        let own = f;
                        let value = |a: T| if output { a } else { own(a) };
                        let a = &a[start..];
                        if let Some(u) = u {
                            for ((h, &a), &u) in h.iter_mut().zip(a).zip(&u[start..]) {
                                *h = S::from_compute(value(a.compute()) * u.compute());
                            }
                        } else {
                            for (h, &a) in h.iter_mut().zip(a) {
                                *h = S::from_compute(value(a.compute()) * h.compute());
                            }
                        }
                    },
                )
            }};
        }
        with_functions!(self, T, go);
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
        macro_rules! go {
            ($f:expr, $df:expr) => {{
                let (f, df) = ($f, $df);
                let output = self.derivative_from() != DerivativeFrom::Input;
                let rows = dh.len() / width.max(1);
                ff_kernels::for_rows(
                    cpu,
                    rows,
                    width * 8,
                    [(dh, width), (du, width)],
                    #[inline(always)]
                    |row, [dh, du]| {
                        let (own, slope) = (f, df);
                        let (a, u) = (&a[row * width..][..width], &u[row * width..][..width]);
                        for (((dh, du), &a), &u) in dh.iter_mut().zip(du).zip(a).zip(u) {
                            let (a, u, d) = (a.compute(), u.compute(), dh.compute());
                            let value = if output { a } else { own(a) };
                            *du = S::from_compute(d * value);
                            *dh = S::from_compute(d * u * slope(a));
                        }
                    },
                )
            }};
        }
        with_functions!(self, T, go);
    }
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
