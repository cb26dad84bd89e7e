//! A work: name, cost, and code to run.

use crate::clock::{Clock, Pace, Timing};
use crate::{allocator, memory};
use ff_tensor::Device;

/// Any error of a work; it is printed and ends the program.
pub(crate) type Error = Box<dyn std::error::Error>;

/// The arithmetic of a work's products, which selects the peak for comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    F32,
    Bf16,
}

impl Arithmetic {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// One line of the benchmark.
pub(crate) struct Work {
    /// The name.
    pub(crate) name: String,
    pub(crate) arithmetic: Arithmetic,
    /// Floating-point operations of the matrix products per step; 0 if there are none.
    pub(crate) flops: f64,
    pub(crate) run: Box<Run>,
}

/// Sets everything up, then runs steps until the clock stops it.
type Run = dyn Fn(&Device, &mut Clock) -> Result<(), Error>;

/// The measurements of a work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) timing: Timing,
    /// The peak of allocated bytes, from setup to end.
    pub(crate) peak_bytes: usize,
    /// The peak of resident memory, less the resident memory before setup.
    pub(crate) resident: Option<u64>,
}

impl Work {
    /// Runs and times the work.
    pub(crate) fn measure(&self, threads: usize, pace: Pace) -> Result<Measured, Error> {
        let mut clock = Clock::new(pace);
        let before = memory::restart_peak();
        allocator::reset_peak();
        let live = allocator::live();
        // Each work has its own device, so that its threads and its pool count.
        let device = crate::open(threads)?;
        (self.run)(&device, &mut clock)?;
        let resident = before.and_then(|before| Some(memory::peak()?.saturating_sub(before)));
        Ok(Measured { timing: clock.timing(), peak_bytes: allocator::peak() - live, resident })
    }
}
