//! The life of a run: start or resume, train, finish.

use super::clock::Clock;
use super::folder::{NewFolder, RunFolder};
use super::info::RunInfo;
use super::live::LivePage;
use super::log::MetricsLog;
use super::measure::{measure, open_device, refuse_if_too_large, task_trainer};
use super::page;
use super::plan::Sizes;
use super::snapshot::{Context, State};
use super::summary::{Closing, Ended, Ran};
use super::task::{Beginning, Ending, Purpose, Task, TaskRecipe};
use super::watch::{ModelNotice, Notice, Throughput, Watcher};
use crate::error::{Error, Result};
use crate::files::write_text;
use ff_nn::Precision;
use ff_tensor::{Device, DeviceOptions};
use ff_train::{Checkpoint, CheckpointPlace, Event, Stop, Trainer};
use std::path::PathBuf;

/// How to train, beside what the recipe says.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// The run's folder; `runs/<name>-<n>` where not given.
    pub out: Option<PathBuf>,
    /// Threads and kernels.
    pub device: DeviceOptions,
    /// The command line, for the report.
    pub command: Vec<String>,
    /// Whether to write the report every few seconds while training.
    pub watch: bool,
}

/// What is trained, and where.
struct Job<T> {
    task: T,
    sizes: Sizes,
    folder: RunFolder,
    info: RunInfo,
    device: Device,
    /// What checkpoints belong to: the hash of the data, and the recipe as far as results depend on
    /// it.
    identity: String,
    watch: bool,
}

