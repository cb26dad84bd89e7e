//! Figures about a column, as `SUMMARIZE` gives them.

use std::collections::HashMap;

use ff_tensor::ThreadPool;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::sorted::sorted;
use crate::number::format_number;
use crate::statistics::{moments, quantile_sorted};
use crate::table::{Column, Integers, Values};
use crate::transforms::number::stands_for_nothing;

/// Figures about a column.
///
/// ```
/// let stats = ff_table::ColumnStats::of(&vec![1.0, 2.0, 2.0, f64::NAN].into());
/// assert_eq!((stats.rows, stats.missing, stats.unique), (4, 1, 2));
/// assert_eq!(stats.top[0], ("2".to_owned(), 2));
/// assert_eq!(stats.number.unwrap().max, 2.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnStats {
    /// All rows.
    pub rows: usize,
    /// Rows without a value.
    pub missing: usize,
    /// Distinct values.
    pub unique: usize,
    /// Whether there are more distinct values than were counted.
    pub unique_is_a_minimum: bool,
    /// The most frequent values and their rows, the most frequent first; empty where all differ.
    pub top: Vec<(String, usize)>,
    /// Range, moments, quantiles and histogram of numbers, and of dates in seconds since 1970.
    pub number: Option<NumberStats>,
}

/// Figures about numbers; infinite ones, and those at the limits of `f32` and `f64` that stand for
/// no value, are counted and left out of the rest.
///
/// ```
/// # let stats = ff_table::ColumnStats::of(&vec![1.0, 3.0].into());
/// let number = stats.number.unwrap();
/// assert_eq!((number.mean, number.std, number.quantiles[1]), (2.0, 1.0, 2.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberStats {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the values as a whole population.
    pub std: f64,
    /// The quartiles: 25 %, 50 %, 75 %.
    pub quantiles: [f64; 3],
    /// Infinite values.
    pub infinite: usize,
    /// Whether every value is a whole number.
    pub integers: bool,
    /// Rows in bins of equal width.
    pub histogram: Histogram,
}

/// Rows in bins of equal width from `min` to `max`.
///
/// ```
/// # let stats = ff_table::ColumnStats::of(&vec![0.0, 1.0].into());
/// assert_eq!(stats.number.unwrap().histogram.counts.iter().sum::<usize>(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The left edge of the first bin.
    pub min: f64,
    /// The right edge of the last bin.
    pub max: f64,
    /// The rows in each bin.
    pub counts: Vec<usize>,
}

/// Bins of a histogram in the report.
const BINS: usize = 20;

/// Frequent values that are listed.
const TOP: usize = 20;

/// Distinct texts that are counted exactly; beyond, the number is a minimum. A hash and a count
/// each: 50 MB at most.
const MAX_DISTINCT: usize = 1 << 20;

impl ColumnStats {
    /// The figures of a column's values.
    pub fn of(values: &Values) -> Self {
        profile(values)
    }
}

/// Whole numbers below this are told apart by a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The figures of every column, several columns at a time; each column's figures depend on that
/// column alone.
pub(crate) fn profiles(columns: &[Column], threads: &ThreadPool) -> Vec<ColumnStats> {
    threads.map(columns, |column| profile(&column.values))
}

/// The figures of a column.
pub(crate) fn profile(values: &Values) -> ColumnStats {
    match values {
        Values::Text(_) | Values::Bool(_) => labels(values),
        _ => numbers(values),
    }
}

fn labels(values: &Values) -> ColumnStats {
    let mut counts: HashMap<u64, (usize, usize)> = HashMap::new();
    let mut stats = ColumnStats { rows: values.len(), ..ColumnStats::default() };
    for row in 0..values.len() {
        let Some(label) = values.label(row) else {
            stats.missing += 1;
            continue;
        };
        let hash = xxh3_64(label.as_bytes());
        let full = counts.len() >= MAX_DISTINCT;
        match counts.get_mut(&hash) {
            Some(entry) => entry.1 += 1,
            None if full => stats.unique_is_a_minimum = true,
            None => {
                counts.insert(hash, (row, 1));
            }
        }
    }
    stats.unique = counts.len();
    let mut frequent: Vec<(usize, usize)> = counts.into_values().filter(|(_, n)| *n > 1).collect();
    // First rows are unique, so the order depends on the rows alone.
    frequent.sort_unstable_by_key(|&(row, n)| (std::cmp::Reverse(n), row));
    frequent.truncate(TOP);
    let text = |row| values.label(row).map_or_else(String::new, std::borrow::Cow::into_owned);
    stats.top = frequent.into_iter().map(|(row, n)| (text(row), n)).collect();
    stats
}

