//! Scores beside a baseline's.

use std::io;

use feedforward::metrics::{Comparison, Interval, Metric, Outcome};
use feedforward::scores::{Report, Verdict};

use super::{Align, TextTable, count, score};
use crate::terminal::{Style, Terminal};

/// The headline of a run: each score of the model, with its interval, and of the baseline.
pub(crate) fn verdict(terminal: &Terminal, verdict: &Verdict) -> io::Result<()> {
    let part = match verdict.part {
        "test" => "Test",
        "valid" => "Valid",
        other => other,
    };
    terminal.line(format!(
        "\n{} ({} rows), beside a baseline that predicts {}",
        terminal.bold(part),
        count(verdict.rows as u64),
        verdict.baseline
    ))?;
    comparisons(terminal, &verdict.comparisons)
}

fn comparisons(terminal: &Terminal, comparisons: &[Comparison]) -> io::Result<()> {
    let mut table = TextTable::new(&[
        ("", Align::Left),
        ("model", Align::Left),
        ("95 % interval", Align::Left),
        ("baseline", Align::Left),
        ("", Align::Left),
    ]);
    for comparison in comparisons {
        table.row(vec![
            label(comparison.metric),
            score(comparison.model),
            comparison.interval.as_ref().map_or(String::new(), interval),
            score(comparison.baseline),
            match comparison.outcome {
                Outcome::Better => "better".into(),
                Outcome::Worse => "worse".into(),
                Outcome::Unclear => String::new(),
            },
        ]);
    }
    for line in table.lines(terminal) {
        terminal.line(line)?;
    }
    Ok(())
}

/// Every score of a report.
pub(crate) fn score_table(terminal: &Terminal, report: &Report) -> io::Result<()> {
    let (scores, intervals, undefined) = match report {
        Report::Classification(r) => (&r.scores, &r.intervals, &r.undefined),
        Report::Regression(r) => (&r.scores, &r.intervals, &r.undefined),
    };
    let mut table = TextTable::new(&[
        ("", Align::Left),
        ("value", Align::Left),
        ("95 % interval", Align::Left),
    ]);
    for (metric, value) in scores.iter() {
        let Some(value) = value.filter(|_| is_shown(terminal, metric)) else { continue };
        let interval = intervals.get(&metric).map_or(String::new(), interval);
        table.row(vec![label(metric), score(value), interval]);
    }
    for line in table.lines(terminal) {
        terminal.answer(line)?;
    }
    for undefined in undefined {
        let line = format!("  {}: {}", undefined.metric.label(), undefined.reason);
        terminal.line(terminal.paint(Style::Dim, line))?;
    }
    Ok(())
}

/// Whether a table shows a metric: with one label per row, some averages repeat the others.
pub(crate) fn is_shown(terminal: &Terminal, metric: Metric) -> bool {
    use Metric::{
        F1Micro, F1Weighted, PrecisionMacro, PrecisionMicro, PrecisionWeighted, RecallMacro,
        RecallMicro, RecallWeighted,
    };
    let detail = matches!(
        metric,
        F1Micro
            | F1Weighted
            | PrecisionMacro
            | PrecisionMicro
            | PrecisionWeighted
            | RecallMacro
            | RecallMicro
            | RecallWeighted
    );
    terminal.verbose || !detail
}

fn label(metric: Metric) -> String {
    format!("{} {}", metric.label(), metric.direction().arrow())
}

fn interval(interval: &Interval) -> String {
    format!("[{}, {}]", score(interval.low), score(interval.high))
}
