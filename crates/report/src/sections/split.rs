//! The split: sizes, balance of the classes or of the target, overlap.

use super::{Section, alerts, legend};
use crate::{
    data::{Distribution, ReportData, Split},
    html::{Align, Clip, Table, figure, put},
    number,
    svg::{THIRD, bars, histogram::Histogram, palette},
};

/// The maximum number of parts (folds) shown.
const PARTS: usize = 24;
/// The maximum number of classes with distinguishable colours in a bar.
const COLOURS: usize = palette::SERIES;
/// The maximum number of classes in the table.
const CLASSES: usize = 60;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let split = data.split.as_ref()?;
    let mut body = String::new();
    if !split.parts.is_empty() {
        body.push_str(&sizes(split));
        body.push_str(&targets(split));
    }
    body.push_str(&alerts(&split.checks));
    let lead = Clip(&split.method, 300).to_string();
    Some(Section { id: "split", title: "Split", lead, body })
}

fn sizes(split: &Split) -> String {
    let parts = &split.parts[..split.parts.len().min(PARTS)];
    let total: f64 = split.parts.iter().map(|p| p.rows as f64).sum();
    let shares: Vec<(&str, f64, usize)> = parts
        .iter()
        .enumerate()
        .map(|(i, p)| (p.name.as_str(), p.rows as f64, palette::series(&p.name, i)))
        .collect();
    let mut out = bars::shares("Share of rows per part", &shares);
    let balance = split.classes.len() > 1 && split.parts.iter().any(|p| !p.classes.is_empty());
    let few = split.classes.len() <= COLOURS;
    let mut heads = vec![("part", Align::Text), ("rows", Align::Number), ("share", Align::Number)];
    if balance && few {
        heads.extend(split.classes.iter().map(|c| (c.as_str(), Align::Number)));
        heads.push(("balance", Align::Text));
    }
    let mut table = Table::new("Parts of the split", &heads);
    for (i, part) in parts.iter().enumerate() {
        let mut cells = vec![
            format!(
                "<i class=\"key c{}\"></i>{}",
                palette::series(&part.name, i),
                Clip(&part.name, 60)
            ),
            number::count(part.rows),
            number::percent(part.rows as f64, total),
        ];
        if balance && few {
            let counts =
                (0..split.classes.len()).map(|k| part.classes.get(k).copied().unwrap_or(0));
            let counts: Vec<u64> = counts.collect();
            for &n in &counts {
                cells.push(format!(
                    "{} <span class=\"muted\">{}</span>",
                    number::count(n),
                    number::percent(n as f64, part.rows as f64)
                ));
            }
            let shares: Vec<(&str, f64, usize)> = split
                .classes
                .iter()
                .zip(&counts)
                .enumerate()
                .map(|(k, (name, &n))| (name.as_str(), n as f64, k % COLOURS + 1))
                .collect();
            cells.push(bars::shares(&format!("balance of {}", part.name), &shares));
        }
        table.row("", &cells);
    }
    out.push_str(&table.end(parts.len(), split.parts.len(), "parts"));
    if balance && few {
        let entries: Vec<(usize, &str)> =
            split.classes.iter().enumerate().map(|(k, c)| (k + 1, c.as_str())).collect();
        put!(&mut out, "<p class=\"note\">Class balance:</p>{}", legend(&entries));
    } else if balance {
        out.push_str(&class_table(split));
    }
    out
}

/// Many classes: one row per class, with its share in every part.
fn class_table(split: &Split) -> String {
    let parts = &split.parts[..split.parts.len().min(6)];
    let mut heads = vec![("class", Align::Text)];
    heads.extend(parts.iter().map(|p| (p.name.as_str(), Align::Number)));
    let mut table = Table::new("Rows of each class in each part", &heads);
    for (k, class) in split.classes.iter().enumerate().take(CLASSES) {
        let mut cells = vec![Clip(class, 60).to_string()];
        cells.extend(parts.iter().map(|p| {
            let n = p.classes.get(k).copied().unwrap_or(0);
            format!(
                "{} <span class=\"muted\">{}</span>",
                number::count(n),
                number::percent(n as f64, p.rows as f64)
            )
        }));
        table.row("", &cells);
    }
    let table = table.end(split.classes.len().min(CLASSES), split.classes.len(), "classes");
    let smallest = split.parts.first().and_then(|p| {
        let (k, n) = p.classes.iter().enumerate().min_by_key(|(_, n)| **n)?;
        let name = Clip(split.classes.get(k)?, 60).to_string();
        Some(format!(
            ": the rarest in {} is {name} with {} rows ({})",
            Clip(&p.name, 40),
            number::count(*n),
            number::percent(*n as f64, p.rows as f64)
        ))
    });
    format!(
        "<details><summary>Balance of {} classes{}</summary>{table}</details>",
        split.classes.len(),
        smallest.unwrap_or_default()
    )
}

/// The histogram of the target in each part, for regression.
fn targets(split: &Split) -> String {
    let mut out = String::new();
    for (i, part) in split.parts.iter().enumerate().take(6) {
        if let Distribution::Numeric { edges, counts } = &part.target {
            let chart = Histogram {
                label: &format!("Target in {}", part.name),
                x_label: "target",
                y_label: "rows",
                edges,
                counts: &counts[..counts.len().min(200)],
                colour: palette::series(&part.name, i),
                reference: None,
            };
            out.push_str(&figure(
                "",
                &format!("Target in {}", part.name),
                &chart.draw(THIRD, 180.0),
                "",
            ));
        }
    }
    if out.is_empty() { out } else { format!("<div class=\"grid three\">{out}</div>") }
}
