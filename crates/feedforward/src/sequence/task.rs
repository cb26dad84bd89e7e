//! The task of a published encoder: rows with texts, an encoder under a head, scores beside a
//! baseline.

use super::data::{self, Tokens};
use super::network::{Base, Network, add_groups, options, rescale};
use super::objective::{Part, SequenceObjective, Vectors, outputs, plan_evaluation, vectors};
use super::recipe::SequenceRecipe;
use super::{plan, report};
use crate::embedding::TaskFile;
use crate::error::{Error, Result};
use crate::language::{EncoderModel, SaveOptions, hash_weights};
use crate::run::life::{self, TrainOptions};
use crate::run::plan::{Plan, PlanDetails, Sizes, Work};
use crate::run::snapshot::Snapshot;
use crate::run::summary::{Closing, Ended};
use crate::run::task::{Beginning, Ending, Purpose, Task, TaskRecipe};
use crate::run::watch::{DataNotice, Notice, Watcher};
use crate::table::calibrate::{check_threshold, choose};
use crate::table::objective::probabilities;
use crate::table::scores::{Judge, PartReports, evaluate_predictions};
use crate::table::setup;
use crate::table::task::save_scores;
use crate::table::{ModelFile, Predictions, Recipe, TrainSummary};
use crate::tasks::SEQUENCE_KEYS;
use crate::words::plural;
use ff_graph::Graph;
use ff_nn::models::EncoderOutputs;
use ff_nn::{Loss, Precision};
use ff_report::ReportData;
use ff_settings::ConfigError;
use ff_table::{Prepared, Target, prepare};
use ff_tensor::Device;
use ff_train::{Event, Objective};
use std::ops::Range;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Fine-tunes the encoder of a recipe in a new folder.
///
/// # Errors
/// The recipe, the data, the encoder or the folder is not right, the plan does not fit into memory,
/// or training diverged.
pub fn train(
    recipe: &SequenceRecipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<TrainSummary> {
    Ok(life::start::<Sequences>(recipe, options, watcher)?.summary)
}

/// Rows with texts, and the encoder that learns from them.
pub(crate) struct Sequences {
    recipe: SequenceRecipe,
    /// What reports of tables read of it.
    table: Recipe,
    prepared: Prepared,
    /// The columns of texts.
    columns: Vec<String>,
    /// The texts of the training, the validation and the test part.
    tokens: [Tokens; 3],
    base: Base,
    loss: Loss,
    /// The meaning of the outputs.
    file: ModelFile,
    hash: String,
}

/// What training reads besides the texts.
pub(crate) struct Session {
    /// The vectors of a frozen encoder.
    vectors: Option<Vectors>,
}

impl Sequences {
    /// The setting of twice as many epochs.
    fn longer(&self) -> String {
        format!("train.epochs={}", 2 * self.recipe.train.epochs)
    }

    fn train_part(&self) -> Part<'_> {
        Part { data: &self.prepared.train, tokens: &self.tokens[0] }
    }

    fn valid_part(&self) -> Part<'_> {
        Part { data: &self.prepared.valid, tokens: &self.tokens[1] }
    }

    /// Rows of an optimiser step.
    fn step(&self) -> usize {
        let train = &self.recipe.train;
        let rows = self.prepared.train.rows;
        train.batch_size.saturating_mul(train.accumulate).min(rows).max(1)
    }

    fn steps(&self) -> u64 {
        self.recipe.loop_config().total_steps(self.prepared.train.rows)
    }
}

/// What outputs mean: class probabilities, or numbers.
pub(super) fn predictions(outputs: &[f32], file: &ModelFile) -> Predictions {
    let classes = file.classes.len();
    if classes == 0 {
        return Predictions::Values(outputs.iter().map(|&y| f64::from(y)).collect());
    }
    let probabilities = probabilities(outputs, classes, 1.0);
    let predicted = probabilities.chunks_exact(classes).map(|row| file.decide(row)).collect();
    Predictions::Classes { predicted, probabilities }
}

/// The hash of a run's data: that of the table, and that of the encoder it starts from.
pub(crate) fn whole_hash(data: &str, base: &Path) -> Result<String> {
    let mut hasher = Xxh3::new();
    hash_weights(base, &mut hasher)?;
    Ok(format!("{data}-{:032x}", hasher.digest128()))
}

/// Refuses to resume a run whose data or encoder has changed.
///
/// # Errors
/// One of these paths has.
pub(crate) fn refuse_changed(
    purpose: &Purpose<'_>,
    hash: &str,
    [data, encoder]: [&Path; 2],
) -> Result<()> {
    let Purpose::Resume(folder, info) = purpose else { return Ok(()) };
    if hash == info.data_hash {
        return Ok(());
    }
    let same = table_hash(hash) == table_hash(&info.data_hash);
    let message = format!(
        "was started on other {}: {} has changed since; put the old files back, or train anew",
        if same { "weights" } else { "data" },
        if same { encoder } else { data }.display()
    );
    Err(Error::run(folder.path(), message))
}

/// The hash of the table of a run's hash.
pub(crate) fn table_hash(hash: &str) -> &str {
    hash.split('-').next().unwrap_or_default()
}

