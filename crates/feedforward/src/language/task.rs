//! The task of pretraining: text as tokens on disk, a decoder, loss per token and samples.

use super::addition::{Addition, Question};
use super::corpus::{self, Corpus};
use super::decoder_config;
use super::model::{self, LanguageModel, SaveOptions, model_folder, read_weights};
use super::objective::{self, LanguageObjective, Tokens, Windows};
use super::recipe::PretrainRecipe;
use super::report::{self, Page};
use super::samples::Samples;
use super::scores::{self, Scores};
use super::setup;
use super::summary::PretrainSummary;
use super::tables::WindowOrder;
use crate::error::{Error, Result};
use crate::files::write_text;
use crate::run::folder::RunFolder;
use crate::run::info::RunInfo;
use crate::run::life::{self, TrainOptions};
use crate::run::measure;
use crate::run::memory::process_peak_bytes;
use crate::run::plan::{Plan, PlanDetails, Sizes, Work};
use crate::run::snapshot::Snapshot;
use crate::run::summary::{Closing, Ended};
use crate::run::task::{Beginning, Ending, Purpose, Task};
use crate::run::watch::Watcher;
use crate::task_keys::PRETRAIN_KEYS;
use crate::words::{count, operations};
use ff_graph::{Graph, Params};
use ff_nn::models::{CausalLm, DecoderConfig, file_tensors};
use ff_report::ReportData;
use ff_tensor::{Device, DeviceOptions};
use ff_train::{EpochRecord, Event, Objective};
use serde_json::json;
use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Evaluations of a run whose recipe does not say how often.
const EVALUATIONS: u64 = 20;

