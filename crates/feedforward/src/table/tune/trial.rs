//! One set of settings, trained a part at a time.

use super::super::recipe::Recipe;
use super::super::setup::{self, Setup};
use super::vary::Vary;
use crate::error::{Error, Result};
use crate::run::task::TaskRecipe;
use crate::run::watch::Watcher;
use ff_table::{Prepared, prepare};
use ff_tensor::{Device, Key};
use ff_train::{Checkpoint, CheckpointPlace, EpochRecord, Monitor, Stop};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often new settings are drawn before the choices count as exhausted.
const DRAWS: u64 = 50;

/// A trial: its settings, and how they did so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// Its number, from 1. The first one has the recipe's own settings.
    pub trial: usize,
    /// The settings that differ from the recipe's, as TOML.
    pub settings: BTreeMap<String, String>,
    /// Epochs trained.
    pub epochs: usize,
    /// The best monitored value so far; lower is better for a loss, higher for a score. `None`
    /// where training diverged.
    pub value: Option<f64>,
    /// The last rung that it reached, from 1.
    pub rung: usize,
    /// The monitored value after each epoch.
    #[serde(skip)]
    pub(super) history: Vec<f64>,
    #[serde(skip)]
    pub(super) recipe: Recipe,
}

/// The recipe itself, then other settings at random, each set once: fewer trials where the choices
/// are fewer.
pub(super) fn draw(recipe: &Recipe, vary: &[Vary], trials: usize) -> Result<Vec<Trial>> {
    let seed = Key::new(recipe.train.seed).with_name("tune");
    let mut drawn: Vec<BTreeMap<String, String>> = vec![BTreeMap::new()];
    while drawn.len() < trials {
        let key = seed.with(drawn.len() as u64);
        let settings = |attempt: u64| -> BTreeMap<String, String> {
            vary.iter().map(|v| (v.key.clone(), v.draw(key.with(attempt)))).collect()
        };
        let Some(new) = (0..DRAWS).map(settings).find(|new| !drawn.contains(new)) else { break };
        drawn.push(new);
    }
    let trial = |(i, settings): (usize, BTreeMap<String, String>)| {
        let sets: Vec<String> = settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let recipe = recipe.with_sets(&sets)?;
        Ok(Trial {
            trial: i + 1,
            settings,
            epochs: 0,
            value: None,
            rung: 0,
            history: Vec::new(),
            recipe,
        })
    };
    drawn.into_iter().enumerate().map(trial).collect()
}

/// What all trials share.
pub(super) struct Bench<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) prepared: &'a Prepared,
    pub(super) device: &'a Device,
    /// The folder of checkpoints.
    pub(super) folder: &'a Path,
}

impl Trial {
    /// Trains to so many epochs, from the last checkpoint on. A training that diverges ends its
    /// trial.
    ///
    /// # Errors
    /// The watcher interrupted, the settings do not go together, or a file cannot be written.
    pub(super) fn train(
        &mut self,
        epochs: usize,
        bench: &Bench<'_>,
        watcher: &mut dyn Watcher,
    ) -> Result<()> {
        let threads = bench.device.cpu().threads();
        let own = (self.recipe.data != bench.recipe.data)
            .then(|| prepare(&self.recipe.data, self.recipe.train.seed, Path::new(""), threads))
            .transpose()?;
        let prepared = own.as_ref().unwrap_or(bench.prepared);
        if prepared.parts != bench.prepared.parts {
            return Err(Error::usage(format!(
                "trial {} reads other rows than the recipe, so it cannot be compared: do not vary {}",
                self.trial,
                self.settings.keys().cloned().collect::<Vec<_>>().join(", ")
            )));
        }
        let recipe = self.recipe.for_data(&prepared.train, prepared.split);
        let (setup, graph) = Setup::new(
            &recipe,
            &prepared.target,
            &prepared.transforms,
            &prepared.train,
            bench.device,
        )?;
        let mut trainer = setup::trainer(&recipe, graph, bench.device)?;
        let path = self.checkpoint(bench.folder);
        let identity =
            format!("{}\n{}", prepared.hash, self.recipe.without_incidentals().to_toml());
        let place = CheckpointPlace { path: &path, identity: &identity };
        if path.exists() {
            trainer.resume(&Checkpoint::open(&place, bench.device.cpu().isa())?)?;
        }
        let mut trainer = trainer.until_epoch(epochs);
        let mut stop = Some(Stop::Finished);
        // A resumed search may have trained further than this rung asks for.
        if trainer.progress().epoch < epochs {
            let mut objective = setup.objective(&recipe, &prepared.train, &prepared.valid);
            stop = match trainer.fit(&mut objective, watcher, Some(&place)) {
                Err(ff_train::Error::Diverged { .. }) => None,
                fitted => Some(fitted?),
            };
        }
        if stop == Some(Stop::Interrupted) {
            return Err(super::interrupted());
        }
        let monitor = recipe.train.monitor;
        let value = |record: &EpochRecord| match monitor {
            Monitor::Loss => record.valid_loss.unwrap_or(f64::NAN),
            Monitor::Score => record.valid_score.unwrap_or(f64::NAN),
        };
        let history = trainer.progress().history.iter().map(value).take(epochs);
        self.history = stop.map_or_else(Vec::new, |_| history.collect());
        (self.epochs, self.rung) = (trainer.progress().epoch.min(epochs), self.rung + 1);
        self.value = Some(self.value_after(epochs)).filter(|value| !value.is_nan());
        Ok(())
    }

    /// The best monitored value within so many epochs; NaN where training diverged.
    pub(super) fn value_after(&self, epochs: usize) -> f64 {
        let within = self.history.iter().copied().take(epochs);
        let best = match self.recipe.train.monitor {
            Monitor::Loss => within.reduce(f64::min),
            Monitor::Score => within.reduce(f64::max),
        };
        best.unwrap_or(f64::NAN)
    }

    /// [`Trial::value_after`] with a sign such that higher is better, for comparisons.
    pub(super) fn merit_after(&self, epochs: usize) -> f64 {
        let sign = if self.recipe.train.monitor == Monitor::Loss { -1.0 } else { 1.0 };
        Some(sign * self.value_after(epochs)).filter(|v| !v.is_nan()).unwrap_or(f64::NEG_INFINITY)
    }

    /// The merit of all epochs so far.
    pub(super) fn merit(&self) -> f64 {
        self.merit_after(usize::MAX)
    }

    fn checkpoint(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.safetensors", self.trial))
    }

    /// The settings in one line.
    pub(super) fn words(&self) -> String {
        if self.settings.is_empty() {
            return "the recipe's own settings".into();
        }
        let words: Vec<String> = self.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        words.join(" ")
    }
}
