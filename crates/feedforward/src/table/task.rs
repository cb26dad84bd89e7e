//! From a recipe to a run's folder.

use crate::clock::Clock;
use crate::model::write_text;
use crate::notes::{MetricsLog, RunInfo, load_info, save_info};
use crate::recipe::Recipe;
use crate::report::{self, LivePage, Outcome};
use crate::setup::{self, Setup};
use crate::watch::{DataNotice, ModelNotice, Notice, Watcher};
use crate::{Error, Predictions, Result, RunFolder, TableModel, scores};
use ff_metrics::{Scores, choose_threshold};
use ff_nn::Precision;
use ff_table::{Encoded, Prepared, prepare};
use ff_tensor::{Device, DeviceOptions};
use ff_train::{Checkpoint, CheckpointPlace, Event, Stop};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How to train, beside what the recipe says.
///
/// ```
/// let options = feedforward::TrainOptions::default();
/// assert!(options.out.is_none());
/// ```
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// The run's folder; `runs/<name>-<n>` where not given.
    pub out: Option<PathBuf>,
    /// Threads and kernels.
    pub device: DeviceOptions,
    /// The command line, for the report.
    pub command: Vec<String>,
    /// Whether to write the report every few seconds while training goes on.
    pub watch: bool,
}

/// How a run went.
///
/// ```
/// fn rate(s: &feedforward::TrainSummary) -> f64 { s.steps as f64 / s.seconds }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// The scores of the parts that were not trained on.
    pub metrics: PartScores,
    /// Seconds, all in all; of all sessions where it was resumed.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Epochs.
    pub epochs: usize,
    /// The epoch whose weights are kept.
    pub best_epoch: Option<usize>,
    /// Values trained.
    pub parameters: usize,
    /// The most memory the process held.
    pub peak_bytes: usize,
    /// The most memory that pool and arena held from the system.
    pub pool_bytes: usize,
    /// Why it ended: `finished`, `early` or `interrupted`.
    pub stopped: String,
    /// The verdict against the baseline on the test part (or, without one, the validation part).
    pub verdict: Option<scores::Verdict>,
}

/// Scores by part; `None` for a part that has no rows.
///
/// ```
/// assert!(feedforward::PartScores::default().test.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartScores {
    /// The validation part, which chose the epoch.
    pub valid: Option<Scores>,
    /// The test part, which chose nothing.
    pub test: Option<Scores>,
}

