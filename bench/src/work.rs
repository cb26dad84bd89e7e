//! The table of works: a name, what it costs, and how to run it.

use crate::clock::{Clock, Pace, Timing};
use crate::{allocator, experts, ffn, fit, gemm, head, infer, memory, train};
use ff_tensor::Device;

/// Whatever a work fails with; it is printed and ends the program.
pub(crate) type Error = Box<dyn std::error::Error>;

/// What a work's products are made of: decides which peak it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    F32,
    Bf16,
}

/// One line of the benchmark.
pub(crate) struct Work {
    /// The name that issue 4 gives it.
    pub(crate) name: String,
    pub(crate) arithmetic: Arithmetic,
    /// Floating-point operations of the matrix products of one step; 0 where there are none.
    pub(crate) flops: f64,
    pub(crate) run: Box<Run>,
}

/// Sets everything up, then does steps for as long as the clock says.
type Run = dyn Fn(&Device, &mut Clock) -> Result<(), Error>;

/// All works, family by family. Adding one is one entry of its family's `works()`.
pub(crate) fn works() -> Vec<Work> {
    [
        train::works(),
        infer::works(),
        ffn::works(),
        experts::works(),
        head::works(),
        fit::works(),
        gemm::works(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a work took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) timing: Timing,
    /// The most bytes that it held at a time, from its setting up to its end.
    pub(crate) peak_bytes: usize,
    /// The most resident memory of the process, less what it had before the work was set up.
    pub(crate) resident: Option<u64>,
}

impl Work {
    /// Runs and times it.
    pub(crate) fn measure(&self, threads: usize, pace: Pace) -> Result<Measured, Error> {
        let mut clock = Clock::new(pace);
        let before = memory::restart_peak();
        allocator::reset_peak();
        let live = allocator::live();
        // The device is the work's own, so that its threads and its pool count.
        let device = crate::open(threads)?;
        (self.run)(&device, &mut clock)?;
        let resident = before.and_then(|before| Some(memory::peak()?.saturating_sub(before)));
        Ok(Measured { timing: clock.timing(), peak_bytes: allocator::peak() - live, resident })
    }
}
