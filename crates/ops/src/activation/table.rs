//! The table of element-wise activations: a row is a name, f, f′ and what f′ is computed from.

use ff_kernels::{Float, Stored, map, map2, zip_into};
use ff_tensor::CpuDevice;

/// An element-wise activation y = f(x).
///
/// f′ is computed from the output wherever that suffices: the output is there anyway, since the next layer keeps it as
/// its input.
///
/// ```
/// use ff_ops::Activation;
/// assert_eq!(Activation::LeakyRelu { slope: 0.1 }.f(-2.0f64), -0.2);
/// assert_eq!(Activation::Relu.df(4.0f64), 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// y = x
    Identity,
    /// y = 1 / (1 + e⁻ˣ), `torch.nn.Sigmoid`
    Sigmoid,
    /// y = tanh x, `torch.nn.Tanh`
    Tanh,
    /// y = max(x, 0), `torch.nn.ReLU`
    Relu,
    /// y = x for x > 0, else slope · x with slope ≥ 0, `torch.nn.LeakyReLU`
    LeakyRelu {
        /// The slope left of 0.
        slope: f64,
    },
    /// y = x for x > 0, else α(eˣ − 1) with α > 0, `torch.nn.ELU` (Clevert et al., 2015)
    Elu {
        /// Minus the limit at −∞.
        alpha: f64,
    },
    /// y = λx for x > 0, else λα(eˣ − 1), `torch.nn.SELU` (Klambauer et al., 2017)
    Selu,
    /// y = x Φ(x) = x/2 · (1 + erf(x/√2)), `torch.nn.GELU` (Hendrycks and Gimpel, 2016)
    Gelu,
    /// y = x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³))), `torch.nn.GELU(approximate="tanh")`
    GeluTanh,
    /// y = x σ(x), `torch.nn.SiLU`
    Silu,
    /// y = x tanh(ln(1 + eˣ)), `torch.nn.Mish` (Misra, 2019)
    Mish,
    /// y = ln(1 + eˣ), `torch.nn.Softplus`
    Softplus,
    /// y = clamp(x/6 + 1/2, 0, 1), `torch.nn.Hardsigmoid`
    HardSigmoid,
    /// y = x clamp(x/6 + 1/2, 0, 1), `torch.nn.Hardswish`
    HardSwish,
    /// y = max(x, 0)², (So et al., 2021)
    Relu2,
}

/// What f′ is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Nothing,
    Output,
    Input,
}

const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_LAMBDA: f64 = 1.050_700_987_355_480_5;
const SQRT_2_PI: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;
/// Left of this, functions that end in x · 0 are 0; it keeps −∞ · 0 = NaN away.
const LEFT: f64 = -1e4;

/// eˣ of x ≤ 20, with n = eˣ(eˣ + 2), of which tanh(ln(1 + eˣ)) = n / (n + 2) loses nothing for negative x.
#[inline(always)]
fn exp_and_n<T: Float>(x: T) -> (T, T) {
    // A choice that keeps NaN; further right the quotient is 1.
    let twenty = T::of(20.0);
    let e = (if x > twenty { twenty } else { x }).exp();
    (e, e * (e + T::of(2.0)))
}

/// √(2/π) (x + 0.044715 x³), doubled: 1 + tanh u = 2 σ(2u).
#[inline(always)]
fn gelu_tanh_argument<T: Float>(x: T) -> T {
    T::of(2.0 * SQRT_2_PI) * (x + T::of(GELU_CUBIC) * x * x * x)
}

/// A value from −10⁴ to 10⁴; NaN stays NaN.
#[inline(always)]
fn within<T: Float>(x: T) -> T {
    let x = not_left(x);
    if x > T::of(-LEFT) { T::of(-LEFT) } else { x }
}

#[inline(always)]
fn not_left<T: Float>(x: T) -> T {
    if x < T::of(LEFT) { T::of(LEFT) } else { x }
}

/// A row of the table: both functions are inlined into the loop around them for each instruction set, and own what they
/// capture, so that it can be kept in registers.
macro_rules! row {
    ($go:ident, $T:ident, |$x:ident| $f:expr, |$y:ident| $df:expr) => {
        $go!(
            #[inline(always)]
            move |$x: $T| $f,
            #[inline(always)]
            move |$y: $T| $df
        )
    };
}

