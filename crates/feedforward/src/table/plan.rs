//! What a run will take, before it starts.

use crate::recipe::Recipe;
use crate::setup::{self, Measured};
use crate::training::{TrainOptions, open_device};
use crate::{Result, memory};
use ff_table::{Prepared, prepare};
use ff_tensor::{Device, DeviceOptions};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// What the code and its libraries take before any data is read, measured on Linux.
const PROCESS_BYTES: usize = 12 << 20;

/// Parameters, memory by kind and arithmetic of a run.
///
/// The sizes of pool and arena are found by running one training step and one evaluation on a device that only counts, so
/// they are those of the run itself.
///
/// ```
/// fn fits(plan: &feedforward::PlanSummary) -> bool {
///     plan.available_bytes.is_none_or(|available| plan.process_bytes < available)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanSummary {
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
    /// Bytes of the table and its encoded parts.
    pub data_bytes: usize,
    /// About the most bytes of the whole process.
    pub process_bytes: usize,
    /// Bytes that are free on this machine.
    pub available_bytes: Option<usize>,
    /// Floating-point operations of an optimiser step.
    pub flops_per_step: u64,
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
    /// Steps at most.
    pub total_steps: u64,
    /// Seconds of a step, measured on this machine.
    pub seconds_per_step: f64,
    /// Seconds to the end, if nothing stops it early.
    pub seconds: f64,
    /// Rows of the training, validation and test part.
    pub rows: [usize; 3],
}

/// Plans a run and measures a few of its steps, without writing anything.
///
/// # Errors
/// The recipe or the data is not right.
pub fn plan(recipe: &Recipe, device: DeviceOptions) -> Result<PlanSummary> {
    let options = TrainOptions { device, ..TrainOptions::default() };
    let device = open_device(recipe, &options)?;
    let prepared = prepare(&recipe.data, recipe.train.seed, Path::new(""))?;
    let (train, valid) = (&prepared.train, &prepared.valid);
    let measured = setup::measure(recipe, &prepared.target, &prepared.transforms, train, valid)?;
    let available_bytes = memory::available_bytes();
    let layers = {
        let (setup, _) = setup::Setup::new(
            recipe,
            &prepared.target,
            &prepared.transforms,
            train,
            &Device::planning(),
        )?;
        setup.layers()
    };
    let fits = available_bytes.is_none_or(|bytes| measured.peak_bytes < bytes);
    let seconds_per_step =
        if fits && train.rows > 0 { time_steps(recipe, &prepared, &device)? } else { f64::NAN };
    let portions = setup::portions(recipe);
    let total_steps = portions.total_steps(train.rows);
    Ok(PlanSummary {
        layers,
        parameters: measured.parameters,
        parameter_bytes: measured.parameter_bytes,
        gradient_bytes: measured.gradient_bytes,
        optimizer_bytes: measured.optimizer_bytes,
        activation_bytes: measured.activation_bytes,
        pool_bytes: measured.peak_bytes,
        data_bytes: data_bytes(&prepared),
        process_bytes: process_bytes(&prepared, &measured),
        available_bytes,
        flops_per_step: measured.flops,
        steps_per_epoch: portions.steps_per_epoch(train.rows),
        total_steps,
        seconds_per_step,
        seconds: seconds_per_step * total_steps as f64,
        rows: [train.rows, valid.rows, prepared.test.rows],
    })
}

/// Bytes of a table and its encoded parts.
fn data_bytes(prepared: &Prepared) -> usize {
    let encoded = |e: &ff_table::Encoded| (e.numeric.len() + e.categorical.len() + 2 * e.rows) * 4;
    let Prepared { table, train, valid, test, .. } = prepared;
    table.bytes() + encoded(train) + encoded(valid) + encoded(test)
}

/// About the most bytes of the whole process.
pub(crate) fn process_bytes(prepared: &Prepared, measured: &Measured) -> usize {
    // The weights of the best epoch, which rows to judge it on are needed for.
    let copies = if prepared.valid.rows > 0 { measured.parameter_bytes } else { 0 };
    // Which rows are used, which part they are in, their classes, and the order of an epoch.
    let indices = prepared.totals.used * (2 * size_of::<usize>() + size_of::<i32>())
        + prepared.train.rows * size_of::<u32>();
    // Judging holds both parts' outputs, probabilities and decisions.
    let outputs = prepared.target.classes.len().max(1);
    let judged = (prepared.valid.rows + prepared.test.rows)
        * (outputs * (size_of::<f32>() + size_of::<f64>()) + size_of::<usize>());
    PROCESS_BYTES + data_bytes(prepared) + measured.peak_bytes + copies + indices + judged
}

/// The median time of some steps of the very run, within half a second or so.
fn time_steps(recipe: &Recipe, prepared: &Prepared, device: &Device) -> Result<f64> {
    struct Laps(Vec<f64>, Instant, Instant);
    impl ff_train::Observer for Laps {
        fn event(&mut self, event: ff_train::Event<'_>) {
            if let ff_train::Event::Step { .. } = event {
                self.0.push(self.1.elapsed().as_secs_f64());
                self.1 = Instant::now();
            }
        }
        fn interrupted(&mut self) -> bool {
            self.0.len() >= 50 || self.2.elapsed().as_secs_f64() > 0.5 && self.0.len() >= 2
        }
    }
    let (setup, graph) =
        setup::Setup::new(recipe, &prepared.target, &prepared.transforms, &prepared.train, device)?;
    let mut trainer = setup::trainer(recipe, graph, device)?;
    let mut objective = setup.objective(recipe, &prepared.train, &prepared.valid);
    let mut laps = Laps(Vec::new(), Instant::now(), Instant::now());
    trainer.fit(&mut objective, &mut laps, None)?;
    // The first step touches its memory for the first time.
    let mut laps = if laps.0.len() > 1 { laps.0.split_off(1) } else { laps.0 };
    laps.sort_by(f64::total_cmp);
    Ok(laps.get(laps.len() / 2).copied().unwrap_or(f64::NAN))
}
