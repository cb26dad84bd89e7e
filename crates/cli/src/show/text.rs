//! Progress of reading and tokenising text: a bar on a terminal, lines at a moderate rate
//! elsewhere.

use std::time::{Duration, Instant};

use feedforward::text::TextProgress;
use indicatif::{ProgressBar, ProgressStyle};

use super::working::draw_target;
use super::{count, duration};
use crate::terminal::Terminal;

/// Without a bar, a line at least this far from the one before.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows the progress of reading and learning. A failure to write output stops nothing.
#[derive(Debug)]
pub(crate) struct TextBar<'t> {
    terminal: &'t Terminal,
    bar: Option<ProgressBar>,
    phase: &'static str,
    started: Instant,
    last_line: Instant,
}

impl<'t> TextBar<'t> {
    pub(crate) fn new(terminal: &'t Terminal) -> Self {
        let now = Instant::now();
        Self { terminal, bar: None, phase: "", started: now, last_line: now }
    }

    pub(crate) fn show(&mut self, progress: &TextProgress) {
        if progress.phase != self.phase {
            self.end();
            (self.phase, self.started) = (progress.phase, Instant::now());
            self.last_line = self.started;
            if self.terminal.live {
                let bar = ProgressBar::with_draw_target(Some(0), draw_target(self.terminal));
                if let Ok(style) =
                    ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {msg}")
                {
                    bar.set_style(style.progress_chars("━━─"));
                }
                bar.set_prefix(progress.phase);
                self.bar = Some(bar);
            } else {
                drop(self.terminal.line(format!("… {}", progress.phase)));
            }
        }
        let elapsed = self.started.elapsed().as_secs_f64();
        let mut message = if progress.phase == "merging" {
            vec![format!("{} of {} tokens", count(progress.done), count(progress.total))]
        } else {
            let rate = progress.done as f64 / elapsed.max(1e-9) / 1e6;
            vec![format!("{} documents", count(progress.documents)), format!("{rate:.0} MB/s")]
        };
        if progress.done > 0 && elapsed > 1.0 {
            let left = progress.total.saturating_sub(progress.done) as f64;
            message.push(format!("{} left", duration(left * elapsed / progress.done as f64)));
        }
        let message = message.join(" · ");
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total.max(1));
            bar.set_position(progress.done);
            bar.set_message(message);
        } else if self.last_line.elapsed() > BETWEEN_LINES {
            self.last_line = Instant::now();
            let share = 100 * progress.done / progress.total.max(1);
            drop(self.terminal.line(format!("  {} · {share} % · {message}", self.phase)));
        }
    }

    /// Clears the bar.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
