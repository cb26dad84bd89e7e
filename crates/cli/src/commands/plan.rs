use std::process::ExitCode;

use feedforward::pretrain::plan_pretraining;
use feedforward::trainer::schedule::FinderConfig;
use feedforward::{LrSuggestion, PlanSummary, bytes};

use crate::arguments::Plan;
use crate::failure::Failure;
use crate::inputs;
use crate::show::{Align, Pretraining, TextTable, Working, bars, count, duration, score};
use crate::terminal::{Style, Terminal};

pub(super) fn run(arguments: &Plan, terminal: &Terminal) -> Result<ExitCode, Failure> {
    if inputs::is_language_recipe(&arguments.input) {
        return language(arguments, terminal);
    }
    let recipe = inputs::recipe(&arguments.input, &arguments.changes)?;
    let device = arguments.machine.options()?;
    let file = recipe.data.path.display();
    if arguments.find_lr {
        let working = Working::new(terminal, format!("reading {file} and trying learning rates"));
        let found = feedforward::find_lr(&recipe, &FinderConfig::default(), device)?;
        drop(working);
        if arguments.json {
            Terminal::object(&found)?;
        } else {
            show_rates(terminal, &found)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
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

/// The plan of a language model as a table.
fn language(arguments: &Plan, terminal: &Terminal) -> Result<ExitCode, Failure> {
    if arguments.find_lr {
        return Err(Failure::usage(
            "--find-lr is for tables; a language model's recipe has no such search yet",
        )
        .help("take 1e-3 for a few million parameters, 3e-4 for a hundred million"));
    }
    let recipe = inputs::language_recipe(&arguments.input, &arguments.changes)?;
    let mut progress = Pretraining::new(terminal);
    let plan = plan_pretraining(&recipe, arguments.machine.options()?, &mut progress);
    progress.end();
    let plan = plan?;
    if arguments.json {
        Terminal::object(&plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let parameters = count(plan.parameters as u64);
    terminal.answer(format!(
        "{}  {} · {parameters} parameters",
        terminal.bold("Model"),
        plan.layers
    ))?;
    let mut table = TextTable::new(&[("", Align::Left), ("", Align::Right)]);
    for (name, size) in [
        ("parameters", plan.parameter_bytes),
        ("gradients", plan.gradient_bytes),
        ("optimiser state", plan.optimizer_bytes),
        ("activations, at most", plan.activation_bytes),
        ("pool and arena, at most", plan.pool_bytes),
    ] {
        table.row(vec![name.into(), bytes(size)]);
    }
    if let Some(free) = plan.available_bytes {
        table.row(vec!["free on this machine".into(), bytes(free)]);
    }
    table.row(vec!["arithmetic for a token".into(), operations(plan.flops_per_token)]);
    table.row(vec!["arithmetic in a step".into(), operations(plan.flops_per_step as f64)]);
    table.row(vec!["tokens to train on".into(), count(plan.tokens[0])]);
    table.row(vec!["tokens in a step".into(), count(plan.tokens_per_step)]);
    table.row(vec!["steps".into(), count(plan.total_steps)]);
    if plan.seconds_per_step.is_finite() {
        let rate = operations(plan.flops_per_step as f64 / plan.seconds_per_step);
        let step = duration(plan.seconds_per_step);
        table.row(vec!["a step, measured".into(), format!("{step} ({rate}/s)")]);
        table.row(vec!["tokens a second".into(), count(plan.tokens_per_second as u64)]);
        table.row(vec!["all of it".into(), duration(plan.seconds)]);
    }
    for line in table.lines(terminal) {
        terminal.answer(line)?;
    }
    if plan.available_bytes.is_some_and(|free| plan.pool_bytes >= free) {
        let mark = terminal.paint(Style::Yellow, "!");
        let way_out = match plan.fitting_batch_size {
            Some(batch) => {
                format!("train.batch_size={batch} with as much more train.accumulate fits")
            }
            None => "make the model or train.context smaller, or try model.recompute=true".into(),
        };
        terminal.answer(format!("  {mark} this does not fit: {way_out}"))?;
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

/// A sweep over learning rates as a small curve, with the suggestion under its place and the option to paste.
fn show_rates(terminal: &Terminal, found: &LrSuggestion) -> Result<(), Failure> {
    let report = &found.report;
    let (Some(first), Some(last)) = (report.rates.first(), report.rates.last()) else {
        return Ok(terminal.answer("the loss is not finite even at the smallest rate")?);
    };
    let steps = report.rates.len();
    let end = if report.diverged { ", where the loss blew up" } else { "" };
    terminal.answer(format!(
        "{}  {first:?} to {:?}{end} · {} of {} rows",
        terminal.bold("Rates"),
        format!("{last:.1e}").parse().unwrap_or(*last),
        if steps == 1 { "1 step".into() } else { format!("{steps} steps") },
        count(found.rows_per_step as u64)
    ))?;
    let losses = &report.smoothed;
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let start = losses.first().copied().unwrap_or(f64::NAN);
    // What lies above the start is the blow-up, which would flatten all the rest.
    let curve = bars(losses, lowest, start, RATE_COLUMNS);
    terminal.answer(format!(
        "{}   {curve}  {} at first, {} at best",
        terminal.bold("Loss"),
        score(start),
        score(lowest)
    ))?;
    let Some((suggestion, setting)) = found.suggestion.zip(found.setting()) else {
        terminal.answer("       the loss never falls: look at the data and at model.init")?;
        return Ok(());
    };
    let place = report.steepest.and_then(|lr| report.rates.iter().position(|&rate| rate == lr));
    let column = place.unwrap_or(0) * curve.chars().count() / steps;
    terminal.answer(format!("       {}↑ {suggestion}, the steepest fall", " ".repeat(column)))?;
    let other = found
        .tenth_of_minimum
        .map_or(String::new(), |lr| format!("; a tenth of the rate of the lowest loss is {lr}"));
    terminal.answer(format!("       the recipe has {}{other}", found.recipe_lr))?;
    terminal.answer(format!("{}    --set {setting}", terminal.bold("Use")))?;
    Ok(())
}

/// The width of the curve of losses.
const RATE_COLUMNS: usize = 50;

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
