//! Findings about a table.

use std::io;

use feedforward::DataNotice;
use feedforward::table::{ColumnSchema, Kind, Level, Role, TargetSchema, Task, Unfamiliar};

use super::{Align, TextTable, count};
use crate::terminal::{Style, Terminal};

/// Rows of the column table unless `--verbose`.
const COLUMNS: usize = 12;

/// Notes below it unless `--verbose`.
const NOTES: usize = 8;

/// The table of columns, the notes, the target and the split.
pub(crate) fn data(terminal: &Terminal, notice: &DataNotice<'_>) -> io::Result<()> {
    let (file, totals) = (notice.path.display(), notice.totals);
    let columns = &notice.schema.columns;
    terminal.line(format!(
        "\n{}   {file} · {} rows × {} columns{}",
        terminal.bold("Data"),
        count(totals.read as u64),
        count(columns.len() as u64),
        if notice.source.is_empty() { String::new() } else { format!(" · {}", notice.source) },
    ))?;
    let mut table = TextTable::new(&[
        ("column", Align::Left),
        ("kind", Align::Left),
        ("missing", Align::Right),
        ("unique", Align::Right),
        ("use", Align::Left),
    ]);
    let shown = choose(columns, if terminal.verbose { usize::MAX } else { COLUMNS });
    for &i in &shown {
        let column = &columns[i];
        let cells = column_cells(column, notice.target, terminal.verbose);
        match column.role {
            Role::Target => table.styled(cells, Style::Bold),
            Role::Dropped => table.styled(cells, Style::Dim),
            _ => table.row(cells),
        }
    }
    for line in table.lines(terminal) {
        terminal.line(line)?;
    }
    let more = columns.len() - shown.len();
    if more > 0 {
        terminal.line(terminal.dim(format!("  … {more} more (--verbose)")))?;
    }
    notes(terminal, notice)?;
    target(terminal, notice.target)?;
    let split = serde_json::to_value(notice.split).unwrap_or_default();
    terminal.line(format!(
        "{}  train {} · valid {} · test {} · {}",
        terminal.bold("Split"),
        count(totals.train as u64),
        count(totals.valid as u64),
        count(totals.test as u64),
        split.as_str().unwrap_or_default()
    ))?;
    for dropped in &totals.dropped {
        let rows = count(dropped.rows as u64);
        terminal.line(format!("       {rows} rows left out: {}", dropped.reason))?;
    }
    Ok(())
}

/// The columns to show: the target, columns with a decision, then the first ones; in file order.
fn choose(columns: &[ColumnSchema], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|&i| match columns[i].role {
        Role::Target => 0,
        Role::Weight | Role::Split => 1,
        // Some of many similar dropped columns suffice.
        Role::Dropped if i / 4 < most => 2,
        _ => 3,
    });
    // Unused columns take half of the room at most.
    let mut dropped = 0;
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for i in order {
        let is_dropped = columns[i].role == Role::Dropped;
        dropped += usize::from(is_dropped);
        if is_dropped && dropped > most / 2 { later.push(i) } else { first.push(i) }
    }
    let mut shown: Vec<usize> = first.into_iter().chain(later).take(most).collect();
    shown.sort_unstable();
    shown
}

fn column_cells(column: &ColumnSchema, target: &TargetSchema, verbose: bool) -> Vec<String> {
    let kind = match column.role {
        Role::Target => "target".into(),
        Role::Weight => "weight".into(),
        Role::Split => "split".into(),
        Role::Feature | Role::Dropped => column.kind.to_string(),
    };
    let mut usage = column.usage.clone();
    if column.role == Role::Target {
        usage = format!("{} ({}; --task to override)", target.task, target.reason);
    }
    // A number read as a number needs no remark.
    let plain = column.role != Role::Dropped && column.kind == Kind::Number;
    let shown = column.role != Role::Target && (verbose || !plain);
    if let Some(undo) = column.undo.as_ref().filter(|_| shown) {
        usage = format!("{usage} (--set {undo})");
    }
    let stats = &column.stats;
    let at_least = if stats.unique_is_a_minimum { "≥ " } else { "" };
    vec![
        shortened(&column.name),
        kind,
        count(stats.missing as u64),
        format!("{at_least}{}", count(stats.unique as u64)),
        usage,
    ]
}

