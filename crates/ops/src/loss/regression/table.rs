//! The table of regression losses. A new one is a row here, and a line in the registry.

use crate::rows::rows;
use ff_kernels::Float;

/// The columns of the table besides the functions.
#[derive(Debug)]
pub(super) struct Columns {
    /// The floating-point operations of one element's loss and of its gradient.
    pub(super) flops: [usize; 2],
}

rows! { ($)
    /// A loss of a predicted number x and its target t, with its derivative by x.
    ///
    /// ```
    /// use ff_ops::RegressionLoss;
    /// let huber = RegressionLoss::Huber { delta: 1.0 };
    /// assert_eq!((huber.name(), huber.attribute()), ("huber", Some(("delta", 1.0))));
    /// ```
    pub enum RegressionLoss with Columns;

    /// (x − t)², the squared error
    // Difference, square, sum; difference and product.
    Mse = "mse", "F.mse_loss(x, t, reduction='none')", { flops: [3, 2] },
    |x, t| (x - t) * (x - t),
    |x, t| T::of(2.0) * (x - t);

    /// |x − t|, the absolute error, with derivative 0 if both are equal
    // Difference, magnitude, sum; difference, sign, product.
    Mae = "mae", "F.l1_loss(x, t, reduction='none')", { flops: [3, 3] },
    |x, t| (x - t).abs(),
    |x, t| sign(x - t);

    /// e²/2 for |e| = |x − t| ≤ δ, else δ (|e| − δ/2) (Huber, 1964)
    // Difference, magnitude, comparison, two products, sum; difference, two comparisons, product.
    Huber {
        /// δ, the error at which the loss becomes linear.
        delta = 1.0, "delta must be greater than 0" if delta > 0.0 && delta.is_finite()
    } = "huber", "F.huber_loss(x, t, reduction='none', delta=delta)", { flops: [6, 4] },
    |x, t| {
        let e = (x - t).abs();
        if e <= delta { T::of(0.5) * e * e } else { delta * (e - T::of(0.5) * delta) }
    },
    |x, t| (x - t).minimum(delta).maximum(-delta); // NaN stays NaN.
}

/// −1, 0 or 1, and NaN for NaN.
#[inline(always)]
pub(super) fn sign<T: Float>(d: T) -> T {
    if d > T::ZERO {
        T::ONE
    } else if d < T::ZERO {
        -T::ONE
    } else {
        d
    }
}
