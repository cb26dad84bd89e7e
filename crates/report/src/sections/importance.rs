//! Permutation importance: bars with whiskers, the strongest first.

use super::Section;
use crate::{
    data::{Importance, ImportanceItem, ReportData},
    html::{Clip, figure, left_out},
    number,
    svg::{
        bars::{self, Bar},
        responsive,
    },
};

const BARS: usize = 30;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let importance = data.importance.as_ref()?;
    let sorted = sorted(importance);
    let svg = responsive(|width| chart(importance, &sorted, width));
    let mut body = figure("large", "Permutation importance", &svg, &note(importance));
    body.push_str(&left_out(sorted.len().min(BARS), sorted.len(), "columns"));
    let split = if importance.split.is_empty() { "held-out" } else { &importance.split };
    let lead = format!(
        "The loss in {} when one column of the <b>{}</b> part is shuffled.",
        if importance.metric.is_empty() {
            "the score".into()
        } else {
            Clip(&importance.metric, 60).to_string()
        },
        Clip(split, 60)
    );
    Some(Section { id: "importance", title: "Importance", lead, body })
}

fn sorted(importance: &Importance) -> Vec<&ImportanceItem> {
    let mut items: Vec<&ImportanceItem> = importance.items.iter().collect();
    // NaN goes last.
    let key = |i: &ImportanceItem| if i.mean.is_nan() { f64::NEG_INFINITY } else { i.mean };
    items.sort_by(|a, b| key(b).total_cmp(&key(a)));
    items
}

fn chart(importance: &Importance, sorted: &[&ImportanceItem], width: f64) -> String {
    let rows: Vec<Bar> = sorted
        .iter()
        .take(BARS)
        .map(|i| Bar { name: &i.name, value: i.mean, spread: i.deviation })
        .collect();
    let metric = if importance.metric.is_empty() { "score" } else { &importance.metric };
    let label = match rows.first() {
        Some(first) => format!("Permutation importance; the strongest is {}", first.name),
        None => "Permutation importance".into(),
    };
    bars::bars(&label, &format!("loss in {metric} when shuffled"), &rows, width)
}

fn note(importance: &Importance) -> String {
    match importance.repeats {
        0 => "Whiskers: ± one standard deviation.".into(),
        n => format!("Whiskers: ± one standard deviation over {} shuffles.", number::count(n)),
    }
}
