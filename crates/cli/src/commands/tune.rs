use std::process::ExitCode;

use feedforward::TuneSummary;

use super::train;
use crate::arguments::Tune;
use crate::failure::Failure;
use crate::inputs;
use crate::interrupt;
use crate::show::{self, Align, Progress, TextTable, count, quoted_path, score};
use crate::terminal::{Style, Terminal};

/// Trials that a terminal shows.
const SHOWN: usize = 5;

/// `tune`: a search for settings.
pub(super) fn run(arguments: &Tune, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let options = train::options(arguments.machine, arguments.out.as_deref(), false);
    interrupt::listen(
        "stopping after this step, with everything saved; Ctrl-C again stops at once",
    )?;
    let mut progress = Progress::new(terminal).many();
    let result = match (&arguments.resume, &arguments.source.input) {
        (Some(folder), _) => feedforward::resume_tune(folder, &options, &mut progress),
        (None, Some(input)) => {
            let mut recipe =
                inputs::table_recipe(input, &arguments.source.changes, "a search of settings")?;
            if let Some(trials) = arguments.trials {
                recipe.tune.trials = trials as usize;
            }
            if !arguments.vary.is_empty() {
                recipe.tune.vary.clone_from(&arguments.vary);
            }
            feedforward::tune(&recipe, &options, &mut progress)
        }
        // clap asks for an input unless there is a search to resume.
        (None, None) => return Err(Failure::usage("name a table or a recipe")),
    };
    progress.end();
    let summary = match result {
        Err(_) if interrupt::asked() => {
            let folder = progress.run().map(quoted_path);
            let next = folder.map(|folder| format!("feedforward tune --resume {folder}"));
            let failure = Failure::interrupted("stopped; everything so far is saved");
            return Err(match next {
                Some(next) => failure.help(format!("resume with {next}")),
                None => failure,
            });
        }
        result => result?,
    };
    finished(terminal, &summary)?;
    if terminal.json {
        Terminal::object(&summary)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn finished(terminal: &Terminal, summary: &TuneSummary) -> Result<(), Failure> {
    let closing = &summary.closing;
    terminal.line(format!("{} {}", terminal.paint(Style::Green, "✓"), closing.headline))?;
    for line in &closing.lines {
        terminal.line(format!("  {line}"))?;
    }
    let mut table = TextTable::new(&[
        ("trial", Align::Right),
        (summary.monitor, Align::Right),
        ("epochs", Align::Right),
        ("settings", Align::Left),
    ]);
    for trial in summary.trials.iter().take(SHOWN) {
        let words: Vec<String> =
            trial.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row(vec![
            trial.trial.to_string(),
            trial.value.map_or_else(|| "diverged".into(), score),
            count(trial.epochs as u64),
            words.join(" "),
        ]);
    }
    for line in table.lines(terminal) {
        terminal.line(line)?;
    }
    let mattered: Vec<String> = summary
        .influence
        .iter()
        .filter(|influence| influence.share >= 0.005)
        .map(|influence| format!("{} {:.0} %", influence.key, 100.0 * influence.share))
        .collect();
    if !mattered.is_empty() {
        terminal.line(format!("{}  {}", terminal.bold("Mattered"), mattered.join(" · ")))?;
    }
    if let Some(verdict) = &closing.verdict {
        show::verdict(terminal, verdict)?;
    }
    let folder = quoted_path(&summary.folder);
    terminal.line(format!(
        "\n{}  {folder}/   report.html · trials.json · best.toml · best/",
        terminal.bold("Saved")
    ))?;
    for (i, next) in closing.next.iter().enumerate() {
        let head = if i == 0 { terminal.bold("Next") } else { "    ".into() };
        terminal.line(format!("{head}   {next}"))?;
    }
    Ok(())
}