/// Trains what a recipe describes, into a new folder.
///
/// # Errors
/// The recipe, the data or the folder is not right, the plan does not fit into memory, or training diverged.
pub fn train(
    recipe: &Recipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<TrainSummary> {
    let mut clock = Clock::start();
    let device = open_device(recipe, options)?;
    // Before a minute is spent on the data.
    RunFolder::check(options.out.as_deref())?;
    // From here a path is said as it was typed; a run that goes on finds it from the folder it was started in.
    let prepared = read_data(recipe, Path::new(""), &device, watcher)?;
    clock.lap("reading");
    let was_there = options.out.as_ref().is_some_and(|out| out.exists());
    let folder = RunFolder::create(options.out.as_deref(), &run_name(recipe))?;
    let info = RunInfo::new(options, &device, &prepared.hash, identity(recipe, ""));
    // The recipe comes last: a folder that has one can be resumed.
    let written = info.and_then(|info| {
        save_info(&folder, &info)?;
        write_text(&folder.recipe(), &recipe.to_toml())?;
        Ok(info)
    });
    let info = match written {
        Ok(info) => info,
        Err(error) => {
            folder.unmake(was_there);
            return Err(error);
        }
    };
    let job =
        Job { recipe, folder: &folder, prepared: &prepared, device: &device, watch: options.watch };
    run(&job, info, clock, watcher)
}

/// Goes on with a run that was stopped, from its last checkpoint, or from step 0 where it had none.
///
/// # Errors
/// There is no such run, its data has changed, or its checkpoint does not fit.
pub fn resume(
    path: &Path,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<TrainSummary> {
    let mut clock = Clock::start();
    let folder = RunFolder::open(path)?;
    let recipe = Recipe::load(&folder.recipe(), &[])?;
    let info = load_info(&folder)?;
    if info.finished {
        return Err(Error::run(
            folder.path(),
            "is finished; to train longer, start anew from its recipe with a larger train.epochs",
        ));
    }
    info.refuse_edited(&folder, &identity(&recipe, ""), "train")?;
    let device = open_device(&recipe, options)?;
    let prepared = read_data(&recipe, &info.base, &device, watcher)?;
    clock.lap("reading");
    if prepared.hash != info.data_hash {
        return Err(Error::run(
            folder.path(),
            format!(
                "was started on other data: {} has changed since; put the old file back, or train anew",
                recipe.data.path.display()
            ),
        ));
    }
    let (recipe, watch) = (&recipe, options.watch);
    let job = Job { recipe, folder: &folder, prepared: &prepared, device: &device, watch };
    run(&job, info, clock, watcher)
}

/// The recipe's name, or that of its data without what follows the first dot.
fn run_name(recipe: &Recipe) -> String {
    let stem = recipe.data.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let stem = stem.map(|stem| stem.split('.').next().unwrap_or_default().to_owned());
    let name = recipe.name.clone().or(stem).unwrap_or_default();
    let plain: String =
        name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "run".into() } else { plain.into() }
}

/// Opens the device that the options, or else the recipe, ask for.
pub(crate) fn open_device(recipe: &Recipe, options: &TrainOptions) -> Result<Device> {
    open_with(recipe.train.threads, options.device)
}

/// The same for the threads that a recipe of any kind asks for.
pub(crate) fn open_with(threads: usize, options: DeviceOptions) -> Result<Device> {
    let threads = if options.threads == 0 { threads } else { options.threads };
    Ok(Device::open(DeviceOptions { threads, ..options })?)
}

fn read_data(
    recipe: &Recipe,
    base: &Path,
    device: &Device,
    watcher: &mut dyn Watcher,
) -> Result<Prepared> {
    watcher.notice(&Notice::Environment {
        isa: device.cpu().isa(),
        threads: device.cpu().threads().count(),
        seed: recipe.train.seed,
    });
    watcher.event(Event::Phase("reading"));
    let prepared = prepare(&recipe.data, recipe.train.seed, base)?;
    watcher.notice(&Notice::Data(DataNotice {
        source: &prepared.source.describe(),
        totals: &prepared.totals,
        schema: &prepared.schema,
        target: &prepared.target,
        split: prepared.split,
        notes: &prepared.notes,
    }));
    Ok(prepared)
}

/// What a checkpoint belongs to: everything that the bits of the result depend on.
fn identity(recipe: &Recipe, hash: &str) -> String {
    let mut recipe = recipe.clone();
    recipe.name = None;
    recipe.train.threads = 0;
    recipe.train.checkpoint_seconds = 0.0;
    format!("{hash}\n{}", recipe.to_toml())
}

/// What is trained on what, and where.
struct Job<'a> {
    recipe: &'a Recipe,
    folder: &'a RunFolder,
    prepared: &'a Prepared,
    device: &'a Device,
    watch: bool,
}

