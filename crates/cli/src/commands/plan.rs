use std::process::ExitCode;

use feedforward::trainer::schedule::FinderConfig;
use feedforward::{LrSuggestion, Plan};

use crate::arguments::Plan as Arguments;
use crate::failure::Failure;
use crate::inputs;
use crate::show::{Align, Progress, TextTable, Working, bars, count, score, setting};
use crate::terminal::{Style, Terminal};

pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = arguments.machine.options();
    if arguments.find_lr {
        let recipe = inputs::table_recipe(&arguments.input, &arguments.changes, "--find-lr")?;
        let file = recipe.data.path.display();
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
    let recipe = inputs::recipe(&arguments.input, &arguments.changes)?;
    let mut progress = Progress::new(terminal).without_data();
    let plan = recipe.plan(device, &mut progress);
    progress.end();
    let plan = plan?;
    if arguments.json {
        Terminal::object(&plan)?;
    } else {
        show(terminal, &plan)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A plan as a table.
pub(super) fn show(terminal: &Terminal, plan: &Plan) -> Result<(), Failure> {
    terminal.answer(format!(
        "{}  {} · {} parameters",
        terminal.bold("Model"),
        plan.layers,
        count(plan.parameters)
    ))?;
    if let Some((head, line)) = &plan.details.headline {
        terminal.answer(format!("{}   {line}", terminal.bold(head)))?;
    }
    let mut table = TextTable::new(&[("", Align::Left), ("", Align::Right)]);
    for (name, amount) in plan.rows() {
        table.row(vec![name.into(), amount]);
    }
    for line in table.lines(terminal) {
        terminal.answer(line)?;
    }
    if let Some(way) = &plan.way_to_fit {
        let mark = terminal.paint(Style::Yellow, "!");
        terminal.answer(format!("  {mark} this does not fit: {way}"))?;
    }
    Ok(())
}

/// A sweep over learning rates as a small curve, with the suggestion and the option to paste.
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
    // Losses above the start are the blow-up and would flatten the rest.
    let curve = bars(losses, lowest, start, RATE_COLUMNS);
    terminal.answer(format!(
        "{}   {curve}  {} at first, {} at best",
        terminal.bold("Loss"),
        score(start),
        score(lowest)
    ))?;
    let Some((suggestion, assignment)) = found.suggestion.zip(found.setting()) else {
        terminal.answer("       the loss never falls: look at the data and at model.init")?;
        return Ok(());
    };
    let place = report.steepest.and_then(|lr| report.rates.iter().position(|&rate| rate == lr));
    let column = place.unwrap_or(0) * curve.chars().count() / steps;
    terminal.answer(format!(
        "       {}↑ {}, the steepest fall",
        " ".repeat(column),
        setting(suggestion)
    ))?;
    let other = found
        .tenth_of_minimum
        .map(|lr| format!("; a tenth of the rate of the lowest loss is {}", setting(lr)))
        .unwrap_or_default();
    terminal.answer(format!("       the recipe has {}{other}", setting(found.recipe_lr)))?;
    terminal.answer(format!("{}    --set {assignment}", terminal.bold("Use")))?;
    Ok(())
}

/// The width of the curve of losses.
const RATE_COLUMNS: usize = 50;
