//! How the rows were divided.

use super::columns;
use super::snapshot::Snapshot;
use crate::words;
use ff_report::{Alert, Distribution, Level, Split, SplitPart};
use ff_table::{Encoded, SplitKind, Target};

/// Bars of the target's histogram in each part.
const BINS: usize = 20;

pub(super) fn gather(snapshot: &Snapshot<'_>) -> Split {
    let prepared = snapshot.prepared;
    let parts = [("train", &prepared.train), ("valid", &prepared.valid), ("test", &prepared.test)];
    let mut checks: Vec<Alert> = prepared
        .notes
        .iter()
        .filter(|note| columns::is_about_parts(note))
        .map(columns::check)
        .collect();
    checks.extend(absent(snapshot, &parts));
    Split {
        method: method(snapshot),
        parts: parts
            .iter()
            .filter(|(_, data)| data.rows > 0)
            .map(|(name, data)| part(snapshot, name, data))
            .collect(),
        classes: prepared.target.classes.clone(),
        checks,
    }
}

/// How, by what and from which seed.
pub(super) fn method(snapshot: &Snapshot<'_>) -> String {
    let split = &snapshot.recipe.data.split;
    let column = split.column.as_deref().unwrap_or("?");
    let seed = split.seed.unwrap_or(snapshot.recipe.train.seed);
    let method = match snapshot.prepared.split {
        SplitKind::Auto | SplitKind::Random => format!("at random, seed {seed}"),
        SplitKind::Stratified => {
            format!("stratified by {}, seed {seed}", snapshot.prepared.target.column)
        }
        SplitKind::Grouped => format!("rows of one {column} together, seed {seed}"),
        SplitKind::Time => format!("by time ({column}), the latest rows for the test"),
        SplitKind::Given => match &split.column {
            Some(column) => format!("as column {column} says"),
            None => "as the files say".into(),
        },
    };
    match snapshot.recipe.train.bags.filter(|_| !snapshot.recipe.train.refit) {
        Some(k) => format!(
            "{method}; rows outside the test part are {k} folds, on one of which each network is stopped; the parts \
             here are those of the first"
        ),
        None => method,
    }
}

fn part(snapshot: &Snapshot<'_>, name: &str, data: &Encoded) -> SplitPart {
    let (mut classes, mut target) = (Vec::new(), Distribution::Unknown);
    match &data.target {
        Some(Target::Class(rows)) => classes = counts(rows, snapshot.prepared.target.classes.len()),
        Some(Target::Value(values)) => target = histogram(snapshot, values),
        None => {}
    }
    SplitPart { name: name.into(), rows: data.rows as u64, classes, target }
}

fn counts(rows: &[i32], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    for &class in rows {
        if let Some(n) = usize::try_from(class).ok().and_then(|class| counts.get_mut(class)) {
            *n += 1;
        }
    }
    counts
}

/// The target's values in bins that all parts share.
fn histogram(snapshot: &Snapshot<'_>, values: &[f32]) -> Distribution {
    let Some(number) = &snapshot.prepared.target.stats.number else { return Distribution::Unknown };
    let (min, max) = (number.min, number.max);
    let scale = BINS as f64 / (max - min);
    let mut counts = vec![0; BINS];
    for &value in values {
        let x = snapshot.prepared.transforms.target.inverse(value);
        // The cast turns a rounding below the least value into bin 0.
        counts[(((x - min) * scale) as usize).min(BINS - 1)] += 1;
    }
    Distribution::Numeric { edges: columns::edges(min, max, BINS), counts }
}

/// Classes that a part lacks: no score of such a class means anything.
fn absent(snapshot: &Snapshot<'_>, parts: &[(&str, &Encoded); 3]) -> Vec<Alert> {
    let classes = &snapshot.prepared.target.classes;
    let lacking = |data: &Encoded| -> Vec<&str> {
        let Some(Target::Class(rows)) = &data.target else { return Vec::new() };
        let counts = counts(rows, classes.len());
        classes.iter().zip(counts).filter(|(_, n)| *n == 0).map(|(c, _)| c.as_str()).collect()
    };
    let mut alerts = Vec::new();
    for (name, data) in parts.iter().filter(|(_, data)| data.rows > 0) {
        let lacking = lacking(data);
        if !lacking.is_empty() {
            let label = format!("the {name} part has no row of {}", words::list(&lacking, 5));
            alerts.push(Alert::new(Level::Warning, label, "a larger share may have some"));
        }
    }
    if alerts.is_empty() && !classes.is_empty() {
        alerts.push(Alert::new(Level::Passed, "every part has rows of every class", ""));
    }
    alerts
}
