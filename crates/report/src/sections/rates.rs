//! ROC, precision–recall and calibration: curves in the unit square.

use crate::{
    data::{Calibration, CalibrationBin, RateCurve},
    html::put,
    number,
    svg::{
        frame::Frame,
        line::{Line, LineChart},
        px,
    },
};

/// The maximum number of curves per chart.
const CURVES: usize = 6;

/// The caption of a chart of curves: the area of a single one, or the number of omitted ones.
pub(super) fn note(what: &str, curves: &[RateCurve]) -> String {
    match curves {
        [RateCurve { area: Some(area), .. }] => format!("{what} {}.", number::score(*area)),
        many if many.len() > CURVES => format!("{CURVES} of {} curves are drawn.", many.len()),
        _ => String::new(),
    }
}

/// The caption of the calibration chart.
pub(super) fn calibration_note(k: &Calibration) -> String {
    let mut note = String::from("On the diagonal, probabilities are calibrated.");
    if let Some(e) = k.error {
        put!(&mut note, " Calibration error {}.", number::score(e));
    }
    if let Some(b) = k.brier {
        put!(&mut note, " Brier score {}.", number::score(b));
    }
    note
}

/// The names of curves in a legend, with areas if there are several.
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

pub(super) fn roc(curves: &[RateCurve], width: f64, height: f64) -> String {
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
    .draw(width, height)
}

pub(super) fn precision_recall(curves: &[RateCurve], width: f64, height: f64) -> String {
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
    .draw(width, height)
}

pub(super) fn calibration(k: &Calibration, width: f64, height: f64) -> String {
    let bins = &k.bins[..k.bins.len().min(100)];
    let x: Vec<f64> = bins.iter().map(|b| b.predicted).collect();
    let y: Vec<f64> = bins.iter().map(|b| b.observed).collect();
    let whisker = |b: &CalibrationBin| Some((1, b.predicted, b.low?, b.high?));
    let most = bins.iter().map(|b| b.count).max().unwrap_or(0);
    // The number of rows per dot: bars along the bottom, a sixth of the height.
    let strip = |frame: &Frame| {
        let mut out = String::from("<g class=\"s6\">");
        for b in bins.iter().filter(|b| b.count > 0) {
            let Some(x) = frame.x_at(b.predicted) else { continue };
            let height = (frame.bottom - frame.top) / 6.0 * b.count as f64 / most as f64;
            put!(
                &mut out,
                "<rect class=\"bar soft\" x=\"{}\" y=\"{}\" width=\"7\" height=\"{}\"><title>{} \
                 rows around {}</title></rect>",
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
    .draw(width, height)
}
