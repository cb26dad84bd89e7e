//! The life of a run of fine-tuning: from its conversations to what was kept.

use super::conversations::Conversations;
use super::memory::Way;
use super::network::Draft;
use super::pack::Rows;
use super::preference::{Pairs, Reference};
use super::recipe::FinetuneRecipe;
use super::report::{self, Page};
use super::summary::FinetuneSummary;
use super::task::{FineTuning, Outcome};
use crate::error::{Error, Result};
use crate::files::write_text;
use crate::language::objective::LanguageObjective;
use crate::language::{
    Base, LanguageModel, Samples, SaveOptions, Translator, begin_adapter, folder_config,
    model_folder, read_generation, read_weights, write_adapter,
};
use crate::run::life::{self, TrainOptions};
use crate::run::memory::process_peak_bytes;
use crate::run::plan::{Plan, PlanDetails, Sizes, Work};
use crate::run::snapshot::Snapshot;
use crate::run::summary::{Closing, Ended};
use crate::run::task::{Beginning, Ending, Purpose, Task, TaskRecipe};
use crate::run::watch::{Notice, Watcher};
use crate::task_keys::FINETUNE_KEYS;
use crate::words::{bytes, count, duration, plural, setting};
use ff_graph::Graph;
use ff_kernels::{bf16_peak, fma_peak};
use ff_nn::Precision;
use ff_nn::models::CausalLm;
use ff_report::ReportData;
use ff_settings::ConfigError;
use ff_tensor::Device;
use ff_text::Tokenizer;
use ff_train::{Event, Objective};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

