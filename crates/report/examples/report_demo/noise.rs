//! Reproducible noise and a few shapes for made-up figures.

/// A small linear congruential generator.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }

    /// Nearly normal: the sum of twelve uniform numbers, less six.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// `n` equal steps from `low` to `high`.
pub(crate) fn steps(low: f64, high: f64, n: usize) -> Vec<f64> {
    (0..n).map(|i| low + (high - low) * i as f64 / (n - 1) as f64).collect()
}

/// Counts of a bell around `centre` in `bins` bins over [0, 1], of `total` values.
pub(crate) fn bell(centre: f64, width: f64, bins: usize, total: f64) -> Vec<u64> {
    let at = |i: usize| {
        (-((i as f64 + 0.5) / bins as f64 - centre).powi(2) / (2.0 * width * width)).exp()
    };
    let sum: f64 = (0..bins).map(at).sum();
    (0..bins).map(|i| (at(i) / sum * total).round() as u64).collect()
}
