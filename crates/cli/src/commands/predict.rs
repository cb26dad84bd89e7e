use std::process::ExitCode;
use std::time::Instant;

use feedforward::{PredictOptions, PredictSummary};

use crate::arguments::Predict;
use crate::failure::Failure;
use crate::interrupt;
use crate::show::{Progress, count, duration, unfamiliar};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Predict, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let options = PredictOptions {
        data: arguments.data.clone(),
        out: arguments.out.clone(),
        proba: arguments.proba,
        spread: arguments.spread,
        interval: arguments.interval,
        set: arguments.set.clone(),
        force: arguments.force,
        device: arguments.machine.options(),
    };
    interrupt::listen("stopping; Ctrl-C again stops at once")?;
    let started = Instant::now();
    // Rows on standard output share the terminal with messages: no progress then.
    let quiet = Terminal { quiet: true, live: false, ..terminal.clone() };
    let shown = if arguments.out.is_some() { terminal } else { &quiet };
    let mut progress = Progress::new(shown);
    let result = predict(arguments, &options, &mut progress);
    progress.end();
    let summary = match result {
        Err(_) if interrupt::asked() => {
            return Err(Failure::interrupted("stopped; nothing was written"));
        }
        result => result?,
    };
    unfamiliar(terminal, &summary.unfamiliar, summary.rows)?;
    if arguments.json {
        Terminal::object(&summary)?;
    } else if let Some(out) = &summary.out {
        terminal.line(format!(
            "{}  {} · {} rows with {} · {}",
            terminal.bold("Saved"),
            out.display(),
            count(summary.rows as u64),
            summary.columns.join(", "),
            duration(started.elapsed().as_secs_f64()),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Predicts with a run, a model of another program, an encoder, or an encoder with a decoder.
fn predict(
    arguments: &Predict,
    options: &PredictOptions,
    progress: &mut Progress,
) -> Result<PredictSummary, feedforward::Error> {
    let model = &arguments.run;
    #[cfg(feature = "language")]
    {
        use feedforward::embedding::{classify, is_encoder_model};
        if is_encoder_model(model) {
            return classify(model, arguments.text.as_deref(), options, progress);
        }
        if feedforward::translation::is_translation_model(model) {
            let column = arguments.text.as_deref();
            return feedforward::translation::predict(model, column, options, progress);
        }
        if arguments.text.is_some() {
            return Err(feedforward::Error::usage(
                "--text is for encoders; a model of a table finds its columns by name",
            ));
        }
    }
    feedforward::predict(model, options, progress)
}
