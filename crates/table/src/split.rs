//! Rows into parts and folds: the same seed gives the same parts.

use std::collections::BTreeMap;

use crate::config::{SplitConfig, SplitKind};
use crate::error::{DataError, Result};
use crate::rng::Rng;
use crate::table::Table;

/// The rows of each part, by their index in the table, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The rows that are learned.
    pub train: Vec<usize>,
    /// The rows that settings and the stopping point are chosen on.
    pub valid: Vec<usize>,
    /// The rows that are judged on, once.
    pub test: Vec<usize>,
}

/// One fold of a cross-validation, ascending.
///
/// ```
/// let folds = ff_table::shuffled_folds(10, 5, 0).unwrap();
/// assert!(folds.iter().all(|fold| (fold.train.len(), fold.test.len()) == (8, 2)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The rows to learn.
    pub train: Vec<usize>,
    /// The rows to judge on.
    pub test: Vec<usize>,
}

/// Folds of shuffled rows `0..n` whose sizes differ by one at most (scikit-learn's
/// `KFold(shuffle=True)`).
///
/// # Errors
/// [`DataError::Split`] unless `2 ≤ k ≤ n`.
pub fn shuffled_folds(n: usize, k: usize, seed: u64) -> Result<Vec<Fold>> {
    stratified_folds(&vec![0; n], k, seed)
}

/// Folds in which each class has the same share, up to one row (`StratifiedKFold(shuffle=True)`).
///
/// ```
/// let folds = ff_table::stratified_folds(&[0, 0, 0, 0, 1, 1], 2, 7).unwrap();
/// assert!(folds.iter().all(|fold| fold.test.iter().filter(|&&row| row >= 4).count() == 1));
/// ```
///
/// # Errors
/// [`DataError::Split`] unless `2 ≤ k ≤ n`.
pub fn stratified_folds(classes: &[i32], k: usize, seed: u64) -> Result<Vec<Fold>> {
    check_folds(classes.len(), k, "rows")?;
    let mut rng = Rng::new(seed, "folds");
    let mut fold_of = vec![0; classes.len()];
    // Dealt like cards, class after class without starting anew, so that folds differ by one row at
    // most.
    let mut next = 0;
    for mut rows in by_class(classes) {
        rng.shuffle(&mut rows);
        for row in rows {
            fold_of[row] = next % k;
            next += 1;
        }
    }
    Ok(collect_folds(&fold_of, k))
}

/// Folds that keep rows of one group together, of sizes as even as the groups allow
/// (`GroupKFold(shuffle=True)`).
///
/// ```
/// let folds = ff_table::grouped_folds(&[7, 7, 8, 9], 3, 0).unwrap();
/// assert!(folds.iter().all(|fold| fold.test.contains(&0) == fold.test.contains(&1)));
/// ```
///
/// # Errors
/// [`DataError::Split`] unless `2 ≤ k ≤` the number of groups.
pub fn grouped_folds(groups: &[u64], k: usize, seed: u64) -> Result<Vec<Fold>> {
    let mut members = by_group(groups);
    check_folds(members.len(), k, "groups")?;
    Rng::new(seed, "folds").shuffle(&mut members);
    members.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
    let mut sizes = vec![0; k];
    let mut fold_of = vec![0; groups.len()];
    for rows in members {
        let smallest = (0..k).min_by_key(|&fold| (sizes[fold], fold)).unwrap_or(0);
        sizes[smallest] += rows.len();
        for row in rows {
            fold_of[row] = smallest;
        }
    }
    Ok(collect_folds(&fold_of, k))
}

/// Folds forward in time: the rows in the order of their times are cut into `k + 1` blocks of about
/// equal size, and fold `i` is judged on block `i + 1` and learns all that is earlier
/// (`TimeSeriesSplit`). Rows of one moment stay together.
///
/// ```
/// let folds = ff_table::forward_folds(&[3.0, 1.0, 2.0, 4.0], 3).unwrap();
/// assert_eq!((folds[1].train.as_slice(), folds[1].test.as_slice()), (&[1, 2][..], &[0][..]));
/// ```
///
/// # Errors
/// [`DataError::Split`] unless `2 ≤ k <` the number of different times.
pub fn forward_folds(times: &[f64], k: usize) -> Result<Vec<Fold>> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
    // Where another moment begins, in the order of time.
    let starts: Vec<usize> =
        (1..order.len()).filter(|&i| times[order[i]] != times[order[i - 1]]).collect();
    check_folds(starts.len(), k, "different times after the first")?;
    let mut cuts: Vec<usize> = Vec::with_capacity(k + 1);
    for block in 1..=k {
        let ideal = order.len() * block / (k + 1);
        // The nearest start that leaves one for each cut before and behind it.
        let first = cuts.last().map_or(0, |last| starts.partition_point(|start| start <= last));
        let among = &starts[first..=starts.len() - 1 - (k - block)];
        let nearest = among.iter().min_by_key(|start| start.abs_diff(ideal));
        cuts.extend(nearest.copied());
    }
    cuts.push(order.len());
    let part = |rows: &[usize]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    let folds = cuts.windows(2);
    Ok(folds
        .map(|cut| Fold { train: part(&order[..cut[0]]), test: part(&order[cut[0]..cut[1]]) })
        .collect())
}

