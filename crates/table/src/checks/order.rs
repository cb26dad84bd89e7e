//! Columns that count rows: where the file is sorted by the target, or the target drifts, they tell
//! it, and will not for new rows.

use super::{CheckedData, share};
use crate::config::{SplitKind, Task};
use crate::note::Note;
use crate::schema::{ColumnSchema, Kind, set_kind};
use crate::table::{Table, Values};
use crate::target::{Target, value};

/// Fewer training rows prove nothing.
const MIN_ROWS: usize = 50;

/// The share of steps from row to row in one direction from which a column follows the order.
const MONOTONE: f64 = 0.99;

/// The share of different values from which a column can count rows.
const DIFFERENT: f64 = 0.9;

/// Neighbouring rows are compared in this many blocks.
const BLOCKS: usize = 20;

/// The share of the target's variance between blocks from which its order matters.
const FOLLOWS: f64 = 0.25;

/// Looks for numbers and dates that rise or fall with the rows, where the target follows too.
pub(super) fn find(data: &CheckedData<'_>, notes: &mut Vec<Note>) {
    let CheckedData { table, schema, target, parts, train, .. } = data;
    // Where parts follow in time, what counts rows is beyond its range in the test part.
    if data.split == SplitKind::Time || parts.train.len() < MIN_ROWS {
        return;
    }
    let Some(labels) = &train.target else { return };
    let explained = between_blocks(labels, target.classes.len(), target.task);
    if explained < FOLLOWS {
        return;
    }
    let counts = |column: &&ColumnSchema| {
        matches!(column.kind, Kind::Number | Kind::Date)
            && column.stats.unique as f64 > DIFFERENT * column.stats.rows as f64
            && follows_rows(table, &column.name, &parts.train)
    };
    for column in schema.features().filter(counts) {
        notes.push(
            Note::warn(format!(
                "rises or falls from row to row, and the order of the rows tells {} of the target's \
                 variance: does it only count rows? Is the file sorted by the target, or should \
                 the split be by time?",
                share(explained)
            ))
            .column(&column.name)
            .undo(set_kind(&column.name, "drop")),
        );
    }
}

/// The share of the target's variance that lies between blocks of neighbouring rows.
fn between_blocks(target: &Target, classes: usize, task: Task) -> f64 {
    let width = if task == Task::Regression { 1 } else { classes };
    let size = target.len().div_ceil(BLOCKS);
    let mut blocks = vec![vec![0.0; width]; BLOCKS];
    let (mut squares, mut rows) = (0.0, [0.0; BLOCKS]);
    for row in 0..target.len() {
        let block = row / size;
        rows[block] += 1.0;
        let (at, y) = match target {
            Target::Class(classes) => (classes[row] as usize, 1.0),
            Target::Value(values) => (0, f64::from(values[row])),
        };
        blocks[block][at] += y;
        squares += y * y;
    }
    let n = target.len() as f64;
    let mean = |at: usize| blocks.iter().map(|block| block[at]).sum::<f64>() / n;
    let means: Vec<f64> = (0..width).map(mean).collect();
    let correction: f64 = means.iter().map(|mean| n * mean * mean).sum();
    let between: f64 = blocks
        .iter()
        .zip(rows)
        .filter(|(_, rows)| *rows > 0.0)
        .map(|(block, rows)| block.iter().map(|sum| sum * sum / rows).sum::<f64>())
        .sum();
    let total = squares - correction;
    if total > 0.0 { (between - correction) / total } else { 0.0 }
}

fn follows_rows(table: &Table, name: &str, rows: &[usize]) -> bool {
    let Some(column) = table.column(name) else { return false };
    let (mut up, mut down, mut before) = (0, 0, None);
    for &row in rows {
        let Some(x) = read(&column.values, row) else { continue };
        if let Some(before) = before.replace(x) {
            up += usize::from(x > before);
            down += usize::from(x < before);
        }
    }
    up.max(down) as f64 > MONOTONE * rows.len().saturating_sub(1) as f64
}

/// A number or a date; other texts of dates are compared where ISO's order is that of time.
fn read(values: &Values, row: usize) -> Option<f64> {
    value(values, row).unwrap_or_else(|text| crate::date::parse(&text, crate::date::ISO))
}
