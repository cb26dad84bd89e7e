//! Checks before trusting a result: repeated rows, leaks, gaps, uneven classes.

use std::collections::{HashMap, HashSet};

use ff_tensor::ThreadPool;

use crate::config::{SplitKind, Task};
use crate::note::Note;
use crate::number::format_number;
use crate::rng::{IdentityHash, mix};
use crate::schema::{ColumnSchema, Kind, Role, Schema, set_kind};
use crate::split::Parts;
use crate::table::{Table, Values};
use crate::target::TargetSchema;
use crate::transforms::Encoded;

mod leak;
mod order;

/// The data that is checked.
pub(crate) struct CheckedData<'a> {
    pub(crate) table: &'a Table,
    pub(crate) schema: &'a Schema,
    pub(crate) target: &'a TargetSchema,
    pub(crate) parts: &'a Parts,
    pub(crate) split: SplitKind,
    pub(crate) train: &'a Encoded,
    pub(crate) threads: &'a ThreadPool,
}

/// A column with a larger share of gaps is pointed at.
const MANY_MISSING: f64 = 0.5;

/// A class this many times smaller than the largest one is pointed at.
const UNEVEN: usize = 4;

/// Repeated rows are a warning from this share of a part on; below, they are worth knowing.
const MANY_REPEATED: f64 = 0.01;

/// Rows whose hashes a thread makes at a time, column by column: few enough for a cache.
const PIECE: usize = 4096;

/// All findings, in a fixed order.
pub(crate) fn run(data: &CheckedData<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    target(data, &mut notes);
    columns(data, &mut notes);
    repeats(data, &mut notes);
    leak::find(data, &mut notes);
    order::find(data, &mut notes);
    notes
}

fn target(data: &CheckedData<'_>, notes: &mut Vec<Note>) {
    let target = data.target;
    if target.ambiguous {
        let mut note = Note::info(format!("the task may be another: {}", target.reason));
        note.undo.clone_from(&target.undo);
        notes.push(note.column(&target.column));
    }
    if target.task == Task::Regression {
        return;
    }
    let total: usize = target.counts.iter().sum();
    let largest = target.counts.iter().copied().max().unwrap_or(0);
    let small: Vec<usize> =
        (0..target.counts.len()).filter(|&i| target.counts[i] * UNEVEN <= largest).collect();
    if small.is_empty() {
        notes.push(Note::pass("classes are even enough").column(&target.column));
    } else {
        let shown: Vec<_> = small
            .iter()
            .take(3)
            .map(|&i| {
                let share = 100.0 * target.counts[i] as f64 / total as f64;
                format!("`{}` {share:.1} %", shortened(&target.classes[i]))
            })
            .collect();
        let more = match small.len() - shown.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        notes.push(
            Note::warn(format!(
                "uneven classes: {}{more}; accuracy flatters, look at balanced accuracy and F1, or \
                 train with balanced class weights",
                shown.join(", ")
            ))
            .column(&target.column),
        );
    }
    if let Some(crate::target::Target::Class(classes)) = &data.train.target {
        let lacking: Vec<_> = (0..target.classes.len())
            .filter(|&i| !classes.contains(&(i as i32)))
            .map(|i| format!("`{}`", shortened(&target.classes[i])))
            .take(5)
            .collect();
        if !lacking.is_empty() {
            notes.push(
                Note::warn(format!("no training row has class {}", lacking.join(", ")))
                    .column(&target.column),
            );
        }
    }
}

fn columns(data: &CheckedData<'_>, notes: &mut Vec<Note>) {
    for column in &data.schema.columns {
        let stats = &column.stats;
        if column.role == Role::Dropped {
            if column.kind != Kind::Drop && column.undo.is_some() {
                let mut note = Note::info(format!("{}, left out: {}", column.kind, column.reason));
                note.undo.clone_from(&column.undo);
                notes.push(note.column(&column.name));
            }
            continue;
        }
        let share = stats.missing as f64 / stats.rows.max(1) as f64;
        if share > MANY_MISSING {
            notes.push(
                Note::warn(format!("{:.0} % missing", 100.0 * share))
                    .column(&column.name)
                    .undo(set_kind(&column.name, "drop")),
            );
        }
        if let Some(infinite) = stats.number.as_ref().map(|n| n.infinite).filter(|&n| n > 0) {
            notes.push(
                Note::warn(format!(
                    "{infinite} infinite values, or numbers that stand for no value such as 3.4028235e38, count as missing"
                ))
                .column(&column.name),
            );
        }
        if column.role == Role::Feature && column.kind == Kind::Category {
            category(column, notes);
        }
    }
}

fn category(column: &ColumnSchema, notes: &mut Vec<Note>) {
    let stats = &column.stats;
    let present = stats.rows - stats.missing;
    if stats.unique > 50 && stats.unique * 10 > present {
        notes.push(
            Note::warn(format!(
                "{} categories in {present} rows: most are too rare to learn from",
                stats.unique
            ))
            .column(&column.name)
            .undo(set_kind(&column.name, "drop")),
        );
    }
}

