//! The verdict: the comparison of the model with the baseline, and its certainty.

use super::Section;
use crate::{
    data::{ReportData, Score, Verdict},
    html::{Align, Clip, Esc, Table, put},
    number,
    svg::interval,
};

/// The maximum number of scores in the table.
const SCORES: usize = 40;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let verdict = data.verdict.as_ref()?;
    let mut body = String::new();
    if let Some(score) = verdict.scores.first() {
        body.push_str(&headline(verdict, score));
    }
    for caveat in verdict.caveats.iter().take(10) {
        put!(
            &mut body,
            "<p class=\"caveat\"><span class=\"sign\" aria-hidden=\"true\">!</span> {}</p>\n",
            Clip(caveat, 400)
        );
    }
    if verdict.scores.len() > 1 {
        body.push_str(&scores(verdict));
        let drawn = |s: &Score| s.low.is_some() && s.baseline.is_some();
        if verdict.scores.iter().any(drawn) {
            body.push_str("<p class=\"note\">Dot: model, bar: its interval, line: baseline.</p>\n");
        }
    }
    if !verdict.interval.is_empty() {
        put!(&mut body, "<p class=\"note\">Intervals: {}.</p>\n", Clip(&verdict.interval, 200));
    }
    Some(Section { id: "verdict", title: "Verdict", lead: String::new(), body })
}

fn headline(verdict: &Verdict, score: &Score) -> String {
    let (class, sign, word) = match (score.beats_baseline(), score.baseline) {
        (Some(true), _) => ("good", "✓", "better than the baseline"),
        (Some(false), _) => ("bad", "✗", "worse than the baseline"),
        (None, Some(_)) if score.low.is_some() && score.high.is_some() => {
            ("warn", "!", "not clearly better than the baseline")
        }
        (None, Some(_)) => ("info", "i", "no interval for a verdict"),
        (None, None) => ("info", "i", "no baseline"),
    };
    let interval = match (score.low, score.high) {
        (Some(low), Some(high)) => format!(
            "<p class=\"interval\">between <b>{}</b> and <b>{}</b></p>",
            number::score(low),
            number::score(high)
        ),
        _ => String::new(),
    };
    format!(
        "<div class=\"hero\"><div class=\"big\"><p class=\"metric\">{}{}</p><p \
         class=\"value\">{}</p>{interval}</div><div class=\"beside\"><p><b class=\"pill \
         {class}\"><span aria-hidden=\"true\">{sign}</span> {word}</b></p><p \
         class=\"sentence\">{}</p>{}</div></div>\n",
        Clip(&score.name, 60),
        arrow(score.higher_is_better),
        number::score(score.value),
        sentence(verdict, score),
        interval::headline(score, &verdict.baseline, 340.0)
    )
}

/// The verdict in words, unless given in the data.
fn sentence(verdict: &Verdict, score: &Score) -> String {
    if !verdict.sentence.is_empty() {
        return Clip(&verdict.sentence, 600).to_string();
    }
    let unit = if verdict.unit.is_empty() { "rows" } else { &verdict.unit };
    let place = match (verdict.split.is_empty(), verdict.rows) {
        (true, 0) => String::new(),
        (true, rows) => format!(" on {} {}", number::count(rows), Esc(unit)),
        (false, 0) => format!(" on <b>{}</b>", Clip(&verdict.split, 60)),
        (false, rows) => format!(
            " on <b>{}</b> ({} {})",
            Clip(&verdict.split, 60),
            number::count(rows),
            Clip(unit, 40)
        ),
    };
    let name = Clip(&score.name, 60);
    let value = number::score(score.value);
    let Some(base) = score.baseline.map(number::score) else {
        return format!("The {name} is {value}{place}. There is no baseline to compare it with.");
    };
    let baseline = if verdict.baseline.is_empty() { "the baseline" } else { &verdict.baseline };
    let baseline = Clip(baseline, 80);
    let tail = match score.beats_baseline() {
        Some(true) => "The whole interval lies on the better side.",
        Some(false) => {
            "The whole interval lies on the worse side: the model has learned nothing useful."
        }
        None if score.low.is_some() && score.high.is_some() => {
            "The interval includes the baseline: more rows are needed to distinguish them."
        }
        None => "Without an interval, this may be chance.",
    };
    format!("The {name} is {value}{place}; <q>{baseline}</q> gets {base}. {tail}")
}

fn scores(verdict: &Verdict) -> String {
    let baseline = if verdict.baseline.is_empty() { "baseline" } else { &verdict.baseline };
    let split = if verdict.split.is_empty() { "model" } else { &verdict.split };
    let heads = [
        ("score", Align::Text),
        (split, Align::Number),
        ("interval", Align::Number),
        (baseline, Align::Number),
        ("", Align::Text),
    ];
    let with_picture = verdict.scores.iter().any(|s| s.low.is_some() || s.baseline.is_some());
    let mut table =
        Table::new("Scores against the baseline", &heads[..if with_picture { 5 } else { 2 }]);
    for score in verdict.scores.iter().take(SCORES) {
        let mut cells = vec![
            format!("{}{}", Clip(&score.name, 60), arrow(score.higher_is_better)),
            format!("<b>{}</b>", number::score(score.value)),
        ];
        if with_picture {
            cells.push(match (score.low, score.high) {
                (Some(low), Some(high)) => {
                    format!("{} – {}", number::score(low), number::score(high))
                }
                _ => "<span class=\"muted\">—</span>".into(),
            });
            cells.push(
                score.baseline.map_or("<span class=\"muted\">—</span>".into(), number::score),
            );
            // A dot alone has no scale.
            let drawn = score.low.is_some() || score.baseline.is_some();
            cells.push(if drawn { interval::small(score) } else { String::new() });
        }
        table.row("", &cells);
    }
    table.end(verdict.scores.len().min(SCORES), verdict.scores.len(), "scores")
}

/// An arrow in the direction of improvement.
fn arrow(up: bool) -> String {
    let (sign, word) = if up { ("↑", "higher is better") } else { ("↓", "lower is better") };
    format!(
        "&nbsp;<span class=\"arrow\" title=\"{word}\"><span \
         aria-hidden=\"true\">{sign}</span><span class=\"sr\">({word})</span></span>"
    )
}
