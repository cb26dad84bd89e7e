//! From a recipe and a text to a language model's run.

use super::corpus::{self, Corpus};
use super::judge::{self, Exact, TextScores};
use super::samples::Samples;
use super::setup::{self, Measured, Setup};
use super::{PretrainRecipe, WindowOrder, report};
use crate::clock::Clock;
use crate::language::{self, LanguageModel, SaveOptions};
use crate::model::write_text;
use crate::notes::{MetricsLog, RunInfo, load_info, save_info};
use crate::report::LivePage;
use crate::training::{TrainOptions, open_with};
use crate::watch::{LanguageNotice, Notice, Watcher};
use crate::{Error, Result, RunFolder};
use ff_graph::Params;
use ff_nn::Precision;
use ff_nn::models::{DecoderConfig, file_tensors};
use ff_tensor::{Device, DeviceOptions};
use ff_text::Tokenizer;
use ff_train::language::{LanguageObjective, Windows};
use ff_train::{Checkpoint, CheckpointPlace, EpochRecord, Event, Stop};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How a pretraining run went.
///
/// ```
/// fn rate(s: &feedforward::pretrain::PretrainSummary) -> f64 { s.tokens as f64 / s.seconds }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PretrainSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// The scores on the whole validation part; none where there is no such part, or the run was interrupted.
    pub valid: Option<TextScores>,
    /// The loss on the validation windows before training.
    pub before: Option<f64>,
    /// How many test questions are answered exactly, where there are any.
    pub exact: Option<Exact>,
    /// Seconds of training, of all sessions.
    pub seconds: f64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Tokens trained on a second, evaluations left out.
    pub tokens_per_second: f64,
    /// The evaluation whose weights are kept.
    pub best: Option<usize>,
    /// Values trained.
    pub parameters: usize,
    /// The most memory the process held.
    pub peak_bytes: usize,
    /// The most memory that pool and arena held from the system.
    pub pool_bytes: usize,
    /// Why it ended: `finished` or `interrupted`.
    pub stopped: String,
    /// A prompt to try.
    pub prompt: Option<String>,
}