fn numbers(values: &Values) -> ColumnStats {
    let present = sorted(values);
    let mut stats = ColumnStats {
        rows: values.len(),
        missing: values.len() - present.len(),
        ..ColumnStats::default()
    };
    let mut runs: Vec<(f64, usize)> = Vec::new();
    // Of equally frequent values the least are listed, so a later one has to be met more often than
    // those there are.
    let mut least = 1;
    let mut start = 0;
    for end in 1..=present.len() {
        if end == present.len() || present[end] != present[start] {
            stats.unique += 1;
            if end - start > least {
                runs.push((present[start], end - start));
                if runs.len() >= 4 * TOP {
                    keep_top(&mut runs);
                    least = runs[TOP - 1].1;
                }
            }
            start = end;
        }
    }
    if let Values::Integer(integers) = values
        && present.iter().any(|x| x.abs() >= MAX_EXACT)
    {
        return long_integers(integers, &present, stats);
    }
    keep_top(&mut runs);
    let text = |x: f64| match values {
        Values::Date(_) => crate::date::format_seconds(x),
        _ => format_number(x),
    };
    stats.top = runs.into_iter().map(|(x, n)| (text(x), n)).collect();
    moments_of(&present, stats)
}

/// The figures of integers that are told apart by more digits than a double has.
fn long_integers(integers: &Integers, present: &[f64], mut stats: ColumnStats) -> ColumnStats {
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for x in (0..integers.len()).filter_map(|row| integers.get(row)) {
        *counts.entry(x).or_default() += 1;
    }
    stats.unique = counts.len();
    let mut frequent: Vec<(i64, usize)> = counts.into_iter().filter(|(_, n)| *n > 1).collect();
    frequent.sort_unstable_by_key(|&(x, n)| (std::cmp::Reverse(n), x));
    frequent.truncate(TOP);
    stats.top = frequent.into_iter().map(|(x, n)| (x.to_string(), n)).collect();
    moments_of(present, stats)
}

/// Adds the figures of ascending numbers.
fn moments_of(present: &[f64], mut stats: ColumnStats) -> ColumnStats {
    let finite = {
        let none = |x: &&f64| x.is_infinite() || stands_for_nothing(**x);
        let from = present.iter().take_while(none).count();
        let to = present.len() - present.iter().rev().take_while(none).count();
        &present[from..to.max(from)]
    };
    if let (Some(&min), Some(&max)) = (finite.first(), finite.last()) {
        let (mean, std) = moments(finite.iter().copied());
        stats.number = Some(NumberStats {
            min,
            max,
            mean,
            std,
            quantiles: [0.25, 0.5, 0.75].map(|q| quantile_sorted(finite, q)),
            infinite: present.len() - finite.len(),
            integers: finite.iter().all(|x| x.fract() == 0.0),
            histogram: histogram(finite, min, max),
        });
    }
    stats
}

fn keep_top(runs: &mut Vec<(f64, usize)>) {
    runs.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.total_cmp(&b.0)));
    runs.truncate(TOP);
}

fn histogram(sorted: &[f64], min: f64, max: f64) -> Histogram {
    let scale = BINS as f64 / (max - min);
    // A range of zero gives NaN, which becomes bin 0.
    let bin = |x: f64| (((x - min) * scale) as usize).min(BINS - 1);
    // Bins ascend with the values.
    let below = |i: usize| sorted.partition_point(|&x| bin(x) < i);
    let counts = (0..BINS).map(|i| below(i + 1) - below(i)).collect();
    Histogram { min, max, counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_agree_with_numpy() {
        // numpy.mean, numpy.std and numpy.percentile of [0.5, 2, 3, 6].
        let stats = ColumnStats::of(&vec![3.0, f64::NAN, 0.5, 6.0, 2.0, f64::INFINITY].into());
        let number = stats.number.unwrap();
        assert_eq!((number.min, number.max, number.infinite), (0.5, 6.0, 1));
        assert!((number.mean - 2.875).abs() < 1e-15);
        assert!((number.std - 2.011_684_617_428_885).abs() < 1e-14);
        assert_eq!(number.quantiles, [1.625, 2.5, 3.75]);
        assert_eq!((stats.missing, stats.unique, stats.top.len()), (1, 5, 0));
    }

    #[test]
    fn long_integers_are_told_apart() {
        let ids = [9_007_199_254_740_993, 9_007_199_254_740_992, 9_007_199_254_740_993];
        let values = Values::Integer(ids.map(Some).into_iter().chain([None]).collect());
        let stats = ColumnStats::of(&values);
        assert_eq!((stats.unique, stats.missing), (2, 1));
        assert_eq!(stats.top, [("9007199254740993".to_owned(), 2)]);
        assert!(stats.number.unwrap().integers);
    }

    #[test]
    fn texts_are_counted_in_order() {
        let values =
            Values::from_iter([Some("b"), Some("a "), Some("a"), None, Some("b"), Some("c")]);
        let stats = ColumnStats::of(&values);
        assert_eq!((stats.rows, stats.missing, stats.unique), (6, 1, 3));
        assert_eq!(stats.top, [("b".to_owned(), 2), ("a".to_owned(), 2)]);
    }

    #[test]
    fn an_empty_column_has_no_figures() {
        let stats = ColumnStats::of(&vec![f64::NAN; 3].into());
        assert_eq!((stats.missing, stats.unique), (3, 0));
        assert!(stats.number.is_none());
    }
}
