//! Planning: sizes from a device that only counts, times from a few steps.

use super::folder::RunFolder;
use super::memory;
use super::plan::{Plan, PlanDetails, Sizes};
use super::task::{Purpose, Task, TaskRecipe};
use super::trainer::trainer;
use super::watch::Watcher;
use crate::error::{Error, Result};
use crate::words::bytes;
use ff_graph::{Graph, Params};
use ff_tensor::{Device, DeviceOptions, Key};
use ff_train::{Event, Objective, Observer, Trainer};
use std::ops::Range;
use std::time::Instant;

/// Laps that a step is timed over, and the seconds after which at least [`LEAST_LAPS`] are enough.
const LAPS: usize = 50;
const LEAST_LAPS: usize = 3;
const LAP_SECONDS: f64 = 1.0;

/// Plans a run and measures a few of its steps; nothing is left on disk.
///
/// # Errors
/// The recipe or the data is not right.
pub(crate) fn plan<T: Task>(
    recipe: &T::Recipe,
    options: DeviceOptions,
    watcher: &mut dyn Watcher,
) -> Result<Plan> {
    let device = open_device(recipe, options)?;
    T::check(recipe)?;
    let place = tempfile::tempdir()
        .map_err(ff_formats::Error::io("a temporary folder".as_ref(), "making"))?;
    let folder = RunFolder::at(place.path());
    let task = T::prepare(recipe.clone(), Purpose::Plan(&folder), &device, watcher)?;
    let sizes = measure(&task)?;
    let work = task.work(&sizes);
    let available_bytes = memory::available_bytes();
    let taken = work.process_bytes.unwrap_or(sizes.pool_bytes);
    let fits = available_bytes.is_none_or(|bytes| sizes.pool_bytes < bytes);
    watcher.event(Event::Phase("timing some steps"));
    let seconds_per_step = if fits { time_steps(&task, &device)? } else { f64::NAN };
    let way_to_fit = match available_bytes {
        Some(bytes) if taken >= bytes => Some(task.way_to_fit(bytes)?),
        _ => None,
    };
    let mut plan = Plan {
        layers: work.layers.clone(),
        parameters: sizes.parameters,
        parameter_bytes: sizes.parameter_bytes,
        gradient_bytes: sizes.gradient_bytes,
        optimizer_bytes: sizes.optimizer_bytes,
        activation_bytes: sizes.activation_bytes,
        pool_bytes: sizes.pool_bytes,
        available_bytes,
        flops_per_step: sizes.flops,
        total_steps: work.total_steps,
        seconds_per_step,
        steps_after: work.steps_after,
        after: work.after,
        seconds: seconds_per_step * (work.total_steps + work.steps_after) as f64,
        details: PlanDetails::default(),
        way_to_fit,
        may_end_early: work.may_end_early,
    };
    plan.details = task.plan_details(&plan, &work)?;
    Ok(plan)
}

/// Opens the device, with the threads that the options, or else the recipe, ask for.
pub(crate) fn open_device<R: TaskRecipe>(recipe: &R, options: DeviceOptions) -> Result<Device> {
    let threads = match options.threads {
        0 => recipe.loop_config().threads,
        threads => threads,
    };
    Ok(Device::open(DeviceOptions { threads, ..options })?)
}

/// The trainer of a run at step 0.
pub(crate) fn task_trainer<T: Task>(task: &T, graph: Graph, device: &Device) -> Result<Trainer> {
    let recipe = task.recipe();
    let config = recipe.loop_config();
    let (optimizer, state) = (recipe.optimizer(), recipe.start_optimizer());
    let trainer = trainer(optimizer, state, recipe.schedule(), config, graph, device)?;
    Ok(match task.period() {
        Some(steps) => trainer.with_period(steps).without_best(),
        None => trainer,
    })
}

