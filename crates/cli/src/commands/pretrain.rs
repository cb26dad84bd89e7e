use std::path::Path;
use std::process::ExitCode;

use feedforward::pretrain::PretrainSummary;
use feedforward::{Error, RunFolder, TrainOptions, Watcher, bytes, trainer};

use ff_settings::shell_word;

use super::train::command_line;
use crate::arguments::{Changes, Pretrain};
use crate::failure::{Failure, INTERRUPTED};
use crate::inputs;
use crate::interrupt;
use crate::show::{Pretraining, count, duration, quoted_path, score};
use crate::terminal::{Style, Terminal};

pub(super) fn run(arguments: &Pretrain, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let options = TrainOptions {
        out: arguments.out.clone(),
        device: arguments.machine.options()?,
        command: command_line(),
        watch: arguments.watch,
    };
    if let Some(run) = &arguments.resume {
        return watched(terminal, |progress| {
            feedforward::pretrain::resume(run, &options, progress)
        });
    }
    // clap asks for a recipe unless there is a run to go on with.
    let Some(path) = &arguments.recipe else { return Err(Failure::usage("name a recipe")) };
    if !inputs::is_recipe(path) {
        return Err(Failure::usage(format!("{} is not a recipe (.toml)", path.display())).help(
            "write one that names the text in [data] paths and the model in [model.config]; recipes/ has examples",
        ));
    }
    let changes = Changes {
        set: arguments.set.clone(),
        name: arguments.name.clone(),
        seed: arguments.seed,
        target: None,
        task: None,
    };
    let recipe = inputs::language_recipe(path, &changes)?;
    watched(terminal, |progress| feedforward::pretrain::pretrain(&recipe, &options, progress))
}

/// Trains under the eyes of the terminal, then says how it went and what to do next.
fn watched(
    terminal: &Terminal,
    train: impl FnOnce(&mut dyn Watcher) -> feedforward::Result<PretrainSummary>,
) -> Result<ExitCode, Failure> {
    interrupt::listen(
        "stopping after this step, with everything saved; Ctrl-C again stops at once",
    )?;
    let mut progress = Pretraining::new(terminal);
    let result = train(&mut progress);
    progress.end();
    let summary = match result {
        Ok(summary) => summary,
        Err(error) => return Err(with_state(error, progress.run())),
    };
    let code = if summary.stopped == "interrupted" {
        let run = quoted_path(&summary.run);
        let steps = count(summary.steps);
        terminal.line(format!("stopped after step {steps}; everything is saved"))?;
        terminal
            .line(format!("{}   feedforward pretrain --resume {run}", terminal.bold("Next")))?;
        ExitCode::from(INTERRUPTED)
    } else {
        finished(terminal, &summary)?;
        ExitCode::SUCCESS
    };
    if terminal.json {
        Terminal::object(&summary)?;
    }
    Ok(code)
}

/// A failure of a run says what is left of it and how to go on.
fn with_state(error: Error, run: Option<&Path>) -> Failure {
    let Some(run) = run else { return error.into() };
    let state = RunFolder::at(run).checkpoint();
    if !state.is_file() {
        return error.into();
    }
    let help = match &error {
        Error::Train(trainer::Error::Diverged { .. }) => {
            format!("the last good state is kept in {}", state.display())
        }
        _ => format!(
            "what was saved before is whole; go on with feedforward pretrain --resume {}",
            quoted_path(run)
        ),
    };
    Failure::from(error).help(help)
}

fn finished(terminal: &Terminal, summary: &PretrainSummary) -> Result<(), Failure> {
    let mark = terminal.paint(Style::Green, "✓");
    let peak = if summary.peak_bytes > 0 {
        format!(" · {} of memory at most", bytes(summary.peak_bytes))
    } else {
        String::new()
    };
    terminal.line(format!(
        "{mark} {} steps · {} tokens · {} · {} tokens/s{peak}",
        count(summary.steps),
        count(summary.tokens),
        duration(summary.seconds),
        count(summary.tokens_per_second as u64)
    ))?;
    if let Some(valid) = &summary.valid {
        let before = summary
            .before
            .map_or(String::new(), |before| format!(" (before: loss {})", score(before)));
        let interval = valid.interval.map_or(String::new(), |interval| {
            format!(" (95 %: {} to {})", score(interval.low), score(interval.high))
        });
        terminal.line(format!(
            "  valid loss {}{interval} · perplexity {} · {} bits per byte{before}",
            score(valid.loss),
            score(valid.perplexity),
            score(valid.bits_per_byte)
        ))?;
    }
    if let Some(exact) = &summary.exact {
        terminal.line(format!(
            "  {} of {} test answers are exact: {:.2} %",
            count(exact.right as u64),
            count(exact.questions as u64),
            100.0 * exact.share()
        ))?;
    }
    let run = quoted_path(&summary.run);
    terminal.line(format!(
        "\n{}  {run}/   report.html · model/ · recipe.toml · metrics.jsonl · samples.jsonl",
        terminal.bold("Saved")
    ))?;
    let prompt = summary.prompt.as_deref().unwrap_or("Once");
    terminal.line(format!(
        "{}   feedforward generate {run} --prompt {}",
        terminal.bold("Next"),
        shell_word(prompt)
    ))?;
    terminal.line(format!("       feedforward evaluate {run} --data FILE"))?;
    Ok(())
}
