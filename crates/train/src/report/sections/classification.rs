//! How a classifier does: confusion matrix, scores of each class, ROC, precision–recall, calibration.

use super::{Section, meter, on};
use crate::report::{
    data::{Calibration, ClassScores, Classification, RateCurve, ReportData},
    html::{Align, Clip, Table, figure, put},
    number,
    svg::{
        NARROW,
        frame::Frame,
        heatmap,
        line::{Line, LineChart},
        px,
    },
};

/// Classes in the matrix at most; of more, those with the most mistakes are shown.
const MATRIX: usize = 50;
/// Rows of the table of scores at most.
const SCORES: usize = 120;
/// Curves in one chart at most.
const CURVES: usize = 6;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let c = data.classification.as_ref()?;
    let mut body = String::new();
    if !c.confusion.is_empty() {
        let (svg, note) = confusion(c);
        let scroll = format!("<div class=\"scroll\">{svg}</div>");
        let matrix = figure("matrix", "Confusion matrix", &scroll, &note);
        let confusions = top_confusions(c);
        if confusions.is_empty() || c.classes.len() > 10 {
            body.push_str(&matrix);
            body.push_str(&confusions);
        } else {
            put!(&mut body, "<div class=\"grid two\">{matrix}<div>{confusions}</div></div>\n");
        }
    }
    if !c.per_class.is_empty() || !c.means.is_empty() {
        body.push_str(&scores(c));
    }
    let mut charts = String::new();
    if !c.roc.is_empty() {
        let title = with_area("ROC", "area", &c.roc);
        charts.push_str(&figure("", &title, &roc(&c.roc), &curves_note(c.roc.len())));
    }
    if !c.precision_recall.is_empty() {
        let title = with_area("Precision–recall", "average precision", &c.precision_recall);
        let note = curves_note(c.precision_recall.len());
        charts.push_str(&figure("", &title, &precision_recall(&c.precision_recall), &note));
    }
    if let Some(k) = &c.calibration {
        let mut note = String::from("Dots on the diagonal: probabilities mean what they say.");
        if let Some(e) = k.error {
            put!(&mut note, " Expected calibration error {}.", number::score(e));
        }
        if let Some(b) = k.brier {
            put!(&mut note, " Brier score {}.", number::score(b));
        }
        charts.push_str(&figure("", "Calibration", &calibration(k), &note));
    }
    if !charts.is_empty() {
        put!(&mut body, "<div class=\"grid three\">{charts}</div>\n");
    }
    let mut lead = format!("Scores {}", on(&c.split));
    if let Some(name) = c.positive.and_then(|i| c.classes.get(i)) {
        put!(&mut lead, "; the positive class is <b>{}</b>", Clip(name, 60));
    }
    lead.push('.');
    Some(Section { id: "classes", title: "Classes", lead, body })
}

pub(super) fn single_confusion(data: &ReportData) -> Option<(String, String)> {
    let c = data.classification.as_ref().filter(|c| !c.confusion.is_empty())?;
    Some(("Confusion matrix".into(), confusion(c).0))
}

pub(super) fn single_roc(data: &ReportData) -> Option<(String, String)> {
    let c = data.classification.as_ref().filter(|c| !c.roc.is_empty())?;
    Some(("ROC".into(), roc(&c.roc)))
}

pub(super) fn single_precision_recall(data: &ReportData) -> Option<(String, String)> {
    let c = data.classification.as_ref().filter(|c| !c.precision_recall.is_empty())?;
    Some(("Precision–recall".into(), precision_recall(&c.precision_recall)))
}

pub(super) fn single_calibration(data: &ReportData) -> Option<(String, String)> {
    let k = data.classification.as_ref()?.calibration.as_ref()?;
    Some(("Calibration".into(), calibration(k)))
}

/// The matrix, and a note on how to read it.
fn confusion(c: &Classification) -> (String, String) {
    let mut note = String::from(
        "Blue: right, orange: wrong; stronger means a larger share of the actual class.",
    );
    let k = c.confusion.len();
    let unnamed = String::from("?");
    let name = |i: usize| c.classes.get(i).unwrap_or(&unnamed).as_str();
    let mut kept: Vec<usize> = (0..k).collect();
    if k > MATRIX {
        let wrong = |i: usize| -> u64 {
            let others =
                |n: Option<&u64>, j: usize| if i == j { 0 } else { n.copied().unwrap_or(0) };
            let row = c.confusion[i].iter().enumerate().map(|(j, n)| others(Some(n), j));
            let column = c.confusion.iter().enumerate().map(|(j, row)| others(row.get(i), j));
            row.chain(column).fold(0, u64::saturating_add)
        };
        kept.sort_by_key(|&i| (std::cmp::Reverse(wrong(i)), i));
        kept.truncate(MATRIX);
        kept.sort_unstable();
        put!(&mut note, " The {MATRIX} of {k} classes with the most mistakes are shown.");
    }
    let names: Vec<&str> = kept.iter().map(|&i| name(i)).collect();
    let cells: Vec<Vec<u64>> = kept
        .iter()
        .map(|&i| kept.iter().map(|&j| c.confusion[i].get(j).copied().unwrap_or(0)).collect())
        .collect();
    let right: u64 =
        (0..k).filter_map(|i| c.confusion[i].get(i)).fold(0, |a, b| a.saturating_add(*b));
    let all: u64 = c.confusion.iter().flatten().fold(0, |a, b| a.saturating_add(*b));
    let label = format!(
        "Confusion matrix of {k} classes: {} of {} rows are right",
        number::count(right),
        number::count(all)
    );
    (heatmap::confusion(&label, &names, &cells), note)
}