/// Plans the steps and the evaluation of a run.
///
/// # Errors
/// The shapes do not fit together.
pub(crate) fn measure<T: Task>(task: &T) -> Result<Sizes> {
    let device = Device::planning();
    let (network, graph) = task.build(&device)?;
    let parameters = values(graph.params());
    let parameter_bytes = graph.params().len() * 4;
    let gradient_bytes = graph.params().trainable_len() * 4;
    let before = device.pool().stats().live;
    let mut trainer = task_trainer(task, graph, &device)?;
    let held = device.pool().stats().live;
    let mut objective = task.objective(&network, None);
    let graph = trainer.graph_mut();
    let batch = task.recipe().loop_config().batch_size;
    let mut flops = None;
    for rows in task.planned_steps() {
        let step = plan_step(graph, &mut *objective, rows, batch)?;
        flops.get_or_insert(step);
    }
    let activation_bytes = device.pool().stats().peak - held;
    task.plan_evaluation(graph, &network)?;
    Ok(Sizes {
        parameters,
        parameter_bytes,
        gradient_bytes,
        optimizer_bytes: held - before,
        activation_bytes,
        pool_bytes: device.pool().stats().reserved,
        flops: flops.unwrap_or(0),
    })
}

/// Refuses a plan that cannot fit, before anything is allocated, and says what would.
///
/// # Errors
/// The plan does not fit.
pub(crate) fn refuse_if_too_large<T: Task>(task: &T, sizes: &Sizes) -> Result<()> {
    match memory::available_bytes() {
        Some(available) if sizes.pool_bytes >= available => Err(Error::usage(format!(
            "this run needs {} of memory and {} are free; {}",
            bytes(sizes.pool_bytes),
            bytes(available),
            task.way_to_fit(available)?
        ))),
        _ => Ok(()),
    }
}

/// Values that training changes.
fn values(params: &Params) -> usize {
    let infos = params.infos().iter().filter(|info| !info.spec.segment.is_frozen());
    infos.map(|info| info.spec.shape.len()).sum()
}

/// Runs an optimiser step's micro-batches as the trainer does, but for the update: its
/// floating-point operations.
fn plan_step(
    graph: &mut Graph,
    objective: &mut dyn Objective,
    rows: Range<usize>,
    batch: usize,
) -> Result<u64> {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    let mut flops = 0;
    for rows in rows.chunks(batch) {
        graph.reset();
        let loss = objective.loss(graph, rows, Key::new(0))?;
        drop(loss.count);
        graph.backward(loss.total.unwrap_or(loss.sum))?;
        flops += graph.tally().flops + graph.tally().dflops;
    }
    graph.reset();
    // Statistics wait for the end of the step, then their memory is free again.
    graph.discard_state();
    Ok(flops)
}

/// The median time of some steps of the very run.
pub(crate) fn time_steps<T: Task>(task: &T, device: &Device) -> Result<f64> {
    let (network, mut graph) = task.build(device)?;
    task.load_weights(&mut graph)?;
    let mut trainer = task_trainer(task, graph, device)?;
    let mut objective = task.objective(&network, None);
    let now = Instant::now();
    let mut laps = Laps { seconds: Vec::new(), last: now, started: now };
    trainer.fit(&mut *objective, &mut laps, None)?;
    // The first step touches its memory for the first time.
    let skipped = usize::from(laps.seconds.len() > 1);
    let mut laps = laps.seconds.split_off(skipped);
    laps.sort_by(f64::total_cmp);
    Ok(laps.get(laps.len() / 2).copied().unwrap_or(f64::NAN))
}

struct Laps {
    seconds: Vec<f64>,
    last: Instant,
    started: Instant,
}

impl Observer for Laps {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Step { .. } = event {
            self.seconds.push(self.last.elapsed().as_secs_f64());
            self.last = Instant::now();
        }
    }

    fn interrupted(&mut self) -> bool {
        let enough =
            self.seconds.len() >= LEAST_LAPS && self.started.elapsed().as_secs_f64() > LAP_SECONDS;
        self.seconds.len() >= LAPS || enough
    }
}
