//! Cross-validation: the quality of a recipe, independent of one split.

use super::calibrate;
use super::model::TableModel;
use super::recipe::Recipe;
use super::scores::{self, Judge, Prior};
use super::setup::{self, Setup};
use crate::error::{Error, Result};
use crate::run::measure::open_device;
use crate::run::watch::Watcher;
use ff_metrics::Metric;
use ff_metrics::Scores;
use ff_table::{EncodedParts, prepare};
use ff_tensor::DeviceOptions;
use ff_train::Event;
use serde::Serialize;
use std::path::Path;

/// The scores of every fold of every seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossValidation {
    /// The number of folds.
    pub folds: usize,
    /// The division of rows into folds, in words.
    pub division: String,
    /// The seeds, each with its own folds and initial weights.
    pub seeds: Vec<u64>,
    /// One entry per fold.
    pub results: Vec<FoldResult>,
    /// The mean of each score on held-out folds, over all folds and seeds.
    pub mean: Scores,
    /// The standard deviation, over seeds, of the mean over folds.
    pub std: Scores,
    /// The mean score on the inner validation parts, for choosing settings.
    pub inner: f64,
}

/// One fold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoldResult {
    /// The seed.
    pub seed: u64,
    /// Its number, from 0.
    pub fold: usize,
    /// Training rows and held-out rows.
    pub rows: [usize; 2],
    /// The epoch of the kept weights.
    pub best_epoch: Option<usize>,
    /// Scores on the held-out rows, which chose nothing.
    pub scores: Scores,
    /// Accuracy or R² on the inner validation part.
    pub inner: Option<f64>,
}

/// Trains a recipe once per fold and seed and evaluates it on the held-out rows. Transforms are
/// fitted, and the epoch is chosen, within the other folds. Folds follow the recipe's split: see
/// [`Prepared::folds`](ff_table::Prepared::folds).
///
/// # Errors
/// Invalid recipe or data, or divergence.
pub fn cross_validate(
    recipe: &Recipe,
    folds: usize,
    seeds: &[u64],
    device: DeviceOptions,
    watcher: &mut dyn Watcher,
) -> Result<CrossValidation> {
    if folds < 2 || seeds.is_empty() {
        return Err(Error::usage("cross-validation needs at least 2 folds and one seed"));
    }
    // With train.refit a single network is judged, here as in a run.
    if recipe.train.bags.is_some() && !recipe.train.refit {
        return Err(Error::usage(
            "cross-validation trains one network a fold, and train.bags asks for several; leave one of the two out",
        ));
    }
    let device = open_device(recipe, device)?;
    watcher.event(Event::Phase(&format!("reading {}", recipe.data.path.display())));
    let threads = device.cpu().threads();
    let prepared = prepare(&recipe.data, recipe.train.seed, Path::new(""), threads)?;
    let division = prepared.division(folds);
    let mut results = Vec::new();
    for &seed in seeds {
        for (fold, rows) in prepared.folds(folds, seed)?.iter().enumerate() {
            watcher.event(Event::Phase(&format!("seed {seed}, fold {} of {folds}", fold + 1)));
            let parts = prepared.encode_fold(rows, recipe.data.split.valid, seed, threads)?;
            let EncodedParts { train, valid, test, transforms, .. } = parts;
            let mut recipe = recipe.for_data(&train, prepared.split);
            recipe.train.seed = seed;
            let (setup, graph) =
                Setup::new(&recipe, &prepared.target, &transforms, &train, &device)?;
            let mut trainer = setup::trainer(&recipe, graph, &device)?;
            let mut objective = setup.objective(&recipe, &train, &valid);
            trainer.fit(&mut objective, watcher, None)?;
            let history = &trainer.progress().history;
            let best = trainer.progress().best.filter(|_| recipe.train.restore_best);
            let kept = best.map_or(history.last(), |best| history.get(best.epoch - 1));
            let inner = kept.and_then(|record| record.valid_score);
            let prior = Prior::of(&train, setup.file.classes.len(), &transforms.target)?;
            let mut model =
                TableModel::new(setup.file, transforms, setup.model, trainer.into_graph());
            if recipe.train.temperature && valid.rows > 0 {
                let outputs = model.outputs(&valid)?;
                calibrate::fit(&recipe, model.file_mut(), &outputs, &valid)?;
            }
            let predictions = model.predict_encoded(&test)?;
            let judge = Judge::of(&model, &recipe);
            let report = scores::evaluate_part(judge, &test, &predictions, Some(&prior), false)?;
            results.push(FoldResult {
                seed,
                fold,
                rows: [train.rows, test.rows],
                best_epoch: best.map(|b| b.epoch),
                scores: report.scores().clone(),
                inner,
            });
            if watcher.interrupted() {
                return Err(Error::usage("cross-validation was interrupted; nothing was written"));
            }
        }
    }
    Ok(summarise(folds, division, seeds, results))
}

fn summarise(
    folds: usize,
    division: String,
    seeds: &[u64],
    results: Vec<FoldResult>,
) -> CrossValidation {
    let (mut mean, mut std) = (Scores::default(), Scores::default());
    for &metric in Metric::ALL {
        let by_seed: Vec<f64> = seeds
            .iter()
            .filter_map(|&seed| {
                let of_seed = results.iter().filter(|r| r.seed == seed);
                let values: Option<Vec<f64>> = of_seed.map(|r| r.scores.get(metric)).collect();
                values.map(|v| v.iter().sum::<f64>() / v.len().max(1) as f64)
            })
            .collect();
        if by_seed.len() == seeds.len() {
            let n = by_seed.len() as f64;
            let m = by_seed.iter().sum::<f64>() / n;
            let squares: f64 = by_seed.iter().map(|v| (v - m).powi(2)).sum();
            mean.set(metric, Some(m));
            std.set(metric, (by_seed.len() > 1).then(|| (squares / (n - 1.0)).sqrt()));
        }
    }
    let inner: Vec<f64> = results.iter().filter_map(|r| r.inner).collect();
    let inner = inner.iter().sum::<f64>() / inner.len().max(1) as f64;
    CrossValidation { folds, division, seeds: seeds.to_vec(), results, mean, std, inner }
}