/// Pretrains what a recipe describes, into a new folder.
///
/// # Errors
/// The recipe, the text, the model or the folder is not right, the plan does not fit into memory, or training diverged.
pub fn pretrain(
    recipe: &PretrainRecipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<PretrainSummary> {
    let mut clock = Clock::start();
    let device = open_device(recipe, options.device)?;
    tell_environment(recipe, &device, watcher);
    RunFolder::check(options.out.as_deref())?;
    // What can be found wrong without reading the text is found before a minute is spent on it.
    setup::check(recipe)?;
    let was_there = options.out.as_ref().is_some_and(|out| out.exists());
    let name = recipe.name.clone().unwrap_or_else(|| "language-model".into());
    let folder = RunFolder::create(options.out.as_deref(), &name)?;
    let prepared = corpus::prepare(recipe, &folder, watcher);
    let corpus = prepared.and_then(|corpus| {
        // What does not fit the text is found out before there is a run.
        let (config, _) = planned(recipe, &corpus, None)?;
        let hash = corpus.data.train.hash();
        let info = RunInfo::new(options, &device, hash, identity(recipe, ""))?;
        let info = RunInfo { config: Some(config), ..info };
        // The recipe comes last: a folder that has one can be resumed.
        save_info(&folder, &info)?;
        write_text(&folder.recipe(), &recipe.to_toml())?;
        Ok((corpus, info))
    });
    let (corpus, info) = match corpus {
        Ok(found) => found,
        Err(error) => {
            corpus::remove(&folder);
            folder.unmake(was_there);
            return Err(error);
        }
    };
    clock.lap("reading");
    let watch = options.watch;
    let job = Job { recipe, folder: &folder, corpus: &corpus, device: &device, watch };
    run(&job, info, clock, watcher)
}

/// Goes on with a run that was stopped, from its last checkpoint, or from step 0 where it had none.
///
/// # Errors
/// There is no such run, its text has changed, or its checkpoint does not fit.
pub fn resume(
    path: &Path,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<PretrainSummary> {
    let mut clock = Clock::start();
    let folder = RunFolder::open(path)?;
    let text = crate::recipe::read_text(&folder.recipe())?;
    if !PretrainRecipe::is_one(&text) {
        return Err(Error::run(
            folder.path(),
            format!(
                "is no language model's run; go on with it by feedforward train --resume {}",
                folder.path().display()
            ),
        ));
    }
    // With its paths as they were written: it goes on wherever it is resumed from.
    let written = PretrainRecipe::parse(&text, &folder.recipe().display().to_string(), &[])?;
    let info = load_info(&folder)?;
    if info.finished {
        return Err(Error::run(
            folder.path(),
            "is finished; to train longer, start anew with model.from and the path of its model",
        ));
    }
    info.refuse_edited(&folder, &identity(&written, ""), "pretrain")?;
    let recipe = written.started_in(&info.base);
    refuse_without_weights(&folder, &recipe)?;
    let device = open_device(&recipe, options.device)?;
    tell_environment(&recipe, &device, watcher);
    let corpus = corpus::reopen(&recipe, &folder, &info, watcher)?;
    clock.lap("reading");
    let watch = options.watch;
    let job = Job { recipe: &recipe, folder: &folder, corpus: &corpus, device: &device, watch };
    run(&job, info, clock, watcher)
}

/// Before its first checkpoint a run needs the weights that it begins with.
fn refuse_without_weights(folder: &RunFolder, recipe: &PretrainRecipe) -> Result<()> {
    let Some(from) = &recipe.model.from else { return Ok(()) };
    if folder.checkpoint().exists() || language::model_folder(from).is_ok() {
        return Ok(());
    }
    let (from, recipe) = (from.display(), folder.recipe());
    Err(Error::run(
        folder.path(),
        format!(
            "has no checkpoint yet, so it begins with the weights of model.from, and there is no model in {from}; put it back \
             there, or start anew: feedforward pretrain {} --set model.from=FOLDER",
            recipe.display()
        ),
    ))
}

pub(super) fn open_device(recipe: &PretrainRecipe, options: DeviceOptions) -> Result<Device> {
    open_with(recipe.train.threads, options)
}

fn tell_environment(recipe: &PretrainRecipe, device: &Device, watcher: &mut dyn Watcher) {
    watcher.notice(&Notice::Environment {
        isa: device.cpu().isa(),
        threads: device.cpu().threads().count(),
        seed: recipe.train.seed,
    });
}

/// What a checkpoint belongs to: everything that the bits of the result depend on.
fn identity(recipe: &PretrainRecipe, hash: &str) -> String {
    let mut recipe = recipe.clone();
    recipe.name = None;
    recipe.train.threads = 0;
    recipe.train.checkpoint_seconds = 0.0;
    format!("{hash}\n{}", recipe.to_toml())
}

/// What is trained on what, and where.
pub(super) struct Job<'a> {
    pub(super) recipe: &'a PretrainRecipe,
    pub(super) folder: &'a RunFolder,
    pub(super) corpus: &'a Corpus,
    pub(super) device: &'a Device,
    /// Whether the page is written while training goes on.
    pub(super) watch: bool,
}

fn run(
    job: &Job<'_>,
    mut info: RunInfo,
    mut clock: Clock,
    watcher: &mut dyn Watcher,
) -> Result<PretrainSummary> {
    let Job { recipe, folder, corpus, device, watch } = *job;
    let _claim = folder.claim()?;
    watcher.notice(&Notice::Run(folder.path()));
    let train = &recipe.train;
    let (train_tokens, valid_tokens) = (&corpus.data.train, corpus.data.valid.as_ref());
    let (config, measured) = planned(recipe, corpus, info.config.as_ref())?;
    let Setup { model, mut graph } = setup::build(recipe, &config, device)?;
    let notice = LanguageNotice {
        layers: setup::layers(&config),
        parameters: measured.parameters,
        training: setup::training_line(recipe, train_tokens.tokens()),
        peak_bytes: measured.peak_bytes,
        tokens_per_step: setup::tokens_per_step(recipe),
        flops_per_step: measured.flops,
        peak_flops: setup::peak_flops(recipe, device),
    };
    watcher.notice(&Notice::Language(&notice));

    let checkpoint = folder.checkpoint();
    if !checkpoint.exists() {
        setup::begin(recipe, &config, &mut graph)?;
    }
    let mut trainer = setup::trainer(recipe, graph, device, train_tokens.tokens())?;
    let recipe_part = info.recipe.clone().unwrap_or_else(|| identity(recipe, ""));
    let identity = format!("{}{recipe_part}", train_tokens.hash());
    let place = CheckpointPlace { path: &checkpoint, identity: &identity };
    if checkpoint.exists() {
        let checkpoint = Checkpoint::open(&place, device.cpu().isa())?;
        if recipe.model.precision == Precision::Bf16 {
            checkpoint.check_bf16(device.cpu())?;
        }
        trainer.resume(&checkpoint)?;
    }
    clock.lap("preparing");

    let windows = windows_of(recipe, &corpus.tokenizer)?;
    let samples = Samples::open(job, &config, trainer.progress());
    let samples = &std::cell::RefCell::new(samples);
    let mut before = None;
    if trainer.progress().step == 0 {
        watcher.event(Event::Phase("judging the model before training"));
        if let Some(valid) = valid_tokens {
            let graph = trainer.graph_mut();
            let (sum, count) = ff_train::language::evaluate(
                graph,
                &model,
                windows,
                valid,
                train.batch_size,
                train.eval_windows,
            )?;
            before = Some(sum / count.max(1.0));
        }
        samples.borrow_mut().write(trainer.graph_mut(), &model, 0, before)?;
    } else {
        before = samples.borrow().before();
    }
    samples.borrow_mut().tell(watcher);
    watcher.event(Event::Phase("training"));
    clock.lap("judging before");
    let best = folder.path().join("checkpoints").join("best");
    let judged = |graph: &mut ff_graph::Graph, record: &EpochRecord, is_best: bool| {
        if is_best && train.restore_best {
            save_best(&best, &config, graph.params()).map_err(judged_error)?;
        }
        let written = samples.borrow_mut().write(graph, &model, record.step, None);
        written.map_err(judged_error)
    };
    let mut objective = LanguageObjective::new(
        &model,
        windows,
        train_tokens,
        valid_tokens.map(|valid| valid as &dyn ff_train::language::Tokens),
        train.batch_size,
    )
    .with_eval_windows(train.eval_windows)
    .with_bytes_per_token(corpus.valid_bytes_per_token())
    .with_judged(judged);
    let mut log = MetricsLog::open(folder, trainer.progress(), watcher)?;
    let known = report::Known {
        job,
        info: &info,
        config: &config,
        notice: &notice,
        measured: &measured,
        samples: &[],
        before,
    };
    let mut page = watch.then(|| {
        LivePage::new(trainer.progress(), |progress, from| {
            let written = samples.borrow();
            let known = report::Known { samples: written.all(), ..known };
            report::write(&known, progress, &clock, &report::Outcome::Running { from })
        })
    });
    log.also(move |event, watcher| {
        if matches!(event, Event::Epoch { .. }) {
            samples.borrow_mut().tell(watcher);
        }
        if let Some(page) = &mut page {
            page.event(event);
        }
    });
    let fitted = trainer.fit(&mut objective, &mut log, Some(&place)).map_err(Error::from);
    let fitted = log.close().map_or(fitted, Err);
    drop(objective);
    clock.lap("training");

    let progress = trainer.progress().clone();
    let written = samples.borrow();
    let known = report::Known { samples: written.all(), ..known };
    let stop = match fitted {
        Ok(stop) => stop,
        Err(error) => {
            // What there is stays readable; the error that ended the run is the one to tell.
            let _ = report::write(&known, &progress, &clock, &report::Outcome::Failed(&error));
            return Err(error);
        }
    };
    let tokens = progress.step * notice.tokens_per_step;
    let mut summary = PretrainSummary {
        run: folder.path().to_owned(),
        valid: None,
        before,
        exact: None,
        seconds: progress.seconds,
        steps: progress.step,
        tokens,
        tokens_per_second: tokens as f64 / progress.seconds.max(1e-9),
        best: progress.best.map(|best| best.epoch),
        parameters: measured.parameters,
        peak_bytes: crate::memory::process_peak_bytes(),
        pool_bytes: device.pool().stats().reserved,
        stopped: if stop == Stop::Interrupted { "interrupted" } else { "finished" }.into(),
        prompt: recipe.sample.prompts.first().cloned(),
    };
    if stop == Stop::Interrupted {
        report::write(&known, &progress, &clock, &report::Outcome::Interrupted)?;
        return Ok(summary);
    }

    watcher.event(Event::Phase("saving the model"));
    let mut graph = trainer.into_graph();
    graph.reset();
    if train.restore_best && best.is_dir() {
        language::read_weights(&best, &config, graph.params_mut())?;
    }
    let tokenizer = Some(corpus.tokenizer.clone());
    let generation = setup::generation(&corpus.tokenizer);
    let mut finished = LanguageModel::new(config.clone(), (model, graph), tokenizer, generation);
    finished.save(&folder.model(), &SaveOptions::default())?;
    watcher.event(Event::Phase("judging the model"));
    if let Some(valid) = valid_tokens {
        summary.valid = Some(judge::text(&mut finished, windows, valid, train.batch_size)?);
    }
    if let Some(sums) = &recipe.generate {
        summary.exact = Some(judge::exact(&mut finished, &sums.test())?);
    }
    summary.peak_bytes = crate::memory::process_peak_bytes();
    let scores = serde_json::to_string_pretty(&(&summary.valid, &summary.exact))
        .map_err(|e| Error::run(folder.path(), e.to_string()))?;
    write_text(&folder.scores(), &scores)?;
    clock.lap("judging");
    watcher.event(Event::Phase("writing the report"));
    report::write(&known, &progress, &clock, &report::Outcome::Finished(&summary))?;
    info.finished = true;
    save_info(folder, &info)?;
    Ok(summary)
}

/// How a recipe cuts windows, once there is a tokenizer.
pub(super) fn windows_of(recipe: &PretrainRecipe, tokenizer: &Tokenizer) -> Result<Windows> {
    let after = match &recipe.train.after {
        None => None,
        Some(token) => Some(tokenizer.id(token).ok_or_else(|| {
            let message = format!("\"{token}\" is no token of the tokenizer");
            ff_nn::ConfigError::new("train.after", message)
        })? as i32),
    };
    Ok(Windows { after, ..windows(recipe) })
}

/// How a recipe cuts windows, but for what the tokenizer says.
pub(super) fn windows(recipe: &PretrainRecipe) -> Windows {
    Windows {
        after: None,
        context: recipe.train.context,
        separate: recipe.data.documents == ff_text::DocumentBorders::Separate,
        random: recipe.train.windows == WindowOrder::Random,
    }
}

/// The weights of the best evaluation lie in a folder of their own until the end, not in memory.
fn save_best(folder: &Path, config: &DecoderConfig, params: &Params) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(ff_formats::Error::io(folder, "making the folder"))?;
    language::write_weights(folder, &file_tensors(config, params), params, usize::MAX)
}

