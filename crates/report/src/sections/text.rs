//! The training text of a language model: totals, lengths, an example with its loss mask.

use super::{Section, environment};
use crate::{
    data::ReportData,
    html::{Clip, figure, left_out, put},
    svg::{NARROW, histogram::Histogram},
};

const TOKENS: usize = 1500;
const FINDINGS: usize = 50;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let text = data.text.as_ref()?;
    let mut body = String::new();
    if !text.facts.is_empty() {
        body.push_str(&environment::facts(&text.facts));
    }
    if !text.findings.is_empty() {
        body.push_str("<ul class=\"findings\">\n");
        for finding in text.findings.iter().take(FINDINGS) {
            put!(&mut body, "<li>{}</li>\n", Clip(finding, 400));
        }
        body.push_str("</ul>\n");
        let shown = text.findings.len().min(FINDINGS);
        body.push_str(&left_out(shown, text.findings.len(), "findings"));
    }
    let mut halves = String::new();
    if !text.length_counts.is_empty() {
        let shown = text.length_counts.len().min(200);
        let chart = Histogram {
            label: "Lengths of documents",
            x_label: "tokens",
            y_label: "documents",
            edges: &text.length_edges,
            counts: &text.length_counts[..shown],
            colour: 1,
            reference: None,
        };
        halves.push_str(&figure("", "Lengths", &chart.draw(NARROW, 220.0), ""));
    }
    if !text.example.is_empty() {
        let mut tokens = String::from("<p class=\"tokens\">");
        for token in text.example.iter().take(TOKENS) {
            // `mark` is accessible to screen readers and in print, unlike colour alone.
            let element = if token.trained { "mark" } else { "span" };
            put!(&mut tokens, "<{element}>{}</{element}>", Clip(&token.text, 100));
        }
        tokens.push_str("</p>");
        let n = text.example.len();
        tokens.push_str(&left_out(n.min(TOKENS), n, "tokens"));
        let title = "An example as the model sees it";
        halves.push_str(&figure("", title, &tokens, "Marked tokens are included in the loss."));
    }
    if !halves.is_empty() {
        put!(&mut body, "<div class=\"grid two\">{halves}</div>\n");
    }
    Some(Section { id: "text", title: "Text", lead: String::new(), body })
}