fn run(
    job: &Job<'_>,
    mut info: RunInfo,
    mut clock: Clock,
    watcher: &mut dyn Watcher,
) -> Result<TrainSummary> {
    let Job { recipe, folder, prepared, device, watch } = *job;
    let _claim = folder.claim()?;
    watcher.notice(&Notice::Run(folder.path()));
    let Prepared { train, valid, transforms, target, .. } = prepared;
    let measured = setup::measure(recipe, target, transforms, train, valid)?;
    crate::memory::refuse_if_too_large(measured.peak_bytes)?;
    let (setup, graph) = Setup::new(recipe, target, transforms, train, device)?;
    watcher.notice(&Notice::Model(&ModelNotice {
        layers: setup.layers(),
        parameters: measured.parameters,
        training: training_line(recipe, &setup, train.rows),
        peak_bytes: measured.peak_bytes,
    }));

    let mut trainer = setup::trainer(recipe, graph, device)?;
    let identity = identity(recipe, &prepared.hash);
    let checkpoint = folder.checkpoint();
    let place = CheckpointPlace { path: &checkpoint, identity: &identity };
    if checkpoint.exists() {
        let checkpoint = Checkpoint::open(&place, device.cpu().isa())?;
        if recipe.model.precision == Precision::Bf16 {
            checkpoint.check_bf16(device.cpu())?;
        }
        trainer.resume(&checkpoint)?;
    }
    watcher.event(Event::Phase("training"));
    clock.lap("preparing");
    let layers = setup.layers();
    let known = |info| report::Known {
        recipe,
        folder,
        info,
        prepared,
        file: &setup.file,
        layers: &layers,
        loss: setup.loss.name(),
        measured: &measured,
        device,
    };
    let mut log = MetricsLog::open(folder, trainer.progress(), watcher)?;
    if watch {
        let mut page = LivePage::new(trainer.progress(), |progress, from| {
            report::write(known(&info), progress, &clock, Outcome::Running { from })
        });
        log.also(move |event, _| page.event(event));
    }
    let mut objective = setup.objective(recipe, train, valid);
    let fitted = trainer.fit(&mut objective, &mut log, Some(&place)).map_err(Error::from);
    let fitted = log.close().map_or(fitted, Err);
    clock.lap("training");

    let progress = trainer.progress().clone();
    let stop = match fitted {
        Ok(stop) => stop,
        Err(error) => {
            // What there is stays readable; the error that ended the run is the one to tell.
            let _ = report::write(known(&info), &progress, &clock, Outcome::Failed(&error));
            return Err(error);
        }
    };
    let mut summary = TrainSummary {
        run: folder.path().to_owned(),
        metrics: PartScores::default(),
        seconds: progress.seconds,
        steps: progress.step,
        epochs: progress.epoch,
        best_epoch: progress.best.map(|best| best.epoch),
        parameters: measured.parameters,
        peak_bytes: crate::memory::process_peak_bytes(),
        pool_bytes: device.pool().stats().reserved,
        stopped: match stop {
            Stop::Finished => "finished",
            Stop::Early => "early",
            Stop::Interrupted => "interrupted",
        }
        .into(),
        verdict: None,
    };
    if stop == Stop::Interrupted {
        report::write(known(&info), &progress, &clock, Outcome::Interrupted)?;
        return Ok(summary);
    }

    watcher.event(Event::Phase("evaluating"));
    let mut file = setup.file.clone();
    file.data_hash.clone_from(&prepared.hash);
    let graph = trainer.into_graph();
    let mut model = TableModel::new(file, transforms.clone(), setup.model, graph);
    choose_decision_threshold(recipe, &mut model, valid)?;
    let judged = scores::judge(&mut model, recipe, prepared, device)?;
    model.save(&folder.model())?;
    summary.metrics = judged.part_scores();
    summary.verdict = judged.verdict();
    summary.seconds = summary.seconds.max(clock.seconds());
    summary.peak_bytes = crate::memory::process_peak_bytes();
    let text = serde_json::to_string_pretty(&judged.reports())
        .map_err(|e| Error::run(folder.path(), e.to_string()))?;
    write_text(&folder.scores(), &text)?;
    clock.lap("evaluating");
    watcher.event(Event::Phase("report"));
    let outcome = Outcome::Finished { model: &mut model, judged: &judged, summary: &summary };
    report::write(known(&info), &progress, &clock, outcome)?;
    info.finished = true;
    save_info(folder, &info)?;
    Ok(summary)
}

fn training_line(recipe: &Recipe, setup: &Setup, rows: usize) -> String {
    let config = &setup::portions(recipe);
    let length = match config.steps {
        Some(steps) => format!("{steps} steps"),
        None => format!("≤ {} epochs of {} steps", config.epochs, config.steps_per_epoch(rows)),
    };
    let batch = config.batch_size.saturating_mul(config.accumulate).min(rows);
    format!(
        "{} {} · {} · batch {batch} · {length}",
        recipe.optimizer.kind,
        recipe.optimizer.lr(),
        setup.loss.name()
    )
}

/// The threshold is chosen on the validation part, where the recipe has an aim for it.
fn choose_decision_threshold(
    recipe: &Recipe,
    model: &mut TableModel,
    valid: &Encoded,
) -> Result<()> {
    let Some(aim) = recipe.evaluate.threshold else { return Ok(()) };
    if model.file().classes.len() != 2 {
        return Err(ff_nn::ConfigError::new(
            "evaluate.threshold",
            format!(
                "a threshold is for two classes, the target has {}",
                model.file().classes.len()
            ),
        )
        .into());
    }
    if valid.rows == 0 {
        return Err(ff_nn::ConfigError::new(
            "evaluate.threshold",
            "is chosen on the validation part, which has no rows; set data.split.valid",
        )
        .into());
    }
    let positive = model.file().positive.unwrap_or(1);
    let Predictions::Classes { probabilities, .. } = model.predict_encoded(valid)? else {
        return Ok(());
    };
    let Some(ff_table::Target::Class(classes)) = &valid.target else { return Ok(()) };
    let scores: Vec<f64> = probabilities.chunks_exact(2).map(|row| row[positive]).collect();
    let is_positive: Vec<bool> = classes.iter().map(|&c| c as usize == positive).collect();
    let chosen = choose_threshold(&scores, &is_positive, valid.weights.as_deref(), aim)?;
    let file = model.file_mut();
    file.threshold = Some(chosen.threshold);
    file.chosen = Some(chosen);
    Ok(())
}
