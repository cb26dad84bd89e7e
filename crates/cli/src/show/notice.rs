//! Notices of a run before training, and samples of a language model.

use std::io;

use feedforward::words::{bytes, count};
use feedforward::{ModelNotice, PreviewNotice, SampleNotice, TextNotice, tensor::Isa};

use crate::terminal::{Style, Terminal};

/// Characters of a sample that are shown without `--verbose`; the report has all of them.
const SAMPLE: usize = 160;

/// Version, kernels, threads and seed.
pub(super) fn environment(
    terminal: &Terminal,
    isa: Isa,
    threads: usize,
    seed: u64,
) -> io::Result<()> {
    terminal.line(format!(
        "{} {} · CPU ({isa}) · {threads} thread{} · seed {seed}",
        terminal.bold("feedforward"),
        env!("CARGO_PKG_VERSION"),
        if threads == 1 { "" } else { "s" },
    ))
}

/// A corpus and its tokenizer.
pub(super) fn text(terminal: &Terminal, notice: &TextNotice) -> io::Result<()> {
    terminal.line(format!("{}   {}", terminal.bold("Text"), notice.source))?;
    for finding in &notice.findings {
        terminal.line(format!("  {finding}"))?;
    }
    let bytes = match notice.bytes_per_token {
        bytes if bytes.is_finite() => format!(" · {bytes:.2} bytes a token"),
        _ => String::new(),
    };
    terminal.line(format!(
        "  {} · {} tokens to train on · {} held out{bytes}",
        notice.tokenizer,
        count(notice.train_tokens),
        count(notice.valid_tokens),
    ))
}

/// The first conversation as the model sees it; what is learned is green, or between « and ».
pub(super) fn preview(terminal: &Terminal, notice: &PreviewNotice) -> io::Result<()> {
    let shown = if terminal.verbose { notice.examples.len() } else { 1 };
    for example in notice.examples.iter().take(shown) {
        let pieces = example.iter().map(|(text, learned)| match learned {
            true if terminal.color => terminal.paint(Style::Green, printable(text)),
            true => format!("«{}»", printable(text)),
            false => printable(text),
        });
        terminal.line(format!("  {}", pieces.collect::<String>()))?;
    }
    Ok(())
}

/// The model and its cost.
pub(super) fn model(terminal: &Terminal, notice: &ModelNotice) -> io::Result<()> {
    terminal.line(format!(
        "\n{}  {} · {} parameters, {}",
        terminal.bold("Model"),
        notice.layers,
        count(notice.parameters),
        bytes(notice.parameters * 4),
    ))?;
    terminal.line(format!(
        "{}   {} · {} at most\n",
        terminal.bold("Plan"),
        notice.training,
        bytes(notice.peak_bytes)
    ))
}

/// A prompt and its continuation, in one line.
pub(super) fn sample(terminal: &Terminal, sample: &SampleNotice<'_>) -> String {
    let mut text: String = sample.text.chars().take(SAMPLE).collect();
    if text.len() < sample.text.len() && !terminal.verbose {
        text.push('…');
    } else {
        sample.text.clone_into(&mut text);
    }
    let prompt = terminal.bold(printable(sample.prompt));
    format!("  {prompt}{}", terminal.paint(Style::Dim, printable(&text)))
}

/// Makes control characters visible and keeps lines in one.
fn printable(text: &str) -> String {
    let shown = text.chars().map(|c| match c {
        '\n' => '⏎',
        c if c.is_control() => '·',
        c => c,
    });
    shown.collect()
}
