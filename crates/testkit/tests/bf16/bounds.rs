//! Error bounds of bf16 results.
//!
//! A bf16 has 8 bits, so rounding to nearest errs by at most u = 2⁻⁸ of the value. The exact
//! operation gets rounded operands, so that only the rounding of values kept in bf16 remains: z, u,
//! h, dh, du and dz, and the results. With independent errors of at most bᵢ and mean about zero, a
//! sum Σ eᵢ exceeds t with a probability of at most 2 exp(−t² / 2 Σ bᵢ²) (Hoeffding, 1963); t = 5
//! √(Σ bᵢ²) leaves one in 10⁵, and rounding errors are mostly far below bᵢ. Bounds never exceed Σ
//! bᵢ. Errors of f32 stay below 2⁻²⁰ of Σ |terms|.

use crate::run::{Inputs, Outcome, exact};
use ff_ops::{Activation, Feedforward, FeedforwardBf16, FeedforwardBlock};
use ff_tensor::DType;

/// The rounding error of bf16, relative to the value.
pub(crate) const U: f64 = 1.0 / 256.0;

/// The error of f32 sums, relative to the sum of the magnitudes of their terms.
const S: f64 = 1.0 / (1 << 20) as f64;

/// The difference of a value from the exact one.
type Bounds = Vec<f64>;

/// Exact results with error bounds.
pub(crate) struct Expected {
    values: Outcome,
    y: Bounds,
    dx: Vec<Bounds>,
}

/// A matrix with strides, also readable as its transpose.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f64],
    rows: usize,
    cols: usize,
    steps: (usize, usize),
}

impl<'a> Matrix<'a> {
    fn new(values: &'a [f64], rows: usize, cols: usize) -> Self {
        Self { values, rows, cols, steps: (cols, 1) }
    }

    fn t(self) -> Self {
        let (row, col) = self.steps;
        Self { rows: self.cols, cols: self.rows, steps: (col, row), ..self }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.steps.0 + j * self.steps.1]
    }
}

/// A · B.
fn product(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f64> {
    sums(a, b, |a, b| a * b)
}

/// The bounds of A · B for errors of at most `off` in A.
fn product_bounds(a: Matrix<'_>, off: Matrix<'_>, b: Matrix<'_>) -> Bounds {
    let squares = sums(off, b, |off, b| (off * b).powi(2));
    let most = sums(off, b, |off, b| (off * b).abs());
    let sizes = sums(a, b, |a, b| (a * b).abs());
    let rounding =
        squares.iter().zip(&most).map(|(squares, most)| (5.0 * squares.sqrt()).min(*most));
    rounding.zip(&sizes).map(|(rounding, size)| rounding + S * size).collect()
}

fn sums(a: Matrix<'_>, b: Matrix<'_>, term: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let of = |i, j| (0..a.cols).map(|k| term(a.at(i, k), b.at(k, j))).sum();
    (0..a.rows).flat_map(|i| (0..b.cols).map(move |j| (i, j))).map(|(i, j)| of(i, j)).collect()
}

/// Adds the rounding of the result itself.
fn stored(mut bounds: Bounds, values: &[f64], dtype: DType) -> Bounds {
    if dtype == DType::BF16 {
        bounds.iter_mut().zip(values).for_each(|(bound, v)| *bound += 1.01 * U * v.abs());
    }
    bounds
}

fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

/// f′ from z.
fn derivative(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu => f64::from(z > 0.0),
        // From the input.
        other => other.df(z),
    }
}

fn with_bias(mut z: Vec<f64>, bias: Option<&Vec<f64>>) -> Vec<f64> {
    for (i, z) in z.iter_mut().enumerate() {
        *z += bias.map_or(0.0, |bias| bias[i % bias.len()]);
    }
    z
}

impl Expected {
    /// y = f(z) and dz = dy f′(z).
    ///
    /// The rounding of dz adds an error of u |dy| f′, the rounding of z one of u |dy z f″|; gelu
    /// has |f′| < 1.13 and |z f″| < 0.34. Identity and ReLU have f′ of 0 and 1, without rounding.
    pub(crate) fn layer(op: FeedforwardBf16, inputs: &Inputs) -> Self {
        let FeedforwardBf16 { activation, bias, output } = op;
        let values = exact(&Feedforward::op(activation, bias), inputs);
        let rounded = inputs.rounded();
        let (rows, features, out) = (inputs.dims[0][0], inputs.dims[0][1], inputs.dims[1][0]);
        let x = Matrix::new(&rounded[0], rows, features);
        let w = Matrix::new(&rounded[1], out, features);
        let z = with_bias(product(x, w.t()), rounded.get(2));
        let dz = zip(&inputs.dy, &z, |dy, z| dy * derivative(activation, z));
        let exact = matches!(activation, Activation::Identity | Activation::Relu);
        let off: Bounds =
            inputs.dy.iter().map(|dy| if exact { 0.0 } else { 1.5 * U * dy.abs() }).collect();
        let none = vec![0.0; x.values.len()];
        // 1.2 for the slope of gelu.
        let y = product_bounds(x, Matrix::new(&none, rows, features), w.t());
        let y = y
            .iter()
            .enumerate()
            .map(|(i, y)| 1.2 * (y + S * rounded.get(2).map_or(0.0, |bias| bias[i % out].abs())));
        let y = stored(y.collect(), &values.y, output);
        let (dz, off) = (Matrix::new(&dz, rows, out), Matrix::new(&off, rows, out));
        let dx = stored(product_bounds(dz, off, w), &values.dx[0], inputs.x);
        let mut dx = vec![dx, product_bounds(dz.t(), off.t(), x)];
        if bias {
            let ones = vec![1.0; rows];
            dx.push(product_bounds(dz.t(), off.t(), Matrix::new(&ones, rows, 1)));
        }
        Self { values, y, dx }
    }