fn check_folds(n: usize, k: usize, what: &str) -> Result<()> {
    if (2..=n).contains(&k) {
        return Ok(());
    }
    Err(DataError::Split {
        message: format!("{k} folds of {n} {what}"),
        hint: format!("Take from 2 to {n} folds."),
    })
}

fn collect_folds(fold_of: &[usize], k: usize) -> Vec<Fold> {
    (0..k)
        .map(|fold| {
            let (test, train) = (0..fold_of.len()).partition(|&row| fold_of[row] == fold);
            Fold { train, test }
        })
        .collect()
}

fn by_class(classes: &[i32]) -> Vec<Vec<usize>> {
    let mut members: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (row, &class) in classes.iter().enumerate() {
        members.entry(class).or_default().push(row);
    }
    members.into_values().collect()
}

/// The rows of each group, groups in the order of their first rows.
fn by_group(groups: &[u64]) -> Vec<Vec<usize>> {
    let mut members: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (row, &group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(row);
    }
    let mut members: Vec<_> = members.into_values().collect();
    members.sort_by_key(|rows| rows[0]);
    members
}

/// Splits `n` rows at random into parts that have each class in the same proportion: positions in
/// `0..n`.
pub(crate) fn stratified(classes: &[i32], valid: f64, test: f64, seed: u64) -> Parts {
    let mut rng = Rng::new(seed, "split");
    let mut parts = Parts::default();
    let mut before = 0;
    for mut rows in by_class(classes) {
        rng.shuffle(&mut rows);
        // Shares are rounded on the running total, so that the parts' sizes are right to the row.
        let take = |share: f64| {
            let upto = |n: usize| (n as f64 * share).round() as usize;
            upto(before + rows.len()) - upto(before)
        };
        let (mut v, mut t) = (take(valid), take(test));
        before += rows.len();
        // Every class keeps a row to be learned from.
        while v + t >= rows.len() && v + t > 0 {
            if v > t { v -= 1 } else { t -= 1 }
        }
        parts.test.extend(rows.drain(..t));
        parts.valid.extend(rows.drain(..v));
        parts.train.extend(rows);
    }
    parts.sorted()
}

/// Splits groups at random, each part as near to its share as the groups allow.
pub(crate) fn grouped(groups: &[u64], valid: f64, test: f64, seed: u64) -> Result<Parts> {
    let mut members = by_group(groups);
    let needed = 1 + usize::from(valid > 0.0) + usize::from(test > 0.0);
    if members.len() < needed {
        return Err(DataError::Split {
            message: format!("{} groups for {needed} parts", members.len()),
            hint: "Choose another column to group by, or another kind of split.".into(),
        });
    }
    Rng::new(seed, "split").shuffle(&mut members);
    members.sort_by_key(|rows| std::cmp::Reverse(rows.len()));
    let n = groups.len() as f64;
    let wanted = [(1.0 - valid - test) * n, valid * n, test * n];
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    let mut left = members.len();
    for rows in members {
        // While as many groups as empty parts are left, they go there; else to the part that lacks
        // most.
        let empty: Vec<_> =
            (0..3).filter(|&p| wanted[p] > 0.0 && Vec::is_empty(&parts[p])).collect();
        let lack = |p: usize| wanted[p] - parts[p].len() as f64;
        let all = [0, 1, 2];
        let among: &[usize] = if left <= empty.len() { &empty } else { &all };
        let part =
            among.iter().copied().max_by(|&a, &b| lack(a).total_cmp(&lack(b)).then(b.cmp(&a)));
        parts[part.unwrap_or(0)].extend(rows);
        left -= 1;
    }
    let [train, valid, test] = parts;
    Ok(Parts { train, valid, test }.sorted())
}

/// The latest rows are the test part, those before them the validation part; rows of one moment
/// stay together.
pub(crate) fn by_time(times: &[f64], valid: f64, test: f64) -> Result<Parts> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
    let n = order.len();
    let cut = |share: f64| {
        let mut at = n - (n as f64 * share).round() as usize;
        while at > 0 && at < n && times[order[at]] == times[order[at - 1]] {
            at -= 1;
        }
        at
    };
    let (test, valid) = (cut(test), cut(test + valid));
    if valid == 0 {
        return Err(DataError::Split {
            message: "no rows are earlier than the validation part".into(),
            hint: "The time column has too few different values: choose another one.".into(),
        });
    }
    let parts = Parts {
        train: order[..valid].to_vec(),
        valid: order[valid..test].to_vec(),
        test: order[test..].to_vec(),
    };
    Ok(parts.sorted())
}

impl Parts {
    fn sorted(mut self) -> Self {
        self.train.sort_unstable();
        self.valid.sort_unstable();
        self.test.sort_unstable();
        self
    }

