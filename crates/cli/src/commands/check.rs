use std::process::ExitCode;

use ff_testkit::{Machine, Row, check_case};
use serde_json::json;

use crate::arguments::Check;
use crate::failure::{FAILED, Failure};
use crate::show::duration;
use crate::terminal::{Style, Terminal};

pub(super) fn run(arguments: &Check, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let wanted = |name: &str| arguments.filter.as_ref().is_none_or(|part| name.contains(part));
    let cases: Vec<_> = feedforward::ops::registry()
        .iter()
        .flat_map(|entry| (entry.cases)())
        .filter(|case| wanted(&case.name))
        .collect();
    if cases.is_empty() {
        let names: Vec<&str> =
            feedforward::ops::registry().iter().map(|entry| entry.name).collect();
        let part = arguments.filter.as_deref().unwrap_or_default();
        return Err(Failure::usage(format!("no operation's name contains `{part}`"))
            .help(format!("the operations are {}", names.join(", "))));
    }
    let machine = Machine::new().map_err(feedforward::Error::from)?;
    let width = cases.iter().map(|case| case.name.chars().count()).max().unwrap_or(0);
    terminal.line(terminal.dim(format!(
        "  {:width$}  gradient  f32 paths  PyTorch  threads  NaN    values  time",
        "operation"
    )))?;
    let mut rows = Vec::with_capacity(cases.len());
    for case in &cases {
        let row = check_case(case, &machine);
        show(terminal, &row, width)?;
        rows.push(row);
    }
    let failed = rows.iter().filter(|row| !row.passed()).count();
    if arguments.json {
        Terminal::object(&json!({
            "passed": rows.len() - failed,
            "failed": failed,
            "operations": rows.iter().map(row_json).collect::<Vec<_>>(),
        }))?;
    } else if failed == 0 {
        let mark = terminal.paint(Style::Green, "✓");
        terminal.answer(format!("{mark} all {} cases agree on this machine", rows.len()))?;
    }
    if failed > 0 {
        let failure = Failure::failed(format!("{failed} of {} cases fail", rows.len()));
        return Err(failure.help("this is a bug: report it with the output of `feedforward env`"));
    }
    Ok(ExitCode::from(if failed > 0 { FAILED } else { 0 }))
}

fn show(terminal: &Terminal, row: &Row, width: usize) -> Result<(), Failure> {
    let word = |good: bool, yes: &'static str| if good { yes } else { "FAIL" };
    let (mark, style) = if row.passed() { ("✓", Style::Green) } else { ("✗", Style::Red) };
    terminal.line(format!(
        "{} {:width$}  {:>8}  {:>9}  {:>7}  {:>7}  {:>4}  {:>7}  {}",
        terminal.paint(style, mark),
        row.case,
        format!("{:.1e}", row.gradient),
        format!("{:.1e}", row.paths),
        row.parity.map_or("–".into(), |error| format!("{error:.1e}")),
        word(row.same_bits, "same"),
        word(row.nan, "ok"),
        row.compared,
        duration(row.time.as_secs_f64()),
    ))?;
    for failure in &row.failures {
        terminal.answer(format!("    {failure}"))?;
    }
    Ok(())
}

fn row_json(row: &Row) -> serde_json::Value {
    json!({
        "case": row.case,
        "passed": row.passed(),
        "gradient": row.gradient,
        "paths": row.paths,
        "same_bits": row.same_bits,
        "nan": row.nan,
        "parity": row.parity,
        "compared": row.compared,
        "milliseconds": row.millis(),
        "failures": row.failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