/// Pretrains the model of a recipe in a new folder.
///
/// # Errors
/// The recipe, the text, the model or the folder is not right, the plan does not fit into memory,
/// or training diverged.
pub fn pretrain(
    recipe: &PretrainRecipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<PretrainSummary> {
    Ok(life::start::<Pretraining>(recipe, options, watcher)?.summary)
}

/// Plans a run and measures a few of its steps; nothing is left on disk.
///
/// # Errors
/// The recipe or the text is not right.
pub fn plan(
    recipe: &PretrainRecipe,
    options: DeviceOptions,
    watcher: &mut dyn Watcher,
) -> Result<Plan> {
    measure::plan::<Pretraining>(recipe, options, watcher)
}

/// A text as tokens, and the config of the model that fits it.
pub(crate) struct Pretraining {
    recipe: PretrainRecipe,
    corpus: Rc<Corpus>,
    config: DecoderConfig,
    windows: Windows,
    /// Of the validation part.
    bytes_per_token: f64,
}

/// The results that a run collects.
pub(crate) struct Session {
    samples: RefCell<Samples>,
    /// The loss on the validation windows before training.
    before: Option<f64>,
    /// Where the weights of the best evaluation lie until the end, so that they take no memory.
    best: PathBuf,
}

impl Pretraining {
    fn valid(&self) -> Option<&dyn Tokens> {
        self.corpus.data.valid.as_ref().map(|valid| valid as &dyn Tokens)
    }

    fn total_steps(&self) -> u64 {
        setup::total_steps(&self.recipe, self.corpus.data.train.tokens())
    }

    /// The largest smaller micro-batch whose plan fits, if there is one.
    fn fitting_batch(&self, available: usize) -> Result<Option<usize>> {
        let mut smaller = Self {
            recipe: self.recipe.clone(),
            corpus: Rc::clone(&self.corpus),
            config: self.config.clone(),
            windows: self.windows,
            bytes_per_token: self.bytes_per_token,
        };
        while smaller.recipe.train.batch_size > 1 {
            smaller.recipe.train.batch_size /= 2;
            if measure::measure(&smaller)?.pool_bytes < available {
                return Ok(Some(smaller.recipe.train.batch_size));
            }
        }
        Ok(None)
    }

    /// Lets the model write its samples.
    fn write_samples(
        &self,
        session: &RefCell<Samples>,
        graph: &mut Graph,
        network: &CausalLm,
        step: u64,
        before: Option<f64>,
    ) -> Result<()> {
        let parts = (network, &self.config, &self.corpus.tokenizer);
        session.borrow_mut().write(graph, parts, step, before)
    }
}

impl Task for Pretraining {
    const COMMAND: &'static str = "pretrain";
    const KEYS: &'static [&'static str] = PRETRAIN_KEYS;
    const TRAIN_LONGER: &'static str = "start anew with model.from and the path of its model";

    type Recipe = PretrainRecipe;
    type Network = CausalLm;
    type Session = Session;
    type Outcome = Scores;
    type Summary = PretrainSummary;

    fn check(recipe: &PretrainRecipe) -> Result<()> {
        decoder_config::check(&recipe.model, recipe.train.context)
    }

    fn prepare(
        written: PretrainRecipe,
        purpose: Purpose<'_>,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        let threads = device.cpu().threads();
        let (recipe, corpus, config) = match purpose {
            Purpose::Start(folder) => {
                let corpus = corpus::prepare(&written, &folder.make()?, threads, watcher)?;
                (written, corpus, None)
            }
            Purpose::Plan(folder) => {
                let corpus = corpus::prepare(&written, folder, threads, watcher)?;
                (written, corpus, None)
            }
            Purpose::Resume(folder, info) => {
                let recipe = written.started_in(&info.base);
                refuse_without_weights(folder, &recipe)?;
                let corpus = corpus::reopen(&recipe, folder, info, threads, watcher)?;
                (recipe, corpus, known_config(folder, info)?)
            }
        };
        let context = recipe.train.context;
        let config = match config {
            Some(config) => config,
            None => decoder_config::config(&recipe.model, context, &corpus.tokenizer)?,
        };
        let train = &corpus.data.train;
        train.check_vocabulary(config.vocab_size)?;
        train.check_context(context, "training")?;
        let windows = setup::windows_of(&recipe, &corpus.tokenizer)?;
        let bytes_per_token = match &corpus.data.valid {
            Some(valid) => scores::bytes_per_token(windows, valid, &corpus.tokenizer)?,
            None => corpus.bytes_per_token(),
        };
        Ok(Self { recipe, corpus: Rc::new(corpus), config, windows, bytes_per_token })
    }

    fn remove(folder: &RunFolder) {
        corpus::remove(folder);
    }

    fn recipe(&self) -> &PretrainRecipe {
        &self.recipe
    }

    fn data_hash(&self) -> &str {
        self.corpus.data.train.hash()
    }

    fn note(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.config).ok()
    }

    fn work(&self, _: &Sizes) -> Work {
        Work {
            layers: setup::layers(&self.config),
            training: setup::training_line(&self.recipe, self.corpus.data.train.tokens()),
            unit: "tokens",
            units_per_step: setup::tokens_per_step(&self.recipe) as f64,
            total_steps: self.total_steps(),
            steps_after: 0,
            after: "",
            may_end_early: false,
            process_bytes: None,
        }
    }

    fn build(&self, device: &Device) -> Result<(CausalLm, Graph)> {
        setup::build(&self.recipe, &self.config, device)
    }

    fn load_weights(&self, graph: &mut Graph) -> Result<()> {
        match &self.recipe.model.from {
            Some(from) => read_weights(&model_folder(from)?, &self.config, graph.params_mut()),
            None => Ok(()),
        }
    }

    fn period(&self) -> Option<u64> {
        let steps = self.total_steps();
        let usual = (steps / EVALUATIONS).max(1);
        Some(self.recipe.train.eval_every.unwrap_or(usual).min(steps))
    }

    fn peak_flops(&self, device: &Device) -> Option<f64> {
        Some(setup::peak_flops(&self.recipe, device))
    }

    fn begin(&self, beginning: Beginning<'_, Self>) -> Result<Session> {
        let Beginning { folder, network, trainer, watcher, clock } = beginning;
        let train = &self.recipe.train;
        let samples = Samples::open(&self.recipe.sample, train.seed, folder, trainer.progress());
        let samples = RefCell::new(samples);
        let mut before = samples.borrow().before();
        if trainer.progress().step == 0 {
            watcher.event(Event::Phase("evaluating before training"));
            let (batch, most) = (train.batch_size, train.eval_windows);
            let graph = trainer.graph_mut();
            before = match self.valid() {
                Some(valid) => {
                    let (sum, count) =
                        objective::evaluate(graph, network, self.windows, valid, batch, most)?;
                    Some(sum / count.max(1.0))
                }
                None => None,
            };
            self.write_samples(&samples, graph, network, 0, before)?;
        }
        clock.lap("evaluating before");
        let best = folder.path().join("checkpoints").join("best");
        Ok(Session { samples, before, best })
    }

    fn objective<'a>(
        &'a self,
        network: &'a CausalLm,
        session: Option<&'a Session>,
    ) -> Box<dyn Objective + 'a> {
        let (train, tokens) = (&self.recipe.train, &self.corpus.data.train);
        let Some(session) = session else {
            let objective =
                LanguageObjective::new(network, self.windows, tokens, None, train.batch_size);
            return Box::new(objective);
        };
        let evaluated = |graph: &mut Graph, record: &EpochRecord, is_best: bool| {
            if is_best && train.restore_best {
                save_best(&session.best, &self.config, graph.params()).map_err(train_error)?;
            }
            let step = record.step;
            let written = self.write_samples(&session.samples, graph, network, step, None);
            written.map_err(train_error)
        };
        let valid = self.valid();
        let objective =
            LanguageObjective::new(network, self.windows, tokens, valid, train.batch_size)
                .with_eval_windows(train.eval_windows)
                .with_bytes_per_token(self.bytes_per_token)
                .with_after_epoch(evaluated);
        Box::new(objective)
    }

    fn announce(&self, session: &Session, watcher: &mut dyn Watcher) {
        session.samples.borrow_mut().tell(watcher);
    }

    fn finish(&self, session: &Session, ending: Ending<'_, Self>) -> Result<Scores> {
        let Ending { folder, network, mut graph, watcher, .. } = ending;
        watcher.event(Event::Phase("saving the model"));
        graph.reset();
        let train = &self.recipe.train;
        if train.restore_best && session.best.is_dir() {
            read_weights(&session.best, &self.config, graph.params_mut())?;
        }
        let tokenizer = &self.corpus.tokenizer;
        let generation = setup::generation(tokenizer);
        let (config, parts) = (self.config.clone(), (network, graph));
        let mut model = LanguageModel::new(config, parts, Some(tokenizer.clone()), generation);
        model.save(&folder.model(), &SaveOptions::default())?;
        watcher.event(Event::Phase("evaluating"));
        let batch = train.batch_size;
        let valid = match &self.corpus.data.valid {
            Some(valid) => Some(scores::text(&mut model, self.windows, valid, batch)?),
            None => None,
        };
        let questions: Option<Vec<Question>> = self.recipe.generate.as_ref().map(Addition::test);
        let exact = match questions {
            Some(questions) => Some(scores::exact(&mut model, &questions)?),
            None => None,
        };
        let text = serde_json::to_string_pretty(&(&valid, &exact))
            .map_err(|e| Error::run(folder.path(), e.to_string()))?;
        write_text(&folder.scores(), &text)?;
        Ok(Scores { valid, exact })
    }

    fn summary(
        &self,
        ended: &Ended<'_>,
        session: &Session,
        scores: Option<&Scores>,
    ) -> PretrainSummary {
        let progress = ended.progress;
        let tokens = progress.step * setup::tokens_per_step(&self.recipe);
        PretrainSummary {
            run: ended.folder.path().to_owned(),
            valid: scores.and_then(|scores| scores.valid),
            before: session.before,
            exact: scores.and_then(|scores| scores.exact),
            seconds: progress.seconds,
            steps: progress.step,
            tokens,
            tokens_per_second: tokens as f64 / progress.seconds.max(1e-9),
            best: progress.best.map(|best| best.epoch),
            parameters: ended.sizes.parameters,
            peak_bytes: process_peak_bytes(),
            pool_bytes: ended.pool_bytes,
            stopped: ended.stopped(),
            prompt: self.recipe.sample.prompts.first().cloned(),
        }
    }

    fn closing(&self, summary: &PretrainSummary) -> Closing {
        summary.closing()
    }

    fn report(
        &self,
        snapshot: &Snapshot<'_>,
        session: &Session,
        scores: Option<&mut Scores>,
    ) -> Result<ReportData> {
        report::gather(&Page {
            run: snapshot,
            recipe: &self.recipe,
            corpus: &self.corpus,
            config: &self.config,
            windows: self.windows,
            bytes_per_token: self.bytes_per_token,
            samples: session.samples.borrow().all(),
            before: session.before,
            scores: scores.map(|scores| *scores),
        })
    }

    fn planned_steps(&self) -> Vec<Range<usize>> {
        let train = &self.recipe.train;
        std::iter::once(0..train.batch_size * train.accumulate).collect()
    }

    fn plan_evaluation(&self, graph: &mut Graph, network: &CausalLm) -> Result<()> {
        let train = &self.recipe.train;
        let (batch, most) = (train.batch_size, train.eval_windows);
        if let Some(valid) = self.valid() {
            objective::evaluate(graph, network, self.windows, valid, batch, most)?;
        }
        Ok(())
    }

    fn plan_details(&self, plan: &Plan, _: &Work) -> Result<PlanDetails> {
        let report = &self.corpus.data.report;
        let tokens = [self.corpus.data.train.tokens(), report.valid.tokens];
        let per_step = setup::tokens_per_step(&self.recipe);
        let flops_per_token = plan.flops_per_step as f64 / per_step as f64;
        let tokens_per_second = per_step as f64 / plan.seconds_per_step;
        let fitting = match plan.available_bytes {
            Some(bytes) if plan.pool_bytes >= bytes => self.fitting_batch(bytes)?,
            _ => None,
        };
        let json = json!({
            "flops_per_token": flops_per_token,
            "tokens": tokens,
            "tokens_per_step": per_step,
            "tokens_per_second": tokens_per_second,
            "fitting_batch_size": fitting,
        });
        Ok(PlanDetails {
            json: json.as_object().cloned().unwrap_or_default(),
            headline: None,
            memory: Vec::new(),
            amounts: vec![
                ("arithmetic for a token", operations(flops_per_token)),
                ("tokens to train on", count(tokens[0])),
                ("tokens in a step", count(per_step)),
            ],
            rates: vec![("tokens a second", count(tokens_per_second as u64))],
            ..PlanDetails::default()
        })
    }

    fn way_to_fit(&self, available: usize) -> Result<String> {
        let train = &self.recipe.train;
        Ok(match self.fitting_batch(available)? {
            Some(batch) => {
                let accumulate = train.accumulate * train.batch_size.div_ceil(batch);
                let settings =
                    format!("train.batch_size={batch} with train.accumulate={accumulate} fits");
                // Windows from anywhere are drawn for each micro-batch.
                let same = train.windows == WindowOrder::Passes
                    && batch * accumulate == train.batch_size * train.accumulate;
                if same {
                    format!("{settings} and trains on the same windows in each step")
                } else {
                    format!("{settings}; it draws other windows")
                }
            }
            None if !self.recipe.model.recompute => {
                "try model.recompute=true, a shorter train.context or a smaller model".into()
            }
            None => "make the model or train.context smaller".into(),
        })
    }
}

