//! The life of a run that trains an encoder: from its data to its scores.

use super::corpus::{self, Names, Part};
use super::goal::Goal;
use super::recipe::{EncoderRecipe, ObjectiveKind};
use super::report;
use super::rows::{self, Reading};
use super::task::{EncoderSummary, EncoderTask, Outcome, outputs};
use crate::embedding::write_modules;
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use crate::language::{EncoderModel, SaveOptions};
use crate::run::life::{self, TrainOptions};
use crate::run::memory::process_peak_bytes;
use crate::run::plan::{Plan, PlanDetails, Sizes, Work};
use crate::run::snapshot::Snapshot;
use crate::run::summary::{Closing, Ended};
use crate::run::task::{Beginning, Ending, Purpose, Task, TaskRecipe};
use crate::run::watch::{Notice, TextNotice, Watcher};
use crate::sequence::{
    Base, Network, add_groups, notes, options, plan, refuse_changed, rescale, whole_hash,
};
use crate::task_keys::ENCODER_KEYS;
use crate::words::{bytes, count, duration, setting};
use ff_graph::Graph;
use ff_nn::Precision;
use ff_report::ReportData;
use ff_settings::{ConfigError, shell_word};
use ff_tensor::Device;
use ff_train::{Event, Objective};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::Range;

