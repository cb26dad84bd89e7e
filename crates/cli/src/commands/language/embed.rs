use std::process::ExitCode;
use std::time::Instant;

use feedforward::embedding::{EmbedRequest, EmbedSummary, count_texts, embed};
use serde_json::json;

use crate::arguments::language::Embed;
use crate::failure::Failure;
use crate::interrupt;
use crate::show::{Counting, count, duration};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Embed, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let request = EmbedRequest {
        data: arguments.data.clone(),
        column: arguments.text.clone(),
        out: arguments.out.clone(),
        force: arguments.force,
        options: arguments.options(),
        device: arguments.machine.options(),
    };
    interrupt::listen("stopping; Ctrl-C again stops at once")?;
    let started = Instant::now();
    let total = count_texts(&request)?.map(|n| n as u64);
    let what = format!("embedding {}", arguments.data.display());
    let counting = Counting::new(terminal, &what, "texts", total);
    let result = embed(&arguments.model, &request, &mut |texts| {
        counting.done(texts as u64);
        !interrupt::asked()
    });
    drop(counting);
    let summary = match result {
        Err(_) if interrupt::asked() => {
            return Err(Failure::interrupted("stopped; nothing was written"));
        }
        result => result?,
    };
    let seconds = started.elapsed().as_secs_f64();
    if arguments.json {
        let mut object = serde_json::to_value(&summary).unwrap_or_default();
        object["seconds"] = json!(seconds);
        Terminal::object(&object)?;
        return Ok(ExitCode::SUCCESS);
    }
    for note in notes(&summary) {
        terminal.line(format!("  {note}"))?;
    }
    let normalized = if summary.normalized { ", normalised" } else { "" };
    terminal.line(format!(
        "{}  {} · {} vectors of {} · pooling {}{normalized} · {}",
        terminal.bold("Saved"),
        summary.out.display(),
        count(summary.rows as u64),
        summary.width,
        summary.pooling,
        duration(seconds),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What became of texts that are too long or empty.
fn notes(summary: &EmbedSummary) -> Vec<String> {
    let texts = |n: usize| format!("{} text{}", count(n as u64), if n == 1 { "" } else { "s" });
    let mut notes = Vec::new();
    if summary.long > 0 {
        let what = if summary.windows {
            "divided into windows".to_owned()
        } else {
            "cut (--windows embeds all of them)".into()
        };
        notes.push(format!(
            "{} longer than {} tokens: {what}",
            texts(summary.long),
            summary.max_tokens
        ));
    }
    if summary.empty > 0 {
        notes.push(format!("{} without a word", texts(summary.empty)));
    }
    notes
}
