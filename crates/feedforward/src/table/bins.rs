//! Where the bins of numbers lie.

use ff_table::Encoded;

/// Quantiles of so many rows tell as much as those of all.
const ROWS: usize = 1 << 16;

/// The edges of the bins of every numeric input: distinct quantiles of the training part, as
/// `torch.quantile` interpolates them; none for an input of one or two values, such as a flag.
pub(super) fn edges(train: &Encoded, most: usize) -> Vec<Vec<f32>> {
    let step = train.rows.div_ceil(ROWS).max(1);
    (0..train.n_numeric)
        .map(|column| {
            let values = train.numeric.iter().skip(column).step_by(train.n_numeric * step);
            let mut values: Vec<f32> = values.copied().filter(|v| v.is_finite()).collect();
            values.sort_unstable_by(f32::total_cmp);
            quantiles(&values, most)
        })
        .collect()
}

fn quantiles(sorted: &[f32], most: usize) -> Vec<f32> {
    let Some(last) = sorted.len().checked_sub(1) else { return Vec::new() };
    let distinct = 1 + sorted.windows(2).filter(|pair| pair[0] != pair[1]).take(2).count();
    if distinct < 3 {
        return Vec::new();
    }
    let at = |i: usize| {
        let place = last as f64 * i as f64 / most as f64;
        let (low, rest) = (place.floor() as usize, place.fract());
        let (a, b) = (f64::from(sorted[low]), f64::from(sorted[(low + 1).min(last)]));
        (a + rest * (b - a)) as f32
    };
    let mut edges: Vec<f32> = (0..=most).map(at).collect();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_distinct_quantiles() {
        // Columns: 0 to 4, a flag, and one value that half of the rows have.
        let numeric = (0..5u8).flat_map(|i| [f32::from(i), f32::from(i % 2), f32::from(i / 3)]);
        let mut train = Encoded { rows: 5, n_numeric: 3, ..Encoded::default() };
        train.numeric = numeric.collect();
        train.numeric[3 * 4 + 2] = 9.0;
        let edges = edges(&train, 2);
        assert_eq!(edges, [vec![0.0, 2.0, 4.0], vec![], vec![0.0, 9.0]]);
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantiles(&[0.0, 1.0, 10.0, 11.0], 2), [0.0, 5.5, 11.0]);
        assert!(quantiles(&[], 4).is_empty());
    }
}
