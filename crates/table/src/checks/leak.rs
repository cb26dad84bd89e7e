//! Columns that give the target away: a single one that tells it almost always is likelier a leak
//! than a discovery.

use std::collections::HashMap;

use super::{CheckedData, share};
use crate::config::Task;
use crate::note::Note;
use crate::schema::{Kind, set_kind};
use crate::table::Values;
use crate::target::value;

/// Fewer training rows prove nothing.
const MIN_ROWS: usize = 50;

/// Rows that are looked at: enough to tell, and quick on large tables.
const MAX_ROWS: usize = 100_000;

/// The share of rows, the area under the curve or the correlation from which a column is
/// suspicious.
const SUSPICIOUS: f64 = 0.999;

/// Looks for columns that tell the target alone.
pub(super) fn find(data: &CheckedData<'_>, notes: &mut Vec<Note>) {
    let CheckedData { table, schema, target, parts, threads, .. } = data;
    let Some(column) = table.column(&target.column) else { return };
    if parts.train.len() < MIN_ROWS {
        return;
    }
    let stride = parts.train.len().div_ceil(MAX_ROWS);
    let rows: Vec<usize> = parts.train.iter().copied().step_by(stride).collect();
    let labels: Vec<f64> = if target.task == Task::Regression {
        rows.iter()
            .map(|&row| value(&column.values, row).ok().flatten().unwrap_or(f64::NAN))
            .collect()
    } else {
        let Some(crate::target::Target::Class(classes)) = &data.train.target else { return };
        classes.iter().step_by(stride).map(|&class| f64::from(class)).collect()
    };
    let features: Vec<_> = schema.features().collect();
    let told = threads.map(&features, |feature| {
        let column = table.column(&feature.name)?;
        let told = match (target.task, feature.kind) {
            (Task::Regression, Kind::Category) => None,
            (Task::Regression, _) => correlation(&column.values, &rows, &labels),
            (_, Kind::Category | Kind::Boolean) => purity(&column.values, &rows, &labels),
            _ => separation(&column.values, &rows, &labels),
        };
        told.or_else(|| missing(&column.values, &rows, &labels, target.task))
    });
    let mut found = false;
    for (feature, told) in features.iter().zip(told) {
        if let Some(told) = told {
            found = true;
            notes.push(
                Note::warn(format!(
                    "gives the target away: {told}; is it known before the target is?"
                ))
                .column(&feature.name)
                .undo(set_kind(&feature.name, "drop")),
            );
        }
    }
    if !found {
        notes.push(Note::pass("no single column gives the target away"));
    }
}

/// Pearson's correlation of the rows that have a value, if it is suspicious.
fn correlation(values: &Values, rows: &[usize], labels: &[f64]) -> Option<String> {
    let pairs: Vec<(f64, f64)> = rows
        .iter()
        .zip(labels)
        .filter_map(|(&row, &y)| Some((read(values, row)?, y)))
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    if pairs.len() < MIN_ROWS {
        return None;
    }
    let n = pairs.len() as f64;
    let (mx, my) = pairs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        xx += (x - mx) * (x - mx);
        yy += (y - my) * (y - my);
        xy += (x - mx) * (y - my);
    }
    let r = xy / (xx * yy).sqrt();
    (r.abs() > SUSPICIOUS).then(|| format!("its correlation with the target is {}", share(r.abs())))
}

/// How often the most frequent class of each category is right, if suspicious and not by sheer
/// number of categories.
fn purity(values: &Values, rows: &[usize], labels: &[f64]) -> Option<String> {
    let mut counts: HashMap<(u64, u64), usize> = HashMap::new();
    let mut classes: HashMap<u64, usize> = HashMap::new();
    for (&row, &label) in rows.iter().zip(labels) {
        *counts.entry((super::cell(values, row), label.to_bits())).or_insert(0) += 1;
        *classes.entry(label.to_bits()).or_insert(0) += 1;
    }
    let mut best: HashMap<u64, usize> = HashMap::new();
    for ((category, _), n) in counts {
        let best = best.entry(category).or_insert(0);
        *best = n.max(*best);
    }
    let n = rows.len() as f64;
    let right = best.values().sum::<usize>() as f64 / n;
    let baseline = classes.values().copied().max().unwrap_or(0) as f64 / n;
    let few = best.len() * 5 <= rows.len();
    (few && right > SUSPICIOUS && baseline < 0.99)
        .then(|| format!("its categories tell the class of {} of the rows", share(right)))
}

/// Whether ranges of the column tell the classes: one threshold for two, one range each for
/// several.
fn separation(values: &Values, rows: &[usize], labels: &[f64]) -> Option<String> {
    let mut pairs: Vec<(f64, f64)> =
        rows.iter().zip(labels).filter_map(|(&row, &y)| Some((read(values, row)?, y))).collect();
    if pairs.len() < MIN_ROWS || pairs.len() * 2 < rows.len() {
        return None;
    }
    pairs.sort_unstable_by_key(|&(x, y)| u128::from(rank(x)) << 64 | u128::from(rank(y)));
    let mut classes: Vec<f64> = labels.to_vec();
    classes.sort_unstable_by(f64::total_cmp);
    classes.dedup();
    if let [negative, positive] = classes[..] {
        let auc = area(&pairs, negative, positive)?;
        let auc = auc.max(1.0 - auc);
        return (auc > SUSPICIOUS)
            .then(|| format!("a threshold on it tells the classes apart (AUC {})", share(auc)));
    }
    // Sorted by the column, each class is one unbroken run of rows that shares no value with its
    // neighbours.
    let breaks = pairs.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    let clean = breaks.clone().all(|pair| pair[0].0 < pair[1].0);
    (clean && classes.len() > 2 && breaks.count() == classes.len() - 1)
        .then(|| "each class has a range of its own in it".into())
}

/// An integer that orders as `f64::total_cmp` does, and is quicker to compare.
fn rank(x: f64) -> u64 {
    let bits = x.to_bits();
    bits ^ ((bits as i64 >> 63) as u64 | 1 << 63)
}

/// The area under the ROC curve of sorted pairs, ties counted half.
fn area(pairs: &[(f64, f64)], negative: f64, positive: f64) -> Option<f64> {
    let (mut below, mut area) = (0.0, 0.0);
    let mut start = 0;
    while start < pairs.len() {
        let end = start + pairs[start..].iter().take_while(|pair| pair.0 == pairs[start].0).count();
        let positives = pairs[start..end].iter().filter(|pair| pair.1 == positive).count() as f64;
        let negatives = (end - start) as f64 - positives;
        area += positives * (below + negatives / 2.0);
        below += negatives;
        start = end;
    }
    let negatives = pairs.iter().filter(|pair| pair.1 == negative).count() as f64;
    let positives = pairs.len() as f64 - negatives;
    (negatives > 0.0 && positives > 0.0).then(|| area / (negatives * positives))
}

/// Whether it is the gaps that tell the class.
fn missing(values: &Values, rows: &[usize], labels: &[f64], task: Task) -> Option<String> {
    let gaps = rows.iter().filter(|&&row| values.is_missing(row)).count();
    if task != Task::Binary || gaps < MIN_ROWS / 5 || rows.len() - gaps < MIN_ROWS / 5 {
        return None;
    }
    let flags: Vec<Option<bool>> = rows.iter().map(|&row| Some(values.is_missing(row))).collect();
    let places: Vec<usize> = (0..rows.len()).collect();
    purity(&Values::Bool(flags), &places, labels).map(|_| "its gaps tell the class".into())
}

fn read(values: &Values, row: usize) -> Option<f64> {
    value(values, row).ok().flatten()
}
