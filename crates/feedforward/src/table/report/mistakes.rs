//! The rows with the highest loss, in their own words.

use super::explain::Explained;
use super::snapshot::Part;
use crate::table::model::{ModelFile, Predictions};
use crate::words;
use ff_report::{Mistake, Mistakes};
use ff_table::{Kind, Prepared, Target};

/// Rows that are shown.
const ROWS: usize = 20;

/// Columns up to which all are shown; of more, names and the most important ones.
const ALL_COLUMNS: usize = 16;
const COLUMNS: usize = 12;

pub(super) fn gather(
    part: Part<'_>,
    predictions: &Predictions,
    file: &ModelFile,
    prepared: &Prepared,
    explained: &Explained,
) -> Mistakes {
    let rows = part.data.rows;
    let losses = losses(part, predictions, prepared);
    let mut order: Vec<usize> = (0..losses.len()).filter(|&i| losses[i] > 0.0).collect();
    order.sort_by(|&a, &b| losses[b].total_cmp(&losses[a]));
    order.truncate(ROWS);
    let (shown, names) = columns(prepared, explained);
    let target = &prepared.transforms.target;
    let mut wrong = None;
    let describe = |i: usize| -> (String, String, Option<f64>) {
        match (predictions, &part.data.target) {
            (Predictions::Classes { predicted, probabilities }, Some(Target::Class(labels))) => {
                let class = |c: usize| file.classes.get(c).cloned().unwrap_or_default();
                let guess = predicted[i];
                let confidence = probabilities[i * file.classes.len() + guess];
                (class(labels[i] as usize), class(guess), Some(confidence))
            }
            (Predictions::Values(values), Some(Target::Value(truth))) => {
                (words::number(target.inverse(truth[i])), words::number(values[i]), None)
            }
            _ => (String::new(), String::new(), None),
        }
    };
    if let (Predictions::Classes { predicted, .. }, Some(Target::Class(labels))) =
        (predictions, &part.data.target)
    {
        let differ =
            predicted.iter().zip(labels).filter(|(guess, label)| **guess != **label as usize);
        wrong = Some(differ.count() as u64);
    }
    let table = &prepared.table;
    Mistakes {
        split: part.name.into(),
        wrong,
        total: rows as u64,
        loss: if file.classes.is_empty() { "absolute error" } else { "cross-entropy" }.into(),
        columns: names,
        rows: order
            .iter()
            .map(|&i| {
                let (actual, predicted, confidence) = describe(i);
                let cells = shown.iter().filter_map(|&c| {
                    let column = table.columns().get(c)?;
                    Some(column.values.text(part.rows[i]).into_owned())
                });
                Mistake {
                    row: part.rows[i] as u64 + 1,
                    actual,
                    predicted,
                    confidence,
                    loss: losses[i],
                    cells: cells.collect(),
                }
            })
            .collect(),
        note: note(wrong, table.line_word()),
    }
}

fn note(wrong: Option<u64>, word: &str) -> String {
    let count = match word {
        "line" => "Rows count from 1, without the header.",
        _ => "Rows count from 1.",
    };
    match wrong {
        Some(0) => format!("None is wrong; these came nearest to it. {count}"),
        _ => count.into(),
    }
}

/// Each row's loss: −ln p of the true class, or the absolute error in the target's unit.
pub(super) fn losses(part: Part<'_>, predictions: &Predictions, prepared: &Prepared) -> Vec<f64> {
    match (predictions, &part.data.target) {
        (Predictions::Classes { probabilities, .. }, Some(Target::Class(labels))) => {
            let width = probabilities.len() / labels.len().max(1);
            let rows = probabilities.chunks_exact(width.max(1)).zip(labels);
            rows.map(|(p, &label)| -p[label as usize].max(f64::EPSILON).ln()).collect()
        }
        (Predictions::Values(values), Some(Target::Value(truth))) => {
            let target = &prepared.transforms.target;
            values.iter().zip(truth).map(|(p, &y)| (p - target.inverse(y)).abs()).collect()
        }
        _ => Vec::new(),
    }
}

/// The columns that are shown, in the file's order: places and names.
fn columns(prepared: &Prepared, explained: &Explained) -> (Vec<usize>, Vec<String>) {
    let schema = &prepared.schema.columns;
    let target = &prepared.target.column;
    let others = schema.iter().filter(|c| c.name != *target).count();
    let ranked = explained.columns_of(prepared);
    let kept = |i: &usize| {
        let column = &schema[*i];
        let important = || ranked.iter().take(COLUMNS).any(|name| *name == column.name);
        let names = matches!(column.kind, Kind::Identifier | Kind::Text);
        column.name != *target && (others <= ALL_COLUMNS || names || important())
    };
    let shown: Vec<usize> = (0..schema.len()).filter(kept).collect();
    let names = shown.iter().map(|&i| schema[i].name.clone()).collect();
    (shown, names)
}
