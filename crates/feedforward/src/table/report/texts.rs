//! Columns of texts: the words that speak for each class, errors by length, repeated texts.

use super::mistakes;
use super::snapshot::Part;
use crate::table::model::{Predictions, TableModel};
use ff_report::{TextColumn, TextLengths, TextPair, WordGroup};
use ff_table::{Prepared, Target, TextEncoder, Texts, Values};
use std::collections::HashMap;

/// Words of a class, and pairs of texts, that are kept.
const WORDS: usize = 12;
const PAIRS: usize = 10;

/// Groups of lengths.
const LENGTHS: usize = 5;

/// Texts of the part that are compared with those of the training part.
const COMPARED: usize = 2_000;

/// The cosine from which texts are nearly the same.
const NEARLY: f32 = 0.9;

/// The heaviest n-grams of a text, of which near-duplicates share one, and the most texts that one
/// of them leads to.
const KEYS: usize = 8;
const CANDIDATES: usize = 100;

/// `model` is that of n-grams, where it is one.
pub(super) fn gather(
    model: Option<&TableModel>,
    predictions: &Predictions,
    part: Part<'_>,
    prepared: &Prepared,
) -> Vec<TextColumn> {
    let columns = prepared.transforms.texts().enumerate();
    let column = |(i, (name, encoder)): (usize, (&str, &TextEncoder))| {
        let values = &prepared.table.column(name)?.values;
        let (train, held_out) = (prepared.train.texts.get(i)?, part.data.texts.get(i)?);
        let (repeated, pairs) = repeated(train, held_out, values, part, prepared);
        let classes = matches!(predictions, Predictions::Classes { .. });
        Some(TextColumn {
            name: name.into(),
            split: part.name.into(),
            groups: model
                .and_then(|model| words(model, i, encoder, train, prepared))
                .unwrap_or_default(),
            error: if classes { "share wrong" } else { "mean absolute error" }.into(),
            lengths: lengths(values, predictions, part, prepared),
            repeated,
            pairs,
        })
    };
    columns.filter_map(column).collect()
}

/// For each class the n-grams of words with the largest mean contribution to its output, against
/// the mean over classes, in its training texts; `None` if layers stand behind the n-grams.
fn words(
    model: &TableModel,
    column: usize,
    encoder: &TextEncoder,
    texts: &Texts,
    prepared: &Prepared,
) -> Option<Vec<WordGroup>> {
    if !model.file().network.texts_alone() {
        return None;
    }
    let (weight, outputs) =
        (model.weight(&format!("texts.{column}.weight"))?, model.file().network.outputs);
    let classes = &model.file().classes;
    // The sums of each n-gram's weights, by the class of their texts.
    let groups = classes.len().max(1);
    let mut sums = vec![0f32; encoder.words.len() * groups];
    let mut rows = vec![0usize; groups];
    for row in 0..prepared.train.rows {
        let class = match &prepared.train.target {
            Some(Target::Class(labels)) => labels[row] as usize,
            _ => 0,
        };
        rows[class] += 1;
        for (gram, value) in texts.entries(row + 1).filter(|&(gram, _)| gram < encoder.words.len())
        {
            sums[gram * groups + class] += value;
        }
    }
    let contribution = |gram: usize, class: usize, group: usize| {
        let row = &weight[gram * outputs..][..outputs];
        let w = match row {
            // One output speaks for the second class, or for larger numbers.
            [w] if class == 0 => -w,
            [w] => *w,
            row => row[class] - row.iter().sum::<f32>() / outputs as f32,
        };
        f64::from(w * sums[gram * groups + group]) / rows[group].max(1) as f64
    };
    let group = |(class, name): (usize, String)| {
        let group = class.min(groups - 1);
        let read = |gram: &usize| encoder.words[*gram].contains(char::is_alphanumeric);
        let all = (0..encoder.words.len())
            .filter(read)
            .map(|gram| (contribution(gram, class, group), gram));
        let mut all: Vec<(f64, usize)> = all.filter(|(c, _)| *c > 0.0).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let words = all.into_iter().take(WORDS);
        let words = words.map(|(c, gram)| (encoder.words[gram].clone(), c)).collect();
        WordGroup { class: name, words }
    };
    let names = if classes.is_empty() {
        vec!["smaller".to_owned(), "larger".to_owned()]
    } else {
        classes.clone()
    };
    Some(names.into_iter().enumerate().map(group).collect())
}

