//! Where the bins of numbers lie.

use ff_table::Encoded;

/// Quantiles of so many rows tell as much as those of all.
const ROWS: usize = 1 << 16;

/// The edges of the bins of every numeric input, from the training part; none for an input of one
/// or two values, such as a flag.
pub(super) fn edges(train: &Encoded, most: usize) -> Vec<Vec<f32>> {
    let step = train.rows.div_ceil(ROWS).max(1);
    (0..train.n_numeric)
        .map(|column| {
            let values = train.numeric.iter().skip(column).step_by(train.n_numeric * step);
            let mut values: Vec<f32> = values.copied().filter(|v| v.is_finite()).collect();
            values.sort_unstable_by(f32::total_cmp);
            place(&values, most)
        })
        .collect()
}

/// Edges of at most so many bins: every distinct value if they suffice, and otherwise quantiles. A
/// value with a bin's share of the rows or more is an edge by itself, and does not count among the
/// quantiles, or a column that is mostly zero would have all its edges there.
fn place(sorted: &[f32], most: usize) -> Vec<f32> {
    let mut runs: Vec<&[f32]> = sorted.chunk_by(|a, b| a == b).collect();
    if runs.len() < 3 {
        return Vec::new();
    }
    let (mut edges, mut rest) = (Vec::new(), sorted.len());
    loop {
        let bins = most - edges.len();
        if runs.len() <= bins + 1 {
            edges.extend(runs.iter().map(|run| run[0]));
            break;
        }
        let (before, share) = (runs.len(), rest.div_ceil(bins.max(1)));
        runs.retain(|run| {
            let heavy = run.len() >= share && edges.len() < most;
            if heavy {
                edges.push(run[0]);
                rest -= run.len();
            }
            !heavy
        });
        if runs.len() == before {
            edges.extend(quantiles(&runs.concat(), bins));
            break;
        }
    }
    edges.sort_unstable_by(f32::total_cmp);
    edges.dedup();
    edges
}

/// The borders between so many parts of equal size, as `torch.quantile` interpolates them.
fn quantiles(sorted: &[f32], parts: usize) -> Vec<f32> {
    let Some(last) = sorted.len().checked_sub(1) else { return Vec::new() };
    if parts == 0 {
        return Vec::new();
    }
    let at = |i: usize| {
        let place = last as f64 * i as f64 / parts as f64;
        let (low, rest) = (place.floor() as usize, place.fract());
        let (a, b) = (f64::from(sorted[low]), f64::from(sorted[(low + 1).min(last)]));
        (a + rest * (b - a)) as f32
    };
    (0..=parts).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_distinct_quantiles() {
        // Columns: 0 to 4, a flag, and one value that most of the rows have.
        let numeric = (0..5u8).flat_map(|i| [f32::from(i), f32::from(i % 2), f32::from(i / 3)]);
        let mut train = Encoded { rows: 5, n_numeric: 3, ..Encoded::default() };
        train.numeric = numeric.collect();
        train.numeric[3 * 4 + 2] = 9.0;
        let edges = edges(&train, 2);
        assert_eq!(edges, [vec![0.0, 2.0, 4.0], vec![], vec![0.0, 1.0, 9.0]]);
    }

    #[test]
    fn a_frequent_value_is_one_edge() {
        // 92 zeros, and the quartiles of 1 to 8: six edges, where quantiles of all rows would be
        // two.
        let mut values = vec![0.0; 92];
        values.extend((1..=8u8).map(f32::from));
        assert_eq!(place(&values, 5), [0.0, 1.0, 2.75, 4.5, 6.25, 8.0]);
        assert_eq!(place(&values, 20).len(), 9);
        // One after the other becomes frequent among the rest; three bins, as asked for.
        let runs = [vec![0.0; 50], vec![1.0; 30], vec![2.0; 10], vec![7.0, 8.0, 9.0]];
        assert_eq!(place(&runs.concat(), 3), [0.0, 1.0, 2.0, 9.0]);
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantiles(&[0.0, 1.0, 10.0, 11.0], 2), [0.0, 5.5, 11.0]);
        assert!(place(&[], 4).is_empty());
    }
}