/// Trains the encoder of a recipe in a new folder.
///
/// # Errors
/// The recipe, the data, the encoder or the folder is not right, the plan does not fit into memory,
/// or training diverged.
pub fn train(
    recipe: &EncoderRecipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<EncoderSummary> {
    Ok(life::start::<EncoderTask>(recipe, options, watcher)?.summary)
}

/// What is known before training.
pub(crate) struct Session {
    /// The scores of the encoder as it came, where it has the same outputs.
    before: [Option<BTreeMap<String, f64>>; 3],
}

impl Task for EncoderTask {
    const COMMAND: &'static str = "train";
    const KEYS: &'static [&'static str] = ENCODER_KEYS;
    const TRAIN_LONGER: &'static str = "start anew from its recipe with a larger train.epochs";
    const KEEPS_BASE: bool = true;

    type Recipe = EncoderRecipe;
    type Network = Network;
    type Session = Session;
    type Outcome = Outcome;
    type Summary = EncoderSummary;

    fn prepare(
        mut recipe: EncoderRecipe,
        purpose: Purpose<'_>,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        watcher.event(Event::Phase(&format!("reading {}", recipe.data.path.display())));
        let start = purpose.base();
        let (kind, seed) = (recipe.objective.kind, recipe.train.seed);
        let threads = device.cpu().threads();
        let mut found = rows::read(&recipe.data, (kind, Reading::default()), seed, start, threads)?;
        let mut names = Names::of(&recipe, &found)?;
        corpus::refuse_nothing(kind, &found.rows[0], &names)?;
        let path = start.join(&recipe.model.encoder);
        let mut base = Base::open(&recipe.model, &path, outputs(kind, &names))?;
        if kind == ObjectiveKind::Tags {
            names.order_as(&base.own_labels);
            base = Base::open(&recipe.model, &path, outputs(kind, &names))?;
        }
        add_groups(&mut recipe.optimizer.groups, &recipe.model, &base.config);
        recipe.model.add_rate(&mut recipe.optimizer, &base.config);
        watcher.event(Event::Phase("reading the tokens of the texts"));
        let rows = std::mem::take(&mut found.rows);
        let read = |rows: &rows::Rows| corpus::encode(rows.clone(), kind, &base.reader, &names);
        let parts = [read(&rows[0])?, read(&rows[1])?, read(&rows[2])?];
        if kind == ObjectiveKind::Pairs && parts[0].rows() < 2 {
            return Err(Error::usage("one pair alone has nothing that it is told from"));
        }
        let about = (&base.reader, &base.modules);
        let goal = Goal::new(&recipe, &base.config, about, &parts[0])?;
        let separator = found.reading.separator.as_deref();
        let mut all = found.notes;
        all.extend(corpus::notes(kind, &rows, &parts, &names, separator));
        all.extend(notes(&parts.each_ref().map(|part| &part.tokens), &base.reader));
        let [train, valid, test] = parts.each_ref().map(|part| count(part.rows() as u64));
        let bytes: usize = rows[0].texts.iter().flatten().map(String::len).sum();
        let tokens: usize = parts[0].tokens.ids.iter().map(Vec::len).sum();
        let held_out = parts[1..].iter().flat_map(|part| &part.tokens.ids).map(Vec::len);
        let mut findings = vec![format!("train {train} · valid {valid} · test {test}")];
        if !found.reading.text.is_empty() {
            findings.push(format!("columns: {}", found.reading.text.join(", ")));
        }
        findings.extend(all.iter().map(|note| note.message.clone()));
        watcher.notice(&Notice::Text(&TextNotice {
            source: recipe.data.path.display().to_string(),
            findings,
            tokenizer: format!("{} tokenizer", base.reader.tokenizer.kind()),
            train_tokens: tokens as u64,
            valid_tokens: held_out.sum::<usize>() as u64,
            bytes_per_token: bytes as f64 / tokens.max(1) as f64,
        }));
        if recipe.evaluate.threshold.is_some() && parts[1].rows() == 0 {
            let message = "is chosen on the validation part, and there is none; see data.split";
            return Err(ConfigError::new("evaluate.threshold", message).into());
        }
        let hash = whole_hash(&found.hash, &base.folder)?;
        refuse_changed(&purpose, &hash, [&recipe.data.path, &recipe.model.encoder])?;
        Ok(Self { recipe, reading: found.reading, parts, names, base, goal, notes: all, hash })
    }

    fn recipe(&self) -> &EncoderRecipe {
        &self.recipe
    }

    fn data_hash(&self) -> &str {
        &self.hash
    }

    fn work(&self, _: &Sizes) -> Work {
        let (train, config) = (&self.recipe.train, &self.base.config);
        let rows = self.parts[0].rows();
        let per_epoch = self.recipe.loop_config().steps_per_epoch(rows);
        let length = match train.steps {
            Some(steps) => format!("{steps} steps"),
            None => format!("{} epochs of {per_epoch} steps", train.epochs),
        };
        let optimizer = &self.recipe.optimizer;
        let pooling = if config.mean_pooled { "mean" } else { "cls" };
        let outputs = match self.kind() {
            ObjectiveKind::Labels => format!("{pooling} → {} labels", config.labels),
            ObjectiveKind::Numbers => format!("{pooling} → {} numbers", config.labels),
            ObjectiveKind::Tags => format!("{} tags of words", config.labels),
            ObjectiveKind::Masked => {
                format!("masked tokens of {}", count(config.vocab_size as u64))
            }
            ObjectiveKind::Pairs => {
                format!("{} → vectors", self.recipe.pooling(self.base.modules.pooling))
            }
        };
        let frozen = if self.recipe.model.frozen { "frozen" } else { "fine-tuned" };
        let bf16 = if self.recipe.model.precision == Precision::Bf16 { " in bf16" } else { "" };
        Work {
            layers: format!(
                "{} {frozen}, {} layers × {} → {outputs}{bf16}",
                config.family.name, config.layers, config.hidden_size
            ),
            training: format!(
                "{} {} · {} · batch {} · {length}",
                optimizer.kind,
                setting(optimizer.lr()),
                self.goal.loss_name(),
                self.step()
            ),
            unit: if self.kind() == ObjectiveKind::Pairs { "pairs" } else { "texts" },
            units_per_step: rows as f64 / per_epoch.max(1) as f64,
            total_steps: self.recipe.loop_config().total_steps(rows),
            steps_after: 0,
            after: "",
            may_end_early: train.patience > 0,
            process_bytes: None,
        }
    }

    fn build(&self, device: &Device) -> Result<(Network, Graph)> {
        self.base.build(&self.recipe.model, self.recipe.train.seed, device)
    }

    fn load_weights(&self, graph: &mut Graph) -> Result<()> {
        self.base.read_weights(graph.params_mut())
    }

    fn begin(&self, beginning: Beginning<'_, Self>) -> Result<Session> {
        let Beginning { folder, network, trainer, watcher, clock } = beginning;
        let mut before = [None, None, None];
        if !matches!(self.kind(), ObjectiveKind::Masked | ObjectiveKind::Pairs) {
            return Ok(Session { before });
        }
        let path = folder.before();
        if trainer.progress().step > 0 && path.is_file() {
            before = serde_json::from_str(&read_text(&path)?)
                .map_err(|e| Error::run(&path, format!("is damaged: {e}; train anew")))?;
            return Ok(Session { before });
        }
        watcher.event(Event::Phase("evaluating the encoder as it is"));
        let graph = trainer.graph_mut();
        let device = graph.device().clone();
        for (part, before) in self.parts.iter().zip(&mut before).skip(1) {
            if part.rows() > 0 {
                let found = self.objective(network).measure(graph, part)?;
                let judge = self.judge(&[], &device);
                *before = Some(judge.scores(part, &found)?.values());
            }
        }
        write_text(&path, &serde_json::to_string(&before).unwrap_or_default())?;
        clock.lap("evaluating before");
        Ok(Session { before })
    }

    fn objective<'a>(
        &'a self,
        network: &'a Network,
        _: Option<&'a Session>,
    ) -> Box<dyn Objective + 'a> {
        Box::new(EncoderTask::objective(self, network))
    }

    fn finish(&self, session: &Session, ending: Ending<'_, Self>) -> Result<Outcome> {
        let Ending { folder, network, mut graph, watcher, .. } = ending;
        watcher.event(Event::Phase("evaluating"));
        graph.reset();
        let device = graph.device().clone();
        let mut found = Vec::new();
        for part in &self.parts[1..] {
            found.push(match part.rows() {
                0 => None,
                _ => Some(self.objective(&network).measure(&mut graph, part)?),
            });
        }
        let thresholds = self.thresholds(found[0].as_ref().map(|found| &found.values[..]))?;
        let judge = self.judge(&thresholds, &device);
        let mut parts = [None, None];
        for (i, found) in found.iter().enumerate() {
            let Some(found) = found else { continue };
            let part = &self.parts[i + 1];
            let scores = judge.with_intervals(part, found)?;
            parts[i] =
                Some(match (judge.baseline(&self.parts[0], part)?, &session.before[i + 1]) {
                    (Some((values, what)), _) => scores.beside(&values, what),
                    (None, Some(values)) => scores.beside(values, "before training"),
                    (None, None) => scores,
                });
        }
        watcher.event(Event::Phase("saving the model"));
        if !self.names.units.is_empty() {
            let config = &network.config;
            rescale(&mut graph, &|name| config.is_output(name), &self.names.units)?;
        }
        let model = folder.model();
        let tokenizer = Some(self.base.reader.tokenizer.clone());
        let parameters = (network.encoder, graph);
        let options = options(&self.recipe.model);
        let mut saved = EncoderModel::new(network.config, parameters, tokenizer, options);
        saved.save(&model, &SaveOptions::default())?;
        self.task_file(thresholds).write(&model)?;
        if self.kind() == ObjectiveKind::Pairs {
            let pooling = self.recipe.pooling(self.base.modules.pooling);
            let normalize = self.base.modules.normalize.unwrap_or(false);
            let width = self.base.config.hidden_size;
            write_modules(&model, width, &self.base.reader, pooling, normalize)?;
        }
        let [valid, test] = &parts;
        let text = format!("{:#}\n", json!({ "valid": valid, "test": test }));
        write_text(&folder.scores(), &text)?;
        Ok(Outcome { parts })
    }

    fn summary(&self, ended: &Ended<'_>, _: &Session, outcome: Option<&Outcome>) -> EncoderSummary {
        let progress = ended.progress;
        let of = |part: usize| outcome.and_then(|outcome| outcome.parts[part].clone());
        let whole = if outcome.is_some() { ended.clock.seconds() } else { 0.0 };
        EncoderSummary {
            run: ended.folder.path().to_owned(),
            objective: self.kind(),
            valid: of(0),
            test: of(1),
            seconds: progress.seconds.max(whole),
            steps: progress.step,
            epochs: progress.epoch,
            best_epoch: progress.best.map(|best| best.epoch),
            parameters: ended.sizes.parameters,
            peak_bytes: process_peak_bytes(),
            pool_bytes: ended.pool_bytes,
            stopped: ended.stopped(),
        }
    }

    fn closing(&self, summary: &EncoderSummary) -> Closing {
        let train = &self.recipe.train;
        let why = train.reason(&summary.stopped, summary.steps);
        let kept = match summary.best_epoch {
            Some(epoch) if train.restore_best => format!("kept epoch {epoch}"),
            _ => "kept the last epoch".into(),
        };
        let peak = match summary.peak_bytes {
            0 => String::new(),
            peak => format!(" · {} of memory at most", bytes(peak)),
        };
        let parts = [("test", &summary.test), ("valid", &summary.valid)];
        let mut lines = Vec::new();
        for (name, scores) in parts {
            let Some(scores) = scores else { continue };
            lines.push(format!("{name}, {} rows: {}", count(scores.rows as u64), scores.line()));
        }
        if let Some(scores) = summary.test.as_ref().or(summary.valid.as_ref())
            && !scores.baseline.is_empty()
        {
            lines.push(format!("in parentheses: {}", scores.baseline));
        }
        let run = shell_word(&summary.run.display().to_string());
        Closing {
            headline: format!("stopped: {why}; {kept} · {}{peak}", duration(summary.seconds)),
            verdict: None,
            lines,
            next: vec![
                report::next_command(self.kind(), &run),
                format!("feedforward train {run}/recipe.toml --set {}", self.longer()),
            ],
        }
    }

    fn report(
        &self,
        snapshot: &Snapshot<'_>,
        _: &Session,
        outcome: Option<&mut Outcome>,
    ) -> Result<ReportData> {
        report::gather(self, snapshot, outcome.as_deref())
    }

    fn planned_steps(&self) -> Vec<Range<usize>> {
        plan::planned_steps(self.parts[0].rows(), self.step())
    }

    fn plan_evaluation(&self, graph: &mut Graph, network: &Network) -> Result<()> {
        for part in &self.parts[1..] {
            if part.rows() > 0 {
                self.objective(network).measure(graph, part)?;
            }
        }
        Ok(())
    }

    fn plan_details(&self, measured: &Plan, _: &Work) -> Result<PlanDetails> {
        let rows = self.parts.each_ref().map(Part::rows);
        let steps_per_epoch = self.recipe.loop_config().steps_per_epoch(rows[0]);
        let tokens: u64 = self.parts[0].tokens.ids.iter().map(|ids| ids.len() as u64).sum();
        let per_second = self.step() as f64 / measured.seconds_per_step;
        let rate = ("rows a second, about", per_second);
        Ok(plan::details(rows, [steps_per_epoch, tokens], rate))
    }

    fn way_to_fit(&self, _: usize) -> Result<String> {
        Ok("make train.batch_size smaller and train.accumulate larger, or model.max_tokens smaller"
            .into())
    }
}