    /// The same parts of `rows`, whose positions these are.
    pub(crate) fn of(self, rows: &[usize]) -> Self {
        let map = |part: Vec<usize>| part.into_iter().map(|i| rows[i]).collect();
        Self { train: map(self.train), valid: map(self.valid), test: map(self.test) }
    }
}

/// Splits the rows of a table as the recipe says; `classes` are those of `rows`, all 0 for a
/// regression.
pub(crate) fn split(
    table: &Table,
    rows: &[usize],
    classes: &[i32],
    split: &SplitConfig,
    kind: SplitKind,
    seed: u64,
) -> Result<Parts> {
    let column = || split.column.as_deref().unwrap_or_default();
    let parts = match kind {
        SplitKind::Auto | SplitKind::Stratified => {
            stratified(classes, split.valid, split.test, seed)
        }
        SplitKind::Random => stratified(&vec![0; rows.len()], split.valid, split.test, seed),
        SplitKind::Grouped => {
            grouped(&group_keys(table, column(), rows)?, split.valid, split.test, seed)?
        }
        SplitKind::Time => by_time(&times(table, column(), rows)?, split.valid, split.test)?,
        SplitKind::Given => given(table, column(), rows, classes, split, seed)?,
    };
    if parts.train.is_empty() {
        return Err(DataError::Split {
            message: format!("{} rows leave none to train on", rows.len()),
            hint: "Add rows, or make data.split.valid and data.split.test smaller.".into(),
        });
    }
    Ok(parts.of(rows))
}

/// A key for each row's group; rows without a group are groups of their own.
pub(crate) fn group_keys(table: &Table, name: &str, rows: &[usize]) -> Result<Vec<u64>> {
    let column = split_column(table, name)?;
    let key = |&row: &usize| match column.values.label(row) {
        Some(label) => xxhash_rust::xxh3::xxh3_64(label.as_bytes()),
        None => xxhash_rust::xxh3::xxh3_64_with_seed(&row.to_le_bytes(), 1),
    };
    Ok(rows.iter().map(key).collect())
}

pub(crate) fn times(table: &Table, name: &str, rows: &[usize]) -> Result<Vec<f64>> {
    let column = split_column(table, name)?;
    let texts = || rows.iter().filter_map(|&row| column.values.label(row));
    let labels: Vec<_> = texts().collect();
    let number = |text: &str| crate::number::parse_number(text.as_bytes());
    let format = if labels.iter().all(|text| number(text).is_some()) {
        None
    } else {
        let found = crate::date::infer_format(&labels.iter().map(AsRef::as_ref));
        Some(found.map_or(crate::date::ISO, |found| found.format))
    };
    let read = |&row: &usize| {
        let time = column.values.number(row).or_else(|| {
            let label = column.values.label(row)?;
            format.map_or_else(|| number(&label), |format| crate::date::parse(&label, format))
        });
        time.filter(|time| !time.is_nan()).ok_or_else(|| DataError::Value {
            place: table.place(row),
            column: name.into(),
            expected: "a number or a date to split by".into(),
            found: column.values.text(row).into_owned(),
            hint: "Fill it in, or split another way (data.split.kind).".into(),
        })
    };
    rows.iter().map(read).collect()
}

/// The parts that a column names; a validation part is taken from the training rows if none is
/// named.
fn given(
    table: &Table,
    name: &str,
    rows: &[usize],
    classes: &[i32],
    split: &SplitConfig,
    seed: u64,
) -> Result<Parts> {
    let column = split_column(table, name)?;
    let mut parts = Parts::default();
    for (i, &row) in rows.iter().enumerate() {
        let label = column.values.label(row).unwrap_or_default().to_lowercase();
        match label.as_str() {
            "train" | "training" => parts.train.push(i),
            "valid" | "validation" | "val" | "dev" | "eval" => parts.valid.push(i),
            "test" | "testing" | "holdout" => parts.test.push(i),
            _ => {
                return Err(DataError::Value {
                    place: table.place(row),
                    column: name.into(),
                    expected: "train, valid or test".into(),
                    found: column.values.text(row).into_owned(),
                    hint: "The column of a given split names each row's part.".into(),
                });
            }
        }
    }
    Ok(with_validation(parts, classes, split.valid, seed))
}

/// Takes a validation part from the training rows where there is none.
pub(crate) fn with_validation(parts: Parts, classes: &[i32], share: f64, seed: u64) -> Parts {
    if !parts.valid.is_empty() || share == 0.0 {
        return parts;
    }
    let of_train: Vec<i32> = parts.train.iter().map(|&i| classes[i]).collect();
    let inner = stratified(&of_train, share, 0.0, seed).of(&parts.train);
    Parts { train: inner.train, valid: inner.valid, test: parts.test }
}

fn split_column<'a>(table: &'a Table, name: &str) -> Result<&'a crate::table::Column> {
    table.column(name).ok_or_else(|| DataError::NoColumn {
        place: table.source_name(),
        column: name.into(),
        role: "data.split.column".into(),
        available: table.names(),
        note: String::new(),
    })
}
