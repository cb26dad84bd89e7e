//! The table of element-wise activations. A new one is a row here.

use crate::rows::rows;
use DerivativeFrom::{Input, Nothing, Output};
use WeightInit::{He, Lecun, Xavier};
use ff_kernels::Float;
use std::f64::consts::SQRT_2;

/// The argument from which f′ is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DerivativeFrom {
    Nothing,
    Output,
    Input,
}

/// The initialisation of a weight, with the gain that keeps the variance constant through the
/// activation after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WeightInit {
    /// For saturating functions and for outputs (Glorot and Bengio, 2010).
    Xavier(f64),
    /// For ReLU and its relatives (He et al., 2015).
    He(f64),
    /// For SELU (LeCun et al., 1998).
    Lecun(f64),
}

/// The columns of the table besides the functions.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) init: WeightInit,
    pub(super) derivative: DerivativeFrom,
}

pub(super) const SELU_LAMBDA: f64 = 1.050_700_987_355_480_5;
/// λα
pub(super) const SELU_ALPHA: f64 = SELU_LAMBDA * 1.673_263_242_354_377_2;

rows! { ($)
    /// An element-wise activation y = f(x).
    ///
    /// f′ is computed from the output where possible: the next layer keeps it in memory anyway, as
    /// its input.
    ///
    /// ```
    /// use ff_ops::Activation;
    /// assert_eq!(Activation::LeakyRelu { slope: 0.1 }.f(-2.0f64), -0.2);
    /// assert_eq!(Activation::Relu.df(4.0f64), 1.0);
    /// ```
    pub enum Activation with Columns;

    /// y = x
    Identity = "identity", "x", { init: Xavier(1.0), derivative: Nothing },
    |x| x,
    |_y| T::ONE;

    /// y = 1 / (1 + e⁻ˣ)
    Sigmoid = "sigmoid", "torch.sigmoid(x)", { init: Xavier(1.0), derivative: Output },
    |x| x.sigmoid(),
    |y| y * (T::ONE - y);

    /// y = tanh x
    Tanh = "tanh", "torch.tanh(x)", { init: Xavier(5.0 / 3.0), derivative: Output },
    |x| x.tanh(),
    |y| T::ONE - y * y;

    /// y = max(x, 0)
    Relu = "relu", "F.relu(x)", { init: He(SQRT_2), derivative: Output },
    |x| x.maximum(T::ZERO),
    |y| if y <= T::ZERO { T::ZERO } else { T::ONE };

    /// y = x for x > 0, else slope · x with slope ≥ 0
    LeakyRelu {
        /// The slope for x ≤ 0.
        slope = 0.01, "leaky_relu's slope must lie between 0 and 1" if (0.0..=1.0).contains(&slope)
    } = "leaky_relu", "F.leaky_relu(x, slope)", {
        init: He((2.0 / (1.0 + slope * slope)).sqrt()),
        derivative: Output,
    },
    |x| if x <= T::ZERO { x * slope } else { x },
    |y| if y <= T::ZERO { slope } else { T::ONE };

    /// y = min(max(x, 0), 6) (Krizhevsky, 2010)
    Relu6 = "relu6", "F.relu6(x)", { init: He(SQRT_2), derivative: Output },
    |x| x.maximum(T::ZERO).minimum(T::of(6.0)),
    |y| if y <= T::ZERO || y >= T::of(6.0) { T::ZERO } else { T::ONE };

    /// y = x for x > 0, else α(eˣ − 1) with α > 0 (Clevert et al., 2015)
    Elu {
        /// The negated limit at −∞.
        alpha = 1.0, "elu's alpha must be greater than 0" if alpha > 0.0 && alpha.is_finite()
    } = "elu", "F.elu(x, alpha)", { init: He(SQRT_2), derivative: Output },
    |x| if x <= T::ZERO { alpha * x.exp_m1() } else { x },
    |y| if y <= T::ZERO { y + alpha } else { T::ONE };

    /// y = λx for x > 0, else λα(eˣ − 1), self-normalising (Klambauer et al., 2017)
    Selu = "selu", "F.selu(x)", { init: Lecun(0.75), derivative: Output },
    |x| if x <= T::ZERO { T::of(SELU_ALPHA) * x.exp_m1() } else { T::of(SELU_LAMBDA) * x },
    |y| if y <= T::ZERO { y + T::of(SELU_ALPHA) } else { T::of(SELU_LAMBDA) };

    /// y = x Φ(x) = x/2 · (1 + erf(x/√2)) (Hendrycks and Gimpel, 2016)
    Gelu = "gelu", "F.gelu(x)", { init: He(SQRT_2), derivative: Input },
    |x| {
        let x = not_left(x);
        x * x.normal().0
    },
    |x| {
        let x = within(x);
        let (cumulative, density) = x.normal();
        cumulative + x * density
    };

    /// y = x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³))), GELU by its tanh approximation
    GeluTanh = "gelu_tanh", "F.gelu(x, approximate='tanh')", {
        init: He(SQRT_2),
        derivative: Input,
    },
    |x| {
        let x = not_left(x);
        x * gelu_tanh_argument(x).sigmoid()
    },
    |x| {
        let x = within(x);
        let s = gelu_tanh_argument(x).sigmoid();
        let (c2, k3) = (T::of(2.0 * SQRT_2_PI), T::of(3.0 * GELU_CUBIC));
        s + x * s * (T::ONE - s) * c2 * (T::ONE + k3 * x * x)
    };

    /// y = x σ(x)
    Silu = "silu", "F.silu(x)", { init: He(SQRT_2), derivative: Input },
    |x| {
        let x = not_left(x);
        x * x.sigmoid()
    },
    |x| {
        let x = within(x);
        let s = x.sigmoid();
        s * (T::ONE + x * (T::ONE - s))
    };

    /// y = x σ(1.702 x), the fast approximation of GELU (Hendrycks and Gimpel, 2016)
    QuickGelu = "quick_gelu", "x * torch.sigmoid(1.702 * x)", {
        init: He(SQRT_2),
        derivative: Input,
    },
    |x| {
        let x = not_left(x);
        x * (x * T::of(QUICK)).sigmoid()
    },
    |x| {
        let x = within(x);
        let s = (x * T::of(QUICK)).sigmoid();
        s * (T::ONE + x * T::of(QUICK) * (T::ONE - s))
    };

    /// y = x tanh(ln(1 + eˣ)) (Misra, 2019)
    Mish = "mish", "F.mish(x)", { init: He(SQRT_2), derivative: Input },
    |x| {
        let x = not_left(x);
        let (_, n) = exp_and_n(x);
        x * (n / (n + T::of(2.0)))
    },
    |x| {
        // With t = n / (n + 2) and n + 1 = (eˣ + 1)²: (1 − t²) σ(x) = 4 eˣ (eˣ + 1) / (n + 2)².
        let x = within(x);
        let (e, n) = exp_and_n(x);
        let r = T::ONE / (n + T::of(2.0));
        n * r + x * (T::of(4.0) * e * (e + T::ONE) * r * r)
    };

    /// y = ln(1 + eˣ)
    // PyTorch switches to the identity above a threshold, 20 by default.
    Softplus = "softplus", "F.softplus(x, threshold=700)", { init: He(SQRT_2), derivative: Output },
    |x| x.softplus(),
    |y| -(-y).exp_m1(); // σ(x) = 1 − e⁻ʸ

    /// y = clamp(x/6 + 1/2, 0, 1)
    // The backward pass of F.hardsigmoid multiplies by a sixth in f32, even for f64.
    HardSigmoid = "hard_sigmoid", "torch.clamp(x / 6 + 0.5, 0, 1)", {
        init: Xavier(1.0),
        derivative: Output,
    },
    |x| (x * T::of(1.0 / 6.0) + T::of(0.5)).maximum(T::ZERO).minimum(T::ONE),
    |y| if y <= T::ZERO || y >= T::ONE { T::ZERO } else { T::of(1.0 / 6.0) };

    /// y = x clamp(x/6 + 1/2, 0, 1)
    HardSwish = "hard_swish", "F.hardswish(x)", { init: He(SQRT_2), derivative: Input },
    |x| {
        let x = not_left(x);
        x * (x * T::of(1.0 / 6.0) + T::of(0.5)).maximum(T::ZERO).minimum(T::ONE)
    },
    |x| {
        if x <= -T::of(3.0) {
            T::ZERO
        } else if x >= T::of(3.0) {
            T::ONE
        } else {
            x * T::of(1.0 / 3.0) + T::of(0.5)
        }
    };

    /// y = max(x, 0)² (So et al., 2021)
    Relu2 = "relu2", "F.relu(x) ** 2", { init: He(SQRT_2), derivative: Output },
    |x| {
        let r = x.maximum(T::ZERO);
        r * r
    },
    |y| T::of(2.0) * y.sqrt();

    /// y = (x + √(x² + 4))/2 (Barron, "Squareplus: a softplus-like algebraic rectifier", 2021)
    Squareplus = "squareplus", "(x + torch.sqrt(x * x + 4)) / 2", {
        init: He(SQRT_2),
        derivative: Output,
    },
    |x| {
        // The root is |x| where x² would overflow; for x < 0, 2/(root − x) avoids cancellation.
        let root = if x.abs() > T::of(1e18) { x.abs() } else { (x * x + T::of(4.0)).sqrt() };
        if x > T::ZERO { (x + root) * T::of(0.5) } else { T::of(2.0) / (root - x) }
    },
    |y| if y > T::of(1e9) { T::ONE } else { y * y / (y * y + T::ONE) }; // x = y − 1/y
}

