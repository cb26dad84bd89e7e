//! The results of a regression: predicted against true values, residuals, segments with the largest
//! error.

use super::{Section, on};
use crate::{
    data::{Regression, ReportData},
    html::{Align, Clip, Table, figure, put},
    number,
    svg::{
        THIRD,
        histogram::{self, Histogram},
        scatter::{POINTS, Reference, Scatter},
    },
};

const SEGMENTS: usize = 30;
const HEIGHT: f64 = 300.0;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let r = data.regression.as_ref()?;
    let n = r.actual.len().min(r.predicted.len());
    let finite = pairs(r).count();
    let mut notes = Vec::new();
    if finite > POINTS {
        notes.push(format!(
            "{} of {} rows are drawn.",
            number::count(POINTS as u64),
            number::count(finite as u64)
        ));
    }
    if finite < n {
        notes.push(format!(
            "{} rows are not finite and are omitted.",
            number::count((n - finite) as u64)
        ));
    }
    let note = notes.join(" ");
    let mut charts = figure("", "Predicted against true", &predicted(r, THIRD, HEIGHT), &note);
    charts.push_str(&figure(
        "",
        "Residuals",
        &residuals(r, THIRD, HEIGHT),
        "Right of zero: predicted too low.",
    ));
    charts.push_str(&figure(
        "",
        "Residuals against predicted",
        &against(r, THIRD, HEIGHT),
        "A bend or a funnel is structure missed by the model.",
    ));
    let mut body = format!("<div class=\"grid three\">{charts}</div>\n");
    if !r.segments.is_empty() {
        body.push_str(&segments(r));
    }
    let mut lead = String::from("Predictions");
    if !r.target.is_empty() {
        put!(&mut lead, " of <b>{}</b>", Clip(&r.target, 80));
    }
    put!(&mut lead, " {}.", on(&r.split));
    Some(Section { id: "regression", title: "Predictions", lead, body })
}

/// Rows with finite values, as (actual, predicted).
fn pairs(r: &Regression) -> impl Iterator<Item = (f64, f64)> {
    let pairs = r.actual.iter().copied().zip(r.predicted.iter().copied());
    pairs.filter(|(a, p)| a.is_finite() && p.is_finite())
}

fn with_unit(label: &str, unit: &str) -> String {
    if unit.is_empty() { label.into() } else { format!("{label} ({unit})") }
}

fn predicted(r: &Regression, width: f64, height: f64) -> String {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs(r).unzip();
    Scatter {
        label: "Predicted against true values",
        x_label: &with_unit("true", &r.unit),
        y_label: &with_unit("predicted", &r.unit),
        x: &x,
        y: &y,
        colour: 1,
        reference: Reference::Diagonal,
    }
    .draw(width, height)
}

fn residuals(r: &Regression, width: f64, height: f64) -> String {
    let residuals: Vec<f64> = pairs(r).map(|(a, p)| a - p).collect();
    let (edges, counts) = histogram::bins(&residuals).unwrap_or_default();
    Histogram {
        label: "Histogram of residuals",
        x_label: &with_unit("true − predicted", &r.unit),
        y_label: "rows",
        edges: &edges,
        counts: &counts,
        colour: 1,
        reference: Some(0.0),
    }
    .draw(width, height)
}

fn against(r: &Regression, width: f64, height: f64) -> String {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs(r).map(|(a, p)| (p, a - p)).unzip();
    Scatter {
        label: "Residuals against predicted values",
        x_label: &with_unit("predicted", &r.unit),
        y_label: &with_unit("true − predicted", &r.unit),
        x: &x,
        y: &y,
        colour: 2,
        reference: Reference::Zero,
    }
    .draw(width, height)
}

fn segments(r: &Regression) -> String {
    let error = if r.error.is_empty() { "error" } else { &r.error };
    let shown = &r.segments[..r.segments.len().min(SEGMENTS)];
    let heads = [
        ("column", Align::Text),
        ("where", Align::Text),
        ("rows", Align::Number),
        (error, Align::Number),
        ("against all rows", Align::Number),
    ];
    let mut table = Table::new("Segments with the largest error", &heads);
    let worst = shown.iter().map(|s| s.error).filter(|e| e.is_finite()).fold(0.0, f64::max);
    for s in shown {
        let width = if worst > 0.0 && s.error.is_finite() { s.error / worst * 100.0 } else { 0.0 };
        let ratio = match r.overall {
            Some(all) if all > 0.0 && s.error.is_finite() => {
                format!("× {}", number::fixed(s.error / all, 2))
            }
            _ => "—".into(),
        };
        table.row(
            "",
            &[
                Clip(&s.column, 60).to_string(),
                Clip(&s.range, 80).to_string(),
                number::count(s.rows),
                format!(
                    "<span class=\"meter\" style=\"--v:{:.1}%\">{}</span>",
                    width.clamp(0.0, 100.0),
                    number::score(s.error)
                ),
                ratio,
            ],
        );
    }
    let mut out = String::from("<h3>Worst segments</h3>");
    if let Some(all) = r.overall {
        put!(
            &mut out,
            "<p class=\"note\">{} over all rows: {}.</p>",
            Clip(error, 40),
            number::score(all)
        );
    }
    out.push_str(&table.end(shown.len(), r.segments.len(), "segments"));
    out
}
