//! Curves over the run: losses, metrics, learning rate, gradient norm.

use super::Section;
use crate::{
    data::{Mark, Panel, ReportData, Scale},
    html::{Clip, figure, put},
    number,
    svg::{
        NARROW, THIRD,
        line::{Line, LineChart, SPANS, is_noisy},
        palette, responsive,
    },
};

const PANELS: usize = 16;
const LINES: usize = 8;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let curves = data.curves.as_ref()?;
    let mut body = String::new();
    let shown = &curves.panels[..curves.panels.len().min(PANELS)];
    if let Some((first, rest)) = shown.split_first() {
        let svg = responsive(|width| {
            chart(first, &curves.marks, width, if width > NARROW { 300.0 } else { 260.0 })
        });
        body.push_str(&figure("large", &first.title, &svg, &note(first)));
        if !rest.is_empty() {
            // Three per row if that leaves no chart alone; otherwise pairs are easier to read.
            let (kind, width) =
                if rest.len() % 3 == 0 { ("three", THIRD) } else { ("two", NARROW) };
            put!(&mut body, "<div class=\"grid {kind}\">");
            for panel in rest {
                let svg = chart(panel, &curves.marks, width, 220.0);
                body.push_str(&figure("", &panel.title, &svg, &note(panel)));
            }
            body.push_str("</div>\n");
        }
    } else {
        body.push_str(&crate::html::no_data("nothing has been recorded yet"));
    }
    if !curves.note.is_empty() {
        put!(&mut body, "<p class=\"note\">{}</p>\n", Clip(&curves.note, 400));
    }
    body.push_str(&crate::html::left_out(shown.len(), curves.panels.len(), "charts"));
    Some(Section { id: "curves", title: "Training", lead: String::new(), body })
}

/// The note of the panel, with remarks on smoothing and on values that cannot be drawn.
fn note(panel: &Panel) -> String {
    let gaps: usize =
        panel.series.iter().map(|s| s.y.iter().filter(|y| !y.is_finite()).count()).sum();
    let mut parts = vec![panel.note.clone()];
    if let Some(s) = panel.series.iter().find(|s| is_noisy(&s.y)) {
        let span = number::count((s.y.len() / SPANS) as u64);
        parts.push(format!("Faint: as recorded; strong: moving average over {span} points."));
    }
    match gaps {
        0 => {}
        1 => parts.push("One value is not finite and is drawn as a gap.".into()),
        n => parts.push(format!(
            "{} values are not finite and are drawn as gaps.",
            number::count(n as u64)
        )),
    }
    parts.retain(|p| !p.is_empty());
    parts.join(" ")
}

fn chart(panel: &Panel, marks: &[Mark], width: f64, height: f64) -> String {
    let lines = panel.series.iter().take(LINES).enumerate().map(|(i, s)| Line {
        name: &s.name,
        colour: palette::series(&s.name, i),
        x: &s.x,
        y: &s.y,
        dots: false,
    });
    LineChart {
        label: &panel.title,
        x_label: &panel.x_label,
        y_label: &panel.y_label,
        lines: lines.collect(),
        log_y: panel.y_scale == Scale::Log,
        marks,
        bare: panel.series.len() == 1 && panel.series[0].name.is_empty(),
        ..LineChart::default()
    }
    .draw(width, height)
}
