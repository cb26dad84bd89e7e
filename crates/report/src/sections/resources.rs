//! Compute and memory, planned and measured; the time of each phase.

use super::{Section, legend};
use crate::{
    data::{ReportData, Unit},
    html::{Align, Clip, Table, left_out},
    number,
    svg::{bars, palette},
};

const ROWS: usize = 60;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    if data.resources.is_empty() {
        return None;
    }
    let heads = [
        ("quantity", Align::Text),
        ("planned", Align::Number),
        ("measured", Align::Number),
        ("measured / planned", Align::Number),
    ];
    let mut table = Table::new("Compute and memory", &heads);
    for r in data.resources.iter().take(ROWS) {
        let write = |x: Option<f64>| {
            x.map_or("<span class=\"muted\">—</span>".into(), |x| match r.unit {
                Unit::Count if x.fract() == 0.0 && x.abs() < 1e15 => number::fixed(x, 0),
                Unit::Count => number::significant(x, 4),
                Unit::Bytes => number::bytes(x),
                Unit::Seconds => number::seconds(x),
                Unit::Flop => number::prefixed(x, "FLOP"),
                Unit::PerSecond => number::prefixed(x, "/s"),
            })
        };
        let ratio = match (r.planned, r.measured) {
            (Some(p), Some(m)) if p > 0.0 && m.is_finite() => {
                format!("× {}", number::fixed(m / p, 2))
            }
            _ => "<span class=\"muted\">—</span>".into(),
        };
        let name = Clip(&r.name, 80).to_string();
        table.row("", &[name, write(r.planned), write(r.measured), ratio]);
    }
    Some(Section {
        id: "resources",
        title: "Compute and memory",
        lead: "The plan before the start, and measurements of the run.".into(),
        body: table.end(data.resources.len().min(ROWS), data.resources.len(), "quantities"),
    })
}

pub(super) fn timings(data: &ReportData) -> Option<Section> {
    if data.timings.is_empty() {
        return None;
    }
    let shown = &data.timings[..data.timings.len().min(ROWS)];
    let usable = |s: f64| if s.is_finite() && s > 0.0 { s } else { 0.0 };
    let total: f64 = data.timings.iter().map(|t| usable(t.seconds)).sum();
    let colour = |i: usize| i % palette::SERIES + 1;
    let parts: Vec<(&str, f64, usize)> = shown
        .iter()
        .enumerate()
        .map(|(i, t)| (t.phase.as_str(), usable(t.seconds), colour(i)))
        .collect();
    let names: Vec<String> = shown
        .iter()
        .map(|t| {
            format!(
                "{} {} ({})",
                t.phase,
                number::seconds(t.seconds),
                number::percent(usable(t.seconds), total)
            )
        })
        .collect();
    let entries: Vec<(usize, &str)> =
        names.iter().enumerate().map(|(i, n)| (colour(i), n.as_str())).collect();
    let label = format!("Time of each phase, {} in all", number::seconds(total));
    let mut body = bars::shares(&label, &parts);
    body.push_str(&legend(&entries));
    body.push_str(&left_out(shown.len(), data.timings.len(), "phases"));
    Some(Section {
        id: "timings",
        title: "Time",
        lead: format!("<b>{}</b> in all.", number::seconds(total)),
        body,
    })
}
