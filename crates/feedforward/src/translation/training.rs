//! The life of a run on pairs of texts: from its data to its scores.

use super::corpus::{self, Pairs};
use super::network::{Draft, Network};
use super::objective::{PairObjective, losses};
use super::recipe::TranslationRecipe;
use super::report;
use super::scores::TranslationScores;
use super::summary::TranslationSummary;
use super::task::{Outcome, Translating};
use crate::encoder::{Rows, read_rows};
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use crate::language::{Translator, TranslatorFolder};
use crate::run::life::{self, TrainOptions};
use crate::run::memory::process_peak_bytes;
use crate::run::plan::{Plan, PlanDetails, Sizes, Work};
use crate::run::snapshot::Snapshot;
use crate::run::summary::{Closing, Ended};
use crate::run::task::{Beginning, Ending, Purpose, Task, TaskRecipe};
use crate::run::watch::{Notice, TextNotice, Watcher};
use crate::sequence::{plan, refuse_changed, whole_hash};
use crate::task_keys::TRANSLATION_KEYS;
use crate::words::{count, plural, setting};
use ff_graph::Graph;
use ff_kernels::{bf16_peak, fma_peak};
use ff_nn::Precision;
use ff_nn::models::EncoderDecoderDropout;
use ff_report::ReportData;
use ff_tensor::Device;
use ff_train::{Event, Objective};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;