fn judged_error(error: Error) -> ff_train::Error {
    match error {
        Error::Train(error) => error,
        other => ff_train::Error::Judged(Box::new(other)),
    }
}

/// The model that fits the text, and what training it takes; refused where it is too much.
fn planned(
    recipe: &PretrainRecipe,
    corpus: &Corpus,
    known: Option<&DecoderConfig>,
) -> Result<(DecoderConfig, Measured)> {
    let config = match known {
        Some(config) => config.clone(),
        None => setup::config(recipe, &corpus.tokenizer)?,
    };
    let tokens = &corpus.data.train;
    tokens.check_vocabulary(config.vocab_size)?;
    tokens.check_context(recipe.train.context, "training")?;
    let measured = setup::measure(recipe, &config, corpus)?;
    refuse_if_too_large(recipe, corpus, &config, measured.peak_bytes)?;
    Ok((config, measured))
}

/// Refuses a plan that cannot fit, before anything is allocated, and says what would.
fn refuse_if_too_large(
    recipe: &PretrainRecipe,
    corpus: &Corpus,
    config: &DecoderConfig,
    planned: usize,
) -> Result<()> {
    let Some(available) = crate::memory::available_bytes() else { return Ok(()) };
    if planned < available {
        return Ok(());
    }
    let way_out = match super::plan::fitting(recipe, config, corpus, available)? {
        Some(batch) => {
            let accumulate = recipe.train.accumulate * recipe.train.batch_size.div_ceil(batch);
            format!(
                "train.batch_size={batch} with train.accumulate={accumulate} fits and trains the same steps"
            )
        }
        None if !recipe.model.recompute => {
            "try model.recompute=true, a shorter train.context or a smaller model".into()
        }
        None => "make the model or train.context smaller".into(),
    };
    Err(Error::usage(format!(
        "this run needs {} of memory and {} are free; {way_out}",
        crate::bytes(planned),
        crate::bytes(available)
    )))
}