/// Rows that repeat an earlier row of `rows` in the features and the target, ascending.
pub(crate) fn repeated(
    table: &Table,
    schema: &Schema,
    rows: &[usize],
    threads: &ThreadPool,
) -> Vec<usize> {
    let mut hashes = hashes(table, schema, Role::Feature, threads);
    add_target(&mut hashes, table, schema, threads);
    repeats_of(&hashes, rows)
}

fn repeats_of(hashes: &[u64], rows: &[usize]) -> Vec<usize> {
    let mut seen: HashSet<u64, IdentityHash> =
        HashSet::with_capacity_and_hasher(rows.len(), IdentityHash);
    rows.iter().copied().filter(|&row| !seen.insert(hashes[row])).collect()
}

fn repeats(data: &CheckedData<'_>, notes: &mut Vec<Note>) {
    let CheckedData { table, schema, parts, threads, .. } = data;
    let mut rows: Vec<usize> =
        parts.train.iter().chain(&parts.valid).chain(&parts.test).copied().collect();
    rows.sort_unstable();
    let features = hashes(table, schema, Role::Feature, threads);
    let mut whole = features.clone();
    add_target(&mut whole, table, schema, threads);
    let inside = repeats_of(&whole, &rows);
    drop(whole);
    if inside.is_empty() {
        notes.push(Note::pass("no row is there twice"));
    } else {
        let message = format!(
            "{} of {} rows repeat an earlier row exactly, the first in {} {}",
            inside.len(),
            rows.len(),
            table.line_word(),
            table.line(inside[0])
        );
        notes.push(level(inside.len(), rows.len(), message).undo("data.drop_duplicates=true"));
    }
    let mut learned: HashMap<u64, usize, IdentityHash> =
        HashMap::with_capacity_and_hasher(parts.train.len(), IdentityHash);
    for &row in &parts.train {
        learned.entry(features[row]).or_insert(row);
    }
    for (part, name) in [(&parts.valid, "validation"), (&parts.test, "test")] {
        if part.is_empty() {
            continue;
        }
        let shared: Vec<(usize, usize)> = part
            .iter()
            .filter_map(|&row| learned.get(&features[row]).map(|&twin| (row, twin)))
            .collect();
        notes.push(match shared.first() {
            None => Note::pass(format!("no row of the {name} part is in the training part")),
            Some((row, twin)) => {
                let word = table.line_word();
                let message = format!(
                    "{} of {} rows of the {name} part have the same features as a training row, \
                     such as {word} {} and {word} {}",
                    shared.len(),
                    part.len(),
                    table.line(*row),
                    table.line(*twin)
                );
                level(shared.len(), part.len(), message).undo("data.drop_duplicates=true")
            }
        });
    }
}

fn level(count: usize, of: usize, message: String) -> Note {
    if count as f64 > MANY_REPEATED * of as f64 { Note::warn(message) } else { Note::info(message) }
}

/// A hash of each row's columns of this role.
fn hashes(table: &Table, schema: &Schema, role: Role, threads: &ThreadPool) -> Vec<u64> {
    let columns: Vec<(u64, &Values)> = schema
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.role == role)
        .filter_map(|(i, column)| Some((mix(i as u64 + 1), &table.column(&column.name)?.values)))
        .collect();
    let mut hashes = vec![0u64; table.rows()];
    let pieces: Vec<_> = hashes.chunks_mut(PIECE).enumerate().collect();
    threads.map(pieces, |(piece, hashes)| {
        for (salt, values) in &columns {
            let rows = piece * PIECE..piece * PIECE + hashes.len();
            let mut hashes = hashes.iter_mut();
            let mut add = |cell: u64| {
                if let Some(hash) = hashes.next() {
                    *hash = mix(*hash ^ salt ^ cell);
                }
            };
            match values {
                Values::Number(numbers) => numbers.for_range(rows, |x| add(number(x))),
                _ => rows.for_each(|row| add(cell(values, row))),
            }
        }
    });
    hashes
}

/// Makes hashes of the features those of features and target.
fn add_target(hashes: &mut [u64], table: &Table, schema: &Schema, threads: &ThreadPool) {
    let targets = self::hashes(table, schema, Role::Target, threads);
    hashes.iter_mut().zip(targets).for_each(|(hash, target)| *hash = mix(*hash ^ target));
}

fn cell(values: &Values, row: usize) -> u64 {
    match values {
        Values::Text(texts) => {
            texts.get(row).map_or(1, |text| xxhash_rust::xxh3::xxh3_64(text.trim().as_bytes()))
        }
        Values::Integer(integers) => integers.get(row).map_or(1, |x| mix(x as u64 ^ 2)),
        _ => number(values.number(row).unwrap_or(f64::NAN)),
    }
}

#[inline]
fn number(x: f64) -> u64 {
    // Adding zero makes -0 equal to 0.
    if x.is_nan() { 1 } else { mix((x + 0.0).to_bits()) }
}

/// A share as a message shows it, never rounded up to the whole.
fn share(x: f64) -> String {
    format_number((x * 1e4).floor() / 1e4)
}

/// A class, cut where it is longer than any name is.
fn shortened(class: &str) -> String {
    const MOST: usize = 60;
    match class.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &class[..at]),
        None => class.to_owned(),
    }
}
