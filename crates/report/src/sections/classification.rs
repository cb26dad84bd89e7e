//! The results of a classifier: confusion matrix, scores of each class, ROC, precision–recall,
//! calibration.

use super::{Section, confusion, meter, on, rates};
use crate::{
    data::{ClassScores, Classification, ReportData},
    html::{Align, Clip, Table, figure, put},
    number,
    svg::{NARROW, THIRD},
};

/// The maximum number of rows in the table of scores.
const SCORES: usize = 120;
/// The maximum number of classes with room for a table beside the matrix.
const BESIDE: usize = 10;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let c = data.classification.as_ref()?;
    let (matrix, mistakes, scores) = (matrix(c), confusion::top(c), scores(c));
    // With two classes, the matrix already shows every kind of mistake.
    let body = match c.confusion.len() {
        0 => scores,
        1..=2 => format!("<div class=\"grid two\">{matrix}<div>{scores}</div></div>\n"),
        3..=BESIDE => {
            format!("<div class=\"grid two\">{matrix}<div>{mistakes}</div></div>\n{scores}")
        }
        _ => format!("{matrix}{mistakes}{scores}"),
    };
    let charts = charts(c);
    let mut lead = format!("Scores {}", on(&c.split));
    if let Some(name) = c.positive.and_then(|i| c.classes.get(i)) {
        put!(&mut lead, "; the positive class is <b>{}</b>", Clip(name, 60));
    }
    lead.push('.');
    Some(Section { id: "classes", title: "Classes", lead, body: body + &charts })
}

/// The curves, three in a row if there are three.
fn charts(c: &Classification) -> String {
    let n = [!c.roc.is_empty(), !c.precision_recall.is_empty(), c.calibration.is_some()];
    let n = n.into_iter().filter(|there| *there).count();
    let (kind, (w, h)) = if n == 3 { ("three", (THIRD, 290.0)) } else { ("two", (NARROW, 330.0)) };
    let mut out = String::new();
    if !c.roc.is_empty() {
        let note = rates::note("Area", &c.roc);
        out.push_str(&figure("", "ROC", &rates::roc(&c.roc, w, h), &note));
    }
    if !c.precision_recall.is_empty() {
        let svg = rates::precision_recall(&c.precision_recall, w, h);
        let note = rates::note("Average precision", &c.precision_recall);
        out.push_str(&figure("", "Precision–recall", &svg, &note));
    }
    if let Some(k) = &c.calibration {
        let svg = rates::calibration(k, w, h);
        out.push_str(&figure("", "Calibration", &svg, &rates::calibration_note(k)));
    }
    if out.is_empty() { out } else { format!("<div class=\"grid {kind}\">{out}</div>\n") }
}

fn matrix(c: &Classification) -> String {
    let (svg, note) = confusion::chart(c);
    let scroll = format!("<div class=\"scroll\" tabindex=\"0\">{svg}</div>");
    figure("matrix", "Confusion matrix", &scroll, &note)
}

fn scores(c: &Classification) -> String {
    if c.per_class.is_empty() && c.means.is_empty() {
        return String::new();
    }
    let with_auc = c.per_class.iter().chain(&c.means).any(|s| s.roc_auc.is_some());
    let mut heads = vec![
        ("class", Align::Text),
        ("precision ↑", Align::Number),
        ("recall ↑", Align::Number),
        ("F1 ↑", Align::Number),
    ];
    if with_auc {
        heads.push(("ROC AUC ↑", Align::Number));
    }
    heads.push(("rows", Align::Number));
    let mut table = Table::new("Scores of each class", &heads);
    let mut add = |kind: &str, s: &ClassScores| {
        let mut cells = vec![Clip(&s.name, 60).to_string()];
        cells.extend([s.precision, s.recall, s.f1].map(meter));
        if with_auc {
            cells.push(s.roc_auc.map_or("—".into(), meter));
        }
        cells.push(number::count(s.support));
        table.row(kind, &cells);
    };
    c.per_class.iter().take(SCORES).for_each(|s| add("", s));
    c.means.iter().take(6).for_each(|s| add("mean", s));
    let n = c.per_class.len();
    format!("<h3>Scores of each class</h3>{}", table.end(n.min(SCORES), n, "classes"))
}
