//! The sections of a report, one per file; sections without data are omitted.

mod classification;
mod commands;
mod confusion;
mod coverage;
mod curves;
mod data;
mod decisions;
mod dependence;
mod environment;
mod importance;
mod mistakes;
mod model;
mod rates;
mod regression;
mod resources;
mod samples;
mod split;
mod text;
mod threshold;
mod tuning;
mod verdict;
mod words;

use super::{
    data::{Alert, Level, ReportData},
    html::{Clip, put},
    number,
};

/// A section of the page; `title` and `id` are constants, `lead` and `body` are HTML.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) lead: String,
    pub(super) body: String,
}

/// All sections with data, in the order of the page.
pub(super) fn all(data: &ReportData) -> Vec<Section> {
    let sections: [fn(&ReportData) -> Option<Section>; 21] = [
        verdict::section,
        tuning::section,
        decisions::section,
        data::section,
        text::section,
        split::section,
        curves::section,
        samples::section,
        classification::section,
        threshold::section,
        regression::section,
        coverage::section,
        words::section,
        importance::section,
        dependence::section,
        mistakes::section,
        model::section,
        resources::section,
        resources::timings,
        commands::section,
        environment::section,
    ];
    sections.into_iter().filter_map(|section| section(data)).collect()
}

/// Findings as a list, the most serious first.
fn alerts(alerts: &[Alert]) -> String {
    const MOST: usize = 50;
    if alerts.is_empty() {
        return String::new();
    }
    let mut sorted: Vec<&Alert> = alerts.iter().collect();
    sorted.sort_by_key(|a| match a.level {
        Level::Failed => 0,
        Level::Warning => 1,
        Level::Note => 2,
        Level::Passed => 3,
    });
    let mut out = String::from("<ul class=\"checks\">\n");
    for alert in sorted.iter().take(MOST) {
        let (class, sign, word) = level(alert.level);
        put!(
            &mut out,
            "<li class=\"{class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span>\
             <span><span class=\"sr\">{word}: </span><b>{}</b>{}</span></li>\n",
            Clip(&alert.label, 200),
            if alert.detail.is_empty() {
                String::new()
            } else {
                format!(" <span class=\"muted\">{}</span>", Clip(&alert.detail, 300))
            }
        );
    }
    out.push_str("</ul>\n");
    out.push_str(&super::html::left_out(sorted.len().min(MOST), sorted.len(), "findings"));
    out
}

/// The class, the sign and the word of a level; signs carry the meaning without colour.
fn level(level: Level) -> (&'static str, &'static str, &'static str) {
    match level {
        Level::Note => ("info", "i", "note"),
        Level::Passed => ("good", "✓", "passed"),
        Level::Warning => ("warn", "!", "warning"),
        Level::Failed => ("bad", "✗", "failed"),
    }
}

/// A share in [0, 1] as a number over a faint bar.
fn meter(x: f64) -> String {
    // Undefined, such as a precision without predictions or a recall without rows.
    if x.is_nan() {
        return "<span class=\"muted\">—</span>".into();
    }
    let width = if x.is_finite() { x.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    format!("<span class=\"meter\" style=\"--v:{width:.1}%\">{}</span>", number::score(x))
}

/// A legend of (colour, name) outside a chart.
fn legend(entries: &[(usize, &str)]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (colour, name) in entries {
        put!(&mut out, "<li><i class=\"c{colour}\"></i>{}</li>", Clip(name, 60));
    }
    out.push_str("</ul>\n");
    out
}

/// `on the test part`, or nothing if the part has no name.
fn on(split: &str) -> String {
    if split.is_empty() { String::new() } else { format!("on <b>{}</b>", Clip(split, 60)) }
}
