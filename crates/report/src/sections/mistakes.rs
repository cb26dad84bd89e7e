//! The worst mistakes, with their rows.

use super::Section;
use crate::{
    data::ReportData,
    html::{Align, Clip, Table, put},
    number,
};

const ROWS: usize = 50;
const COLUMNS: usize = 24;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let m = data.mistakes.as_ref()?;
    let mut lead = String::from("The rows with the highest loss");
    if !m.loss.is_empty() {
        put!(&mut lead, " ({})", Clip(&m.loss, 60));
    }
    if !m.split.is_empty() {
        put!(&mut lead, " {}", super::on(&m.split));
    }
    if let Some(wrong) = m.wrong {
        put!(
            &mut lead,
            "; {} of {} are wrong ({})",
            number::count(wrong),
            number::count(m.total),
            number::percent(wrong as f64, m.total as f64)
        );
    }
    lead.push('.');
    if !m.note.is_empty() {
        put!(&mut lead, " {}", Clip(&m.note, 300));
    }
    let body =
        if m.rows.is_empty() { crate::html::no_data("no row was wrong") } else { table(data)? };
    Some(Section { id: "mistakes", title: "Worst mistakes", lead, body })
}

fn table(data: &ReportData) -> Option<String> {
    let m = data.mistakes.as_ref()?;
    let with_confidence = m.rows.iter().any(|r| r.confidence.is_some());
    let mut heads =
        vec![("row", Align::Number), ("actual", Align::Text), ("predicted", Align::Text)];
    if with_confidence {
        heads.push(("confidence", Align::Number));
    }
    heads.push(("loss", Align::Number));
    heads.extend(m.columns.iter().take(COLUMNS).enumerate().map(|(i, c)| {
        let mut cells = m.rows.iter().filter_map(|r| r.cells.get(i)).filter(|c| !c.is_empty());
        let numeric = cells.all(|c| c.parse::<f64>().is_ok());
        (c.as_str(), if numeric { Align::Number } else { Align::Text })
    }));
    let mut table = Table::new("Rows with the highest loss", &heads);
    for row in m.rows.iter().take(ROWS) {
        let mut cells = vec![
            number::count(row.row),
            format!("<b>{}</b>", Clip(&row.actual, 60)),
            Clip(&row.predicted, 60).to_string(),
        ];
        if with_confidence {
            let none = || "—".into();
            cells.push(row.confidence.map_or_else(none, |c| number::percent(c, 1.0)));
        }
        cells.push(number::score(row.loss));
        for cell in row.cells.iter().take(COLUMNS) {
            cells.push(Clip(cell, 80).to_string());
        }
        table.row("", &cells);
    }
    let mut out = table.end(m.rows.len().min(ROWS), m.rows.len(), "rows");
    out.push_str(&crate::html::left_out(m.columns.len().min(COLUMNS), m.columns.len(), "columns"));
    Some(out)
}
