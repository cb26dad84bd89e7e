//! The environment: versions, CPU, seed, hash of the data.

use super::Section;
use crate::{
    data::{Fact, ReportData},
    html::{Clip, left_out, put},
};

const MOST: usize = 80;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    if data.environment.is_empty() {
        return None;
    }
    let body = facts(&data.environment);
    Some(Section { id: "environment", title: "Environment", lead: String::new(), body })
}

/// Labels and values as a definition list.
pub(super) fn facts(facts: &[Fact]) -> String {
    let mut out = String::from("<dl class=\"facts\">\n");
    for f in facts.iter().take(MOST) {
        put!(
            &mut out,
            "<div><dt>{}</dt><dd>{}</dd></div>\n",
            Clip(&f.label, 80),
            Clip(&f.value, 400)
        );
    }
    out.push_str("</dl>\n");
    out.push_str(&left_out(facts.len().min(MOST), facts.len(), "entries"));
    out
}