/// Trains what a recipe describes, in a new folder.
///
/// # Errors
/// The recipe, the data or the folder is not right, the plan does not fit into memory, or training
/// diverged.
pub(crate) fn start<T: Task>(
    recipe: &T::Recipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<Ran<T::Summary>> {
    let mut clock = Clock::start();
    let device = open_device(recipe, options.device)?;
    tell_environment(recipe, &device, watcher);
    let mut folder = NewFolder::check(options.out.as_deref(), recipe.run_name())?;
    T::check(recipe)?;
    let job = match make::<T>(recipe, options, device, &mut folder, watcher) {
        Ok(job) => job,
        Err(error) => {
            folder.remove(T::remove);
            return Err(error);
        }
    };
    clock.lap("reading");
    train(job, clock, watcher)
}

/// Reads the data and makes the folder of a new run.
fn make<T: Task>(
    recipe: &T::Recipe,
    options: &TrainOptions,
    device: Device,
    folder: &mut NewFolder,
    watcher: &mut dyn Watcher,
) -> Result<Job<T>> {
    let task = T::prepare(recipe.clone(), Purpose::Start(folder), &device, watcher)?;
    let sizes = measure(&task)?;
    refuse_if_too_large(&task, &sizes)?;
    let folder = folder.make()?;
    let recipe_identity = identity(recipe);
    let identity = format!("{}{recipe_identity}", task.data_hash());
    let info = RunInfo::new(&options.command, &device, task.data_hash(), recipe_identity)?;
    let info = RunInfo { config: task.note(), ..info };
    info.save(&folder)?;
    // The recipe comes last: a folder with a recipe can be resumed.
    write_text(&folder.recipe(), &ff_settings::to_toml(recipe))?;
    Ok(Job { task, sizes, folder, info, device, identity, watch: options.watch })
}

/// Resumes a stopped run from its last checkpoint, or from step 0 without one; `text` is that of
/// its recipe.
///
/// # Errors
/// The run is finished, its recipe or its data has changed, or its checkpoint does not fit.
pub(crate) fn resume<T: Task>(
    folder: &RunFolder,
    text: &str,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<Ran<T::Summary>> {
    let mut clock = Clock::start();
    // Paths stay as they were written: a run can be resumed from any folder.
    let origin = folder.recipe().display().to_string();
    let recipe: T::Recipe = ff_settings::parse(text, &origin, &[])?;
    let info = RunInfo::load(folder)?;
    if info.finished {
        let message = format!("is finished; to train longer, {}", T::TRAIN_LONGER);
        return Err(Error::run(folder.path(), message));
    }
    let recipe_identity = identity(&recipe);
    info.refuse_edited(folder, &recipe_identity, T::COMMAND)?;
    let recipe_identity = info.recipe.clone().unwrap_or(recipe_identity);
    let device = open_device(&recipe, options.device)?;
    tell_environment(&recipe, &device, watcher);
    let task = T::prepare(recipe, Purpose::Resume(folder, &info), &device, watcher)?;
    let sizes = measure(&task)?;
    refuse_if_too_large(&task, &sizes)?;
    clock.lap("reading");
    let identity = format!("{}{recipe_identity}", task.data_hash());
    let (folder, watch) = (folder.clone(), options.watch);
    train(Job { task, sizes, folder, info, device, identity, watch }, clock, watcher)
}

/// The recipe as far as results depend on it.
fn identity<R: TaskRecipe>(recipe: &R) -> String {
    format!("\n{}", ff_settings::to_toml(&recipe.without_incidentals()))
}

fn tell_environment<R: TaskRecipe>(recipe: &R, device: &Device, watcher: &mut dyn Watcher) {
    watcher.notice(&Notice::Environment {
        isa: device.cpu().isa(),
        threads: device.cpu().threads().count(),
        seed: recipe.loop_config().seed,
    });
}

/// Trains, evaluates, and writes the model and the report.
fn train<T: Task>(
    job: Job<T>,
    mut clock: Clock,
    watcher: &mut dyn Watcher,
) -> Result<Ran<T::Summary>> {
    let Job { task, sizes, folder, mut info, device, identity, watch } = job;
    let _claim = folder.claim()?;
    watcher.notice(&Notice::Run(folder.path()));
    let work = task.work(&sizes);
    let peak_flops = task.peak_flops(&device);
    watcher.notice(&Notice::Model(&ModelNotice {
        layers: work.layers.clone(),
        parameters: sizes.parameters,
        training: work.training.clone(),
        peak_bytes: sizes.pool_bytes,
        throughput: peak_flops.map(|peak_flops| Throughput {
            unit: work.unit,
            units_per_step: work.units_per_step,
            flops_per_step: sizes.flops,
            peak_flops,
        }),
    }));
    let checkpoint = folder.checkpoint();
    let place = CheckpointPlace { path: &checkpoint, identity: &identity };
    let (network, mut trainer) = open_trainer(&task, &place, &device)?;
    clock.lap("preparing");
    let session = task.begin(Beginning {
        folder: &folder,
        network: &network,
        trainer: &mut trainer,
        watcher,
        clock: &mut clock,
    })?;
    task.announce(&session, watcher);
    watcher.event(Event::Phase(&task.training()));

    let context = Context {
        folder: &folder,
        info: &info,
        device: &device,
        sizes: &sizes,
        work: &work,
        peak_flops,
    };
    let pool_bytes = || device.pool().stats().reserved;
    let mut log = MetricsLog::open(&folder, trainer.progress(), watcher)?;
    let (page_task, page_session, page_clock) = (&task, &session, &clock);
    let mut live = watch.then(|| {
        LivePage::new(trainer.progress(), |progress, from| {
            let snapshot = context.at(progress, page_clock, pool_bytes(), State::Running { from });
            page::write(page_task, &snapshot, page_session, None)
        })
    });
    log.listen(move |event, watcher| {
        if matches!(event, Event::Epoch { .. }) {
            page_task.announce(page_session, watcher);
        }
        if let Some(live) = &mut live {
            live.event(event);
        }
    });
    let mut objective = task.objective(&network, Some(&session));
    let fitted = trainer.fit(&mut *objective, &mut log, Some(&place)).map_err(Error::from);
    let fitted = log.close().map_or(fitted, Err);
    drop(objective);
    clock.lap("training");

    let (progress, pool_bytes) = (trainer.progress().clone(), pool_bytes());
    let stop = match fitted {
        Ok(stop) => stop,
        Err(error) => {
            // What there is stays readable; the error that ended the run is the one to tell.
            let snapshot = context.at(&progress, &clock, pool_bytes, State::Failed(&error));
            let _ = page::write(&task, &snapshot, &session, None);
            return Err(error);
        }
    };
    let (steps, interrupted) = (progress.step, stop == Stop::Interrupted);
    if interrupted {
        let ended = Ended {
            folder: &folder,
            stop,
            progress: &progress,
            sizes: &sizes,
            pool_bytes,
            clock: &clock,
        };
        let summary = task.summary(&ended, &session, None);
        let snapshot = context.at(&progress, &clock, pool_bytes, State::Interrupted);
        page::write(&task, &snapshot, &session, None)?;
        let closing = Closing::default();
        return Ok(Ran { folder, interrupted, steps, closing, summary });
    }
    let graph = trainer.into_graph();
    // The optimiser's memory, which the largest models need for reading back what was written.
    device.pool().trim();
    let ending =
        Ending { folder: &folder, network, graph, progress: &progress, watcher: &mut *watcher };
    let mut outcome = task.finish(&session, ending)?;
    clock.lap("evaluating");
    let ended = Ended {
        folder: &folder,
        stop,
        progress: &progress,
        sizes: &sizes,
        pool_bytes,
        clock: &clock,
    };
    let summary = task.summary(&ended, &session, Some(&outcome));
    watcher.event(Event::Phase("writing the report"));
    let done = context.at(&progress, &clock, pool_bytes, State::Finished(stop));
    page::write(&task, &done, &session, Some(&mut outcome))?;
    info.finished = true;
    info.save(&folder)?;
    let closing = task.closing(&summary);
    Ok(Ran { folder, interrupted, steps, closing, summary })
}

/// The network and its trainer, at step 0 or where the checkpoint stands.
fn open_trainer<T: Task>(
    task: &T,
    place: &CheckpointPlace<'_>,
    device: &Device,
) -> Result<(T::Network, Trainer)> {
    let (network, mut graph) = task.build(device)?;
    let resumed = place.path.exists();
    if !resumed || T::KEEPS_BASE {
        task.load_weights(&mut graph)?;
    }
    let mut trainer = task_trainer(task, graph, device)?;
    if resumed {
        let checkpoint = Checkpoint::open(place, device.cpu().isa())?;
        if task.recipe().precision() == Precision::Bf16 {
            checkpoint.check_bf16(device.cpu())?;
        }
        trainer.resume(&checkpoint)?;
    }
    Ok((network, trainer))
}
