//! Compares an f32 function with its f64 counterpart.

/// Every 1999th f32 of both signs, about two million, preceded by special values such as NaN and
/// the infinities.
pub(super) fn samples() -> impl Iterator<Item = f32> {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
    let edges = [1e-45, f32::MIN_POSITIVE, f32::MAX, 1.0, 88.722_83, 88.722_84, 103.972_08];
    let edges = edges.into_iter().flat_map(|x| [x, -x]);
    // A prime stride, so that the last bits vary.
    let strided = (0..=u32::MAX).step_by(1999).map(f32::from_bits);
    special.into_iter().chain(edges).chain(strided)
}

/// |y − exact| in units of the last place of the f32 nearest to `exact`.
fn ulps(y: f32, exact: f64) -> f64 {
    let near = exact as f32;
    if y.is_nan() || exact.is_nan() || near.is_infinite() || y.is_infinite() {
        let same = y == near || y.is_nan() && exact.is_nan();
        return if same { 0.0 } else { f64::INFINITY };
    }
    let exponent = (near.abs().to_bits() >> 23).max(1) as i32 - 127;
    (f64::from(y) - exact).abs() / 2f64.powi(exponent - 23)
}

/// Asserts that the greatest error over [`samples`] is at most `most` ulp, and more than half of
/// that: the bound is tight.
pub(super) fn sweep(name: &str, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, most: f64) {
    let mut worst = (0.0, 0.0);
    for x in samples() {
        let error = ulps(f(x), exact(x.into()));
        if error.is_nan() || error > worst.0 {
            worst = (error, x);
        }
    }
    assert!(worst.0 <= most, "{name}({}) is {} ulp off, {most} allowed", worst.1, worst.0);
    assert!(worst.0 > most / 2.0, "{name}: the worst is {} ulp, {most} is too lenient", worst.0);
}

/// Asserts exact results for these values, including the sign of zero.
pub(super) fn assert_bits(f: impl Fn(f32) -> f32, expected: &[(f32, f32)]) {
    for &(x, y) in expected {
        assert_eq!(f(x).to_bits(), y.to_bits(), "{x}: {} for {y}", f(x));
    }
}