impl Activation {
    /// The initialisation suited to the weight before it.
    pub fn init(self) -> WeightInit {
        self.columns().init
    }

    pub(crate) fn derivative_from(self) -> DerivativeFrom {
        self.columns().derivative
    }
}

pub(super) const SQRT_2_PI: f64 = 0.797_884_560_802_865_4;
/// The factor of the quick GELU's argument.
pub(super) const QUICK: f64 = 1.702;
pub(super) const GELU_CUBIC: f64 = 0.044_715;
/// Below this bound, functions that would compute x · 0 return 0, which avoids −∞ · 0 = NaN.
pub(super) const LEFT: f64 = -1e4;

/// eˣ of x ≤ 20, with n = eˣ(eˣ + 2), so that tanh(ln(1 + eˣ)) = n / (n + 2) loses no digits for
/// negative x.
#[inline(always)]
pub(super) fn exp_and_n<T: Float>(x: T) -> (T, T) {
    // A selection that keeps NaN; for larger x the quotient is 1.
    let twenty = T::of(20.0);
    let e = (if x > twenty { twenty } else { x }).exp();
    (e, e * (e + T::of(2.0)))
}

/// √(2/π) (x + 0.044715 x³), doubled: 1 + tanh u = 2 σ(2u).
#[inline(always)]
pub(super) fn gelu_tanh_argument<T: Float>(x: T) -> T {
    T::of(2.0 * SQRT_2_PI) * (x + T::of(GELU_CUBIC) * x * x * x)
}

/// A value from −10⁴ to 10⁴; NaN stays NaN.
#[inline(always)]
pub(super) fn within<T: Float>(x: T) -> T {
    let x = not_left(x);
    if x > T::of(-LEFT) { T::of(-LEFT) } else { x }
}

#[inline(always)]
pub(super) fn not_left<T: Float>(x: T) -> T {
    if x < T::of(LEFT) { T::of(LEFT) } else { x }
}
