//! Thinning of points without visible change.

/// At most `limit` indices of a line that preserve its shape: the minimum and maximum of each
/// stretch, the ends, and one index of each gap.
///
/// Unlike with plain striding, peaks survive, and so do gaps: a NaN at step 40,012 stays visible.
pub(crate) fn min_max(y: &[f64], limit: usize) -> Vec<usize> {
    let limit = limit.max(8);
    if y.len() <= limit {
        return (0..y.len()).collect();
    }
    // Each stretch yields its minimum, its maximum and possibly a gap, besides the two ends.
    let stretches = (limit - 2) / 3;
    let mut keep = Vec::with_capacity(limit);
    keep.push(0);
    for s in 0..stretches {
        let (from, to) = (s * y.len() / stretches, (s + 1) * y.len() / stretches);
        let finite = || (from..to).filter(|&i| y[i].is_finite());
        keep.extend(finite().min_by(|&a, &b| y[a].total_cmp(&y[b])));
        keep.extend(finite().max_by(|&a, &b| y[a].total_cmp(&y[b])));
        keep.extend((from..to).find(|&i| !y[i].is_finite()));
    }
    keep.push(y.len() - 1);
    keep.sort_unstable();
    keep.dedup();
    keep
}

/// At most `limit` of `n` indices, evenly spaced and deterministic.
pub(crate) fn spread(n: usize, limit: usize) -> Vec<usize> {
    if n <= limit {
        return (0..n).collect();
    }
    (0..limit).map(|i| i * n / limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_gaps_and_ends_survive() {
        let mut y: Vec<f64> = (0..100_000).map(|i| f64::from(i).sin()).collect();
        y[40_012] = 50.0;
        y[70_001] = f64::NAN;
        let kept = min_max(&y, 1000);
        assert!(kept.len() <= 1000, "{}", kept.len());
        for i in [0, 40_012, 70_001, 99_999] {
            assert!(kept.contains(&i), "{i}");
        }
        assert!(kept.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn short_and_empty_series_are_left_alone() {
        assert_eq!(min_max(&[], 10), Vec::<usize>::new());
        assert_eq!(min_max(&[1.0; 10], 10).len(), 10);
        assert!(min_max(&[f64::NAN; 1000], 10).len() <= 10);
    }

    #[test]
    fn spread_is_even() {
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert_eq!(spread(10, 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(0, 5), Vec::<usize>::new());
    }
}
