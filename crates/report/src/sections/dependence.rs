//! Partial dependence: small multiples, one per column.

use super::Section;
use crate::{
    data::{Dependence, Distribution, Grid, ReportData},
    html::{Clip, figure, left_out, put},
    number,
    svg::{
        THIRD,
        bars::{self, Bar},
        frame::Frame,
        line::{Band, Line, LineChart},
        px,
        scale::extent,
    },
};

const PANELS: usize = 24;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let all = &data.dependence;
    let first = all.first()?;
    // One range for all charts of an output, so that slopes are comparable at a glance.
    let outputs_agree = all.iter().all(|d| d.output == first.output);
    let values =
        all.iter().take(PANELS).flat_map(|d| d.mean.iter().chain(&d.low).chain(&d.high).copied());
    let range = extent(values).filter(|_| outputs_agree).map(padded);
    let mut body = String::from("<div class=\"grid three small\">");
    for d in all.iter().take(PANELS) {
        let svg = match &d.grid {
            Grid::Numbers(x) => curve(d, x, range),
            Grid::Labels(labels) => categories(d, labels),
        };
        body.push_str(&figure("", &d.column, &svg, ""));
    }
    body.push_str("</div>\n");
    body.push_str(&left_out(all.len().min(PANELS), all.len(), "columns"));
    let mut lead =
        String::from("The mean prediction as one column changes and all others stay fixed");
    if outputs_agree && !first.output.is_empty() {
        put!(&mut lead, " (<b>{}</b>)", Clip(&first.output, 80));
    }
    let with_band = all.iter().any(|d| !d.low.is_empty());
    lead.push_str(if with_band { ". Band: variation across rows; strip" } else { ". Strip" });
    lead.push_str(": distribution of the values.");
    Some(Section { id: "dependence", title: "Partial dependence", lead, body })
}

fn padded((low, high): (f64, f64)) -> (f64, f64) {
    let pad = (high - low) * 0.06;
    (low - pad, high + pad)
}

fn curve(d: &Dependence, x: &[f64], range: Option<(f64, f64)>) -> String {
    let strip = |frame: &Frame| strip(frame, &d.distribution);
    LineChart {
        label: &format!("Partial dependence on {}", d.column),
        x_label: &d.column,
        y_label: &d.output,
        lines: vec![Line { name: "mean", colour: 1, x, y: &d.mean, dots: x.len() <= 20 }],
        bands: if d.low.is_empty() || d.high.is_empty() {
            Vec::new()
        } else {
            vec![Band { colour: 1, x, low: &d.low, high: &d.high }]
        },
        y_range: range,
        bare: true,
        over: Some(&strip),
        ..LineChart::default()
    }
    .draw(THIRD, 200.0)
}

/// The distribution of the column as a strip of shades along the bottom.
fn strip(frame: &Frame, distribution: &Distribution) -> String {
    let Distribution::Numeric { edges, counts } = distribution else { return String::new() };
    let most = counts.iter().copied().max().unwrap_or(0);
    let mut out = String::from("<g class=\"s6\">");
    let inside = |x: f64| frame.x_at(x.clamp(frame.x.low, frame.x.high));
    for (pair, &n) in edges.windows(2).zip(counts).take(60) {
        if let (Some(a), Some(b), true) = (inside(pair[0]), inside(pair[1]), n > 0) {
            put!(
                &mut out,
                "<rect fill=\"var(--s)\" fill-opacity=\"{:.2}\" x=\"{}\" y=\"{}\" width=\"{}\" \
                 height=\"6\"/>",
                0.1 + 0.8 * n as f64 / most as f64,
                px(a),
                px(frame.bottom - 6.0),
                px((b - a).max(0.0))
            );
        }
    }
    out.push_str("</g>");
    out
}

fn categories(d: &Dependence, labels: &[String]) -> String {
    const MOST: usize = 12;
    let rows: Vec<Bar> = labels
        .iter()
        .zip(&d.mean)
        .take(MOST)
        .map(|(name, &value)| Bar { name, value, spread: 0.0 })
        .collect();
    let mut out =
        bars::bars(&format!("Partial dependence on {}", d.column), &d.output, &rows, THIRD);
    if labels.len() > MOST {
        put!(
            &mut out,
            "<p class=\"note\">{MOST} of {} categories.</p>",
            number::count(labels.len() as u64)
        );
    }
    out
}
