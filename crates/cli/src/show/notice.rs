//! Notices of a run before training, and samples of a language model.

use std::io;

use feedforward::words::{bytes, count};
use feedforward::{ModelNotice, SampleNotice, TextNotice, tensor::Isa};

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
    terminal.line(format!(
        "  {} · {} tokens to train on · {} held out · {:.2} bytes a token",
        notice.tokenizer,
        count(notice.train_tokens),
        count(notice.valid_tokens),
        notice.bytes_per_token
    ))
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
