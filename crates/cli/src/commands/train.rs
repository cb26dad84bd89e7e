use std::path::Path;
use std::process::ExitCode;

use feedforward::metrics::Scores;
use feedforward::{
    Closing, CrossValidation, Error, Recipe, RunFolder, RunSummary, TrainOptions, TrainRecipe,
    Watcher, formats, stated_command, trainer,
};

use super::plan;
use crate::arguments::{Changes, Machine, Train};
use crate::failure::{Failure, INTERRUPTED};
use crate::inputs;
use crate::interrupt;
use crate::show::{self, Align, Progress, TextTable, count, quoted_path, score};
use crate::terminal::{Style, Terminal};

/// `train`: the task that the recipe states.
pub(super) fn run(arguments: &Train, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let options = options(arguments.machine, arguments.out.as_deref(), arguments.watch);
    if let Some(run) = &arguments.resume {
        return watched(terminal, |progress| feedforward::resume(run, &options, progress));
    }
    // clap asks for an input unless there is a run to resume.
    let Some(input) = &arguments.source.input else {
        return Err(Failure::usage("name a table or a recipe"));
    };
    let changes = &arguments.source.changes;
    if let Some(folds) = arguments.folds {
        return cross_validate(arguments, input, usize::from(folds), &options, terminal);
    }
    let recipe = match arguments.time_budget {
        Some(seconds) => within(input, changes, seconds, &options, terminal)?.into(),
        None => inputs::recipe(input, changes)?,
    };
    if arguments.dry_run {
        return dry_run(terminal, &*recipe, &options);
    }
    watched(terminal, |progress| recipe.train(&options, progress))
}

/// The recipe of a table for a time.
fn within(
    input: &Path,
    changes: &Changes,
    seconds: f64,
    options: &TrainOptions,
    terminal: &Terminal,
) -> Result<Recipe, Failure> {
    let mut progress = Progress::new(terminal).without_data();
    let recipe = inputs::within_seconds(input, changes, seconds, options.device, &mut progress);
    progress.end();
    recipe
}

pub(super) fn options(machine: Machine, out: Option<&Path>, watch: bool) -> TrainOptions {
    // The command line as typed, for the report.
    let program = "feedforward".to_owned();
    let rest = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    TrainOptions {
        out: out.map(Path::to_owned),
        device: machine.options(),
        command: std::iter::once(program).chain(rest).collect(),
        watch,
    }
}

/// Trains with progress on the terminal, then prints the outcome and the next steps.
pub(super) fn watched(
    terminal: &Terminal,
    train: impl FnOnce(&mut dyn Watcher) -> feedforward::Result<RunSummary>,
) -> Result<ExitCode, Failure> {
    interrupt::listen(
        "stopping after this step, with everything saved; Ctrl-C again stops at once",
    )?;
    let mut progress = Progress::new(terminal);
    let result = train(&mut progress);
    progress.end();
    let summary = match result {
        Ok(summary) => summary,
        Err(Error::Usage(message)) if interrupt::asked() => {
            let failure = Failure::interrupted(message);
            let resume = |run| format!("feedforward train --resume {}", quoted_path(run));
            return Err(match progress.run() {
                Some(run) => failure.help(resume(run)),
                None => failure,
            });
        }
        Err(error) => return Err(with_state(error, progress.run())),
    };
    let run = quoted_path(&summary.run);
    let code = if summary.interrupted {
        let (steps, command) = (count(summary.steps), summary.command);
        terminal.line(format!("stopped after step {steps}; everything is saved"))?;
        terminal
            .line(format!("{}   feedforward {command} --resume {run}", terminal.bold("Next")))?;
        ExitCode::from(INTERRUPTED)
    } else {
        finished(terminal, &summary.run, &summary.closing)?;
        ExitCode::SUCCESS
    };
    if terminal.json {
        Terminal::object(&summary.json)?;
    }
    Ok(code)
}

