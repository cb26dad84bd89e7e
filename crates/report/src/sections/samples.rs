//! Texts from fixed prompts, before, during and after training.

use super::Section;
use crate::{
    data::ReportData,
    html::{Clip, left_out, put},
};

const MOST: usize = 60;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    if data.samples.is_empty() {
        return None;
    }
    let mut body = String::from("<ol class=\"samples\">\n");
    for s in data.samples.iter().take(MOST) {
        put!(
            &mut body,
            "<li><span class=\"kind\">{}</span><p><b>{}</b>{}</p></li>\n",
            Clip(&s.when, 60),
            Clip(&s.prompt, 600),
            Clip(&s.text, 1500)
        );
    }
    body.push_str("</ol>\n");
    body.push_str(&left_out(data.samples.len().min(MOST), data.samples.len(), "samples"));
    Some(Section {
        id: "samples",
        title: "Samples",
        lead: "Continuations of the same prompts during training; prompts are bold.".into(),
        body,
    })
}