/// Calls `$go(f, df)` with the two functions of one row, so that the loop around them is compiled for each.
macro_rules! with_functions {
    ($activation:expr, $T:ident, $go:ident) => {{
        let (zero, one, half) = ($T::ZERO, $T::ONE, $T::of(0.5));
        match $activation {
            Activation::Identity => row!($go, $T, |x| x, |_y| one),
            Activation::Sigmoid => row!($go, $T, |x| x.sigmoid(), |y| y * (one - y)),
            Activation::Tanh => row!($go, $T, |x| x.tanh(), |y| one - y * y),
            Activation::Relu => {
                row!($go, $T, |x| x.maximum(zero), |y| if y <= zero { zero } else { one })
            }
            Activation::LeakyRelu { slope } => {
                let s = $T::of(slope);
                row!(
                    $go,
                    $T,
                    |x| if x <= zero { x * s } else { x },
                    |y| if y <= zero { s } else { one }
                )
            }
            Activation::Elu { alpha } => {
                let a = $T::of(alpha);
                row!(
                    $go,
                    $T,
                    |x| if x <= zero { a * x.exp_m1() } else { x },
                    |y| if y <= zero { y + a } else { one }
                )
            }
            Activation::Selu => {
                let (l, la) = ($T::of(SELU_LAMBDA), $T::of(SELU_LAMBDA * SELU_ALPHA));
                row!(
                    $go,
                    $T,
                    |x| if x <= zero { la * x.exp_m1() } else { l * x },
                    |y| if y <= zero { y + la } else { l }
                )
            }
            Activation::Gelu => row!(
                $go,
                $T,
                |x| {
                    let x = not_left(x);
                    x * x.normal().0
                },
                |x| {
                    let x = within(x);
                    let (cumulative, density) = x.normal();
                    cumulative + x * density
                }
            ),
            Activation::GeluTanh => {
                let (c2, k3) = ($T::of(2.0 * SQRT_2_PI), $T::of(3.0 * GELU_CUBIC));
                row!(
                    $go,
                    $T,
                    |x| {
                        let x = not_left(x);
                        x * gelu_tanh_argument(x).sigmoid()
                    },
                    |x| {
                        let x = within(x);
                        let s = gelu_tanh_argument(x).sigmoid();
                        s + x * s * (one - s) * c2 * (one + k3 * x * x)
                    }
                )
            }
            Activation::Silu => row!(
                $go,
                $T,
                |x| {
                    let x = not_left(x);
                    x * x.sigmoid()
                },
                |x| {
                    let x = within(x);
                    let s = x.sigmoid();
                    s * (one + x * (one - s))
                }
            ),
            Activation::Mish => {
                let (two, four) = ($T::of(2.0), $T::of(4.0));
                row!(
                    $go,
                    $T,
                    |x| {
                        let x = not_left(x);
                        let (_, n) = exp_and_n(x);
                        x * (n / (n + two))
                    },
                    |x| {
                        // With t = n / (n + 2) and n + 1 = (eˣ + 1)²: (1 − t²) σ(x) = 4 eˣ (eˣ + 1) / (n + 2)².
                        let x = within(x);
                        let (e, n) = exp_and_n(x);
                        let r = one / (n + two);
                        n * r + x * (four * e * (e + one) * r * r)
                    }
                )
            }
            Activation::Softplus => row!(
                $go,
                $T,
                |x| x.softplus(),
                // σ(x) = 1 − e⁻ʸ
                |y| -(-y).exp_m1()
            ),
            Activation::HardSigmoid => {
                let sixth = $T::of(1.0 / 6.0);
                row!(
                    $go,
                    $T,
                    |x| (x * sixth + half).maximum(zero).minimum(one),
                    |y| if y <= zero || y >= one { zero } else { sixth }
                )
            }
            Activation::HardSwish => {
                let (three, sixth) = ($T::of(3.0), $T::of(1.0 / 6.0));
                row!(
                    $go,
                    $T,
                    |x| {
                        let x = not_left(x);
                        x * (x * sixth + half).maximum(zero).minimum(one)
                    },
                    |x| {
                        if x <= -three {
                            zero
                        } else if x >= three {
                            one
                        } else {
                            x * $T::of(1.0 / 3.0) + half
                        }
                    }
                )
            }
            Activation::Relu2 => row!(
                $go,
                $T,
                |x| {
                    let r = x.maximum(zero);
                    r * r
                },
                |y| $T::of(2.0) * y.sqrt()
            ),
        }
    }};
}

impl Activation {
    /// One of each, with the usual attributes: what tables and tests walk over.
    pub const ALL: [Activation; 15] = [
        Activation::Identity,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.01 },
        Activation::Elu { alpha: 1.0 },
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Mish,
        Activation::Softplus,
        Activation::HardSigmoid,
        Activation::HardSwish,
        Activation::Relu2,
    ];

    /// Its name in recipes and tables.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Elu { .. } => "elu",
            Activation::Selu => "selu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
            Activation::Mish => "mish",
            Activation::Softplus => "softplus",
            Activation::HardSigmoid => "hard_sigmoid",
            Activation::HardSwish => "hard_swish",
            Activation::Relu2 => "relu2",
        }
    }

    pub(crate) fn derivative_from(self) -> From {
        match self {
            Activation::Identity => From::Nothing,
            Activation::Gelu
            | Activation::GeluTanh
            | Activation::Silu
            | Activation::Mish
            | Activation::HardSwish => From::Input,
            _ => From::Output,
        }
    }

    /// Whether the attributes are in their domain.
    ///
    /// # Errors
    /// They are not; the message is for a person.
    pub fn validate(self) -> Result<(), String> {
        match self {
            Activation::LeakyRelu { slope } if !(0.0..=1.0).contains(&slope) => {
                Err(format!("leaky_relu's slope must lie between 0 and 1, found {slope}"))
            }
            Activation::Elu { alpha } if !(alpha > 0.0 && alpha.is_finite()) => {
                Err(format!("elu's alpha must be greater than 0, found {alpha}"))
            }
            _ => Ok(()),
        }
    }

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

    /// f′, from the output for those activations that need no more, else from the input.
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

    /// dx = dy ⊙ f′, or dx += where `accumulate` is set; `kept` is what f′ is computed from.
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

    /// dz = dy ⊙ f′ in place of dy, and db\[j\] = Σ dz\[·, j\] or db += where `accumulate` is set; `kept` is what f′ is computed
    /// from.
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

    /// h = f ⊙ u, where `a` is what f′ is computed from; u is h itself where it is `None`.
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
                let output = self.derivative_from() != From::Input;
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
                let output = self.derivative_from() != From::Input;
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
        for activation in Activation::ALL {
            assert!(activation.f(f32::NAN).is_nan(), "{}", activation.name());
            for x in [-1e30f32, -1e4, -100.0, 100.0, 1e4, 1e18] {
                let y = activation.f(x);
                assert!(
                    y.is_finite() || activation == Activation::Relu2,
                    "{} of {x} is {y}",
                    activation.name()
                );
                let v = if activation.derivative_from() == From::Input { x } else { y };
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
