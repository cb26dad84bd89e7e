//! The page during training.

use crate::error::Result;
use ff_report::Live;
use ff_train::{Best, Event, Progress};
use std::time::{Duration, Instant};

/// The time between two pages, long enough that they cost little beside training.
const EVERY: Duration = Duration::from_secs(2);

/// Seconds after which the page reloads.
const RELOAD_SECONDS: u32 = 3;

/// Writes the page for this progress of a run that began at a step in this session.
type WritePage<'a> = dyn FnMut(&Progress, u64) -> Result<()> + 'a;

/// Writes the page every few seconds.
pub(crate) struct LivePage<'a> {
    write: Box<WritePage<'a>>,
    progress: Progress,
    from: u64,
    written: Option<Instant>,
}

impl<'a> LivePage<'a> {
    /// A page of a run that has come this far.
    pub(crate) fn new(
        progress: &Progress,
        write: impl FnMut(&Progress, u64) -> Result<()> + 'a,
    ) -> Self {
        let (progress, from) = (progress.clone(), progress.step);
        Self { write: Box::new(write), progress, from, written: None }
    }

    /// Records an event and writes the page when it is time.
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
            // A page that cannot be written now is no reason to stop training.
            let _ = (self.write)(&self.progress, self.from);
            self.written = Some(Instant::now());
        }
    }
}

/// The progress of a run that began at step `from` in this session, `seconds` ago.
pub(crate) fn live(progress: &Progress, total: u64, from: u64, seconds: f64) -> Live {
    let done = progress.step;
    let here = done.saturating_sub(from);
    let each = seconds / here.max(1) as f64;
    Live {
        reload_seconds: RELOAD_SECONDS,
        phase: "training".into(),
        done,
        total,
        unit: "steps".into(),
        seconds_left: (here > 0).then(|| each * total.saturating_sub(done) as f64),
    }
}
