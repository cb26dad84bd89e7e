use std::process::ExitCode;

use feedforward::metrics::{Direction, Metric, Scores};
use feedforward::{CompareSummary, ComparedRun, PartScores, bytes};

use crate::arguments::Compare;
use crate::failure::Failure;
use crate::show::{Align, TextTable, count, duration, is_shown, score};
use crate::terminal::{Style, Terminal};

pub(super) fn run(arguments: &Compare, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let summary = feedforward::compare(&arguments.runs)?;
    if arguments.json {
        Terminal::object(&summary)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut columns: Vec<(String, Align)> = vec![(String::new(), Align::Left)];
    for run in &summary.runs {
        let state = if run.finished { "" } else { " (not finished)" };
        columns.push((format!("{}{state}", run.run.display()), Align::Left));
    }
    let columns: Vec<(&str, Align)> = columns.iter().map(|(n, a)| (n.as_str(), *a)).collect();
    let mut table = TextTable::new(&columns);
    for difference in &summary.differences {
        let values = difference.values.iter();
        let values = values.map(|value| value.clone().unwrap_or_else(|| "–".into()));
        table.row([difference.key.clone()].into_iter().chain(values).collect());
    }
    facts(&summary, &mut table);
    let shown = |metric| is_shown(terminal, metric);
    scores(&summary, "valid", |parts| parts.valid.as_ref(), shown, &mut table);
    scores(&summary, "test", |parts| parts.test.as_ref(), shown, &mut table);
    others(&summary, &mut table);
    for line in table.lines(terminal) {
        terminal.answer(line)?;
    }
    terminal.line(terminal.dim("  * the best of its line"))?;
    let mark = terminal.paint(Style::Yellow, "!");
    if !summary.same_data {
        terminal.line(format!(
            "  {mark} the runs had different data: their scores cannot be compared"
        ))?;
    } else if !summary.same_split {
        terminal.line(format!(
            "  {mark} the runs split their rows differently: small differences mean nothing"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(summary: &CompareSummary, table: &mut TextTable) {
    let mut row = |name: &str, value: &dyn Fn(&ComparedRun) -> String| {
        table.row([name.to_owned()].into_iter().chain(summary.runs.iter().map(value)).collect());
    };
    row("parameters", &|run| {
        run.parameters.map_or("–".into(), |n| format!("{} ({})", count(n as u64), bytes(4 * n)))
    });
    row("epochs, steps", &|run| format!("{}, {}", run.epochs, count(run.steps)));
    row("time", &|run| duration(run.seconds));
    row("best valid loss ↓", &|run| run.best_valid_loss.map_or("–".into(), score));
}

/// One line a metric; the best run's value is marked.
fn scores(
    summary: &CompareSummary,
    name: &str,
    part: impl Fn(&PartScores) -> Option<&Scores> + Copy,
    shown: impl Fn(Metric) -> bool,
    table: &mut TextTable,
) {
    for metric in summary.metrics(part).into_iter().filter(|&metric| shown(metric)) {
        let values: Vec<Option<f64>> =
            summary.runs.iter().map(|run| part(&run.metrics)?.get(metric)).collect();
        let (label, direction) = (metric.label(), metric.direction());
        table.row(line(&format!("{name} {label}"), direction, &values));
    }
}

/// The same for scores that are no metrics of a table.
fn others(summary: &CompareSummary, table: &mut TextTable) {
    for found in summary.others() {
        let of = |run: &ComparedRun| run.scores.iter().find(|s| s.is(found)).map(|s| s.value);
        let values: Vec<Option<f64>> = summary.runs.iter().map(of).collect();
        let direction = if found.higher_is_better {
            Direction::HigherIsBetter
        } else {
            Direction::LowerIsBetter
        };
        let label = format!("{} {}", found.part, found.name.replace('_', " "));
        table.row(line(&label, direction, &values));
    }
}

fn line(label: &str, direction: Direction, values: &[Option<f64>]) -> Vec<String> {
    let best = best(direction, values);
    let cells = values.iter().map(|value| match value {
        Some(value) if Some(*value) == best => format!("{} *", score(*value)),
        Some(value) => score(*value),
        None => "–".into(),
    });
    [format!("{label} {}", direction.arrow())].into_iter().chain(cells).collect()
}

/// The best value, where not all are equal.
fn best(direction: Direction, values: &[Option<f64>]) -> Option<f64> {
    let present = || values.iter().flatten().copied();
    let lowest = present().min_by(f64::total_cmp)?;
    let highest = present().max_by(f64::total_cmp)?;
    if lowest == highest {
        return None;
    }
    Some(match direction {
        Direction::HigherIsBetter => highest,
        Direction::LowerIsBetter => lowest,
    })
}
