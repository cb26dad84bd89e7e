//! The commands that reproduce the run and use its model.

use super::Section;
use crate::{
    data::ReportData,
    html::{Clip, code, left_out, put},
};

const MOST: usize = 30;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    if data.commands.is_empty() {
        return None;
    }
    let mut body = String::from("<dl class=\"commands\">\n");
    for c in data.commands.iter().take(MOST) {
        put!(
            &mut body,
            "<div><dt>{}</dt><dd>{}</dd></div>\n",
            Clip(&c.purpose, 120),
            code(&c.line)
        );
    }
    body.push_str("</dl>\n");
    body.push_str(&left_out(data.commands.len().min(MOST), data.commands.len(), "commands"));
    Some(Section { id: "commands", title: "Commands", lead: String::new(), body })
}