    /// h = f(z) ⊙ u; with roundings of z, u and h, its error is (1.13 + 1 + 1) u |z u|, since
    /// |f(z)| ≤ |z|; without a gate by 2.13 u |z|. dh is rounded. du = dh ⊙ f(z) has an error of (1
    /// + 1.13 + 1) u |dh z|, and dz = dh ⊙ u ⊙ f′(z) one of (1.13 + 1.13 + 0.34 + 1.13) u |dh u|.
    ///
    /// So 4 u suffices everywhere.
    pub(crate) fn block(op: FeedforwardBlock, inputs: &Inputs) -> Self {
        let FeedforwardBlock { activation, gated, bias, .. } = op;
        let values = exact(&FeedforwardBlock { bf16: false, ..op }.op(), inputs);
        let rounded = inputs.rounded();
        let (rows, features, hidden) = (inputs.dims[0][0], inputs.dims[0][1], inputs.dims[1][0]);
        let last = if gated { 3 } else { 2 };
        let out = inputs.dims[last][0];
        let x = Matrix::new(&rounded[0], rows, features);
        let up = |i: usize| Matrix::new(&rounded[i], hidden, features);
        let down = Matrix::new(&rounded[last], out, hidden);
        let biases = |i: usize| rounded.get(last + i);
        let z = with_bias(product(x, up(1).t()), biases(1));
        let u = if gated {
            with_bias(product(x, up(2).t()), biases(2))
        } else {
            vec![1.0; rows * hidden]
        };
        let h = zip(&z, &u, |z, u| activation.f(z) * u);
        let h_off = zip(&z, &u, |z, u| 4.0 * U * (z * u).abs());
        let dy = Matrix::new(&inputs.dy, rows, out);
        let dh = product(dy, down);
        let dz = zip(&zip(&dh, &u, |dh, u| dh * u), &z, |d, z| d * derivative(activation, z));
        let dz_off = zip(&dh, &u, |dh, u| 4.0 * U * (dh * u).abs());
        let du = zip(&dh, &z, |dh, z| dh * activation.f(z));
        let du_off = zip(&dh, &z, |dh, z| 4.0 * U * (dh * z).abs());
        let wide = |values| Matrix::new(values, rows, hidden);
        let y = product_bounds(wide(&h), wide(&h_off), down.t());
        let y = y.iter().enumerate();
        let y = y.map(|(i, y)| y + S * biases(last).map_or(0.0, |bias| bias[i % out].abs()));
        let y = stored(y.collect(), &values.y, inputs.y);
        let none = vec![0.0; inputs.dy.len()];
        let mut first = product_bounds(wide(&dz), wide(&dz_off), up(1));
        if gated {
            // The first part is rounded before the second is added.
            let part = product(wide(&dz), up(1));
            let second = product_bounds(wide(&du), wide(&du_off), up(2));
            first = zip(&stored(first, &part, inputs.x), &second, |a, b| a + b);
        }
        let mut dx = vec![stored(first, &values.dx[0], inputs.x)];
        dx.push(product_bounds(wide(&dz).t(), wide(&dz_off).t(), x));
        if gated {
            dx.push(product_bounds(wide(&du).t(), wide(&du_off).t(), x));
        }
        dx.push(product_bounds(wide(&h).t(), wide(&h_off).t(), dy));
        // As dW₂ is [out, hidden].
        let transposed = Matrix::new(&dx[last], hidden, out).t();
        dx[last] = (0..out * hidden).map(|i| transposed.at(i / hidden, i % hidden)).collect();
        if bias {
            let ones = vec![1.0; rows];
            let ones = Matrix::new(&ones, rows, 1);
            dx.push(product_bounds(wide(&dz).t(), wide(&dz_off).t(), ones));
            if gated {
                dx.push(product_bounds(wide(&du).t(), wide(&du_off).t(), ones));
            }
            dx.push(product_bounds(dy.t(), Matrix::new(&none, rows, out).t(), ones));
        }
        Self { values, y, dx }
    }

    pub(crate) fn assert(&self, found: &Outcome, what: &str) {
        assert_eq!(self.values.dx.len(), found.dx.len(), "{what}");
        compare(&self.values.y, &self.y, &found.y, &format!("y of {what}"));
        for (i, ((expected, bounds), found)) in
            self.values.dx.iter().zip(&self.dx).zip(&found.dx).enumerate()
        {
            compare(expected, bounds, found, &format!("the gradient of input {i} of {what}"));
        }
    }
}

fn compare(expected: &[f64], bounds: &[f64], found: &[f64], what: &str) {
    assert_eq!((expected.len(), bounds.len()), (found.len(), found.len()), "{what}");
    for (i, ((expected, bound), found)) in expected.iter().zip(bounds).zip(found).enumerate() {
        let error = (expected - found).abs();
        assert!(
            error <= bound + 1e-30,
            "{what}, value {i}: expected {expected}, found {found}, off by {error:e} of {bound:e}"
        );
    }
}
