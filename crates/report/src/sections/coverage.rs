//! How often intervals or sets hold the truth, and how large they are.

use super::{Section, meter, on};
use crate::{
    data::ReportData,
    html::{Align, Clip, Table, put},
    number,
};

/// The maximum number of levels.
const LEVELS: usize = 20;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let c = data.coverage.as_ref().filter(|c| !c.levels.is_empty())?;
    let (what, size, title) = if c.sets {
        ("Sets of classes", "classes in a set", "Sets")
    } else {
        ("Intervals", "mean width", "Intervals")
    };
    let mut lead = format!("{what} {}", on(&c.split));
    put!(&mut lead, ", from {} {}.", number::count(c.scores), Clip(&c.from, 200));
    let heads = [
        ("level asked for", Align::Number),
        ("share that holds the truth", Align::Number),
        ("95 % of that share", Align::Number),
        (size, Align::Number),
    ];
    let mut table = Table::new(what, &heads);
    for level in c.levels.iter().take(LEVELS) {
        let interval = match (level.low, level.high) {
            (Some(low), Some(high)) => format!("{} to {}", number::score(low), number::score(high)),
            _ => "—".into(),
        };
        let asked = format!("{} %", (1e4 * level.level).round() / 100.0);
        table.row("", &[asked, meter(level.coverage), interval, number::score(level.size)]);
    }
    let shown = c.levels.len().min(LEVELS);
    let body = format!(
        "{}<p class=\"note\">A level within the 95 % of its share is kept. <code>feedforward predict RUN \
         --data NEW --interval 0.9</code> writes {} for new rows.</p>\n",
        table.end(shown, c.levels.len(), "levels"),
        if c.sets { "the set" } else { "lower and upper ends" },
    );
    Some(Section { id: "coverage", title, lead, body })
}