/// Fine-tunes the model of a recipe in a new folder.
///
/// # Errors
/// The recipe, the conversations, the model or the folder is not right, the plan does not fit into
/// memory, or training diverged.
pub fn finetune(
    recipe: &FinetuneRecipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<FinetuneSummary> {
    Ok(life::start::<FineTuning>(recipe, options, watcher)?.summary)
}

/// What a run collects.
pub(crate) struct Session {
    samples: RefCell<Samples>,
    before: Option<f64>,
    /// The model before training, where pairs are compared with it.
    reference: Option<Reference>,
}

impl Task for FineTuning {
    const COMMAND: &'static str = "finetune";
    const KEYS: &'static [&'static str] = FINETUNE_KEYS;
    const TRAIN_LONGER: &'static str = "start anew with more train.epochs";
    const KEEPS_BASE: bool = true;

    type Recipe = FinetuneRecipe;
    type Network = CausalLm;
    type Session = Session;
    type Outcome = Outcome;
    type Summary = FinetuneSummary;

    fn prepare(
        written: FinetuneRecipe,
        purpose: Purpose<'_>,
        _device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        let recipe = match purpose {
            Purpose::Resume(_, info) => written.started_in(&info.base),
            Purpose::Start(_) | Purpose::Plan(_) => written,
        };
        watcher.event(Event::Phase("reading the conversations"));
        let base = model_folder(&recipe.base.model)?;
        if Translator::is_at(&base)? {
            let message = "is an encoder with a decoder, which learns from pairs of texts: name their \
                           columns, data.source and data.target";
            return Err(Error::run(&recipe.base.model, message));
        }
        let config = folder_config(&base)?;
        let tokenizer = Tokenizer::load(&base)?;
        let invocation = invocation(&recipe, &tokenizer)?;
        Draft::new(&recipe, &config, &invocation).check(&recipe, &config)?;
        let data = Rc::new(Conversations::read(&recipe, &config, (&tokenizer, &invocation))?);
        let hash = data.hash(&base)?;
        watcher.notice(&Notice::Text(&data.notice(&recipe, &tokenizer)));
        watcher.notice(&Notice::Preview(&data.preview));
        Ok(Self { recipe, base, config, tokenizer, invocation, data, hash })
    }

    fn recipe(&self) -> &FinetuneRecipe {
        &self.recipe
    }

    fn data_hash(&self) -> &str {
        &self.hash
    }

    fn work(&self, sizes: &Sizes) -> Work {
        let train = &self.recipe.train;
        let what = if self.recipe.trains_adapter() {
            let adapter = &self.recipe.adapter;
            let layers = self.draft().layers;
            let adapted = layers.iter().filter(|(_, adapted)| *adapted).count();
            format!("LoRA of rank {} on {}", adapter.rank, plural(adapted, "linear layer"))
        } else {
            format!("weights {}", train.weights.join(", "))
        };
        let kind = self.config.field("model_type").and_then(Value::as_str).unwrap_or("decoder");
        let (layers, width) = (self.config.layers.len(), self.config.hidden_size);
        let precision = match self.recipe.base.precision {
            Precision::F32 => "",
            Precision::Bf16 => " · bf16",
        };
        Work {
            layers: format!("{kind} · {layers} layers × {width} · {what}"),
            training: format!(
                "{}{} {} · {} rows of {} tokens · {} steps{precision}",
                self.recipe.preference.words(),
                self.recipe.optimizer.kind,
                setting(self.recipe.optimizer.lr()),
                train.batch_size * train.accumulate * self.data.rows_each,
                self.data.train.windows().context,
                self.steps()
            ),
            unit: "tokens",
            units_per_step: self.tokens_per_step(),
            total_steps: self.steps(),
            steps_after: 0,
            after: "",
            may_end_early: train.patience > 0,
            process_bytes: self.process_bytes_of(sizes).ok(),
        }
    }

    fn build(&self, device: &Device) -> Result<(CausalLm, Graph)> {
        let draft = self.draft();
        let in_file = draft.in_file(&self.recipe, &self.config, &self.base)?;
        draft.leave_in_file(&in_file).build(device, self.recipe.train.seed)
    }

    fn load_weights(&self, graph: &mut Graph) -> Result<()> {
        read_weights(&self.base, &self.config, graph.params_mut())?;
        if self.recipe.trains_adapter() {
            let draft = self.draft();
            let (device, config) = (graph.device().clone(), self.adapter());
            begin_adapter(graph.params_mut(), &config, draft.places(), &device)?;
        }
        Ok(())
    }

    fn peak_flops(&self, device: &Device) -> Option<f64> {
        let cpu = device.cpu();
        Some(match self.recipe.base.precision {
            Precision::F32 => fma_peak(cpu),
            Precision::Bf16 => bf16_peak(cpu).unwrap_or_else(|| fma_peak(cpu)),
        })
    }

    fn begin(&self, beginning: Beginning<'_, Self>) -> Result<Session> {
        let Beginning { folder, network, trainer, watcher, clock } = beginning;
        let seed = self.recipe.train.seed;
        let mut samples = Samples::open(&self.sample(), seed, folder, trainer.progress());
        let mut before = samples.before();
        let compared = self.recipe.preference.loss().filter(|loss| loss.kind.needs_reference());
        let reference = match compared {
            None => None,
            Some(_) if trainer.progress().step > 0 => Some(Reference::read(folder)?),
            Some(_) => {
                watcher.event(Event::Phase("reading the answers with the model before training"));
                let (batch, parts) = (self.recipe.train.batch_size, self.data.parts());
                Some(Reference::measure(trainer.graph_mut(), network, parts, batch, folder)?)
            }
        };
        if trainer.progress().step == 0 {
            watcher.event(Event::Phase("answering before training"));
            write_text(&folder.path().join("preview.txt"), &self.data.preview_text())?;
            let graph = trainer.graph_mut();
            before = match compared {
                // The model is its own reference.
                Some(loss) => self.data.valid.as_ref().map(|_| loss.of_equal_models()),
                None => self.held_out(graph, network, None)?.0,
            };
            samples.write(graph, (network, &self.config, &self.tokenizer), 0, before)?;
        }
        clock.lap("answering before");
        Ok(Session { samples: RefCell::new(samples), before, reference })
    }

    fn objective<'a>(
        &'a self,
        network: &'a CausalLm,
        session: Option<&'a Session>,
    ) -> Box<dyn Objective + 'a> {
        let (data, batch) = (&self.data, self.recipe.train.batch_size);
        if let Some(loss) = self.recipe.preference.loss() {
            let reference = session.and_then(|session| session.reference.as_ref());
            let rows = (&data.train, data.valid.as_ref());
            return Box::new(Pairs::new(network, rows, batch, loss, reference));
        }
        let valid = data.valid.as_ref().map(|valid| valid as _);
        let windows = data.train.windows();
        Box::new(Conversing {
            inner: LanguageObjective::new(network, windows, &data.train, None, batch),
            valid: valid.map(|rows: &Rows| {
                LanguageObjective::new(network, rows.windows(), rows, Some(rows), batch)
            }),
        })
    }

    fn announce(&self, session: &Session, watcher: &mut dyn Watcher) {
        session.samples.borrow_mut().tell(watcher);
    }

    fn finish(&self, session: &Session, ending: Ending<'_, Self>) -> Result<Outcome> {
        let Ending { folder, network, mut graph, watcher, progress } = ending;
        watcher.event(Event::Phase("answering"));
        graph.reset();
        let reference = session.reference.as_ref();
        let (after, preferred) = self.held_out(&mut graph, &network, reference)?;
        let parts = (&network, &self.config, &self.tokenizer);
        session.samples.borrow_mut().write(&mut graph, parts, progress.step, None)?;
        watcher.event(Event::Phase("saving"));
        if self.recipe.trains_adapter() {
            let draft = self.draft();
            let (config, base) = (self.adapter(), &self.recipe.base.model);
            let base = (base.as_path(), Base::Decoder(&self.config));
            write_adapter(&folder.adapter(), &config, base, graph.params(), draft.places())?;
            self.tokenizer.save(&folder.adapter())?;
        } else {
            let generation = read_generation(&self.base)?;
            let (config, tokenizer) = (self.config.clone(), Some(self.tokenizer.clone()));
            let mut model = LanguageModel::new(config, (network, graph), tokenizer, generation);
            model.save(&folder.model(), &SaveOptions::default())?;
            copy_template(&self.base, &folder.model())?;
        }
        let mut text = json!({ "before": session.before, "after": after });
        if let Some(found) = preferred {
            text["preferred"] = found.share.into();
            text["margin"] = found.margin.into();
        }
        write_text(&folder.scores(), &format!("{text:#}\n"))?;
        Ok(Outcome { after, preferred })
    }

    fn summary(
        &self,
        ended: &Ended<'_>,
        session: &Session,
        outcome: Option<&Outcome>,
    ) -> FinetuneSummary {
        let progress = ended.progress;
        let tokens = progress.step as f64 * self.tokens_per_step();
        let base = self.draft().base_values().unwrap_or(0);
        FinetuneSummary {
            run: ended.folder.path().to_owned(),
            before: session.before,
            after: outcome.and_then(|outcome| outcome.after),
            preferred: outcome.and_then(|outcome| outcome.preferred).map(|found| found.share),
            margin: outcome.and_then(|outcome| outcome.preferred).map(|found| found.margin),
            seconds: progress.seconds,
            steps: progress.step,
            tokens: tokens as u64,
            tokens_per_second: tokens / progress.seconds.max(1e-9),
            parameters: ended.sizes.parameters,
            base_parameters: base,
            peak_bytes: process_peak_bytes(),
            pool_bytes: ended.pool_bytes,
            stopped: ended.stopped(),
            base: self.recipe.trains_adapter().then(|| self.recipe.base.model.clone()),
            merges: self.invocation.is_empty() && !self.recipe.adapter.lora_bias,
            prompt: self.sample().prompts.into_iter().next(),
        }
    }

    fn closing(&self, summary: &FinetuneSummary) -> Closing {
        summary.closing()
    }

    fn report(
        &self,
        snapshot: &Snapshot<'_>,
        session: &Session,
        outcome: Option<&mut Outcome>,
    ) -> Result<ReportData> {
        Ok(report::gather(&Page {
            run: snapshot,
            recipe: &self.recipe,
            data: &self.data,
            samples: session.samples.borrow().all(),
            before: session.before,
            after: outcome.as_ref().and_then(|outcome| outcome.after),
            preferred: outcome.and_then(|outcome| outcome.preferred),
        }))
    }

    fn planned_steps(&self) -> Vec<Range<usize>> {
        let (rows, config) = (self.data.items(), self.recipe.loop_config());
        let step = config.batch_size.saturating_mul(config.accumulate).min(rows).max(1);
        let last = rows.saturating_sub(1) / step * step;
        let rest = (last > 0 && last + step > rows).then_some(last..rows);
        std::iter::once(0..step).chain(rest).collect()
    }

    fn plan_evaluation(&self, graph: &mut Graph, network: &CausalLm) -> Result<()> {
        self.held_out(graph, network, None).map(drop)
    }

    fn plan_details(&self, plan: &Plan, work: &Work) -> Result<PlanDetails> {
        let tokens = self.tokens_per_step();
        let in_file = self.file_bytes()?;
        let base = self.draft().base_values()?;
        let others = self.other_ways()?;
        let process_bytes = work.process_bytes.unwrap_or_default();
        let in_files = (in_file > 0).then_some(("base model, in its files", in_file));
        let per_second = tokens / plan.seconds_per_step;
        let json = json!({
            "base_parameters": base,
            "file_bytes": in_file,
            "process_bytes": process_bytes,
            "tokens_per_step": tokens,
            "tokens_per_second": per_second,
            "learned_tokens": self.data.counts.learned,
            "other_ways": &others,
        });
        // Seconds go with the arithmetic.
        let time = |way: &Way| {
            plan.seconds * way.flops_per_step as f64 / plan.flops_per_step.max(1) as f64
        };
        let others = others.iter().map(|way| {
            let time = Some(time(way)).filter(|time| time.is_finite());
            let time = time.map_or(String::new(), |time| format!(", about {}", duration(time)));
            (way.what, format!("{}{time}", bytes(way.bytes)))
        });
        Ok(PlanDetails {
            json: json.as_object().cloned().unwrap_or_default(),
            headline: None,
            memory: in_files.into_iter().chain([("process, about", process_bytes)]).collect(),
            amounts: vec![
                ("values of the base model", count(base)),
                ("tokens to learn", count(self.data.counts.learned)),
                ("tokens in a step", count(tokens as u64)),
            ],
            rates: vec![("tokens a second", count(per_second as u64))],
            others: others.collect(),
        })
    }

    fn way_to_fit(&self, _available: usize) -> Result<String> {
        let (train, base) = (&self.recipe.train, &self.recipe.base);
        Ok(if !base.recompute {
            "--memory chooses what fits: a smaller train.batch_size with train.accumulate, base.recompute=true".into()
        } else if train.batch_size > 1 {
            "make train.batch_size smaller and train.accumulate larger".into()
        } else if !self.recipe.trains_adapter() {
            "train an adapter (leave train.weights out), or fewer weights".into()
        } else {
            "make train.context smaller, or choose a smaller base model".into()
        })
    }
}

