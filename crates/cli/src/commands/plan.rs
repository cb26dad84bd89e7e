use std::process::ExitCode;

use feedforward::{PlanSummary, bytes};

use crate::arguments::Plan;
use crate::failure::Failure;
use crate::inputs;
use crate::show::{Align, TextTable, Working, count, duration};
use crate::terminal::{Style, Terminal};

pub(super) fn run(arguments: &Plan, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let recipe = inputs::recipe(&arguments.input, &arguments.changes)?;
    let device = arguments.machine.options()?;
    let file = recipe.data.path.display();
    let working = Working::new(terminal, format!("reading {file} and timing some steps"));
    let summary = feedforward::plan(&recipe, device)?;
    drop(working);
    if arguments.json {
        Terminal::object(&summary)?;
    } else {
        show(terminal, &summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A plan as a table.
pub(super) fn show(terminal: &Terminal, plan: &PlanSummary) -> Result<(), Failure> {
    terminal.answer(format!(
        "{}  {} · {} parameters",
        terminal.bold("Model"),
        plan.layers,
        count(plan.parameters as u64)
    ))?;
    let [train, valid, test] = plan.rows.map(|rows| count(rows as u64));
    terminal.answer(format!(
        "{}   train {train} · valid {valid} · test {test} rows",
        terminal.bold("Rows")
    ))?;
    let mut table = TextTable::new(&[("", Align::Left), ("", Align::Right)]);
    for (name, size) in [
        ("parameters", plan.parameter_bytes),
        ("gradients", plan.gradient_bytes),
        ("optimiser state", plan.optimizer_bytes),
        ("activations, at most", plan.activation_bytes),
        ("pool and arena, at most", plan.pool_bytes),
        ("data", plan.data_bytes),
        ("process, about", plan.process_bytes),
    ] {
        table.row(vec![name.into(), bytes(size)]);
    }
    if let Some(free) = plan.available_bytes {
        table.row(vec!["free on this machine".into(), bytes(free)]);
    }
    let flops = plan.flops_per_step as f64;
    table.row(vec!["arithmetic in a step".into(), operations(flops)]);
    table.row(vec!["steps in an epoch".into(), count(plan.steps_per_epoch)]);
    table.row(vec!["steps, at most".into(), count(plan.total_steps)]);
    if plan.seconds_per_step.is_finite() {
        let rate = operations(flops / plan.seconds_per_step);
        table.row(vec![
            "a step, measured".into(),
            format!("{} ({rate}/s)", duration(plan.seconds_per_step)),
        ]);
        table.row(vec!["all of it, at most".into(), duration(plan.seconds)]);
    }
    for line in table.lines(terminal) {
        terminal.answer(line)?;
    }
    if plan.available_bytes.is_some_and(|free| plan.process_bytes > free) {
        let mark = terminal.paint(Style::Yellow, "!");
        terminal.answer(format!(
            "  {mark} this does not fit: make model.hidden or train.batch_size smaller (with train.accumulate the steps \
             stay the same)"
        ))?;
    }
    Ok(())
}

/// 1.2 MFLOP
fn operations(count: f64) -> String {
    let units = ["", "k", "M", "G", "T", "P"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 100.0 { 0 } else { usize::from(value < 10.0) + 1 };
    format!("{value:.digits$} {}FLOP", units[unit])
}
