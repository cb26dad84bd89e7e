//! Networks that each learn all rows but one fold (`train.bags`), on which they are stopped, and
//! whose predictions are averaged.
//!
//! The run itself trains the first one, unless the networks are those of `train.refit`; the others
//! follow it here, as many side by side as there are threads, each with a checkpoint of its own, so
//! that a killed run resumes where it stopped.

mod together;

use super::model::{ModelFile, TableModel, network_folder};
use super::recipe::Recipe;
use super::refit;
use super::setup::{self, Setup};
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::run::task::TaskRecipe;
use crate::run::watch::Watcher;
use ff_metrics::ClassLabel;
use ff_nn::Precision;
use ff_table::{Encoded, EncodedParts, Fold, Note, Parts, Prepared};
use ff_tensor::Device;
use ff_train::{Checkpoint, CheckpointPlace, Event, Observer, Stop};
use together::together;

pub(super) use together::at_a_time;

/// What rows are predicted as by the networks that did not learn them.
pub(super) struct OutOfFold {
    /// The rows, encoded for the first network, and their indices in the table.
    pub(super) data: Encoded,
    pub(super) rows: Vec<usize>,
    /// Raw outputs `[rows, outputs]` of classes.
    pub(super) outputs: Vec<f32>,
    /// Numbers in the target's unit.
    pub(super) values: Vec<f64>,
    /// The spread of the members of a network.
    pub(super) spread: Option<Vec<f64>>,
}

/// The folds of a recipe's networks over some rows.
pub(super) fn folds(recipe: &Recipe, prepared: &Prepared, rows: &[usize]) -> Result<Vec<Fold>> {
    let seed = recipe.data.split.seed.unwrap_or(recipe.train.seed);
    Ok(prepared.bags(rows, recipe.train.bags.unwrap_or(1), seed)?)
}

/// The rows outside the test part, ascending.
fn learnable(prepared: &Prepared) -> Vec<usize> {
    let mut rows = [&prepared.parts.train[..], &prepared.parts.valid].concat();
    rows.sort_unstable();
    rows
}

/// Checks that the rows have folds and notes classes that are too rare for each of them; then puts
/// the parts of the first network in place of those of the split, unless `train.refit` keeps the
/// split to judge by.
pub(super) fn take_first(recipe: &Recipe, prepared: &mut Prepared, device: &Device) -> Result<()> {
    let Some(k) = recipe.train.bags else { return Ok(()) };
    let refit = recipe.train.refit;
    let rows = if refit { refit::rows(recipe, prepared) } else { learnable(prepared) };
    let folds = folds(recipe, prepared, &rows)?;
    if let Some((class, rows)) = rare_class(prepared, &rows, k) {
        let message = format!(
            "class `{class}` has {rows} rows to learn from, fewer than the {k} folds of train.bags: some networks \
             are stopped on a fold without it"
        );
        prepared.notes.push(Note::warn(message).undo(format!("train.bags={}", rows.max(2))));
    }
    if !refit {
        let (Fold { train, test: valid }, test) = (folds[0].clone(), prepared.parts.test.clone());
        let threads = device.cpu().threads();
        let parts = prepared.encode_parts(Parts { train, valid, test }, threads)?;
        prepared.take_parts(parts);
    }
    Ok(())
}

/// The rarest class of some rows and its number of them, where that is below `k`.
fn rare_class(prepared: &Prepared, rows: &[usize], k: usize) -> Option<(String, usize)> {
    let classes = &prepared.target.classes;
    let mut counts = vec![0; classes.len()];
    for class in prepared.classes_of(rows) {
        if let Some(count) = class.class().and_then(|class| counts.get_mut(class as usize)) {
            *count += 1;
        }
    }
    let (class, &rows) = counts.iter().enumerate().min_by_key(|(_, rows)| **rows)?;
    (rows < k).then(|| (classes[class].clone(), rows))
}

/// Trains the other networks beside the first, which has been trained; saves them all in the
/// model's folder and reads them again as one model.
///
/// # Errors
/// Training diverged or was interrupted, or memory is short.
pub(super) fn train_others(
    recipe: &Recipe,
    prepared: &Prepared,
    first: TableModel,
    folder: &RunFolder,
    device: &Device,
    watcher: &mut dyn Watcher,
) -> Result<(TableModel, OutOfFold)> {
    let rows = learnable(prepared);
    let bags = Bags { recipe, prepared, folder, device, rows };
    bags.train(Some(first), watcher)
}

/// Trains all networks of some rows, as [`train_others`] does.
///
/// # Errors
/// As there.
pub(super) fn train_all(
    recipe: &Recipe,
    prepared: &Prepared,
    rows: Vec<usize>,
    folder: &RunFolder,
    device: &Device,
    watcher: &mut dyn Watcher,
) -> Result<(TableModel, OutOfFold)> {
    Bags { recipe, prepared, folder, device, rows }.train(None, watcher)
}

/// What the networks of a run share.
struct Bags<'a> {
    recipe: &'a Recipe,
    prepared: &'a Prepared,
    folder: &'a RunFolder,
    device: &'a Device,
    /// The rows to learn, ascending.
    rows: Vec<usize>,
}

