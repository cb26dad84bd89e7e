//! What mattered: how much of the differences between trials each setting explains.

use std::collections::BTreeMap;

/// The most groups that the values of a range are cut into, and the fewest trials of a group:
/// chance alone would tell fewer apart.
const GROUPS: usize = 4;
const TRIALS: usize = 4;

/// ε² of a setting: the share of the variance of the trials' ranks that its groups explain, less
/// what chance explains (Kelley, 1935); 0 at least.
///
/// ε² = (SS_between − (g − 1) MS_within) / SS_total over g groups
///
/// Ranks, since trials that fail have values of any size. Ranges are cut into up to four groups of
/// equal counts. Too few trials explain nothing.
pub(super) fn share(settings: &[String], values: &[f64], is_range: bool) -> f64 {
    let ranks = ranks(values);
    let groups = groups(settings, is_range);
    let count = groups.iter().max().map_or(0, |most| most + 1);
    let n = ranks.len();
    if count < 2 || n < TRIALS * count {
        return 0.0;
    }
    let mean = ranks.iter().sum::<f64>() / n as f64;
    let mut sums = vec![(0.0, 0.0); count];
    for (&group, rank) in groups.iter().zip(&ranks) {
        sums[group].0 += rank;
        sums[group].1 += 1.0;
    }
    let total: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    let between: f64 = sums.iter().map(|(sum, n)| n * (sum / n - mean).powi(2)).sum();
    if total == 0.0 {
        return 0.0;
    }
    let within = (total - between) / (n - count) as f64;
    ((between - (count - 1) as f64 * within) / total).max(0.0)
}

/// The group of each trial, from 0.
fn groups(settings: &[String], is_range: bool) -> Vec<usize> {
    if is_range {
        let numbers: Vec<f64> =
            settings.iter().map(|text| text.parse().unwrap_or(f64::NAN)).collect();
        let n = numbers.len();
        let count = (n / TRIALS).min(GROUPS);
        // Equal numbers share a rank, so they share a group.
        let group =
            |rank: f64| ((rank / n as f64 * count as f64) as usize).min(count.saturating_sub(1));
        let groups: Vec<usize> = ranks(&numbers).into_iter().map(group).collect();
        return renumbered(&groups);
    }
    renumbered(settings)
}

/// The same groups, numbered from 0 without a gap.
fn renumbered<T: Ord>(groups: &[T]) -> Vec<usize> {
    let mut numbers: BTreeMap<&T, usize> = groups.iter().map(|group| (group, 0)).collect();
    numbers.values_mut().enumerate().for_each(|(i, number)| *number = i);
    groups.iter().map(|group| numbers[group]).collect()
}

/// Ranks from 0, equal values sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for same in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let first = order.iter().position(|i| *i == same[0]).unwrap_or(0);
        let mean = first as f64 + (same.len() - 1) as f64 / 2.0;
        for &i in same {
            ranks[i] = mean;
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: impl IntoIterator<Item = f64>) -> Vec<String> {
        values.into_iter().map(|value| value.to_string()).collect()
    }

    #[test]
    fn ranks_of_equal_values_are_their_mean() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 7.0]), [1.5, 0.0, 1.5, 3.0]);
    }

    #[test]
    fn a_setting_that_decides_all_explains_nearly_all() {
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        let range = share(&texts(values.iter().copied()), &values, true);
        assert!((0.90..1.0).contains(&range), "{range}");
        let halves: Vec<String> =
            (0..40).map(|i| if i < 20 { "relu" } else { "silu" }.into()).collect();
        let choice = share(&halves, &values, false);
        assert!((0.70..0.80).contains(&choice), "{choice}");
    }

    #[test]
    fn a_setting_without_influence_explains_nothing() {
        // Alternating values have the same mean rank but for one.
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        let alternating: Vec<String> = (0..40).map(|i| (i % 2).to_string()).collect();
        assert_eq!(share(&alternating, &values, false), 0.0);
        assert_eq!(share(&vec!["a".to_owned(); 40], &values, false), 0.0);
        assert_eq!(share(&texts([1.0, 2.0]), &[1.0, 2.0], true), 0.0);
        assert_eq!(share(&texts((0..8).map(f64::from)), &[2.0; 8], true), 0.0);
        // Seven trials are too few for two groups.
        let few: Vec<f64> = (0..7).map(f64::from).collect();
        assert_eq!(share(&texts(few.iter().copied()), &few, true), 0.0);
    }

    #[test]
    fn a_value_of_any_size_counts_by_its_rank() {
        let settings = texts((0..12).map(f64::from));
        let mut values: Vec<f64> = (0..12).map(f64::from).collect();
        let plain = share(&settings, &values, true);
        values[0] = f64::NEG_INFINITY;
        assert_eq!(share(&settings, &values, true), plain);
    }
}