impl Task for Sequences {
    const COMMAND: &'static str = "train";
    const KEYS: &'static [&'static str] = SEQUENCE_KEYS;
    const TRAIN_LONGER: &'static str = "start anew from its recipe with a larger train.epochs";
    const KEEPS_BASE: bool = true;

    type Recipe = SequenceRecipe;
    type Network = Network;
    type Session = Session;
    type Outcome = PartReports;
    type Summary = TrainSummary;

    fn prepare(
        mut recipe: SequenceRecipe,
        purpose: Purpose<'_>,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        watcher.event(Event::Phase(&format!("reading {}", recipe.data.path.display())));
        let start = purpose.base();
        let threads = device.cpu().threads();
        let mut prepared = prepare(&recipe.data, recipe.train.seed, start, threads)?;
        let columns = data::text_columns(&mut prepared)?;
        let classes = &prepared.target.classes;
        let number = ["LABEL_0".to_owned()];
        let outputs = if classes.is_empty() {
            EncoderOutputs::Numbers(&number)
        } else {
            EncoderOutputs::Class(classes)
        };
        let base = Base::open(&recipe.model, &start.join(&recipe.model.encoder), outputs)?;
        let loss = setup::loss(&recipe.loss, &prepared.target, &prepared.train)?;
        if loss.outputs() != base.config.labels {
            let message = "gives one output for two classes, and the head of an encoder has one for \
                           each; use cross_entropy";
            return Err(ConfigError::new("loss.kind", message).into());
        }
        add_groups(&mut recipe.optimizer.groups, &recipe.model, &base.config);
        recipe.add_rate(&base.config);
        watcher.event(Event::Phase("reading the tokens of the texts"));
        let (table, parts) = (&prepared.table, &prepared.parts);
        let read = |rows: &[usize]| Tokens::read(&base.reader, table, &columns, rows);
        let tokens = [read(&parts.train)?, read(&parts.valid)?, read(&parts.test)?];
        prepared.notes.extend(data::notes(&tokens.each_ref(), &base.reader));
        watcher.notice(&Notice::Data(DataNotice {
            path: &recipe.data.path,
            source: &prepared.source.describe(),
            totals: &prepared.totals,
            schema: &prepared.schema,
            target: &prepared.target,
            split: prepared.split,
            notes: &prepared.notes,
        }));
        let hash = whole_hash(&prepared.hash, &base.folder)?;
        refuse_changed(&purpose, &hash, [&recipe.data.path, &recipe.model.encoder])?;
        let target = &prepared.target;
        let file = ModelFile {
            task: target.task,
            target: target.column.clone(),
            classes: target.classes.clone(),
            positive: target.positive,
            data_hash: hash.clone(),
            ..ModelFile::default()
        };
        let table = recipe.as_table();
        check_threshold(&table, &file, &prepared.valid)?;
        Ok(Self { recipe, table, prepared, columns, tokens, base, loss, file, hash })
    }

    fn recipe(&self) -> &SequenceRecipe {
        &self.recipe
    }

    fn data_hash(&self) -> &str {
        &self.hash
    }

    fn work(&self, _: &Sizes) -> Work {
        let (train, config) = (&self.recipe.train, &self.base.config);
        let rows = self.prepared.train.rows;
        let per_epoch = self.recipe.loop_config().steps_per_epoch(rows);
        let length = match train.steps {
            Some(steps) => format!("{steps} steps"),
            None => format!("{} epochs of {per_epoch} steps", train.epochs),
        };
        let optimizer = &self.recipe.optimizer;
        let pooling = if config.mean_pooled { "mean" } else { "cls" };
        let frozen = if self.recipe.model.frozen { "frozen" } else { "fine-tuned" };
        let bf16 = if self.recipe.model.precision == Precision::Bf16 { " in bf16" } else { "" };
        Work {
            layers: format!(
                "{} {frozen}, {} layers × {} → {pooling} → {}{bf16}",
                config.family.name, config.layers, config.hidden_size, config.labels
            ),
            training: format!(
                "{} {} · {} · batch {} · {length}",
                optimizer.kind,
                optimizer.lr(),
                self.loss.name(),
                self.step()
            ),
            unit: "texts",
            units_per_step: rows as f64 / per_epoch.max(1) as f64,
            total_steps: self.steps(),
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
        let Beginning { network, trainer, watcher, clock, .. } = beginning;
        if !network.frozen {
            return Ok(Session { vectors: None });
        }
        let texts = self.tokens[0].ids.len() + self.tokens[1].ids.len();
        let phase = format!("computing the vectors of {}", plural(texts, "text"));
        watcher.event(Event::Phase(&phase));
        let graph = trainer.graph_mut();
        let mut of = |part: usize| vectors(graph, network, &self.tokens[part]);
        let vectors = Some([of(0)?, of(1)?]);
        clock.lap("computing vectors");
        Ok(Session { vectors })
    }

    fn objective<'a>(
        &'a self,
        network: &'a Network,
        session: Option<&'a Session>,
    ) -> Box<dyn Objective + 'a> {
        let batch = self.recipe.train.batch_size.min(self.prepared.train.rows);
        let vectors = session.and_then(|session| session.vectors.as_ref());
        let (train, valid) = (self.train_part(), self.valid_part());
        Box::new(SequenceObjective::new((network, &self.loss), train, valid, batch, vectors))
    }

    fn finish(&self, _: &Session, ending: Ending<'_, Self>) -> Result<PartReports> {
        let Ending { folder, network, mut graph, watcher, .. } = ending;
        watcher.event(Event::Phase("evaluating"));
        graph.reset();
        let target = &self.prepared.transforms.target;
        if self.file.classes.is_empty() {
            rescale(&mut graph, &network.config, &[(target.mean, target.std)])?;
        }
        let mut file = self.file.clone();
        let mut judged = |file: &ModelFile, part: usize| -> Result<Option<Predictions>> {
            let tokens = &self.tokens[part];
            if tokens.ids.is_empty() {
                return Ok(None);
            }
            Ok(Some(predictions(&outputs(&mut graph, &network, tokens)?, file)))
        };
        let mut valid = judged(&file, 1)?;
        if let (Some(aim), Some(Predictions::Classes { predicted, probabilities }), Some(truth)) =
            (self.recipe.evaluate.threshold, &mut valid, &self.prepared.valid.target)
            && let Target::Class(labels) = truth
        {
            let weights = self.prepared.valid.weights.as_deref();
            file.set_threshold(Some(choose(aim, &file, probabilities, labels, weights)?));
            let rows = probabilities.chunks_exact(file.classes.len());
            *predicted = rows.map(|row| file.decide(row)).collect();
        }
        let found = [valid, judged(&file, 2)?];
        let device = graph.device().clone();
        let threads = device.cpu().threads();
        let top_k = self.recipe.evaluate.top_k;
        let judge = Judge { file: &file, target, top_k, threads };
        let reports = evaluate_predictions(judge, &self.prepared, found)?;
        watcher.event(Event::Phase("saving the model"));
        let model = folder.model();
        let tokenizer = Some(self.base.reader.tokenizer.clone());
        let parts = (network.encoder, graph);
        let mut saved =
            EncoderModel::new(network.config, parts, tokenizer, options(&self.recipe.model));
        saved.save(&model, &SaveOptions::default())?;
        let mut task = TaskFile::new(self.columns.clone(), Some(target.clone()), &self.base.reader);
        task.precision = self.recipe.model.precision;
        task.null_values.clone_from(&self.recipe.data.null_values);
        task.data_hash.clone_from(&self.hash);
        task.threshold = file.threshold;
        task.write(&model)?;
        save_scores(folder, &reports)?;
        Ok(reports)
    }

    fn summary(
        &self,
        ended: &Ended<'_>,
        _: &Session,
        reports: Option<&PartReports>,
    ) -> TrainSummary {
        TrainSummary::new(ended, reports)
    }

    fn closing(&self, summary: &TrainSummary) -> Closing {
        let train = &self.recipe.train;
        let why = train.reason(&summary.stopped, summary.steps);
        summary.closing(&why, train.restore_best, Vec::new(), &self.longer())
    }

    fn report(
        &self,
        snapshot: &Snapshot<'_>,
        _: &Session,
        reports: Option<&mut PartReports>,
    ) -> Result<ReportData> {
        let other = &self.longer();
        let mut file = self.file.clone();
        file.set_threshold(reports.as_deref().and_then(|reports| reports.threshold));
        let snapshot = crate::table::report::Snapshot {
            run: snapshot,
            recipe: &self.table,
            prepared: &self.prepared,
            file: &file,
            loss: self.loss.name(),
            other,
        };
        report::gather(&snapshot, &self.base, &self.recipe, reports.as_deref())
    }

    fn planned_steps(&self) -> Vec<Range<usize>> {
        plan::planned_steps(self.prepared.train.rows, self.step())
    }

    fn plan_evaluation(&self, graph: &mut Graph, network: &Network) -> Result<()> {
        let evaluated = usize::from(self.prepared.valid.rows > 0);
        // A frozen encoder reads the training texts as an evaluation does.
        for part in usize::from(!network.frozen)..=evaluated {
            plan_evaluation(graph, network, &self.tokens[part])?;
        }
        Ok(())
    }

    fn plan_details(&self, measured: &Plan, _: &Work) -> Result<PlanDetails> {
        let Prepared { train, valid, test, .. } = &self.prepared;
        let rows = [train.rows, valid.rows, test.rows];
        let steps_per_epoch = self.recipe.loop_config().steps_per_epoch(train.rows);
        let tokens = self.tokens[0].count();
        let per_second = self.step() as f64 / measured.seconds_per_step;
        let rate = ("texts a second, about", per_second);
        Ok(plan::details(rows, [steps_per_epoch, tokens], rate))
    }

    fn way_to_fit(&self, _: usize) -> Result<String> {
        Ok("make train.batch_size smaller and train.accumulate larger (the same steps), or \
            model.max_tokens smaller"
            .into())
    }
}