/// The config that a run was started with; none in runs of early versions.
fn known_config(folder: &RunFolder, info: &RunInfo) -> Result<Option<DecoderConfig>> {
    let mut config = info.config.clone();
    // In early versions, what was left out meant as many as heads of queries in every family.
    if let Some(json) = config.as_mut().and_then(|config| config.as_object_mut())
        && let Some(heads) = json.get("num_attention_heads").cloned()
    {
        json.entry("num_key_value_heads").or_insert(heads);
    }
    let config = config.map(serde_json::from_value).transpose();
    config.map_err(|e| Error::run(&folder.info(), format!("config: {e}")))
}

/// Before its first checkpoint a run needs the weights that it begins with.
fn refuse_without_weights(folder: &RunFolder, recipe: &PretrainRecipe) -> Result<()> {
    let Some(from) = &recipe.model.from else { return Ok(()) };
    if folder.checkpoint().exists() || model_folder(from).is_ok() {
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

/// Saves the weights of the best evaluation.
fn save_best(folder: &Path, config: &DecoderConfig, params: &Params) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(ff_formats::Error::io(folder, "making the folder"))?;
    model::write_weights(folder, &file_tensors(config, params), params, usize::MAX)
}

fn train_error(error: Error) -> ff_train::Error {
    match error {
        Error::Train(error) => error,
        other => ff_train::Error::AfterEpoch(Box::new(other)),
    }
}
