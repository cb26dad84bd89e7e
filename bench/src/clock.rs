//! The timing of a work: warm-up, then blocks of steps; the median block is reported.

use crate::allocator;
use std::time::{Duration, Instant};

/// The minimum number of blocks, however slow a step is.
const LEAST_BLOCKS: usize = 5;

/// The durations of timing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The minimum duration of warm-up steps, so that caches, branch predictors and clock rates
    /// settle.
    pub(crate) warm_up: Duration,
    /// The approximate duration of a block: long enough to make reading the clock free, short
    /// enough to have many.
    pub(crate) block: Duration,
    /// The approximate duration of all blocks.
    pub(crate) budget: Duration,
}

impl Pace {
    /// The benchmark's pace for a work timed for `seconds`.
    pub(crate) fn seconds(seconds: f64) -> Self {
        Self {
            warm_up: Duration::from_millis(200),
            block: Duration::from_millis(10),
            budget: Duration::from_secs_f64(seconds.clamp(0.0, 1e4)),
        }
    }
}

/// Counts the steps of a work and times them in blocks.
///
/// The work calls [`Clock::go_on`] before each step and stops when it returns false.
pub(crate) struct Clock {
    phase: Phase,
    started: Instant,
    /// Steps since `started`.
    steps: usize,
    /// Steps until the clock is read again.
    left: usize,
    block: usize,
    pace: Pace,
    asked_before: usize,
    times: Vec<f64>,
    asked: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ready,
    WarmUp,
    Timed,
    Over,
}

/// The times of a work's blocks, in seconds per step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timing {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) blocks: usize,
    pub(crate) steps: usize,
    /// Bytes requested from the system per timed step.
    pub(crate) bytes_per_step: f64,
}

impl Clock {
    /// A clock not started yet.
    pub(crate) fn new(pace: Pace) -> Self {
        let blocks = 2 * pace.budget.as_micros() / pace.block.as_micros().max(1);
        Self {
            phase: Phase::Ready,
            started: Instant::now(),
            steps: 0,
            left: 0,
            block: 1,
            pace,
            asked_before: 0,
            // Capacity for every block, so that the clock itself allocates nothing.
            times: Vec::with_capacity(LEAST_BLOCKS + blocks as usize),
            asked: 0,
        }
    }

    /// Whether to run another step; called before each.
    #[inline]
    pub(crate) fn go_on(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        self.turn()
    }

    fn turn(&mut self) -> bool {
        let elapsed = self.started.elapsed();
        match self.phase {
            Phase::Ready => {
                self.phase = Phase::WarmUp;
                self.started = Instant::now();
                self.steps = 1;
                return true;
            }
            // Steps double between two readings: the last batch alone lasts half of the warm-up.
            Phase::WarmUp if elapsed < self.pace.warm_up => {
                self.left = self.steps - 1;
                self.steps *= 2;
                return true;
            }
            Phase::WarmUp => {
                let step = elapsed.as_secs_f64() / self.steps as f64;
                self.block = ((self.pace.block.as_secs_f64() / step) as usize).max(1);
                self.phase = Phase::Timed;
                self.asked_before = allocator::asked();
            }
            Phase::Timed => {
                self.times.push(elapsed.as_secs_f64() / self.block as f64);
                let spent: f64 = self.times.iter().sum::<f64>() * self.block as f64;
                let full = self.times.len() == self.times.capacity();
                if full
                    || self.times.len() >= LEAST_BLOCKS && spent >= self.pace.budget.as_secs_f64()
                {
                    self.asked = allocator::asked() - self.asked_before;
                    self.phase = Phase::Over;
                    return false;
                }
            }
            Phase::Over => return false,
        }
        self.left = self.block - 1;
        self.started = Instant::now();
        true
    }

    /// The timing so far.
    pub(crate) fn timing(mut self) -> Timing {
        self.times.sort_by(f64::total_cmp);
        let n = self.times.len();
        if n == 0 {
            return Timing::default();
        }
        let steps = n * self.block;
        Timing {
            median: f64::midpoint(self.times[(n - 1) / 2], self.times[n / 2]),
            min: self.times[0],
            blocks: n,
            steps,
            bytes_per_step: self.asked as f64 / steps as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_counted_once() {
        let mut clock = Clock::new(Pace::seconds(0.05));
        let mut steps = 0;
        while clock.go_on() {
            steps += 1;
            std::hint::black_box(vec![0u8; 16]);
        }
        assert!(!clock.go_on(), "over is over");
        let timing = clock.timing();
        assert!(timing.steps < steps, "some were warm-up");
        assert!(timing.blocks >= LEAST_BLOCKS && timing.min <= timing.median);
        assert!(timing.bytes_per_step >= 16.0, "{}", timing.bytes_per_step);
    }

    #[test]
    fn a_slow_step_is_a_block() {
        let mut clock = Clock::new(Pace::seconds(0.001));
        while clock.go_on() {
            std::thread::sleep(Duration::from_millis(12));
        }
        let timing = clock.timing();
        assert_eq!((timing.blocks, timing.steps), (LEAST_BLOCKS, LEAST_BLOCKS));
        assert!(timing.min >= 0.012);
    }
}
