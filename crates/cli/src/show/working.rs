//! Work without a known length: a spinner on a terminal, a line elsewhere.

#[cfg(feature = "language")]
use std::cell::Cell;
use std::time::Duration;
#[cfg(feature = "language")]
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{Stream, Terminal};
#[cfg(feature = "language")]
use feedforward::words::{count, duration};

/// The least time between lines where there is no bar.
#[cfg(feature = "language")]
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Shows that work is in progress, until dropped.
#[derive(Debug)]
pub(crate) struct Working(Option<ProgressBar>);

impl Working {
    pub(crate) fn new(terminal: &Terminal, what: impl Into<String>) -> Self {
        if terminal.live {
            return Self(Some(spinner(terminal, what.into())));
        }
        // Printing the results notices a closed output.
        let _ = terminal.line(format!("… {}", what.into()));
        Self(None)
    }
}

/// Shows how many of some things are done, how fast, and how long the rest takes: a bar on a
/// terminal, lines at a moderate rate elsewhere.
#[cfg(feature = "language")]
pub(crate) struct Counting<'t> {
    terminal: &'t Terminal,
    unit: &'static str,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    started: Instant,
    said: Cell<Instant>,
}

#[cfg(feature = "language")]
impl<'t> Counting<'t> {
    pub(crate) fn new(
        terminal: &'t Terminal,
        what: &str,
        unit: &'static str,
        total: Option<u64>,
    ) -> Self {
        let now = Instant::now();
        let bar = terminal.live.then(|| match total {
            None => spinner(terminal, what.to_owned()),
            Some(total) => {
                let bar = ProgressBar::with_draw_target(Some(total), draw_target(terminal));
                let template = "{prefix} {wide_bar:.cyan/dim} {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.progress_chars("━━─"));
                }
                bar.set_prefix(what.to_owned());
                bar
            }
        });
        if bar.is_none() {
            let _ = terminal.line(format!("… {what}"));
        }
        Self { terminal, unit, total, bar, started: now, said: Cell::new(now) }
    }

    /// Tells how many are done.
    pub(crate) fn done(&self, done: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = done as f64 / seconds.max(1e-9);
        let mut parts = vec![match self.total {
            Some(total) => format!("{} of {} {}", count(done), count(total), self.unit),
            None => format!("{} {}", count(done), self.unit),
        }];
        parts.push(format!("{}/s", count(rate as u64)));
        if let Some(total) = self.total.filter(|_| done > 0) {
            let left = total.saturating_sub(done) as f64 / rate;
            parts.push(format!("{} left", duration(left)));
        }
        let text = parts.join(" · ");
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(text);
            }
            None if self.said.get().elapsed() >= BETWEEN_LINES => {
                self.said.set(Instant::now());
                let _ = self.terminal.line(format!("  {text}"));
            }
            None => {}
        }
    }
}

#[cfg(feature = "language")]
impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// A spinner with the seconds elapsed.
pub(super) fn spinner(terminal: &Terminal, what: String) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, draw_target(terminal));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// The stream of bars: that of messages.
pub(super) fn draw_target(terminal: &Terminal) -> ProgressDrawTarget {
    match terminal.stream {
        Stream::Stdout => ProgressDrawTarget::stdout(),
        Stream::Stderr => ProgressDrawTarget::stderr(),
    }
}
