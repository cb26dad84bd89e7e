//! Work without a known length: a spinner on a terminal, a line elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{Stream, Terminal};

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

    /// Shows how far the work is, on a terminal.
    #[cfg(feature = "language")]
    pub(crate) fn tell(&self, message: String) {
        if let Some(bar) = &self.0 {
            bar.set_message(message);
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
