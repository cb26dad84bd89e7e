//! The terminal: streams, colours, lines.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::arguments::{Color, Global};

/// The stream of messages, apart from data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
    Cyan,
}

/// The terminal and the options about it.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    pub(crate) stream: Stream,
    /// Whether messages have colours.
    pub(crate) color: bool,
    /// Whether errors, which always go to standard error, have colours.
    pub(crate) error_color: bool,
    /// Whether lines can be redrawn.
    pub(crate) live: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) json: bool,
}

impl Terminal {
    pub(crate) fn new(global: &Global, json: bool, stdout_is_data: bool) -> Self {
        let stream = if json || stdout_is_data { Stream::Stderr } else { Stream::Stdout };
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = dumb || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_terminal = match stream {
            Stream::Stdout => io::stdout().is_terminal(),
            Stream::Stderr => io::stderr().is_terminal(),
        };
        let color = |is_terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !plain,
        };
        Self {
            stream,
            color: color(is_terminal),
            error_color: color(io::stderr().is_terminal()),
            live: is_terminal && !dumb && !global.quiet && global.color != Color::Never,
            quiet: global.quiet,
            verbose: global.verbose,
            json,
        }
    }

    /// Prints a message; nothing with `--quiet`.
    pub(crate) fn line(&self, text: impl Display) -> io::Result<()> {
        if self.quiet { Ok(()) } else { self.answer(text) }
    }

    /// Prints a line of the answer, even with `--quiet`.
    pub(crate) fn answer(&self, text: impl Display) -> io::Result<()> {
        match self.stream {
            Stream::Stdout => writeln!(io::stdout().lock(), "{text}"),
            Stream::Stderr => writeln!(io::stderr().lock(), "{text}"),
        }
    }

    /// Prints data on standard output.
    pub(crate) fn data(text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Prints a JSON object on one line of standard output.
    pub(crate) fn object(value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_string(value)?;
        line.push('\n');
        Self::data(&line)
    }

    pub(crate) fn paint(&self, style: Style, text: impl Display) -> String {
        paint(self.color, style, text)
    }

    pub(crate) fn bold(&self, text: impl Display) -> String {
        self.paint(Style::Bold, text)
    }

    pub(crate) fn dim(&self, text: impl Display) -> String {
        self.paint(Style::Dim, text)
    }
}

pub(crate) fn paint(color: bool, style: Style, text: impl Display) -> String {
    if !color {
        return text.to_string();
    }
    let code = match style {
        Style::Bold => "1",
        Style::Dim => "2",
        Style::Red => "31",
        Style::Yellow => "33",
        Style::Green => "32",
        Style::Cyan => "36",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