/// The rows to learn from, evaluated on those held out, whose length is their own.
struct Conversing<'a> {
    inner: LanguageObjective<'a>,
    valid: Option<LanguageObjective<'a>>,
}

impl Objective for Conversing<'_> {
    fn rows(&self) -> usize {
        self.inner.rows()
    }

    fn loss(
        &mut self,
        graph: &mut Graph,
        rows: &[u32],
        key: ff_tensor::Key,
    ) -> ff_graph::Result<ff_train::BatchLoss> {
        self.inner.loss(graph, rows, key)
    }

    fn evaluate(&mut self, graph: &mut Graph) -> ff_graph::Result<Option<ff_train::Evaluation>> {
        match &mut self.valid {
            Some(valid) => valid.evaluate(graph),
            None => Ok(None),
        }
    }
}

/// The tokens behind which the adapter acts.
fn invocation(recipe: &FinetuneRecipe, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let Some(text) = &recipe.adapter.invocation else { return Ok(Vec::new()) };
    let tokens = tokenizer.encode(text)?;
    if tokens.is_empty() {
        let message = "is a text without tokens; name one such as <|im_start|>assistant";
        return Err(ConfigError::new("adapter.invocation", message).into());
    }
    Ok(tokens)
}

/// A chat template in a file of its own belongs to the model.
fn copy_template(from: &Path, to: &Path) -> Result<()> {
    let name = "chat_template.jinja";
    if from.join(name).exists() && !to.join(name).exists() {
        let error = ff_formats::Error::io(to, "writing");
        std::fs::copy(from.join(name), to.join(name)).map_err(error)?;
    }
    Ok(())
}
