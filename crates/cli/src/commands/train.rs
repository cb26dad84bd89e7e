use std::path::Path;
use std::process::ExitCode;

use feedforward::metrics::{Metric, Scores};
use feedforward::table::prepare;
use feedforward::{
    CrossValidation, DataNotice, Error, Recipe, RunFolder, TrainOptions, TrainSummary, Watcher,
    bytes,
};
use feedforward::{formats, trainer};

use super::plan;
use crate::arguments::Train;
use crate::failure::{Failure, INTERRUPTED};
use crate::inputs;
use crate::interrupt;
use crate::show::{self, Align, Progress, TextTable, Working, count, duration, quoted_path, score};
use crate::terminal::{Style, Terminal};

pub(super) fn run(arguments: &Train, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = arguments.machine.options()?;
    let options = TrainOptions {
        out: arguments.out.clone(),
        device,
        command: command_line(),
        watch: arguments.watch,
    };
    if let Some(run) = &arguments.resume {
        let folder = RunFolder::open(run)?;
        let recipe = Recipe::load(&folder.recipe(), &[])?;
        return watched(terminal, &recipe, |progress| feedforward::resume(run, &options, progress));
    }
    // clap asks for an input unless there is a run to go on with.
    let Some(input) = &arguments.source.input else {
        return Err(Failure::usage("name a table or a recipe"));
    };
    let recipe = inputs::recipe(input, &arguments.source.changes)?;
    if arguments.dry_run {
        return dry_run(terminal, &recipe, &options);
    }
    if let Some(folds) = arguments.folds {
        let seeds = if arguments.seeds.is_empty() {
            vec![recipe.train.seed]
        } else {
            arguments.seeds.clone()
        };
        interrupt::listen("stopping; Ctrl-C again stops at once")?;
        let mut progress = Progress::new(terminal, &recipe.data.path).many();
        let result =
            feedforward::cross_validate(&recipe, usize::from(folds), &seeds, device, &mut progress);
        progress.end();
        return cross_validated(terminal, result);
    }
    watched(terminal, &recipe, |progress| feedforward::train(&recipe, &options, progress))
}

/// The command line as it was typed, for the report.
pub(super) fn command_line() -> Vec<String> {
    let program = "feedforward".to_owned();
    let rest = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(rest).collect()
}

