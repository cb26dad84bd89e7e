//! The task of tables: data in memory, a network of feedforward layers, scores beside a baseline.

use super::bags;
use super::bins;
use super::calibrate::{calibrate, calibrate_networks};
use super::model::{ModelFile, TableModel};
use super::objective::plan_evaluation;
use super::recipe::Recipe;
use super::refit;
use super::report;
use super::scores::{self, PartReports};
use super::setup::{self, Setup};
use super::summary::TrainSummary;
use crate::error::{Error, Result};
use crate::files::write_text;
use crate::run::folder::RunFolder;
use crate::run::life::{self, TrainOptions};
use crate::run::measure;
use crate::run::plan::{Plan, PlanDetails, Sizes, Work};
use crate::run::snapshot::Snapshot;
use crate::run::summary::{Closing, Ended};
use crate::run::task::{Beginning, Ending, Purpose, Task};
use crate::run::watch::{DataNotice, Notice, Watcher};
use crate::words::{count, number, setting};
use ff_graph::Graph;
use ff_nn::{ModelConfig, NetworkKind};
use ff_report::ReportData;
use ff_table::{Encoded, Note, Prepared, prepare};
use ff_tensor::{Device, DeviceOptions};
use ff_train::{Event, Objective};
use serde_json::json;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

/// Memory of code, libraries and readers without data, measured on Linux.
const PROCESS_BYTES: usize = 20 << 20;

/// The level whose coverage a terminal shows.
const SHOWN_LEVEL: f64 = 0.9;