/// Fine-tunes the model of a recipe in a new folder.
///
/// # Errors
/// The recipe, the pairs, the model or the folder is not right, the plan does not fit into memory,
/// or training diverged.
pub fn train(
    recipe: &TranslationRecipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<TranslationSummary> {
    Ok(life::start::<Translating>(recipe, options, watcher)?.summary)
}

/// What is known before training: the scores of each held-out part.
pub(crate) struct Session {
    before: [Option<BTreeMap<String, f64>>; 2],
}

impl Task for Translating {
    const COMMAND: &'static str = "finetune";
    const KEYS: &'static [&'static str] = TRANSLATION_KEYS;
    const TRAIN_LONGER: &'static str = "start anew with more train.epochs";
    const KEEPS_BASE: bool = true;

    type Recipe = TranslationRecipe;
    type Network = Network;
    type Session = Session;
    type Outcome = Outcome;
    type Summary = TranslationSummary;

    fn prepare(
        mut recipe: TranslationRecipe,
        purpose: Purpose<'_>,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        watcher.event(Event::Phase(&format!("reading {}", recipe.data.path.display())));
        let start = purpose.base();
        let path = start.join(&recipe.base.model);
        if !Translator::is_at(&path)? {
            let message = "is no encoder with a decoder (Marian, T5, mT5), which pairs with \
                           data.source and data.target are for";
            return Err(Error::run(&recipe.base.model, message));
        }
        let base = TranslatorFolder::open(&path)?;
        if base.adapter.is_some() {
            let message = "is an adapter; merge it into its model first (feedforward merge), or name the model to \
                           train another one";
            return Err(Error::run(&recipe.base.model, message));
        }
        base.text()?;
        recipe.add_rate(base.config.family.name);
        Draft::new(&recipe, &base.config).check(&recipe)?;
        let limits = corpus::limits(&recipe, &base)?;
        let (data, seed) = (recipe.data.as_rows(), recipe.train.seed);
        let threads = device.cpu().threads();
        let found = read_rows(&data, corpus::reading(), seed, start, threads)?;
        let columns = corpus::columns(&recipe, &found.reading)?;
        watcher.event(Event::Phase("reading the tokens of the texts"));
        let bytes: usize = found.rows[0].texts.iter().flatten().map(String::len).sum();
        let encode = |rows: Rows| corpus::encode(rows, &recipe.data.prefix, &base, limits);
        let [train, valid, test] = found.rows;
        let parts = [encode(train)?, encode(valid)?, encode(test)?];
        let mut notes = found.notes;
        notes.extend(corpus::notes(&parts, limits, base.text()?));
        let [train, valid, test] = parts.each_ref().map(|part| count(part.rows() as u64));
        let tokens = |part: &Pairs| part.tokens().iter().sum::<usize>();
        let mut findings = vec![format!(
            "train {train} · valid {valid} · test {test} pairs, {} → {}",
            columns[0], columns[1]
        )];
        findings.extend(notes.iter().map(|note| note.message.clone()));
        watcher.notice(&Notice::Text(&TextNotice {
            source: recipe.data.path.display().to_string(),
            findings,
            tokenizer: base.text()?.describe(),
            train_tokens: tokens(&parts[0]) as u64,
            valid_tokens: parts[1..].iter().map(tokens).sum::<usize>() as u64,
            bytes_per_token: bytes as f64 / tokens(&parts[0]).max(1) as f64,
        }));
        let hash = whole_hash(&found.hash, &base.folder)?;
        refuse_changed(&purpose, &hash, [&recipe.data.path, &recipe.base.model])?;
        Ok(Self { recipe, base, columns, parts, limits, notes, hash })
    }

    fn recipe(&self) -> &TranslationRecipe {
        &self.recipe
    }

    fn data_hash(&self) -> &str {
        &self.hash
    }

    fn note(&self) -> Option<Value> {
        Some(json!({ "columns": self.columns }))
    }

    fn work(&self, _: &Sizes) -> Work {
        let (train, config) = (&self.recipe.train, &self.base.config);
        let what = if self.recipe.trains_adapter() {
            let layers = plural(self.draft().adapted(), "linear layer");
            format!("LoRA of rank {} on {layers}", self.recipe.adapter.rank)
        } else {
            format!("weights {}", train.weights.join(", "))
        };
        let precision = match self.recipe.base.precision {
            Precision::F32 => "",
            Precision::Bf16 => " · bf16",
        };
        let rows = self.parts[0].rows();
        let per_epoch = self.recipe.loop_config().steps_per_epoch(rows);
        let length = match train.steps {
            Some(steps) => format!("{steps} steps"),
            None => format!("{} epochs of {per_epoch} steps", train.epochs),
        };
        let smoothing = match self.recipe.loss.label_smoothing {
            0.0 => String::new(),
            share => format!(" · label smoothing {}", setting(share)),
        };
        let dropout = dropped(self.recipe.dropout(config));
        let optimizer = &self.recipe.optimizer;
        Work {
            layers: format!(
                "{} · {} + {} layers × {} · {what}",
                config.family.name, config.encoder.layers, config.decoder.layers, config.features
            ),
            training: format!(
                "{} {}{smoothing}{dropout} · {} pairs · {length}{precision}",
                optimizer.kind,
                setting(optimizer.lr()),
                self.step()
            ),
            unit: "target tokens",
            units_per_step: self.tokens_per_step(),
            total_steps: self.recipe.loop_config().total_steps(rows),
            steps_after: 0,
            after: "",
            may_end_early: train.patience > 0,
            process_bytes: None,
        }
    }

    fn build(&self, device: &Device) -> Result<(Network, Graph)> {
        self.draft().build(device, self.recipe.train.seed)
    }

    fn load_weights(&self, graph: &mut Graph) -> Result<()> {
        self.draft().read(&self.recipe, &self.base, graph)
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
        let path = folder.before();
        if trainer.progress().step > 0 && path.is_file() {
            let before = serde_json::from_str(&read_text(&path)?)
                .map_err(|e| Error::run(&path, format!("is damaged: {e}; train anew")))?;
            return Ok(Session { before });
        }
        watcher.event(Event::Phase("evaluating the model as it is"));
        let found = self.scores(trainer.graph_mut(), network)?;
        let before = found.each_ref().map(|found| found.as_ref().map(TranslationScores::values));
        write_text(&path, &serde_json::to_string(&before).unwrap_or_default())?;
        clock.lap("evaluating before");
        Ok(Session { before })
    }

    fn objective<'a>(
        &'a self,
        network: &'a Network,
        _: Option<&'a Session>,
    ) -> Box<dyn Objective + 'a> {
        let [train, valid, _] = &self.parts;
        Box::new(PairObjective { network, batches: self.batches(), train, valid })
    }

    fn finish(&self, session: &Session, ending: Ending<'_, Self>) -> Result<Outcome> {
        let Ending { folder, network, mut graph, watcher, .. } = ending;
        watcher.event(Event::Phase("evaluating"));
        graph.reset();
        let [valid, test] = self.scores(&mut graph, &network)?;
        let beside = |scores: Option<TranslationScores>, part: usize| {
            scores.map(|scores| scores.beside(session.before[part].as_ref()))
        };
        let parts = [beside(valid, 0), beside(test, 1)];
        watcher.event(Event::Phase("saving the model"));
        let trained = (network.plain, graph);
        self.draft().save(&self.recipe, &self.base, trained, folder)?;
        let [valid, test] = &parts;
        let text = format!("{:#}\n", json!({ "valid": valid, "test": test }));
        write_text(&folder.scores(), &text)?;
        Ok(Outcome { parts })
    }

    fn summary(
        &self,
        ended: &Ended<'_>,
        _: &Session,
        outcome: Option<&Outcome>,
    ) -> TranslationSummary {
        let progress = ended.progress;
        let tokens = progress.step as f64 * self.tokens_per_step();
        let of = |part: usize| outcome.and_then(|outcome| outcome.parts[part].clone());
        let held_out = self.parts.iter().rev().filter_map(|part| part.texts.first());
        let prompt =
            held_out.map(|[source, _]| format!("{}{source}", self.recipe.data.prefix)).next();
        TranslationSummary {
            run: ended.folder.path().to_owned(),
            valid: of(0),
            test: of(1),
            seconds: progress.seconds,
            steps: progress.step,
            epochs: progress.epoch,
            best_epoch: progress.best.map(|best| best.epoch),
            tokens: tokens as u64,
            tokens_per_second: tokens / progress.seconds.max(1e-9),
            parameters: ended.sizes.parameters,
            peak_bytes: process_peak_bytes(),
            pool_bytes: ended.pool_bytes,
            stopped: ended.stopped(),
            prompt,
        }
    }

    fn closing(&self, summary: &TranslationSummary) -> Closing {
        summary.closing()
    }

    fn report(
        &self,
        snapshot: &Snapshot<'_>,
        session: &Session,
        outcome: Option<&mut Outcome>,
    ) -> Result<ReportData> {
        let before = session.before[0].as_ref().and_then(|before| before.get("loss")).copied();
        Ok(report::gather(self, snapshot, before, outcome.as_deref()))
    }

    fn planned_steps(&self) -> Vec<Range<usize>> {
        plan::planned_steps(self.parts[0].rows(), self.step())
    }

    fn plan_evaluation(&self, graph: &mut Graph, network: &Network) -> Result<()> {
        for part in self.parts[1..].iter().filter(|part| part.rows() > 0) {
            losses(graph, &network.plain, &mut self.batches(), part)?;
            self.judge().losses(graph, &network.plain, part)?;
        }
        Ok(())
    }

    fn plan_details(&self, measured: &Plan, _: &Work) -> Result<PlanDetails> {
        let rows = self.parts.each_ref().map(Pairs::rows);
        let steps_per_epoch = self.recipe.loop_config().steps_per_epoch(rows[0]);
        let tokens = self.parts[0].tokens().iter().sum::<usize>() as u64;
        let per_second = self.step() as f64 / measured.seconds_per_step;
        let rate = ("pairs a second, about", per_second);
        Ok(plan::details(rows, [steps_per_epoch, tokens], rate))
    }

    fn way_to_fit(&self, _: usize) -> Result<String> {
        Ok(if self.recipe.base.recompute {
            "make train.batch_size smaller and train.accumulate larger, or data.max_source and \
             data.max_target smaller"
        } else {
            "make train.batch_size smaller and train.accumulate larger, or set base.recompute=true"
        }
        .into())
    }
}

/// What training drops, in a line.
fn dropped(dropout: EncoderDecoderDropout) -> String {
    let EncoderDecoderDropout { hidden, attention, activation } = dropout;
    match [hidden, attention, activation].map(setting) {
        [all, attention, activation] if all == attention && all == activation => match &*all {
            "0" => String::new(),
            all => format!(" · dropout {all}"),
        },
        [hidden, attention, activation] => {
            format!(" · dropout {hidden} (attention {attention}, activations {activation})")
        }
    }
}
