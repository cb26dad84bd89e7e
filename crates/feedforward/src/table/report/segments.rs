//! Groups of rows on which a regression does worst.

use super::explain::Explained;
use super::snapshot::Part;
use crate::words;
use ff_report::Segment;
use ff_table::{Kind, Prepared, Values};
use std::collections::BTreeMap;

/// Segments that are shown.
const TOLD: usize = 10;

/// Columns that are looked at, the most important ones first.
const COLUMNS: usize = 50;

/// A segment of fewer rows tells more about its rows than about the model.
const FEW_ROWS: usize = 8;

/// A segment is shown where its error is this many times the error over all rows.
const WORSE: f64 = 1.05;

/// The segments with the largest root of the mean squared error, one of each column's ranges or
/// categories.
pub(super) fn worst(
    part: Part<'_>,
    prepared: &Prepared,
    actual: &[f64],
    predicted: &[f64],
    overall: Option<f64>,
    explained: &Explained,
) -> Vec<Segment> {
    let mut segments = Vec::new();
    for name in explained.columns_of(prepared).iter().take(COLUMNS) {
        let Some(column) = prepared.schema.column(name) else { continue };
        let Some(values) = prepared.table.column(name).map(|column| &column.values) else {
            continue;
        };
        for (range, members) in groups(values, column.kind, part.rows) {
            let n = members.len();
            if n < FEW_ROWS.max(part.rows.len() / 100) || n == part.rows.len() {
                continue;
            }
            let squares: f64 = members.iter().map(|&i| (actual[i] - predicted[i]).powi(2)).sum();
            segments.push(Segment {
                column: name.clone(),
                range,
                rows: n as u64,
                error: (squares / n as f64).sqrt(),
            });
        }
    }
    let bound = WORSE * overall.unwrap_or(0.0);
    segments.retain(|s| s.error > bound);
    segments.sort_by(|a, b| b.error.total_cmp(&a.error));
    segments.truncate(TOLD);
    segments
}

/// The positions within the part of each range or category.
fn groups(values: &Values, kind: Kind, rows: &[usize]) -> Vec<(String, Vec<usize>)> {
    let numbers: Vec<f64> =
        rows.iter().map(|&row| values.number(row).unwrap_or(f64::NAN)).collect();
    let quantity =
        matches!(kind, Kind::Number | Kind::Date) && numbers.iter().any(|x| x.is_finite());
    if !quantity {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, &row) in rows.iter().enumerate() {
            let text = values.text(row);
            let label = if values.is_missing(row) { "missing" } else { text.trim() };
            groups.entry(label.into()).or_default().push(i);
        }
        return groups.into_iter().collect();
    }
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut borders: Vec<f64> = (1..4).map(|q| sorted[(sorted.len() - 1) * q / 4]).collect();
    borders.dedup();
    // A border at the least value has nothing below it.
    borders.retain(|border| *border > sorted[0]);
    let show = |x: f64| match kind {
        Kind::Date => Values::Date(vec![x]).text(0).into_owned(),
        _ => words::number(x),
    };
    let label = |i: usize| match (i.checked_sub(1).map(|i| borders[i]), borders.get(i)) {
        (None, None) => "all".into(),
        (None, Some(&high)) => format!("< {}", show(high)),
        (Some(low), None) => format!("≥ {}", show(low)),
        (Some(low), Some(&high)) => format!("{} to {}", show(low), show(high)),
    };
    let mut groups: Vec<(String, Vec<usize>)> =
        (0..=borders.len()).map(|i| (label(i), Vec::new())).collect();
    groups.push(("missing".into(), Vec::new()));
    for (i, x) in numbers.iter().enumerate() {
        let at =
            if x.is_finite() { borders.partition_point(|b| b <= x) } else { borders.len() + 1 };
        groups[at].1.push(i);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_falls_into_one_group() {
        let values: Values = vec![1.0, 2.0, 3.0, 4.0, 5.0, f64::NAN, 8.0].into();
        let rows: Vec<usize> = (0..7).collect();
        let groups = groups(&values, Kind::Number, &rows);
        let named: Vec<(&str, usize)> =
            groups.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
        // Quartiles of the six values, taken from among them.
        assert_eq!(named, [("< 2", 1), ("2 to 3", 1), ("3 to 4", 1), ("≥ 4", 3), ("missing", 1)]);
    }

    #[test]
    fn equal_values_are_one_group() {
        let groups = groups(&vec![3.0; 5].into(), Kind::Number, &[0, 1, 2, 3, 4]);
        assert_eq!((groups[0].0.as_str(), groups[0].1.len()), ("all", 5));
        let texts = Values::from_iter([Some("b"), None, Some("a "), Some("a")]);
        let groups = super::groups(&texts, Kind::Category, &[0, 1, 2, 3]);
        let named: Vec<(&str, usize)> = groups.iter().map(|(n, r)| (n.as_str(), r.len())).collect();
        assert_eq!(named, [("a", 2), ("b", 1), ("missing", 1)]);
    }
}
