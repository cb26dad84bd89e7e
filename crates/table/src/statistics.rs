//! Means, deviations and quantiles.

/// The mean and the population's standard deviation, in two passes with the second's rounding error
/// taken out.
pub(crate) fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (mut n, mut sum, mut lost) = (0.0, 0.0, 0.0);
    for x in values.clone() {
        // Neumaier's sum: what an addition rounds away is kept and added at the end.
        let next: f64 = sum + x;
        lost += if sum.abs() >= x.abs() { (sum - next) + x } else { (x - next) + sum };
        sum = next;
        n += 1.0;
    }
    if n == 0.0 {
        return (0.0, 0.0);
    }
    let mut mean = (sum + lost) / n;
    if !mean.is_finite() {
        mean = values.clone().map(|x| x / n).sum();
    }
    let (squares, drift) = values.fold((0.0, 0.0), |(squares, drift), x| {
        let d = x - mean;
        (squares + d * d, drift + d)
    });
    (mean, ((squares - drift * drift / n) / n).max(0.0).sqrt())
}

/// The median of unsorted values, which it reorders; NaN of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let middle = values.len() / 2;
    let (below, &mut high, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let low = below.iter().copied().max_by(f64::total_cmp);
    match low.filter(|_| values.len().is_multiple_of(2)) {
        Some(low) => low + (high - low) / 2.0,
        None => high,
    }
}

/// The quantile of sorted values, linear between neighbours (NumPy's default).
pub(crate) fn quantile_sorted(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q * last as f64;
    let below = (at.floor() as usize).min(last);
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    if low == high { low } else { low + (high - low) * (at - below as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_agree_with_sorting() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 8.0]), 3.0);
        assert_eq!(median(&mut [5.0]), 5.0);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn moments_survive_a_large_offset() {
        let (mean, std) = moments([1e9, 1e9 + 1.0, 1e9 + 2.0].into_iter());
        assert_eq!(mean, 1e9 + 1.0);
        assert!((std - (2.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(moments(std::iter::empty()), (0.0, 0.0));
        assert_eq!(moments([7.0; 3].into_iter()), (7.0, 0.0));
    }
}
