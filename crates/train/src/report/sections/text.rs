//! The text that a language model learns from: totals, lengths, an example with its loss mask.

use super::{Section, environment};
use crate::report::{
    data::ReportData,
    html::{Clip, figure, left_out, put},
    svg::{NARROW, histogram::Histogram},
};

const TOKENS: usize = 1500;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let text = data.text.as_ref()?;
    let mut body = String::new();
    if !text.facts.is_empty() {
        body.push_str(&environment::facts(&text.facts));
    }
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
        let svg = chart.draw(NARROW, 220.0);
        put!(&mut body, "<div class=\"grid two\">{}</div>\n", figure("", "Lengths", &svg, ""));
    }
    if !text.example.is_empty() {
        body.push_str(
            "<h3>An example as the model sees it</h3><p class=\"note\">Marked tokens count in the loss.</p>\
             <p class=\"tokens\">",
        );
        for token in text.example.iter().take(TOKENS) {
            // `mark` is read aloud and printed; colour alone would not be.
            if token.trained {
                put!(&mut body, "<mark>{}</mark>", Clip(&token.text, 100));
            } else {
                put!(&mut body, "<span>{}</span>", Clip(&token.text, 100));
            }
        }
        body.push_str("</p>\n");
        let n = text.example.len();
        body.push_str(&left_out(n.min(TOKENS), n, "tokens"));
    }
    Some(Section { id: "text", title: "Text", lead: String::new(), body })
}
