//! The task of a published encoder: rows with texts, an encoder under a head, scores beside a
//! baseline.

use super::data;
use super::learner::{Learner, head_config};
use super::network::rescale;
use super::objective::{Part, SequenceObjective, Vectors, outputs, plan_evaluation, vectors};
use super::origin::{Origin, PartTexts};
use super::recipe::SequenceRecipe;
use super::{plan, report};
use crate::embedding::{Pooling, task_file};
use crate::error::{Error, Result};
use crate::language::hash_weights;
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
use crate::task_keys::SEQUENCE_KEYS;
use crate::words::{plural, setting};
use ff_graph::Graph;
use ff_nn::models::{EncoderOutputs, MlpConfig};
use ff_nn::{Loss, Precision};
use ff_report::ReportData;
use ff_settings::ConfigError;
use ff_table::{Encoded, Prepared, Target, TargetTransform, Transforms, prepare};
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
    texts: [PartTexts; 3],
    origin: Origin,
    /// What a head of this program reads.
    beside: Option<Beside>,
    loss: Loss,
    /// The meaning of the outputs.
    file: ModelFile,
    hash: String,
}

/// The columns beside the texts, for a head of this program.
struct Beside {
    head: MlpConfig,
    transforms: Transforms,
    /// The training, the validation and the test part.
    parts: [Encoded; 3],
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