/// Trains under the eyes of the terminal, then says how it went and what to do next.
fn watched(
    terminal: &Terminal,
    recipe: &Recipe,
    train: impl FnOnce(&mut dyn Watcher) -> feedforward::Result<TrainSummary>,
) -> Result<ExitCode, Failure> {
    interrupt::listen(
        "stopping after this step, with everything saved; Ctrl-C again stops at once",
    )?;
    let mut progress = Progress::new(terminal, &recipe.data.path);
    let result = train(&mut progress);
    progress.end();
    let summary = match result {
        Ok(summary) => summary,
        Err(error) => return Err(with_state(error, progress.run())),
    };
    if summary.stopped == "interrupted" {
        return stopped(terminal, &summary);
    }
    finished(terminal, recipe, &summary)?;
    if terminal.json {
        Terminal::object(&summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A failure of a run says what is left of it and how to go on.
fn with_state(error: feedforward::Error, run: Option<&Path>) -> Failure {
    let Some(run) = run else { return error.into() };
    let state = RunFolder::at(run).checkpoint();
    let go_on = format!("feedforward train --resume {}", quoted_path(run));
    let help = match &error {
        Error::Train(trainer::Error::Diverged { .. }) if state.is_file() => {
            format!("the last good state is kept in {}", state.display())
        }
        Error::Train(trainer::Error::File(
            formats::Error::Malformed { path, .. } | formats::Error::Tensor { path, .. },
        )) if *path == state => {
            format!("put an older copy back, or remove it to start again at step 0 with {go_on}")
        }
        Error::File(formats::Error::Io { .. })
        | Error::Train(trainer::Error::File(formats::Error::Io { .. })) => {
            format!("what was saved before is whole; go on with {go_on}")
        }
        _ => return error.into(),
    };
    Failure::from(error).help(help)
}

fn stopped(terminal: &Terminal, summary: &TrainSummary) -> Result<ExitCode, Failure> {
    let run = quoted_path(&summary.run);
    terminal.line(format!("stopped after step {}; everything is saved", count(summary.steps)))?;
    terminal.line(format!("{}   feedforward train --resume {run}", terminal.bold("Next")))?;
    if terminal.json {
        Terminal::object(summary)?;
    }
    Ok(ExitCode::from(INTERRUPTED))
}

fn finished(terminal: &Terminal, recipe: &Recipe, summary: &TrainSummary) -> Result<(), Failure> {
    let why = match (summary.stopped.as_str(), recipe.train.steps) {
        ("early", _) => format!("no gain for {} epochs", recipe.train.patience),
        (_, Some(_)) => format!("all {} steps are done", count(summary.steps)),
        _ => format!("all {} epochs are done", summary.epochs),
    };
    let kept = match summary.best_epoch {
        Some(epoch) if recipe.train.restore_best => format!("; kept epoch {epoch}"),
        _ => "; kept the last epoch".into(),
    };
    let took = duration(summary.seconds);
    let peak = if summary.peak_bytes > 0 {
        format!(" · {} of memory at most", bytes(summary.peak_bytes))
    } else {
        String::new()
    };
    let mark = terminal.paint(Style::Green, "✓");
    terminal.line(format!("{mark} stopped: {why}{kept} · {took}{peak}"))?;
    if let Some(verdict) = &summary.verdict {
        show::verdict(terminal, verdict)?;
    }
    let run = quoted_path(&summary.run);
    let folder = RunFolder::at(&summary.run);
    let saved = [folder.report(), folder.model(), folder.recipe(), folder.metrics()];
    let saved: Vec<String> = saved.iter().filter_map(|path| file_name(path)).collect();
    let saved = saved.join(" · ");
    terminal.line(format!("\n{}  {run}/   {saved}", terminal.bold("Saved")))?;
    let classes = summary.metrics.test.as_ref().or(summary.metrics.valid.as_ref());
    let proba =
        if classes.is_some_and(|s| s.get(Metric::Accuracy).is_some()) { " --proba" } else { "" };
    terminal.line(format!(
        "{}   feedforward predict {run} --data new.csv{proba} --out predicted.csv",
        terminal.bold("Next")
    ))?;
    terminal
        .line(format!("       feedforward train {run}/recipe.toml --set model.hidden=[128,64]"))?;
    Ok(())
}

/// The name of what is there, a folder's with a slash.
fn file_name(path: &Path) -> Option<String> {
    let name = path.file_name().filter(|_| path.exists())?.to_string_lossy();
    Some(if path.is_dir() { format!("{name}/") } else { name.into_owned() })
}

fn dry_run(
    terminal: &Terminal,
    recipe: &Recipe,
    options: &TrainOptions,
) -> Result<ExitCode, Failure> {
    let prepared = prepare(&recipe.data, recipe.train.seed, Path::new(""))?;
    let notice = DataNotice {
        source: &prepared.source.describe(),
        totals: &prepared.totals,
        schema: &prepared.schema,
        target: &prepared.target,
        split: prepared.split,
        notes: &prepared.notes,
    };
    show::data(terminal, &recipe.data.path.display().to_string(), &notice)?;
    drop(prepared);
    let working = Working::new(terminal, "timing some steps");
    let summary = feedforward::plan(recipe, options.device)?;
    drop(working);
    terminal.line("")?;
    if terminal.json {
        Terminal::object(&summary)?;
    } else {
        plan::show(terminal, &summary)?;
    }
    terminal.line("nothing was trained or written (--dry-run)")?;
    Ok(ExitCode::SUCCESS)
}

fn cross_validated(
    terminal: &Terminal,
    result: feedforward::Result<CrossValidation>,
) -> Result<ExitCode, Failure> {
    let result = match result {
        Err(_) if interrupt::asked() => {
            return Err(Failure::interrupted("stopped; nothing was written"));
        }
        result => result?,
    };
    if terminal.json {
        Terminal::object(&result)?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal.answer(format!(
        "{} of {} folds × {} seed{}, each row held out once a seed",
        terminal.bold("Mean"),
        result.folds,
        result.seeds.len(),
        if result.seeds.len() == 1 { "" } else { "s" },
    ))?;
    let mut table = TextTable::new(&[
        ("", Align::Left),
        ("mean", Align::Left),
        ("std over seeds", Align::Left),
        ("lowest fold", Align::Left),
        ("highest fold", Align::Left),
    ]);
    for (metric, mean) in result.mean.iter() {
        let Some(mean) = mean.filter(|_| show::is_shown(terminal, metric)) else { continue };
        let of = |scores: &Scores| scores.get(metric);
        let folds = || result.results.iter().filter_map(|fold| of(&fold.scores));
        table.row(vec![
            format!("{} {}", metric.label(), metric.direction().arrow()),
            score(mean),
            of(&result.std).map_or(String::new(), score),
            folds().min_by(f64::total_cmp).map_or(String::new(), score),
            folds().max_by(f64::total_cmp).map_or(String::new(), score),
        ]);
    }
    for line in table.lines(terminal) {
        terminal.answer(line)?;
    }
    Ok(ExitCode::SUCCESS)
}
