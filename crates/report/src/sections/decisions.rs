//! The decision log: what was inferred, chosen or dropped, why, and how to undo it.

use super::Section;
use crate::{
    data::{DecisionKind, ReportData},
    html::{Clip, code, left_out, put},
};

const MOST: usize = 150;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    if data.decisions.is_empty() {
        return None;
    }
    let mut body = String::from("<ol class=\"decisions\">\n");
    for d in data.decisions.iter().take(MOST) {
        let (class, word) = match d.kind {
            DecisionKind::Inferred => ("inferred", "inferred"),
            DecisionKind::Chosen => ("chosen", "chosen"),
            DecisionKind::Dropped => ("dropped", "dropped"),
            DecisionKind::Changed => ("changed", "changed"),
        };
        put!(
            &mut body,
            "<li><span class=\"kind {class}\">{word}</span><div class=\"what\"><b>{}</b>",
            Clip(&d.what, 300)
        );
        if !d.why.is_empty() {
            put!(&mut body, "<span class=\"why\">{}</span>", Clip(&d.why, 500));
        }
        body.push_str("</div>");
        if !d.undo.is_empty() {
            put!(&mut body, "<div class=\"undo\">{}</div>", code(&d.undo));
        }
        body.push_str("</li>\n");
    }
    body.push_str("</ol>\n");
    body.push_str(&left_out(data.decisions.len().min(MOST), data.decisions.len(), "decisions"));
    Some(Section {
        id: "decisions",
        title: "Decisions",
        lead: "Decisions on unspecified settings, with the evidence and the option to change them."
            .into(),
        body,
    })
}
