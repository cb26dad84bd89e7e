//! The rows and columns that came in.

use super::snapshot::Snapshot;
use crate::words;
use ff_report::{Alert, Column, Data, Distribution, Level, Tally};
use ff_table::{ColumnSchema, Kind, Note, NumberStats, Role, Values};

/// Values of a category that its small picture shows.
const SHOWN: usize = 12;

pub(super) fn gather(snapshot: &Snapshot<'_>) -> Data {
    let prepared = snapshot.prepared;
    let totals = &prepared.totals;
    let source = &prepared.source;
    let how = source.describe();
    let mut words = vec![snapshot.recipe.data.path.display().to_string()];
    if !how.is_empty() {
        words.push(how);
    }
    words.push(words::bytes(source.bytes as usize));
    words.push(format!("{} columns", words::count(prepared.schema.columns.len())));
    Data {
        source: words.join(" · "),
        rows_read: totals.read as u64,
        rows_used: totals.used as u64,
        dropped: totals.dropped.iter().map(|d| Tally::new(&d.reason, d.rows as u64)).collect(),
        columns: prepared
            .schema
            .columns
            .iter()
            .map(|column| self::column(snapshot, column))
            .collect(),
        checks: prepared
            .notes
            .iter()
            .filter(|note| is_about_table(snapshot, note))
            .map(check)
            .collect(),
    }
}

/// Whether a finding belongs to the table: what was left out is a decision already.
fn is_about_table(snapshot: &Snapshot<'_>, note: &Note) -> bool {
    let left_out = note.level == ff_table::Level::Info
        && note.column.as_ref().is_some_and(|name| {
            let column = snapshot.prepared.schema.column(name);
            column.is_some_and(|column| column.role == Role::Dropped)
        });
    !left_out && !is_about_parts(note)
}

/// Whether a finding is about the split rather than about the table.
pub(super) fn is_about_parts(note: &Note) -> bool {
    note.column.is_none() && note.message.contains(" part ")
        || note.message.starts_with("no training row has class")
}

/// A finding with its way out.
pub(super) fn check(note: &Note) -> Alert {
    let column = note.column.as_ref().map_or_else(String::new, |column| format!("{column}: "));
    let detail = note.undo.as_deref().map_or_else(String::new, words::set);
    Alert::new(level(note), format!("{column}{}", note.message), detail)
}

fn level(note: &Note) -> Level {
    match note.level {
        ff_table::Level::Pass => Level::Passed,
        ff_table::Level::Info => Level::Note,
        ff_table::Level::Warn => Level::Warning,
    }
}

fn column(snapshot: &Snapshot<'_>, column: &ColumnSchema) -> Column {
    let prepared = snapshot.prepared;
    let notes = prepared.notes.iter().filter(|note| note.column.as_ref() == Some(&column.name));
    let alerts = notes
        .filter(|note| note.level == ff_table::Level::Warn)
        .map(|note| Alert::new(level(note), short(&note.message), &note.message));
    let dropped = column.role == Role::Dropped;
    let role = match column.role {
        Role::Dropped => format!("left out: {}", column.reason),
        Role::Target => prepared.target.reason.clone(),
        _ => column.usage.clone(),
    };
    let kind = match column.kind {
        Kind::Drop => "—".into(),
        kind => kind.to_string(),
    };
    Column {
        name: column.name.clone(),
        kind,
        range: range(snapshot, column),
        unique: Some(column.stats.unique as u64),
        missing: column.stats.missing as u64,
        role,
        target: column.role == Role::Target,
        dropped,
        distribution: distribution(snapshot, column),
        alerts: alerts.collect(),
    }
}

/// What stands before the first punctuation mark.
fn short(message: &str) -> &str {
    message.split([':', ';', '(']).next().unwrap_or(message).trim()
}

fn is_quantity(column: &ColumnSchema) -> bool {
    let labelled = matches!(column.kind, Kind::Category | Kind::Boolean | Kind::Text);
    !labelled && column.stats.number.is_some()
}

fn range(snapshot: &Snapshot<'_>, column: &ColumnSchema) -> String {
    let target = &snapshot.prepared.target;
    if column.role == Role::Target && !target.classes.is_empty() {
        let names: Vec<&str> = target.classes.iter().map(String::as_str).collect();
        return words::list(&names, 4);
    }
    match &column.stats.number {
        Some(number) if is_quantity(column) && column.kind == Kind::Date => {
            let date = |x| Values::Date(vec![x]).text(0).into_owned();
            format!("{} to {}", date(number.min), date(number.max))
        }
        Some(NumberStats { min, max, quantiles, .. }) if is_quantity(column) => format!(
            "{} to {}, median {}",
            words::number(*min),
            words::number(*max),
            words::number(quantiles[1])
        ),
        _ => {
            let top: Vec<&str> =
                column.stats.top.iter().map(|(value, _)| value.as_str()).take(5).collect();
            match top.is_empty() {
                true if column.stats.unique > 0 => "all different".into(),
                true => String::new(),
                false => words::list(&top, 3).split(" and ").next().unwrap_or_default().into(),
            }
        }
    }
}

pub(super) fn distribution(snapshot: &Snapshot<'_>, column: &ColumnSchema) -> Distribution {
    let target = &snapshot.prepared.target;
    if column.role == Role::Target && !target.classes.is_empty() {
        let classes = target.classes.iter().zip(&target.counts);
        return Distribution::Categories(
            classes.map(|(class, &n)| Tally::new(class, n as u64)).collect(),
        );
    }
    match &column.stats.number {
        Some(number) if is_quantity(column) => histogram(number),
        _ => Distribution::Categories(
            column.stats.top.iter().take(SHOWN).map(|(v, n)| Tally::new(v, *n as u64)).collect(),
        ),
    }
}

/// A column's own histogram.
pub(super) fn histogram(number: &NumberStats) -> Distribution {
    let bins = &number.histogram;
    let counts: Vec<u64> = bins.counts.iter().map(|&n| n as u64).collect();
    Distribution::Numeric { edges: edges(bins.min, bins.max, counts.len()), counts }
}

/// Borders of bins of equal width.
pub(super) fn edges(min: f64, max: f64, bins: usize) -> Vec<f64> {
    let at = |i: usize| min + (max - min) * i as f64 / bins.max(1) as f64;
    (0..=bins).map(at).collect()
}
