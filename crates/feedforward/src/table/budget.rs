//! Settings that fit into a time on this machine.

use super::recipe::{Quality, Recipe};
use super::setup;
use super::task::Tables;
use crate::error::{Error, Result};
use crate::run::folder::RunFolder;
use crate::run::measure::{measure, open_device, time_steps};
use crate::run::task::{Purpose, Task};
use crate::run::watch::Watcher;
use crate::words;
use ff_tensor::DeviceOptions;
use ff_train::Event;
use std::rc::Rc;
use std::time::Instant;

/// The share of the time for evaluations, explanations and the report.
const REST: f64 = 0.25;
/// The fewest epochs that make a model.
const LEAST_EPOCHS: u64 = 2;
/// The share of its steps, the most that a quality may take, that it has to have time for.
const LEAST_SHARE: u64 = 4;
/// What is tried, from the longest to the shortest, with what it goes without: all networks take
/// steps like those that are timed.
const LADDER: [(Quality, Option<&str>); 4] = [
    (Quality::Best, Some("model.numeric_bags=")),
    (Quality::Good, None),
    (Quality::Good, Some("train.bags=")),
    (Quality::Fast, None),
];

impl Recipe {
    /// The recipe of a table that trains in about so many seconds on this machine: the highest
    /// quality with time for a quarter of its steps or more, and as many steps as there is time
    /// for.
    ///
    /// Reads the data and times a few steps. The recipe states its steps, so it gives the same
    /// model wherever it is trained again.
    ///
    /// # Errors
    /// Invalid overrides or data, or a time too short for one model.
    pub fn within_seconds(
        path: &str,
        seconds: f64,
        sets: &[String],
        device: DeviceOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut read: Option<Tables> = None;
        let mut least = f64::NAN;
        for (quality, less) in LADDER {
            let mut sets = sets.to_vec();
            // A rate that falls to zero is for a network from its start.
            sets.splice(0..0, less.into_iter().chain([ANEW]).map(str::to_owned));
            let recipe = Self::for_table(path, quality, &sets)?;
            let device = open_device(&recipe, device)?;
            let task = if let Some(task) = read.take() {
                task.with_recipe(&recipe)?
            } else {
                let nowhere = RunFolder::at("");
                Tables::prepare(recipe, Purpose::Plan(&nowhere), &device, watcher)?
            };
            watcher.event(Event::Phase("timing some steps"));
            let step = time_steps(&task, &device)?;
            // Reading takes its time once more.
            let left = (seconds - 2.0 * started.elapsed().as_secs_f64()) * (1.0 - REST);
            let work = task.work(&measure(&task)?);
            let most = work.total_steps.max(1);
            // What follows the judged network takes steps in proportion.
            let seconds_per_step = step * (most + work.steps_after) as f64 / most as f64;
            let steps = (left / seconds_per_step).max(0.0) as u64;
            let fewest = LEAST_EPOCHS * task.steps_per_epoch();
            if LEAST_SHARE * steps >= most || (quality == Quality::Fast && steps >= fewest) {
                if steps < most {
                    // The rate falls to zero at the end, however near that is.
                    sets.splice(0..0, [format!("train.steps={steps}"), ONE_CYCLE.into()]);
                }
                return Ok(Self::for_table(path, quality, &sets)?);
            }
            least = 2.0 * started.elapsed().as_secs_f64()
                + fewest as f64 * seconds_per_step / (1.0 - REST);
            read = Some(task);
        }
        Err(Error::usage(format!(
            "{} is too short for one model of this table: it takes about {} on this machine",
            words::duration(seconds),
            words::duration(least.ceil())
        )))
    }
}

/// The kept model is a new network, whatever the number of rows.
const ANEW: &str = "train.refit_judged_above=";
/// The shape of a rate that falls to zero.
const ONE_CYCLE: &str = "schedule.kind='one_cycle'";

impl Tables {
    /// The same data with another recipe, whose `[data]` is the same.
    fn with_recipe(&self, recipe: &Recipe) -> Result<Self> {
        let prepared = self.prepared();
        Self::new(recipe.for_data(&prepared.train, prepared.split), Rc::clone(prepared))
    }

    /// Optimiser steps per pass over the training part.
    fn steps_per_epoch(&self) -> u64 {
        setup::portions(self.recipe()).steps_per_epoch(self.prepared().train.rows)
    }
}
