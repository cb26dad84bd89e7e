//! The headline scores against the baseline, and what to know before trusting them.

use super::snapshot::Part;
use crate::table::scores::Report;
use crate::words;
use ff_metrics::{Comparison, Direction, Interval, IntervalMethod, Metric, Undefined};
use ff_report::{Score, Verdict};
use ff_table::{Level, Prepared};

/// Fewer rows than this make wide intervals.
const FEW_ROWS: usize = 100;

/// Scores worth a row without a baseline; averages over classes have a table of their own.
const ALONE: [Metric; 7] = [
    Metric::Precision,
    Metric::Recall,
    Metric::F1,
    Metric::RocAuc,
    Metric::PrAuc,
    Metric::TopKAccuracy,
    Metric::Ece,
];

pub(super) fn gather(
    prepared: &Prepared,
    part: Part<'_>,
    report: &Report,
    baseline: &str,
) -> Verdict {
    let (undefined, resamples, top_k, intervals) = match report {
        Report::Classification(r) => (&r.undefined, r.resamples, r.top_k, &r.intervals),
        Report::Regression(r) => (&r.undefined, r.resamples, 0, &r.intervals),
    };
    let mut scores: Vec<Score> = report.comparisons().iter().map(score).collect();
    let compared = |metric| report.comparisons().iter().any(|c| c.metric == metric);
    for (metric, value) in report.scores().iter() {
        if let (Some(value), false) = (value, compared(metric) || !ALONE.contains(&metric)) {
            scores.push(alone(metric, value, intervals.get(&metric).copied(), top_k));
        }
    }
    Verdict {
        split: part.name.into(),
        rows: part.data.rows as u64,
        unit: String::new(),
        baseline: baseline.into(),
        interval: interval(report.comparisons(), resamples),
        scores,
        sentence: String::new(),
        caveats: caveats(prepared, part, undefined),
    }
}

fn score(c: &Comparison) -> Score {
    let score = Score::new(c.metric.label(), c.model, c.direction == Direction::HigherIsBetter);
    let score = score.baseline(c.baseline);
    match c.interval {
        Some(interval) => score.interval(interval.low, interval.high),
        None => score,
    }
}

/// A score that the baseline does not have: it predicts no positive row, or has no other
/// probabilities.
fn alone(metric: Metric, value: f64, interval: Option<Interval>, top_k: usize) -> Score {
    let name = match metric {
        Metric::TopKAccuracy => format!("top-{top_k} accuracy"),
        _ => metric.label().into(),
    };
    let score = Score::new(name, value, metric.direction() == Direction::HigherIsBetter);
    match interval {
        Some(interval) => score.interval(interval.low, interval.high),
        None => score,
    }
}

fn interval(comparisons: &[Comparison], resamples: usize) -> String {
    let method =
        |method| comparisons.iter().any(|c| c.interval.is_some_and(|i| i.method == method));
    let bootstrap = format!("bootstrap of {} samples", words::count(resamples));
    match (method(IntervalMethod::Wilson), method(IntervalMethod::Bootstrap)) {
        (true, true) => format!("95 %: Wilson for accuracy, {bootstrap} for the others"),
        (true, false) => "95 %, Wilson".into(),
        (false, true) => format!("95 %, {bootstrap}"),
        (false, false) => String::new(),
    }
}

fn caveats(prepared: &Prepared, part: Part<'_>, undefined: &[Undefined]) -> Vec<String> {
    let mut caveats = Vec::new();
    if part.name != "test" {
        caveats.push(
            "These are the rows that the kept epoch was chosen on, so the scores flatter; a test part \
             (--set data.split.test=0.15) would tell more."
                .into(),
        );
    }
    let rows = part.data.rows;
    if rows < FEW_ROWS {
        caveats.push(format!(
            "The {} part has {} only: another seed may well give another score.",
            part.name,
            words::plural(rows, "row")
        ));
    }
    let serious = |message: &str| {
        message.contains("gives the target away") || message.contains("same features as a training")
    };
    for note in prepared.notes.iter().filter(|n| n.level == Level::Warn && serious(&n.message)) {
        let column = note.column.as_ref().map_or_else(String::new, |c| format!("{c}: "));
        caveats.push(format!("{column}{}.", note.message.trim_end_matches('?')));
    }
    for (i, missing) in undefined.iter().enumerate() {
        // One reason is said once, whatever number of scores it takes away.
        if undefined[..i].iter().any(|earlier| earlier.reason == missing.reason) {
            continue;
        }
        caveats.push(format!("No {}: {}.", missing.metric.label(), missing.reason));
    }
    caveats
}