    /// The training, the validation or the test part.
    fn part(&self, i: usize) -> Part<'_> {
        let Prepared { train, valid, test, .. } = &self.prepared;
        let own = [train, valid, test][i];
        let data = self.beside.as_ref().map_or(own, |beside| &beside.parts[i]);
        Part { data, tokens: &self.texts[i].tokens }
    }

    fn head(&self) -> Option<&MlpConfig> {
        self.beside.as_ref().map(|beside| &beside.head)
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

/// What a target makes of outputs.
pub(super) fn model_file(target: &TargetTransform, threshold: Option<f64>) -> ModelFile {
    ModelFile {
        task: target.task,
        target: target.column.clone(),
        classes: target.classes.clone(),
        positive: target.positive,
        threshold,
        ..ModelFile::default()
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
    type Network = Learner;
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
        let (columns, others) = data::text_columns(&mut prepared)?;
        let classes = &prepared.target.classes;
        let number = ["LABEL_0".to_owned()];
        let path = start.join(&recipe.model.encoder);
        let table = Origin::table(&recipe.model, &path)?;
        let own_head = others || table.is_some() || recipe.model.hidden.is_some();
        let outputs = match (own_head, classes.is_empty()) {
            (true, _) => EncoderOutputs::Vectors,
            (false, true) => EncoderOutputs::Numbers(&number),
            (false, false) => EncoderOutputs::Class(classes),
        };
        let origin = match table {
            Some(table) => table,
            None => Origin::encoder(&recipe.model, &path, outputs)?,
        };
        let loss = setup::loss(&recipe.loss, &prepared.target, &prepared.train)?;
        if loss.outputs() != classes.len().max(1) {
            let message = "gives one output for two classes, and the head of an encoder has one for \
                           each; use cross_entropy";
            return Err(ConfigError::new("loss.kind", message).into());
        }
        watcher.event(Event::Phase("reading the tokens of the texts"));
        let (table, parts) = (&prepared.table, &prepared.parts);
        let read = |rows: &[usize]| origin.read(table, &columns, rows);
        let texts = [read(&parts.train)?, read(&parts.valid)?, read(&parts.test)?];
        let beside = if own_head {
            let transforms = prepared.transforms.without_texts();
            let encode = |rows: &[usize], texts: &PartTexts| {
                Ok::<_, Error>(texts.beside(transforms.encode_rows(table, rows, true, threads)?))
            };
            let [train, valid, test] = &texts;
            let parts = [
                encode(&parts.train, train)?,
                encode(&parts.valid, valid)?,
                encode(&parts.test, test)?,
            ];
            let head = head_config(&recipe.model, &origin, &transforms, loss.outputs());
            Some(Beside { head, transforms, parts })
        } else {
            None
        };
        let hidden = beside.as_ref().is_some_and(|beside| !beside.head.network.hidden.is_empty());
        origin.add_rates(&recipe.model, &mut recipe.optimizer, (own_head, hidden));
        let tokens = [&texts[0].tokens, &texts[1].tokens, &texts[2].tokens];
        prepared.notes.extend(data::notes(&tokens, origin.reader()));
        watcher.notice(&Notice::Data(DataNotice {
            path: &recipe.data.path,
            source: &prepared.source.describe(),
            totals: &prepared.totals,
            schema: &prepared.schema,
            target: &prepared.target,
            split: prepared.split,
            notes: &prepared.notes,
        }));
        let hash = whole_hash(&prepared.hash, origin.folder())?;
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
        Ok(Self { recipe, table, prepared, columns, texts, origin, beside, loss, file, hash })
    }

    fn recipe(&self) -> &SequenceRecipe {
        &self.recipe
    }

    fn data_hash(&self) -> &str {
        &self.hash
    }

    fn work(&self, _: &Sizes) -> Work {
        let train = &self.recipe.train;
        let rows = self.prepared.train.rows;
        let per_epoch = self.recipe.loop_config().steps_per_epoch(rows);
        let length = match train.steps {
            Some(steps) => format!("{steps} steps"),
            None => format!("{} epochs of {per_epoch} steps", train.epochs),
        };
        let optimizer = &self.recipe.optimizer;
        let bf16 = if self.recipe.model.precision == Precision::Bf16 { " in bf16" } else { "" };
        let mut beside = String::new();
        if let Some(Beside { head, transforms, .. }) = &self.beside {
            if !transforms.columns.is_empty() {
                beside = format!(" + {}", plural(transforms.columns.len(), "column"));
            }
            let hidden = head.network.hidden.iter().map(|width| format!(" → {width}"));
            beside.extend(hidden);
        }
        Work {
            layers: format!(
                "{}{beside} → {}{bf16}",
                self.origin.describe(self.recipe.model.frozen),
                self.loss.outputs()
            ),
            training: format!(
                "{} {} · {} · batch {} · {length}",
                optimizer.kind,
                setting(optimizer.lr()),
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

    fn build(&self, device: &Device) -> Result<(Learner, Graph)> {
        let seed = self.recipe.train.seed;
        Learner::build(&self.origin, &self.recipe.model, self.head(), seed, device)
    }

    fn load_weights(&self, graph: &mut Graph) -> Result<()> {
        self.origin.read_weights(graph.params_mut())
    }

    fn begin(&self, beginning: Beginning<'_, Self>) -> Result<Session> {
        let Beginning { network, trainer, watcher, clock, .. } = beginning;
        if !network.frozen || network.encoder.is_none() {
            return Ok(Session { vectors: None });
        }
        let [train, valid] = [self.part(0), self.part(1)];
        let texts = train.tokens.ids.len() + valid.tokens.ids.len();
        let phase = format!("computing the vectors of {}", plural(texts, "text"));
        watcher.event(Event::Phase(&phase));
        let graph = trainer.graph_mut();
        let vectors = Some([vectors(graph, network, train)?, vectors(graph, network, valid)?]);
        clock.lap("computing vectors");
        Ok(Session { vectors })
    }

    fn objective<'a>(
        &'a self,
        network: &'a Learner,
        session: Option<&'a Session>,
    ) -> Box<dyn Objective + 'a> {
        let batch = self.recipe.train.batch_size.min(self.prepared.train.rows);
        let vectors = session.and_then(|session| session.vectors.as_ref());
        let (train, valid) = (self.part(0), self.part(1));
        Box::new(SequenceObjective::new((network, &self.loss), train, valid, batch, vectors))
    }

    fn finish(&self, _: &Session, ending: Ending<'_, Self>) -> Result<PartReports> {
        let Ending { folder, network, mut graph, watcher, .. } = ending;
        watcher.event(Event::Phase("evaluating"));
        graph.reset();
        let target = &self.prepared.transforms.target;
        if self.file.classes.is_empty() {
            let is_output = |name: &str| network.is_output(name);
            rescale(&mut graph, &is_output, &[(target.mean, target.std)])?;
        }
        let mut file = self.file.clone();
        let mut judged = |file: &ModelFile, part: usize| -> Result<Option<Predictions>> {
            let part = self.part(part);
            if part.tokens.ids.is_empty() {
                return Ok(None);
            }
            Ok(Some(predictions(&outputs(&mut graph, &network, part)?, file)))
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
        let (origin, model) = (&self.origin, &self.recipe.model);
        let mut task = task_file(self.columns.clone(), Some(target.clone()), origin.reader());
        task.precision = model.precision;
        task.null_values.clone_from(&self.recipe.data.null_values);
        task.data_hash.clone_from(&self.hash);
        task.threshold = file.threshold;
        task.head = self.head().cloned();
        task.pooling =
            self.head().map(|_| if self.origin.mean() { Pooling::Mean } else { Pooling::Cls });
        let transforms = self.beside.as_ref().map(|beside| &beside.transforms);
        network.save(graph, &folder.model(), origin, (model, &task, transforms))?;
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
        let layers = report::learner_layers(&self.origin, &self.recipe.model, self.head())?;
        Ok(report::gather(&snapshot, layers, reports.as_deref()))
    }

    fn planned_steps(&self) -> Vec<Range<usize>> {
        plan::planned_steps(self.prepared.train.rows, self.step())
    }

    fn plan_evaluation(&self, graph: &mut Graph, network: &Learner) -> Result<()> {
        let evaluated = usize::from(self.prepared.valid.rows > 0);
        // A frozen encoder reads the training texts as an evaluation does.
        for part in usize::from(!network.frozen)..=evaluated {
            plan_evaluation(graph, network, self.part(part))?;
        }
        Ok(())
    }

    fn plan_details(&self, measured: &Plan, _: &Work) -> Result<PlanDetails> {
        let Prepared { train, valid, test, .. } = &self.prepared;
        let rows = [train.rows, valid.rows, test.rows];
        let steps_per_epoch = self.recipe.loop_config().steps_per_epoch(train.rows);
        let tokens = self.texts[0].tokens.count();
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