/// The error in groups of texts of about the same length.
fn lengths(
    values: &Values,
    predictions: &Predictions,
    part: Part<'_>,
    prepared: &Prepared,
) -> Vec<TextLengths> {
    let errors: Vec<f64> = match (predictions, &part.data.target) {
        (Predictions::Classes { predicted, .. }, Some(Target::Class(labels))) => {
            let pairs = predicted.iter().zip(labels);
            pairs.map(|(&p, &label)| f64::from(u8::from(p != label as usize))).collect()
        }
        _ => mistakes::losses(part, predictions, prepared),
    };
    let length = |&row: &usize| values.text(row).chars().count() as u64;
    let mut rows: Vec<(u64, f64)> = part.rows.iter().map(length).zip(errors).collect();
    rows.sort_by_key(|a| a.0);
    let mut groups = Vec::new();
    let mut from = 0;
    for i in 1..=LENGTHS {
        // Equal lengths stay together.
        let mut to = (i * rows.len() / LENGTHS).max(from);
        while to > 0 && to < rows.len() && rows[to].0 == rows[to - 1].0 {
            to += 1;
        }
        let Some((first, last)) = rows[from..to].first().zip(rows[from..to].last()) else {
            continue;
        };
        let sum: f64 = rows[from..to].iter().map(|(_, error)| error).sum();
        groups.push(TextLengths {
            characters: [first.0, last.0],
            rows: (to - from) as u64,
            error: sum / (to - from) as f64,
        });
        from = to;
    }
    groups
}

/// How many texts of the part nearly repeat one of the training part, of how many; and some pairs.
fn repeated(
    train: &Texts,
    held_out: &Texts,
    values: &Values,
    part: Part<'_>,
    prepared: &Prepared,
) -> ([u64; 2], Vec<TextPair>) {
    let keys = |texts: &Texts, text: usize| {
        let mut entries: Vec<(usize, f32)> = texts.entries(text).collect();
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        entries.truncate(KEYS);
        entries.into_iter().map(|(gram, _)| gram).collect::<Vec<_>>()
    };
    let mut by_key: HashMap<usize, Vec<usize>> = HashMap::new();
    for text in 1..=prepared.train.rows {
        for key in keys(train, text) {
            by_key.entry(key).or_default().push(text);
        }
    }
    let compared = part.data.rows.min(COMPARED);
    let (mut count, mut pairs) = (0, Vec::new());
    for text in 1..=compared {
        let of: HashMap<usize, f32> = held_out.entries(text).collect();
        let square: f32 = of.values().map(|v| v * v).sum();
        let candidates = keys(held_out, text).into_iter().filter_map(|key| by_key.get(&key));
        let candidates = candidates.flat_map(|texts| texts.iter().take(CANDIDATES));
        let similar = candidates.map(|&other| {
            let (mut dot, mut other_square) = (0.0, 0.0);
            for (gram, v) in train.entries(other) {
                dot += v * of.get(&gram).copied().unwrap_or(0.0);
                other_square += v * v;
            }
            (dot / (square * other_square).sqrt(), other)
        });
        let best = similar.max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((similarity, other)) = best.filter(|(similarity, _)| *similarity >= NEARLY) else {
            continue;
        };
        count += 1;
        if pairs.len() < PAIRS {
            let row = part.rows[text - 1];
            pairs.push(TextPair {
                rows: [row as u64 + 1, prepared.parts.train[other - 1] as u64 + 1],
                similarity: f64::from(similarity.min(1.0)),
                text: values.text(row).into_owned(),
            });
        }
    }
    ([count, compared as u64], pairs)
}
