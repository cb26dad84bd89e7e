//! `report.html`: what every task's page has, around what the task adds.

use super::live;
use super::snapshot::{Snapshot, State};
use super::task::{Task, TaskRecipe};
use crate::environment::environment;
use crate::error::Result;
use crate::words::{self, bytes};
use ff_nn::Precision;
use ff_report::{Command, Fact, ReportData, Resource, Unit, render};
use ff_settings::shell_word;
use std::io::Write;

/// Writes `report.html`.
///
/// # Errors
/// The task's part could not be gathered, or the file not be written.
pub(crate) fn write<T: Task>(
    task: &T,
    snapshot: &Snapshot<'_>,
    session: &T::Session,
    outcome: Option<&mut T::Outcome>,
) -> Result<()> {
    let mut data = task.report(snapshot, session, outcome)?;
    data.created = words::now();
    if let State::Running { from } = snapshot.state {
        let (total, seconds) = (snapshot.work.total_steps, snapshot.clock.since_lap());
        data.live = Some(live::live(snapshot.progress, total, from, seconds));
    }
    data.resources = resources(snapshot);
    data.timings.splice(0..0, snapshot.clock.laps().iter().cloned());
    data.commands.splice(0..0, commands::<T>(snapshot));
    data.environment = environment_facts(task, snapshot, std::mem::take(&mut data.environment));
    save(snapshot, &data)
}

fn save(snapshot: &Snapshot<'_>, data: &ReportData) -> Result<()> {
    let page = render(data);
    Ok(ff_formats::write_atomic(&snapshot.folder.report(), |file| file.write_all(page.as_bytes()))?)
}

fn resources(snapshot: &Snapshot<'_>) -> Vec<Resource> {
    let (sizes, work, progress) = (snapshot.sizes, snapshot.work, snapshot.progress);
    let resource = |name: &str, planned: Option<f64>, measured: Option<f64>, unit| Resource {
        name: name.into(),
        planned,
        measured,
        unit,
    };
    let size = |name, count: usize| resource(name, Some(count as f64), None, Unit::Bytes);
    let step = (progress.step > 0).then(|| progress.seconds / progress.step as f64);
    let rate = |amount: f64| step.filter(|s| *s > 0.0).map(|seconds| amount / seconds);
    let (flops, done) = (sizes.flops as f64, Some(progress.step as f64));
    let pool = Some(sizes.pool_bytes as f64);
    let mut all = vec![
        size("parameters", sizes.parameter_bytes),
        size("gradients", sizes.gradient_bytes),
        size("optimiser state", sizes.optimizer_bytes),
        size("activations of a step", sizes.activation_bytes),
        resource("pool and arena, at most", pool, Some(snapshot.pool_bytes as f64), Unit::Bytes),
    ];
    if snapshot.process_bytes > 0 {
        let planned = work.process_bytes.map(|bytes| bytes as f64);
        let measured = Some(snapshot.process_bytes as f64);
        all.push(resource("process, at most", planned, measured, Unit::Bytes));
    }
    let steps = if work.may_end_early { "optimiser steps, at most" } else { "optimiser steps" };
    all.extend([
        resource(steps, Some(work.total_steps as f64), done, Unit::Count),
        resource("arithmetic of a step", Some(flops), None, Unit::Flop),
        resource("a step, evaluation included", None, step, Unit::Seconds),
        resource(work.unit, None, rate(work.units_per_step), Unit::PerSecond),
        match snapshot.peak_flops {
            Some(peak) => resource(
                "arithmetic per second, and the peak of the CPU",
                Some(peak),
                rate(flops),
                Unit::Flop,
            ),
            None => resource("arithmetic per second", None, rate(flops), Unit::Flop),
        },
    ]);
    all
}

/// The commands that every run can be followed by.
fn commands<T: Task>(snapshot: &Snapshot<'_>) -> Vec<Command> {
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let name = T::COMMAND;
    let mut all = Vec::new();
    if !snapshot.info.command.is_empty() {
        let words: Vec<String> =
            snapshot.info.command.iter().map(|word| shell_word(word)).collect();
        all.push(command("how it was started", words.join(" ")));
    }
    if !snapshot.is_finished() {
        let line = format!("feedforward {name} --resume {}", snapshot.shown_run());
        all.push(command("resume it from where it was saved", line));
    }
    let (recipe, isa) = (snapshot.shown_recipe(), &snapshot.info.isa);
    all.push(command(
        "train it again, to the same bits",
        format!("feedforward {name} {recipe} --isa {isa}"),
    ));
    all
}

/// Version, device and machine, with the task's own facts between.
fn environment_facts<T: Task>(task: &T, snapshot: &Snapshot<'_>, own: Vec<Fact>) -> Vec<Fact> {
    let here = environment();
    let cpu = snapshot.device.cpu();
    let recipe = task.recipe();
    let unknown = || "not known".to_owned();
    let mut all = vec![
        Fact::new("version", format!("{} ({} build)", here.version, here.build)),
        Fact::new("kernels", format!("CPU, {}", cpu.isa())),
        Fact::new("threads", cpu.threads().count().to_string()),
        Fact::new("numbers", numbers(recipe.precision(), cpu.has_bf16())),
        Fact::new("seed", recipe.loop_config().seed.to_string()),
    ];
    all.extend(own);
    all.extend([
        Fact::new("run", snapshot.folder.path().display().to_string()),
        Fact::new("processor", here.processor.unwrap_or_else(unknown)),
        Fact::new("memory", here.memory_bytes.map_or_else(unknown, bytes)),
        Fact::new(
            "system",
            match here.system {
                Some(system) => format!("{system} ({})", here.target),
                None => here.target,
            },
        ),
    ]);
    let info = snapshot.info;
    if info.version != env!("CARGO_PKG_VERSION") {
        all.push(Fact::new("started by version", &info.version));
    }
    if info.isa != cpu.isa().to_string() {
        all.push(Fact::new("started with", &info.isa));
    }
    if info.threads != cpu.threads().count() {
        all.push(Fact::new("started on", words::plural(info.threads, "thread")));
    }
    all
}

fn numbers(precision: Precision, native: bool) -> &'static str {
    match (precision, native) {
        (Precision::F32, _) => "f32, sums of losses in f64",
        (Precision::Bf16, true) => {
            "f32, products of bf16 with CPU instructions, sums of losses in f64"
        }
        (Precision::Bf16, false) => {
            "f32, products of values rounded to bf16, sums of losses in f64"
        }
    }
}