impl Bags<'_> {
    /// Trains every network but a first one that is given.
    fn train(
        self,
        mut first: Option<TableModel>,
        watcher: &mut dyn Watcher,
    ) -> Result<(TableModel, OutOfFold)> {
        let Self { recipe, prepared, folder, device, .. } = self;
        let folds = folds(recipe, prepared, &self.rows)?;
        let (k, top) = (folds.len(), folder.model());
        let into = |i: usize| if i == 0 { top.clone() } else { network_folder(&top, i + 1) };
        let given = usize::from(first.is_some());
        if let Some(first) = first.take() {
            first.save(&into(0))?;
        }
        let at_a_time = at_a_time(device.cpu().threads().count(), k - given);
        let trained = together(device, k - given, watcher, |job, device, observer| {
            let i = given + job;
            let beside =
                if at_a_time > 1 { format!(", {at_a_time} at a time") } else { String::new() };
            observer.event(Event::Phase(&format!("training network {} of {k}{beside}", i + 1)));
            // A fold has shapes of its own.
            device.pool().trim();
            train(recipe, prepared, (i, &folds[i]), folder, device, observer)?.save(&into(i))
        })?;
        device.pool().trim();
        if trained.len() < k - given {
            return Err(interrupted(given + trained.len()));
        }
        let mut found: Option<OutOfFold> = None;
        for (i, fold) in folds.iter().enumerate() {
            // What is judged is what was saved, without the gradients and the state of training.
            let mut network = TableModel::open(&into(i), device)?;
            let found = match &mut found {
                Some(found) => found,
                empty => {
                    let rows = self.rows.clone();
                    empty.insert(OutOfFold::new(rows, &network, prepared, device)?)
                }
            };
            found.predict(&mut network, prepared, &fold.test)?;
        }
        let found = found.ok_or_else(|| Error::usage("train.bags has no fold"))?;
        let mut file = TableModel::open(&top, device)?.file().clone();
        file.networks = Some(k);
        TableModel::save_file(&file, &top)?;
        Ok((TableModel::open(&top, device)?, found))
    }
}

/// Trains one of the networks, or resumes it.
fn train(
    recipe: &Recipe,
    prepared: &Prepared,
    (i, fold): (usize, &Fold),
    folder: &RunFolder,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<TableModel> {
    let parts = Parts { train: fold.train.clone(), valid: fold.test.clone(), test: Vec::new() };
    let EncodedParts { train, valid, transforms, .. } =
        prepared.encode_parts(parts, device.cpu().threads())?;
    let mut recipe = recipe.clone();
    recipe.train.seed = recipe.train.seed.wrapping_add(i as u64);
    recipe.model = recipe.model.for_bag(i);
    let (setup, graph) = Setup::new(&recipe, &prepared.target, &transforms, &train, device)?;
    let mut trainer = setup::trainer(&recipe, graph, device)?;
    let path = folder.network_checkpoint(i + 1);
    let identity = format!("{}\n{}", prepared.hash, recipe.without_incidentals().to_toml());
    let place = CheckpointPlace { path: &path, identity: &identity };
    if path.is_file() {
        let checkpoint = Checkpoint::open(&place, device.cpu().isa())?;
        if recipe.model.precision == Precision::Bf16 {
            checkpoint.check_bf16(device.cpu())?;
        }
        trainer.resume(&checkpoint)?;
    } else if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(ff_formats::Error::io(parent, "making the folder"))?;
    }
    let mut objective = setup.objective(&recipe, &train, &valid);
    if trainer.fit(&mut objective, observer, Some(&place))? == Stop::Interrupted {
        return Err(interrupted(i));
    }
    let file = ModelFile { data_hash: prepared.hash.clone(), ..setup.file };
    Ok(TableModel::new(file, transforms, setup.model, trainer.into_graph()))
}

fn interrupted(i: usize) -> Error {
    Error::usage(format!(
        "was interrupted while network {} was trained; everything is saved and can be resumed",
        i + 1
    ))
}

impl OutOfFold {
    fn new(
        rows: Vec<usize>,
        first: &TableModel,
        prepared: &Prepared,
        device: &Device,
    ) -> Result<Self> {
        let threads = device.cpu().threads();
        let data = first.transforms().encode_rows(&prepared.table, &rows, true, threads)?;
        let (n, classes) = (rows.len(), !first.file().classes.is_empty());
        let width = first.file().network.outputs;
        Ok(Self {
            data,
            rows,
            outputs: vec![0.0; if classes { n * width } else { 0 }],
            values: vec![0.0; if classes { 0 } else { n }],
            spread: (first.file().network.members().is_some() && !classes).then(|| vec![0.0; n]),
        })
    }

    /// Puts a network's answers about its own fold into their places.
    fn predict(
        &mut self,
        network: &mut TableModel,
        prepared: &Prepared,
        fold: &[usize],
    ) -> Result<()> {
        let threads = network.threads();
        let encoded = network.transforms().encode_rows(&prepared.table, fold, false, threads)?;
        let outputs = network.outputs(&encoded)?;
        let places: Vec<usize> =
            fold.iter().filter_map(|row| self.rows.binary_search(row).ok()).collect();
        if !self.outputs.is_empty() {
            let width = outputs.len() / fold.len().max(1);
            for (&at, row) in places.iter().zip(outputs.chunks_exact(width.max(1))) {
                self.outputs[at * width..(at + 1) * width].copy_from_slice(row);
            }
        }
        if let super::model::Predictions::Values(values) = network.interpret(&outputs) {
            places.iter().zip(values).for_each(|(&at, value)| self.values[at] = value);
        }
        if let (Some(all), Some(own)) = (&mut self.spread, network.own_spread(&encoded)?) {
            places.iter().zip(own).for_each(|(&at, spread)| all[at] = spread);
        }
        Ok(())
    }
}