/// The pairs of classes that are mistaken most often.
fn top_confusions(c: &Classification) -> String {
    let name = |i: usize| Clip(c.classes.get(i).map_or("?", String::as_str), 40).to_string();
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (i, row) in c.confusion.iter().enumerate() {
        pairs.extend(
            row.iter().enumerate().filter(|(j, n)| *j != i && **n > 0).map(|(j, n)| (*n, i, j)),
        );
    }
    if pairs.is_empty() || c.classes.len() < 2 {
        return String::new();
    }
    let kinds = pairs.len();
    pairs.sort_by_key(|&(n, i, j)| (std::cmp::Reverse(n), i, j));
    pairs.truncate(8);
    let heads = [
        ("actual", Align::Text),
        ("taken for", Align::Text),
        ("rows", Align::Number),
        ("of the class", Align::Number),
    ];
    let mut table = Table::new("Most frequent mistakes", &heads);
    for &(n, i, j) in &pairs {
        let total: f64 = c.confusion[i].iter().map(|&n| n as f64).sum();
        table.row("", &[name(i), name(j), number::count(n), number::percent(n as f64, total)]);
    }
    let table = table.end(1, 1, "");
    let more = if kinds > pairs.len() {
        format!("<p class=\"note\">{} more kinds of mistake are rarer.</p>", kinds - pairs.len())
    } else {
        String::new()
    };
    format!("<h3>Most frequent mistakes</h3>{table}{more}")
}

fn scores(c: &Classification) -> String {
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

/// A chart's title with its area when it has one curve.
fn with_area(title: &str, what: &str, curves: &[RateCurve]) -> String {
    match curves {
        [RateCurve { area: Some(area), .. }] => format!("{title}, {what} {}", number::score(*area)),
        _ => title.into(),
    }
}

fn curves_note(n: usize) -> String {
    if n > CURVES { format!("{CURVES} of {n} curves are drawn.") } else { String::new() }
}

/// The names of curves in a legend, with their areas when there are several.
fn legend_names(curves: &[RateCurve]) -> Vec<String> {
    let name = |c: &RateCurve| match c.area {
        Some(area) if curves.len() > 1 => format!("{} {}", c.name, number::score(area)),
        _ => c.name.clone(),
    };
    curves.iter().take(CURVES).map(name).collect()
}

fn unit_lines<'a>(curves: &'a [RateCurve], names: &'a [String]) -> Vec<Line<'a>> {
    let line = |(i, (c, name)): (usize, (&'a RateCurve, &'a String))| Line {
        name,
        colour: i + 1,
        x: &c.x,
        y: &c.y,
        dots: false,
    };
    curves.iter().zip(names).enumerate().map(line).collect()
}

fn roc(curves: &[RateCurve]) -> String {
    let names = legend_names(curves);
    LineChart {
        label: "ROC curve",
        x_label: "false positive rate",
        y_label: "true positive rate",
        lines: unit_lines(curves, &names),
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.0)),
        references: vec![[(0.0, 0.0), (1.0, 1.0)]],
        bare: curves.len() == 1,
        ..LineChart::default()
    }
    .draw(NARROW, 360.0)
}

fn precision_recall(curves: &[RateCurve]) -> String {
    let names = legend_names(curves);
    let chance = |c: &RateCurve| c.chance.map(|p| [(0.0, p), (1.0, p)]);
    LineChart {
        label: "Precision–recall curve",
        x_label: "recall",
        y_label: "precision",
        lines: unit_lines(curves, &names),
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.0)),
        references: curves.iter().take(CURVES).filter_map(chance).collect(),
        bare: curves.len() == 1,
        ..LineChart::default()
    }
    .draw(NARROW, 360.0)
}

fn calibration(k: &Calibration) -> String {
    let bins = &k.bins[..k.bins.len().min(100)];
    let x: Vec<f64> = bins.iter().map(|b| b.predicted).collect();
    let y: Vec<f64> = bins.iter().map(|b| b.observed).collect();
    let whisker = |b: &crate::report::data::CalibrationBin| Some((1, b.predicted, b.low?, b.high?));
    let most = bins.iter().map(|b| b.count).max().unwrap_or(0);
    // How many rows stand behind each dot: bars along the bottom, a sixth of the height.
    let strip = |frame: &Frame| {
        let mut out = String::from("<g class=\"s6\">");
        for b in bins.iter().filter(|b| b.count > 0) {
            let Some(x) = frame.x_at(b.predicted) else { continue };
            let height = (frame.bottom - frame.top) / 6.0 * b.count as f64 / most as f64;
            put!(
                &mut out,
                "<rect class=\"bar soft\" x=\"{}\" y=\"{}\" width=\"7\" height=\"{}\"><title>{} rows around {}</title></rect>",
                px(x - 3.5),
                px(frame.bottom - height),
                px(height.max(1.0)),
                number::count(b.count),
                number::score(b.predicted)
            );
        }
        out.push_str("</g>");
        out
    };
    let of = if k.of.is_empty() { String::new() } else { format!(" of {}", k.of) };
    LineChart {
        label: "Calibration curve",
        x_label: &format!("predicted probability{of}"),
        y_label: "observed share, bars: rows",
        lines: vec![Line { name: "observed", colour: 1, x: &x, y: &y, dots: true }],
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.0)),
        references: vec![[(0.0, 0.0), (1.0, 1.0)]],
        whiskers: bins.iter().filter_map(whisker).collect(),
        bare: true,
        over: Some(&strip),
        ..LineChart::default()
    }
    .draw(NARROW, 360.0)
}
