//! How long each phase of a run takes.

use ff_report::Timing;
use std::time::Instant;

/// Laps since the start.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    last: Instant,
    laps: Vec<Timing>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { started: now, last: now, laps: Vec::new() }
    }

    /// Ends a phase, which began where the one before ended.
    pub(crate) fn lap(&mut self, phase: &str) {
        let now = Instant::now();
        let seconds = (now - self.last).as_secs_f64();
        self.laps.push(Timing { phase: phase.into(), seconds });
        self.last = now;
    }

    /// The phases so far.
    pub(crate) fn laps(&self) -> &[Timing] {
        &self.laps
    }

    /// Seconds since the last lap.
    pub(crate) fn since_lap(&self) -> f64 {
        self.last.elapsed().as_secs_f64()
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
