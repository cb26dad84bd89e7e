//! What a run will take, before it starts.

use crate::words::{bytes, count, duration, operations};
use serde::Serialize;

/// What a run will do, in words and numbers.
pub(crate) struct Work {
    /// The layers in one line.
    pub(crate) layers: String,
    /// Optimiser, rate, batch and length in one line.
    pub(crate) training: String,
    /// What an optimiser step counts, in the plural: rows, tokens.
    pub(crate) unit: &'static str,
    /// How many of them an optimiser step has on average.
    pub(crate) units_per_step: f64,
    /// All optimiser steps.
    pub(crate) total_steps: u64,
    /// Optimiser steps of further trainings: on all rows, or of other networks.
    pub(crate) steps_after: u64,
    /// What those are, for a table.
    pub(crate) after: &'static str,
    /// Whether training may end before the last one.
    pub(crate) may_end_early: bool,
    /// About the most memory of the whole process, where that can be planned.
    pub(crate) process_bytes: Option<usize>,
}

/// Sizes found by running steps and an evaluation on a device that only counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sizes {
    /// Values of the model, statistics included.
    pub(crate) parameters: usize,
    pub(crate) parameter_bytes: usize,
    pub(crate) gradient_bytes: usize,
    pub(crate) optimizer_bytes: usize,
    pub(crate) activation_bytes: usize,
    /// The most bytes that pool and arena hold from the system. Buffers are kept by size for the
    /// next step, so this is more than what lives at a time: an epoch's last, smaller batch and the
    /// batches of an evaluation have sizes of their own.
    pub(crate) pool_bytes: usize,
    /// Floating-point operations of an optimiser step.
    pub(crate) flops: u64,
}

/// Memory by kind, arithmetic and time of a run.
///
/// The sizes of pool and arena are found by running steps and an evaluation on a device that only
/// counts, so they are those of the run itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The layers in one line.
    pub layers: String,
    /// Values trained and statistics.
    pub parameters: usize,
    /// Bytes of the parameters.
    pub parameter_bytes: usize,
    /// Bytes of their gradients.
    pub gradient_bytes: usize,
    /// Bytes of the optimiser's state.
    pub optimizer_bytes: usize,
    /// The most bytes of inputs, activations and their gradients in a step.
    pub activation_bytes: usize,
    /// The most bytes that pool and arena hold from the system.
    pub pool_bytes: usize,
    /// Bytes that are free on this machine.
    pub available_bytes: Option<usize>,
    /// Floating-point operations of an optimiser step.
    pub flops_per_step: u64,
    /// Optimiser steps, at most.
    pub total_steps: u64,
    /// Optimiser steps of further trainings, at most: on all rows, or of other networks.
    pub steps_after: u64,
    #[serde(skip)]
    pub(crate) after: &'static str,
    /// Seconds of a step, measured on this machine; not a number where the plan does not fit.
    pub seconds_per_step: f64,
    /// Seconds to the end, if nothing stops it early.
    pub seconds: f64,
    /// What the task adds.
    #[serde(flatten)]
    pub details: PlanDetails,
    /// What to change where the plan does not fit into memory.
    #[serde(skip)]
    pub way_to_fit: Option<String>,
    #[serde(skip)]
    pub(crate) may_end_early: bool,
}

/// What a task adds to a plan: keys of the JSON object, and lines of the table that people see.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PlanDetails {
    /// The keys.
    #[serde(flatten)]
    pub json: serde_json::Map<String, serde_json::Value>,
    /// A line on the data, with its first word.
    #[serde(skip)]
    pub headline: Option<(&'static str, String)>,
    /// Bytes in memory beside pool and arena.
    #[serde(skip)]
    pub memory: Vec<(&'static str, usize)>,
    /// Other amounts.
    #[serde(skip)]
    pub amounts: Vec<(&'static str, String)>,
    /// Amounts that follow from the measured time.
    #[serde(skip)]
    pub rates: Vec<(&'static str, String)>,
    /// What else could be trained, with its memory and time.
    #[serde(skip)]
    pub others: Vec<(&'static str, String)>,
}

impl Plan {
    /// The lines of a table: a name and an amount.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let sizes = [
            ("parameters", self.parameter_bytes),
            ("gradients", self.gradient_bytes),
            ("optimiser state", self.optimizer_bytes),
            ("activations, at most", self.activation_bytes),
            ("pool and arena, at most", self.pool_bytes),
        ];
        let free = self.available_bytes.map(|free| ("free on this machine", free));
        let sizes = sizes.into_iter().chain(self.details.memory.iter().copied()).chain(free);
        let mut rows: Vec<_> = sizes.map(|(name, size)| (name, bytes(size))).collect();
        let flops = self.flops_per_step as f64;
        rows.push(("arithmetic in a step", operations(flops)));
        rows.extend(self.details.amounts.iter().cloned());
        let early = self.may_end_early;
        rows.push((if early { "steps, at most" } else { "steps" }, count(self.total_steps)));
        if self.steps_after > 0 {
            rows.push((self.after, count(self.steps_after)));
        }
        if self.seconds_per_step.is_finite() {
            let rate = operations(flops / self.seconds_per_step);
            let step = duration(self.seconds_per_step);
            rows.push(("a step, measured", format!("{step} ({rate}/s)")));
            rows.extend(self.details.rates.iter().cloned());
            let name = if early { "all of it, at most" } else { "all of it" };
            rows.push((name, duration(self.seconds)));
        }
        rows.extend(self.details.others.iter().cloned());
        rows
    }
}
