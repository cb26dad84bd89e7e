//! The data: totals, columns, findings.

use super::{Section, alerts, level};
use crate::{
    data::{Column, Data, ReportData},
    html::{Align, Clip, Table, put},
    number,
    svg::{bars, spark},
};

/// The maximum number of columns in the table: readers scan 100 rows, not 1,000.
const COLUMNS: usize = 120;
/// The maximum number of columns of an expanded table.
const OPEN: usize = 40;
/// The maximum number of reasons for dropped rows; the rest are added up.
const REASONS: usize = 12;

pub(super) fn section(report: &ReportData) -> Option<Section> {
    let data = report.data.as_ref()?;
    let mut body = totals(data);
    body.push_str(&alerts(&data.checks));
    if !data.columns.is_empty() {
        body.push_str(&columns(data));
    }
    let lead = Clip(&data.source, 300).to_string();
    Some(Section { id: "data", title: "Data", lead, body })
}

fn totals(data: &Data) -> String {
    if data.rows_read == 0 && data.rows_used == 0 {
        return String::new();
    }
    let term = |n: u64, label: &str| {
        format!("<span class=\"term\"><b>{}</b> {}</span>", number::count(n), Clip(label, 80))
    };
    let mut out = String::from("<p class=\"sum\">");
    put!(
        &mut out,
        "{} <span>=</span> {}",
        term(data.rows_read, "rows read"),
        term(data.rows_used, "used")
    );
    for d in data.dropped.iter().take(REASONS) {
        put!(&mut out, " <span>+</span> {}", term(d.count, &format!("dropped: {}", d.label)));
    }
    if data.dropped.len() > REASONS {
        let rest = data.dropped[REASONS..].iter().fold(0u64, |sum, d| sum.saturating_add(d.count));
        put!(&mut out, " <span>+</span> {}", term(rest, "dropped for other reasons"));
    }
    if data.dropped.is_empty() {
        out.push_str(" <span class=\"muted\">(none dropped)</span>");
    }
    out.push_str("</p>\n");
    if !data.adds_up() {
        out.push_str(
            "<p class=\"caveat bad\"><span class=\"sign\" aria-hidden=\"true\">✗</span> These \
             totals do not add up. This is a bug of the program: please report it.</p>\n",
        );
    }
    if !data.dropped.is_empty() {
        let mut parts = vec![("used", data.rows_used as f64, 1)];
        parts.extend(
            data.dropped.iter().take(REASONS).map(|d| (d.label.as_str(), d.count as f64, 2)),
        );
        out.push_str(&bars::shares("Share of rows used", &parts));
    }
    out
}

fn columns(data: &Data) -> String {
    let heads = [
        ("column", Align::Text),
        ("kind", Align::Text),
        ("values", Align::Text),
        ("range", Align::Text),
        ("unique", Align::Number),
        ("missing", Align::Number),
        ("use", Align::Text),
    ];
    let shown = &data.columns[..data.columns.len().min(COLUMNS)];
    let table = |columns: &mut dyn Iterator<Item = &Column>| {
        let mut table = Table::new("Columns", &heads);
        let mut n = 0;
        for column in columns {
            let kind = if column.dropped { "out" } else { "" };
            table.row(kind, &cells(column, data.rows_read));
            n += 1;
        }
        (table, n)
    };
    let all = table(&mut shown.iter()).0.end(shown.len(), data.columns.len(), "columns");
    if data.columns.len() <= OPEN {
        return all;
    }
    // The target and columns with findings come first; a long table is collapsed.
    let worth_a_look = |c: &&Column| c.target || !c.alerts.is_empty();
    let (few, n) = table(&mut data.columns.iter().filter(worth_a_look).take(OPEN));
    let few = if n > 0 { few.end(n, n, "") } else { String::new() };
    let count = number::count(data.columns.len() as u64);
    format!("{few}<details><summary>All {count} columns</summary>{all}</details>\n")
}

fn cells(column: &Column, rows: u64) -> [String; 7] {
    let mut role = Clip(&column.role, 160).to_string();
    for alert in column.alerts.iter().take(5) {
        let (class, sign, word) = level(alert.level);
        put!(
            &mut role,
            "<span class=\"chip {class}\" title=\"{}\"><span aria-hidden=\"true\">{sign}</span>\
             <span class=\"sr\">{word}: </span> {}</span>",
            Clip(&alert.detail, 200),
            Clip(&alert.label, 80)
        );
    }
    let missing = match column.missing {
        0 => "<span class=\"muted\">0</span>".into(),
        n => format!(
            "{} <span class=\"muted\">{}</span>",
            number::count(n),
            number::percent(n as f64, rows as f64)
        ),
    };
    [
        format!(
            "<span class=\"name\">{}</span>{}",
            Clip(&column.name, 80),
            if column.target { "<span class=\"tag\">target</span>" } else { "" }
        ),
        Clip(&column.kind, 40).to_string(),
        spark::distribution(&column.distribution),
        Clip(&column.range, 120).to_string(),
        column.unique.map_or("<span class=\"muted\">—</span>".into(), number::count),
        missing,
        role,
    ]
}