fn shortened(name: &str) -> String {
    const MOST: usize = 32;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

fn notes(terminal: &Terminal, notice: &DataNotice<'_>) -> io::Result<()> {
    let least = if terminal.verbose { Level::Pass } else { Level::Warn };
    let most = if terminal.verbose { usize::MAX } else { NOTES };
    let notes: Vec<_> = notice.notes.iter().filter(|note| note.level >= least).collect();
    for note in notes.iter().take(most) {
        let (mark, style) = match note.level {
            Level::Pass => ("✓", Style::Green),
            Level::Info => ("·", Style::Dim),
            Level::Warn => ("!", Style::Yellow),
        };
        terminal.line(format!("  {} {note}", terminal.paint(style, mark)))?;
    }
    if notes.len() > most {
        let more = notes.len() - most;
        terminal.line(terminal.dim(format!("  … {more} more notes (--verbose)")))?;
    }
    Ok(())
}

fn target(terminal: &Terminal, target: &TargetSchema) -> io::Result<()> {
    const CLASSES: usize = 6;
    let head = terminal.bold("Target");
    if target.task == Task::Regression {
        let range = target.stats.number.as_ref().map_or(String::new(), |number| {
            format!(" · {} to {}, mean {:.4}", number.min, number.max, number.mean)
        });
        terminal.line(format!("{head} {}{range}", target.column))?;
    } else {
        let all: usize = target.counts.iter().sum();
        let mut classes: Vec<String> = target
            .classes
            .iter()
            .zip(&target.counts)
            .take(CLASSES)
            .map(|(class, &rows)| {
                let share = 100.0 * rows as f64 / all.max(1) as f64;
                format!("{}: {} ({share:.0} %)", shortened(class), count(rows as u64))
            })
            .collect();
        if target.classes.len() > CLASSES {
            classes.push(format!("{} more classes", target.classes.len() - CLASSES));
        }
        if let Some(positive) = target.positive.and_then(|i| target.classes.get(i)) {
            classes.push(format!("positive = {}", shortened(positive)));
        }
        terminal.line(format!("{head} {}", classes.join(" · ")))?;
    }
    if target.ambiguous {
        let undo = target.undo.as_ref().map_or(String::new(), |undo| format!("; --set {undo}"));
        let mark = terminal.paint(Style::Yellow, "!");
        let task = target.task;
        terminal
            .line(format!("  {mark} read as {task}, because it has {}{undo}", target.reason))?;
    }
    Ok(())
}

/// Columns with cells unlike those of training, among this number of rows.
pub(crate) fn unfamiliar(
    terminal: &Terminal,
    columns: &[Unfamiliar],
    rows: usize,
) -> io::Result<()> {
    let mark = terminal.paint(Style::Yellow, "!");
    let most = if terminal.verbose { usize::MAX } else { NOTES };
    let rows = count(rows as u64);
    for column in columns.iter().take(most) {
        let (name, cells) = (&column.column, column.describe());
        terminal.line(format!("  {mark} {name}: {cells}, of {rows} rows"))?;
    }
    if columns.len() > most {
        let more = columns.len() - most;
        terminal.line(terminal.dim(format!("  … {more} more columns (--verbose)")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(role: Role) -> ColumnSchema {
        ColumnSchema {
            name: "x".into(),
            kind: Kind::Number,
            role,
            reason: String::new(),
            usage: String::new(),
            undo: None,
            stats: feedforward::table::ColumnStats::default(),
        }
    }

    #[test]
    fn the_target_is_always_shown_and_dropped_columns_leave_room() {
        let mut columns: Vec<ColumnSchema> = (0..20).map(|_| column(Role::Dropped)).collect();
        columns.extend((0..20).map(|_| column(Role::Feature)));
        columns.push(column(Role::Target));
        let shown = choose(&columns, 6);
        assert_eq!(shown, [0, 1, 2, 20, 21, 40]);
        assert_eq!(choose(&columns, usize::MAX).len(), 41);
        assert_eq!(
            choose(&columns[..20], 6).len(),
            6,
            "where all are dropped, dropped ones are shown"
        );
        assert!(choose(&[], 6).is_empty());
    }
}
