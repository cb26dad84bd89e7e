//! The model that is kept, trained on every row once its settings are judged.

use super::model::{ModelFile, TableModel};
use super::recipe::Recipe;
use super::setup::{self, Setup};
use crate::error::{Error, Result};
use crate::run::watch::Watcher;
use crate::words::count;
use ff_table::{Encoded, EncodedParts, Parts, Prepared, Transforms};
use ff_tensor::Device;
use ff_train::{Event, Stop};

/// The share of its epochs for which a judged network is trained on.
const SHARE: f64 = 0.25;

/// A model that saw all rows.
pub(super) struct Refit {
    pub(super) model: TableModel,
    pub(super) rows: usize,
}

/// The rows of the kept model: all of them, but for a test part in a file of its own.
pub(super) fn rows(recipe: &Recipe, prepared: &Prepared) -> Vec<usize> {
    let Parts { train, valid, test } = &prepared.parts;
    let own_file = recipe.data.split.test_path.is_some();
    let test = if own_file { &[][..] } else { test };
    let mut rows: Vec<usize> = [train, valid, test].into_iter().flatten().copied().collect();
    rows.sort_unstable();
    rows
}

/// How many epochs on all rows follow on so many, and whether the judged network is trained on.
pub(super) fn length(recipe: &Recipe, epochs: usize) -> (usize, bool) {
    if recipe.train.refit_judged_above.is_none() {
        return (epochs.max(1), false);
    }
    (((epochs as f64 * SHARE).ceil() as usize).max(1), true)
}

/// Trains a recipe's network on [`rows`] for as many epochs as the judged one was trained, with
/// transforms fitted on the same rows; or the judged one, with its transforms, for a share of them
/// (see [`length`]).
///
/// # Errors
/// Training diverged or was interrupted, or memory is short.
pub(super) fn refit(
    recipe: &Recipe,
    prepared: &Prepared,
    (judged, epochs): (&TableModel, usize),
    device: &Device,
    watcher: &mut dyn Watcher,
) -> Result<Refit> {
    let rows = rows(recipe, prepared);
    watcher.event(Event::Phase(&format!("training on all {} rows", count(rows.len() as u64))));
    let (epochs, on) = length(recipe, epochs);
    let (train, transforms) = encoded(prepared, rows, on.then_some(judged), device)?;
    let mut recipe = recipe.clone();
    // As many rows in a step as before, and the same rates at the same share of an epoch: only the
    // last epoch is known now.
    recipe.train.patience = 0;
    recipe.train.steps = recipe.train.steps.map(|steps| {
        let per_epoch = |rows: usize| recipe.train.steps_per_epoch(rows).max(1);
        (steps * per_epoch(train.rows)).div_ceil(per_epoch(prepared.train.rows))
    });
    let (setup, graph) = if on {
        // The state belongs to the weights that training started from.
        recipe.start_optimizer = None;
        Setup::like(judged, &recipe, &prepared.target, &train, device)?
    } else {
        Setup::new(&recipe, &prepared.target, &transforms, &train, device)?
    };
    let mut trainer = setup::trainer(&recipe, graph, device)?.until_epoch(epochs);
    let nothing = Encoded::default();
    let mut objective = setup.objective(&recipe, &train, &nothing);
    if trainer.fit(&mut objective, watcher, None)? == Stop::Interrupted {
        return Err(Error::usage(
            "was interrupted while the kept model was trained on all rows; the run is judged and can be resumed",
        ));
    }
    let file = ModelFile { data_hash: prepared.hash.clone(), ..setup.file };
    let model = TableModel::new(file, transforms, setup.model, trainer.into_graph());
    Ok(Refit { model, rows: train.rows })
}

/// The rows as inputs: of the transforms of a model, or of their own.
fn encoded(
    prepared: &Prepared,
    rows: Vec<usize>,
    model: Option<&TableModel>,
    device: &Device,
) -> Result<(Encoded, Transforms)> {
    let threads = device.cpu().threads();
    if let Some(model) = model {
        let transforms = model.transforms().clone();
        return Ok((transforms.encode_rows(&prepared.table, &rows, true, threads)?, transforms));
    }
    let parts = Parts { train: rows, valid: Vec::new(), test: Vec::new() };
    let EncodedParts { train, transforms, .. } = prepared.encode_parts(parts, threads)?;
    Ok((train, transforms))
}
