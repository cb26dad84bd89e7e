//! The confusion matrix and the most frequent mistakes.

use crate::{
    data::Classification,
    html::{Align, Clip, Table, put},
    number,
    svg::heatmap,
};

/// The maximum number of classes in the matrix, those with the most mistakes.
const MATRIX: usize = 50;

/// The matrix, with a note on reading it.
pub(super) fn chart(c: &Classification) -> (String, String) {
    let mut note = String::from(
        "Blue: correct, orange: wrong; stronger colours mean larger shares of the actual class.",
    );
    let k = c.confusion.len();
    let unnamed = String::from("?");
    let name = |i: usize| c.classes.get(i).unwrap_or(&unnamed).as_str();
    let mut kept: Vec<usize> = (0..k).collect();
    if k > MATRIX {
        let wrong = |i: usize| -> u64 {
            let others =
                |n: Option<&u64>, j: usize| if i == j { 0 } else { n.copied().unwrap_or(0) };
            let row = c.confusion[i].iter().enumerate().map(|(j, n)| others(Some(n), j));
            let column = c.confusion.iter().enumerate().map(|(j, row)| others(row.get(i), j));
            row.chain(column).fold(0, u64::saturating_add)
        };
        kept.sort_by_key(|&i| (std::cmp::Reverse(wrong(i)), i));
        kept.truncate(MATRIX);
        kept.sort_unstable();
        put!(&mut note, " The {MATRIX} of {k} classes with the most mistakes are shown.");
    }
    let names: Vec<&str> = kept.iter().map(|&i| name(i)).collect();
    let cells: Vec<Vec<u64>> = kept
        .iter()
        .map(|&i| kept.iter().map(|&j| c.confusion[i].get(j).copied().unwrap_or(0)).collect())
        .collect();
    let right: u64 =
        (0..k).filter_map(|i| c.confusion[i].get(i)).fold(0, |a, b| a.saturating_add(*b));
    let all: u64 = c.confusion.iter().flatten().fold(0, |a, b| a.saturating_add(*b));
    let label = format!(
        "Confusion matrix of {k} classes: {} of {} rows are correct",
        number::count(right),
        number::count(all)
    );
    (heatmap::confusion(&label, &names, &cells), note)
}

/// The most frequent mistakes.
pub(super) fn top(c: &Classification) -> String {
    let name = |i: usize| Clip(c.classes.get(i).map_or("?", String::as_str), 40).to_string();
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (i, row) in c.confusion.iter().enumerate() {
        pairs.extend(
            row.iter().enumerate().filter(|(j, n)| *j != i && **n > 0).map(|(j, n)| (*n, i, j)),
        );
    }
    if pairs.is_empty() || c.classes.len() < 2 {
        return String::new();
    }
    let kinds = pairs.len();
    pairs.sort_by_key(|&(n, i, j)| (std::cmp::Reverse(n), i, j));
    pairs.truncate(8);
    let heads = [
        ("actual", Align::Text),
        ("taken for", Align::Text),
        ("rows", Align::Number),
        ("of the class", Align::Number),
    ];
    let mut table = Table::new("Most frequent mistakes", &heads);
    for &(n, i, j) in &pairs {
        let total: f64 = c.confusion[i].iter().map(|&n| n as f64).sum();
        table.row("", &[name(i), name(j), number::count(n), number::percent(n as f64, total)]);
    }
    let table = table.end(1, 1, "");
    let more = if kinds > pairs.len() {
        format!(
            "<p class=\"note\">{} more kinds of mistake are less frequent.</p>",
            kinds - pairs.len()
        )
    } else {
        String::new()
    };
    format!("<h3>Most frequent mistakes</h3>{table}{more}")
}