/// A failure of a run, with its remains and how to resume it.
fn with_state(error: Error, run: Option<&Path>) -> Failure {
    let Some(run) = run else { return error.into() };
    let folder = RunFolder::at(run);
    let state = folder.checkpoint();
    let recipe = std::fs::read_to_string(folder.recipe()).unwrap_or_default();
    let resume = format!("feedforward {} --resume {}", stated_command(&recipe), quoted_path(run));
    let help = match &error {
        Error::Train(trainer::Error::Diverged { .. }) if state.is_file() => {
            format!("the last good state is kept in {}", state.display())
        }
        Error::Train(trainer::Error::File(
            formats::Error::Malformed { path, .. } | formats::Error::Tensor { path, .. },
        )) if *path == state => {
            format!("put an older copy back, or remove it to start again at step 0 with {resume}")
        }
        Error::File(formats::Error::Io { .. })
        | Error::Train(
            trainer::Error::File(formats::Error::Io { .. }) | trainer::Error::AfterEpoch(_),
        ) => {
            format!("what was saved before is whole; resume with {resume}")
        }
        _ => return error.into(),
    };
    Failure::from(error).help(help)
}

fn finished(terminal: &Terminal, run: &Path, closing: &Closing) -> Result<(), Failure> {
    let mark = terminal.paint(Style::Green, "✓");
    terminal.line(format!("{mark} {}", closing.headline))?;
    if let Some(verdict) = &closing.verdict {
        show::verdict(terminal, verdict)?;
    }
    for line in &closing.lines {
        terminal.line(format!("  {line}"))?;
    }
    let folder = RunFolder::at(run);
    let saved =
        [folder.report(), folder.model(), folder.adapter(), folder.judged_model(), folder.recipe()];
    let saved = saved.into_iter();
    let saved = saved.chain([folder.metrics(), folder.samples()]);
    let saved: Vec<String> = saved.filter_map(|path| file_name(&path)).collect();
    let (run, saved) = (quoted_path(run), saved.join(" · "));
    terminal.line(format!("\n{}  {run}/   {saved}", terminal.bold("Saved")))?;
    for (i, next) in closing.next.iter().enumerate() {
        let head = if i == 0 { terminal.bold("Next") } else { "    ".into() };
        terminal.line(format!("{head}   {next}"))?;
    }
    Ok(())
}

/// The name of an existing file, or of a folder with a slash.
fn file_name(path: &Path) -> Option<String> {
    let name = path.file_name().filter(|_| path.exists())?.to_string_lossy();
    Some(if path.is_dir() { format!("{name}/") } else { name.into_owned() })
}

pub(super) fn dry_run(
    terminal: &Terminal,
    recipe: &dyn TrainRecipe,
    options: &TrainOptions,
) -> Result<ExitCode, Failure> {
    let mut progress = Progress::new(terminal);
    let plan = recipe.plan(options.device, &mut progress);
    progress.end();
    let plan = plan?;
    terminal.line("")?;
    if terminal.json {
        Terminal::object(&plan)?;
    } else {
        plan::show(terminal, &plan)?;
    }
    terminal.line("nothing was trained or written (--dry-run)")?;
    Ok(ExitCode::SUCCESS)
}

fn cross_validate(
    arguments: &Train,
    input: &Path,
    folds: usize,
    options: &TrainOptions,
    terminal: &Terminal,
) -> Result<ExitCode, Failure> {
    let recipe = inputs::table_recipe(input, &arguments.source.changes, "--folds")?;
    let seeds = match arguments.seeds.as_slice() {
        [] => vec![recipe.train.seed],
        seeds => seeds.to_vec(),
    };
    interrupt::listen("stopping; Ctrl-C again stops at once")?;
    let mut progress = Progress::new(terminal).many();
    let result = feedforward::cross_validate(&recipe, folds, &seeds, options.device, &mut progress);
    progress.end();
    cross_validated(terminal, result)
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
        "{} over {} seed{} of {}",
        terminal.bold("Mean"),
        result.seeds.len(),
        if result.seeds.len() == 1 { "" } else { "s" },
        result.division,
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
