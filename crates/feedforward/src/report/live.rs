//! The page while training goes on.

use super::{Known, Outcome, write};
use crate::clock::Clock;
use ff_train::{Best, Event, Progress};
use std::time::{Duration, Instant};

/// The page is written anew after so long, so that it costs little beside training.
const EVERY: Duration = Duration::from_secs(2);

/// Writes the page every few seconds with what has happened so far.
pub(crate) struct LivePage<'a> {
    known: Known<'a>,
    clock: &'a Clock,
    progress: Progress,
    from: u64,
    written: Option<Instant>,
}

impl<'a> LivePage<'a> {
    /// A page of a run that has come this far.
    pub(crate) fn new(known: Known<'a>, clock: &'a Clock, progress: &Progress) -> Self {
        Self { known, clock, progress: progress.clone(), from: progress.step, written: None }
    }

    /// Takes note of what happened and writes the page where it is time.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Step { step, .. } => self.progress.step = *step,
            Event::Epoch { record, best } => {
                self.progress.epoch = record.epoch;
                self.progress.seconds = record.seconds;
                // The page tells which epoch is the best one; its value stands in the curves.
                self.progress.best = best.map(|epoch| Best { epoch, value: f64::NAN });
                self.progress.history.push((*record).clone());
            }
            _ => {}
        }
        if self.written.is_none_or(|at| at.elapsed() >= EVERY) {
            let running = Outcome::Running { from: self.from };
            // A page that cannot be written now is no reason to stop training.
            let _ = write(self.known, &self.progress, self.clock, running);
            self.written = Some(Instant::now());
        }
    }
}
