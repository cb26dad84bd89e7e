//! Columns of texts: words that speak for each class, errors by length, repeated texts.

use super::Section;
use crate::{
    data::{ReportData, TextColumn},
    html::{Align, Clip, Table, put},
    number,
};

const CLASSES: usize = 160;
const WORDS: usize = 12;
const PAIRS: usize = 10;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let columns = &data.texts;
    let first = columns.first()?;
    let [repeated, all] = first.repeated;
    let lead = format!(
        "Words and phrases by their mean contribution to the output of a class, over its training texts; {} of {} texts \
         {} nearly repeat one of the training part.",
        number::count(repeated),
        number::count(all),
        super::on(&first.split)
    );
    let body: String = columns.iter().map(column).collect();
    Some(Section { id: "texts", title: "Texts", lead, body })
}

fn column(column: &TextColumn) -> String {
    let mut out = String::new();
    put!(&mut out, "<h3>{}</h3>\n", Clip(&column.name, 60));
    if !column.groups.is_empty() {
        let heads = [("class", Align::Text), ("words and phrases", Align::Text)];
        let mut table = Table::new("Words that speak for each class", &heads);
        for group in column.groups.iter().take(CLASSES) {
            let words = group.words.iter().take(WORDS);
            let words: Vec<String> = words.map(|(word, _)| Clip(word, 60).to_string()).collect();
            table.row("", &[format!("<b>{}</b>", Clip(&group.class, 60)), words.join(" · ")]);
        }
        out.push_str(&table.end(column.groups.len().min(CLASSES), column.groups.len(), "classes"));
    }
    if !column.lengths.is_empty() {
        let heads = [
            ("characters", Align::Text),
            ("texts", Align::Number),
            (&*column.error, Align::Number),
        ];
        let mut table = Table::new("Errors by length", &heads);
        for bin in &column.lengths {
            let [from, to] = bin.characters.map(number::count);
            table.row(
                "",
                &[format!("{from} to {to}"), number::count(bin.rows), number::score(bin.error)],
            );
        }
        out.push_str(&table.end(column.lengths.len(), column.lengths.len(), "lengths"));
    }
    if !column.pairs.is_empty() {
        let heads = [
            ("row", Align::Number),
            ("training row", Align::Number),
            ("similarity", Align::Number),
            ("text", Align::Text),
        ];
        let mut table = Table::new("Texts that nearly repeat one of the training part", &heads);
        for pair in column.pairs.iter().take(PAIRS) {
            let [row, other] = pair.rows.map(number::count);
            let text = Clip(&pair.text, 300).to_string();
            table.row("", &[row, other, number::score(pair.similarity), text]);
        }
        out.push_str(&table.end(column.pairs.len().min(PAIRS), column.pairs.len(), "pairs"));
    }
    out
}