/// Trains a recipe in a new folder.
///
/// # Errors
/// Invalid recipe, data or folder; a plan that exceeds memory; divergence.
pub fn train(
    recipe: &Recipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<TrainSummary> {
    Ok(life::start::<Tables>(recipe, options, watcher)?.summary)
}

/// Plans a run and measures a few of its steps, without writing anything.
///
/// # Errors
/// Invalid recipe or data.
pub fn plan(recipe: &Recipe, options: DeviceOptions) -> Result<Plan> {
    measure::plan::<Tables>(recipe, options, &mut ())
}

/// A table, read and encoded for a network.
pub(crate) struct Tables {
    recipe: Recipe,
    prepared: Rc<Prepared>,
    /// The network and its outputs before training.
    file: ModelFile,
    /// The layers in one line, and the name of the loss.
    layers: String,
    loss: &'static str,
    /// The threads that networks are trained on.
    threads: usize,
}

/// A trained network with its scores.
pub(crate) struct Trained {
    model: TableModel,
    reports: PartReports,
    /// The rows that the model in the folder was trained anew on, where it was.
    refit: Option<usize>,
}

impl Tables {
    /// The network of a recipe, with the sizes for its data, over encoded rows.
    pub(super) fn new(recipe: Recipe, prepared: impl Into<Rc<Prepared>>) -> Result<Self> {
        let prepared = prepared.into();
        let Prepared { target, transforms, train, .. } = &*prepared;
        let (setup, _) = Setup::new(&recipe, target, transforms, train, &Device::planning())?;
        let (layers, loss) = (setup.layers(), setup.loss.name());
        Ok(Self { recipe, prepared, file: setup.file, layers, loss, threads: 1 })
    }

    pub(super) fn prepared(&self) -> &Rc<Prepared> {
        &self.prepared
    }

    /// The most members, halved, whose run fits into so many bytes; none where no ensemble does.
    fn fitting_members(&self, available: usize) -> Result<Option<usize>> {
        let mut recipe = self.recipe.clone();
        while let Some(members) = recipe.model.members.filter(|&members| members > 2) {
            recipe.model.members = Some(members / 2);
            let smaller = Self::new(recipe.clone(), Rc::clone(&self.prepared))?;
            if measure::measure(&smaller)?.pool_bytes < available {
                return Ok(recipe.model.members);
            }
        }
        Ok(None)
    }

    fn network(&self, device: &Device) -> Result<(Setup, Graph)> {
        let Prepared { target, transforms, train, .. } = &*self.prepared;
        Setup::new(&self.recipe, target, transforms, train, device)
    }

    /// Estimated peak memory of the process, in bytes.
    fn process_bytes(&self, sizes: &Sizes) -> usize {
        let prepared = &self.prepared;
        // The weights of the best epoch, which only rows to evaluate it on can tell.
        let copies = if prepared.valid.rows > 0 { sizes.parameter_bytes } else { 0 };
        // Which rows are used, which part they are in, their classes, and the order of an epoch.
        let indices = prepared.totals.used * (2 * size_of::<usize>() + size_of::<i32>())
            + prepared.train.rows * size_of::<u32>();
        // An evaluation holds both parts' outputs, probabilities and decisions.
        let outputs = prepared.target.classes.len().max(1);
        let evaluated = (prepared.valid.rows + prepared.test.rows)
            * (outputs * (size_of::<f32>() + size_of::<f64>()) + size_of::<usize>());
        let held = data_bytes(prepared) + self.later_bytes(sizes);
        PROCESS_BYTES + held + sizes.pool_bytes + copies + indices + evaluated
    }

    /// What training holds beside the first network's, and what the networks behind it hold.
    fn later_bytes(&self, sizes: &Sizes) -> usize {
        let (prepared, train) = (&self.prepared, &self.recipe.train);
        let encoded = |rows: usize| {
            let own = prepared.train.rows.max(1);
            (encoded_bytes(&prepared.train) as f64 * rows as f64 / own as f64) as usize
        };
        let kept = refit::rows(&self.recipe, prepared).len();
        // Without what training needs, once for the graph and once packed.
        let network = 2 * sizes.parameter_bytes;
        let judged = if train.refit { network } else { 0 };
        let Some(bags) = train.bags else {
            return if train.refit { judged + encoded(kept) } else { 0 };
        };
        let rows = if train.refit { kept } else { prepared.train.rows + prepared.valid.rows };
        // As many networks as there are threads are trained at a time, each with an encoding of its
        // own rows and a pool; then all of them answer for the rows that they did not learn.
        let beside = bags::at_a_time(self.threads, bags - usize::from(!train.refit));
        let trained =
            beside * (encoded(rows) + sizes.parameter_bytes) + (beside - 1) * sizes.pool_bytes;
        judged + trained.max(bags * network + encoded(rows))
    }

    /// Trains the other networks of `train.bags`, and evaluates all of them together.
    fn finish_networks(
        &self,
        first: TableModel,
        folder: &RunFolder,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Trained> {
        let (recipe, prepared) = (&self.recipe, &self.prepared);
        let (mut model, found) =
            bags::train_others(recipe, prepared, first, folder, device, watcher)?;
        watcher.event(Event::Phase("evaluating"));
        let predictions = calibrate_networks(recipe, &mut model, &found)?;
        let held_out = (found.data, found.rows, predictions);
        let reports = scores::evaluate_networks(&mut model, recipe, prepared, held_out)?;
        model.save(&folder.model())?;
        save_scores(folder, &reports)?;
        Ok(Trained { model, reports, refit: None })
    }

    /// Trains the model that is kept on all rows, beside the judged one; the number of rows.
    fn keep_all_rows(
        &self,
        judged: &TableModel,
        epochs: usize,
        folder: &RunFolder,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<usize> {
        let (recipe, prepared) = (&self.recipe, &self.prepared);
        // The shapes of other rows are others.
        device.pool().trim();
        if recipe.train.bags.is_some() {
            let rows = refit::rows(recipe, prepared);
            let (mut model, found) =
                bags::train_all(recipe, prepared, rows, folder, device, watcher)?;
            calibrate_networks(recipe, &mut model, &found)?;
            model.save(&folder.model())?;
            return Ok(found.rows.len());
        }
        let mut all = refit::refit(recipe, prepared, (judged, epochs), device, watcher)?;
        // What was chosen on rows that the first model did not see.
        let ModelFile { threshold, chosen, temperature, .. } = *judged.file();
        let file = all.model.file_mut();
        (file.threshold, file.chosen, file.temperature) = (threshold, chosen, temperature);
        all.model.set_conformal(judged.conformal().cloned());
        all.model.save(&folder.model())?;
        Ok(all.rows)
    }

    /// The most steps of other networks, or on all rows, where the kept model is trained anew.
    fn steps_after(&self) -> u64 {
        let (config, refit) = (setup::portions(&self.recipe), self.recipe.train.refit);
        if let Some(bags) = self.recipe.train.bags {
            let of_all = refit.then(|| refit::rows(&self.recipe, &self.prepared).len());
            let rows = of_all.map_or(self.prepared.train.rows, |rows| rows - rows / bags);
            return (bags - usize::from(!refit)) as u64 * config.total_steps(rows);
        }
        if !refit {
            return 0;
        }
        let rows = self.prepared.train.rows;
        let epochs = config.total_steps(rows).div_ceil(config.steps_per_epoch(rows).max(1));
        let (epochs, _) = refit::length(&self.recipe, epochs as usize);
        epochs as u64 * config.steps_per_epoch(refit::rows(&self.recipe, &self.prepared).len())
    }
}

/// Hidden layers that a recipe asks for, where texts alone are a linear model without any.
fn unused_layers(recipe: &Recipe, prepared: &Prepared) -> Option<Note> {
    let (model, transforms) = (&recipe.model, &prepared.transforms);
    let others = transforms.n_numeric() + transforms.cardinalities().len();
    let linear = transforms.texts().next().is_some() && others == 0 && model.text_dim.is_none();
    let asked = model.hidden != ModelConfig::default().hidden && !model.hidden.is_empty();
    (linear && asked).then(|| {
        let message = "model.hidden is not used: texts alone are a linear model, without hidden \
                       layers unless they become vectors first";
        Note::warn(message).undo("model.text_dim=128")
    })
}

/// Periodic vectors that a recipe asks for, where no number has more than two values.
fn unused_vectors(recipe: &Recipe, train: &Encoded) -> Option<Note> {
    let periodic = recipe.model.numeric.periodic().is_some();
    let own = recipe.model.kind == NetworkKind::Mlp;
    let none = periodic && own && bins::edges(train, 1).iter().all(Vec::is_empty);
    none.then(|| {
        let message = "model.numeric is not used: no column holds numbers of more than two values, \
                       which periodic vectors are for";
        Note::warn(message).undo("model.numeric=linear")
    })
}

/// Bytes of a table and its encoded parts.
fn data_bytes(prepared: &Prepared) -> usize {
    let Prepared { table, train, valid, test, .. } = prepared;
    table.bytes() + encoded_bytes(train) + encoded_bytes(valid) + encoded_bytes(test)
}

fn encoded_bytes(e: &Encoded) -> usize {
    let texts: usize = e.texts.iter().map(|texts| texts.bytes()).sum();
    (e.numeric.len() + e.categorical.len() + 2 * e.rows) * 4 + texts
}

pub(crate) fn save_scores(folder: &RunFolder, reports: &PartReports) -> Result<()> {
    let text = serde_json::to_string_pretty(&reports.saved())
        .map_err(|e| Error::run(folder.path(), e.to_string()))?;
    write_text(&folder.scores(), &text)
}

impl Task for Tables {
    const COMMAND: &'static str = "train";
    const KEYS: &'static [&'static str] = &[];
    const TRAIN_LONGER: &'static str = "start anew from its recipe with a larger train.epochs";

    type Recipe = Recipe;
    type Network = Setup;
    type Session = ();
    type Outcome = Trained;
    type Summary = TrainSummary;

    fn prepare(
        recipe: Recipe,
        purpose: Purpose<'_>,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        watcher.event(Event::Phase(&format!("reading {}", recipe.data.path.display())));
        // Messages show paths as they were typed; a resumed run finds them from the folder it was
        // started in.
        let base = match purpose {
            Purpose::Resume(_, info) => &info.base,
            Purpose::Start(_) | Purpose::Plan(_) => Path::new(""),
        };
        let mut prepared = prepare(&recipe.data, recipe.train.seed, base, device.cpu().threads())?;
        let recipe = recipe.for_data(&prepared.train, prepared.split);
        bags::take_first(&recipe, &mut prepared, device)?;
        prepared.notes.extend(unused_layers(&recipe, &prepared));
        prepared.notes.extend(unused_vectors(&recipe, &prepared.train));
        watcher.notice(&Notice::Data(DataNotice {
            path: &recipe.data.path,
            source: &prepared.source.describe(),
            totals: &prepared.totals,
            schema: &prepared.schema,
            target: &prepared.target,
            split: prepared.split,
            notes: &prepared.notes,
        }));
        if let Purpose::Resume(folder, info) = purpose
            && prepared.hash != info.data_hash
        {
            let message = format!(
                "was started on other data: {} has changed since; put the old file back, or train anew",
                recipe.data.path.display()
            );
            return Err(Error::run(folder.path(), message));
        }
        Ok(Self { threads: device.cpu().threads().count(), ..Self::new(recipe, prepared)? })
    }

    fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    fn data_hash(&self) -> &str {
        &self.prepared.hash
    }

    fn work(&self, sizes: &Sizes) -> Work {
        let rows = self.prepared.train.rows;
        let config = setup::portions(&self.recipe);
        let length = match config.steps {
            Some(steps) => format!("{steps} steps"),
            None => format!("≤ {} epochs of {} steps", config.epochs, config.steps_per_epoch(rows)),
        };
        let batch = config.batch_size.saturating_mul(config.accumulate).min(rows);
        let optimizer = &self.recipe.optimizer;
        let (kind, lr, loss) = (optimizer.kind, setting(optimizer.lr()), self.loss);
        Work {
            layers: self.layers.clone(),
            training: format!("{kind} {lr} · {loss} · batch {batch} · {length}"),
            unit: "rows",
            // The last batch of an epoch may be short, so rows are counted by the epoch.
            units_per_step: rows as f64 / config.steps_per_epoch(rows).max(1) as f64,
            total_steps: config.total_steps(rows),
            steps_after: self.steps_after(),
            after: match self.recipe.train.bags {
                Some(_) if self.recipe.train.refit => "steps of the kept networks, at most",
                Some(_) => "steps of the other networks, at most",
                None => "steps on all rows, at most",
            },
            may_end_early: true,
            process_bytes: Some(self.process_bytes(sizes)),
        }
    }

    fn build(&self, device: &Device) -> Result<(Setup, Graph)> {
        self.network(device)
    }

    fn begin(&self, _: Beginning<'_, Self>) -> Result<()> {
        Ok(())
    }

    fn objective<'a>(&'a self, network: &'a Setup, _: Option<&'a ()>) -> Box<dyn Objective + 'a> {
        let Prepared { train, valid, .. } = &*self.prepared;
        Box::new(network.objective(&self.recipe, train, valid))
    }

    fn training(&self) -> String {
        match self.recipe.train.bags {
            Some(k) if !self.recipe.train.refit => format!("training network 1 of {k}"),
            _ => "training".into(),
        }
    }

    fn finish(&self, (): &(), ending: Ending<'_, Self>) -> Result<Trained> {
        let prepared = &self.prepared;
        let device = ending.graph.device().clone();
        let file = ModelFile { data_hash: prepared.hash.clone(), ..self.file.clone() };
        let transforms = prepared.transforms.clone();
        let mut model = TableModel::new(file, transforms, ending.network.model, ending.graph);
        if self.recipe.train.bags.is_some() && !self.recipe.train.refit {
            return self.finish_networks(model, ending.folder, &device, ending.watcher);
        }
        ending.watcher.event(Event::Phase("evaluating"));
        calibrate(&self.recipe, &mut model, &prepared.valid)?;
        let reports = scores::evaluate_parts(&mut model, &self.recipe, prepared)?;
        let folder = ending.folder;
        let refit = if self.recipe.train.refit {
            model.save(&folder.judged_model())?;
            let best = ending.progress.best.filter(|_| self.recipe.train.restore_best);
            let epochs = best.map_or(ending.progress.epoch, |best| best.epoch);
            Some(self.keep_all_rows(&model, epochs, folder, &device, ending.watcher)?)
        } else {
            model.save(&folder.model())?;
            None
        };
        save_scores(folder, &reports)?;
        Ok(Trained { model, reports, refit })
    }

    fn summary(&self, ended: &Ended<'_>, (): &(), outcome: Option<&Trained>) -> TrainSummary {
        let reports = outcome.map(|outcome| &outcome.reports);
        TrainSummary {
            refit_rows: outcome.and_then(|outcome| outcome.refit),
            networks: self.recipe.train.bags,
            ..TrainSummary::new(ended, reports)
        }
    }

    fn closing(&self, summary: &TrainSummary) -> Closing {
        let train = &self.recipe.train;
        let why = match (summary.stopped.as_str(), train.steps) {
            ("early", _) => {
                format!(
                    "no gain for {} epochs",
                    train.patience_after(summary.best_epoch.unwrap_or(0))
                )
            }
            (_, Some(_)) => format!("all {} steps are done", count(summary.steps)),
            _ => format!("all {} epochs are done", summary.epochs),
        };
        let classes = summary.has_classes();
        let refit = summary.refit_rows.map(|rows| {
            let rows = count(rows as u64);
            if train.bags.is_none() && train.refit_judged_above.is_some() {
                return format!(
                    "model/ is judged/ trained on, with all {rows} rows; the scores are those of judged/, which saw no \
                     row that it was judged on"
                );
            }
            let networks = summary.networks.map_or(String::new(), |k| {
                format!(", as {k} networks that each stop on one of {k} folds and whose predictions are averaged")
            });
            format!(
                "model/ was then trained anew on all {rows} rows{networks}; the scores are those of judged/, which saw no \
                 row that it was judged on"
            )
        });
        let networks = summary.networks.filter(|_| refit.is_none()).map(|k| {
            format!(
                "model/ holds {k} networks, whose predictions are averaged; epochs are those of the first"
            )
        });
        let coverage = summary.coverage.iter().find(|c| c.level == SHOWN_LEVEL).map(|c| {
            let (share, level) = (100.0 * c.coverage, 100.0 * c.level);
            if classes {
                format!(
                    "sets for {level} % hold the class of {share:.1} % of the test rows, with {:.2} classes on average",
                    c.size
                )
            } else {
                format!(
                    "intervals for {level} % hold {share:.1} % of the test rows, {} wide on average",
                    number(c.size)
                )
            }
        });
        let alone = self.file.network.texts_alone();
        let other = if alone { "model.text_dim=128" } else { "model.hidden=[128,64]" };
        let lines = networks.into_iter().chain(refit).chain(coverage).collect();
        summary.closing(&why, train.restore_best, lines, other)
    }

    fn report(
        &self,
        snapshot: &Snapshot<'_>,
        (): &(),
        outcome: Option<&mut Trained>,
    ) -> Result<ReportData> {
        let (recipe, prepared, file) = (&self.recipe, &self.prepared, &self.file);
        let (loss, other) = (self.loss, "model.hidden=[128,64]");
        if let Some(trained) = &outcome {
            trained.model.trim();
        }
        let snapshot = report::Snapshot { run: snapshot, recipe, prepared, file, loss, other };
        Ok(report::gather(&snapshot, outcome.map(|o| (&mut o.model, &o.reports))))
    }

    fn planned_steps(&self) -> Vec<Range<usize>> {
        let rows = self.prepared.train.rows;
        let config = setup::portions(&self.recipe);
        let step = config.batch_size.saturating_mul(config.accumulate).min(rows).max(1);
        let steps = config.steps_per_epoch(rows);
        if steps == 0 {
            return Vec::new();
        }
        // The last step of an epoch, where training gets so far, has what rows are left.
        let last = (steps as usize - 1) * step;
        let reaches_last = last > 0 && config.total_steps(rows) >= steps && !config.drop_last;
        std::iter::once(0..step).chain(reaches_last.then_some(last..rows)).collect()
    }

    fn plan_evaluation(&self, graph: &mut Graph, network: &Setup) -> Result<()> {
        let valid = &self.prepared.valid;
        if valid.rows > 0 {
            plan_evaluation(graph, &network.model, &network.loss, valid)?;
        }
        Ok(())
    }

    fn plan_details(&self, _: &Plan, work: &Work) -> Result<PlanDetails> {
        let Prepared { train, valid, test, .. } = &*self.prepared;
        let rows = [train.rows, valid.rows, test.rows];
        let steps_per_epoch = setup::portions(&self.recipe).steps_per_epoch(train.rows);
        let data_bytes = data_bytes(&self.prepared);
        let process_bytes = work.process_bytes.unwrap_or_default();
        let json = json!({
            "data_bytes": data_bytes,
            "process_bytes": process_bytes,
            "steps_per_epoch": steps_per_epoch,
            "rows": rows,
        });
        let [train, valid, test] = rows.map(|rows| count(rows as u64));
        Ok(PlanDetails {
            json: json.as_object().cloned().unwrap_or_default(),
            headline: Some(("Rows", format!("train {train} · valid {valid} · test {test} rows"))),
            memory: vec![("data", data_bytes), ("process, about", process_bytes)],
            amounts: vec![("steps in an epoch", count(steps_per_epoch))],
            rates: Vec::new(),
            ..PlanDetails::default()
        })
    }

    fn way_to_fit(&self, available: usize) -> Result<String> {
        if let Some(members) = self.fitting_members(available)? {
            return Ok(format!("model.members={members} fits"));
        }
        Ok("make model.hidden or train.batch_size smaller (a smaller batch with train.accumulate gives the same steps)"
            .into())
    }
}
