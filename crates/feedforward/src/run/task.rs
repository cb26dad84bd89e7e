//! What a task decides about its runs.

use super::clock::Clock;
use super::folder::{NewFolder, RunFolder};
use super::info::RunInfo;
use super::plan::{Plan, PlanDetails, Sizes, Work};
use super::snapshot::Snapshot;
use super::summary::{Closing, Ended};
use super::watch::Watcher;
use crate::error::Result;
use ff_graph::Graph;
use ff_nn::Precision;
use ff_report::ReportData;
use ff_settings::Settings;
use ff_tensor::Device;
use ff_train::optim::OptimizerConfig;
use ff_train::schedule::ScheduleConfig;
use ff_train::{Objective, Progress, TrainConfig, Trainer};
use serde::Serialize;
use std::ops::Range;
use std::path::Path;

/// Name, threads and `checkpoint_seconds` of a recipe.
pub(crate) type Incidentals<'a> = (&'a mut Option<String>, &'a mut usize, &'a mut f64);

/// A recipe of one task: what the life of a run needs to know of it.
pub(crate) trait TaskRecipe: Settings + Clone {
    /// Reads a recipe file, with the overrides of the command line applied.
    fn load(path: &Path, sets: &[String]) -> Result<Self, ff_settings::RecipeError>;

    /// The name of the run's folder.
    fn run_name(&self) -> String;

    /// The same recipe without what only a search for settings reads.
    fn without_search(&self) -> Self {
        self.clone()
    }

    /// What no result depends on: name, threads, time between checkpoints.
    fn incidentals(&mut self) -> Incidentals<'_>;

    /// The same recipe without both.
    fn without_incidentals(&self) -> Self {
        let mut recipe = self.without_search();
        let (name, threads, checkpoint_seconds) = recipe.incidentals();
        (*name, *threads, *checkpoint_seconds) = (None, 0, 0.0);
        recipe
    }

    /// The table `[optimizer]`.
    fn optimizer(&self) -> &OptimizerConfig;

    /// The file of the state with which the optimiser starts.
    fn start_optimizer(&self) -> Option<&Path> {
        None
    }

    /// The table `[schedule]`.
    fn schedule(&self) -> &ScheduleConfig;

    /// The training loop's view of the recipe.
    fn loop_config(&self) -> TrainConfig;

    /// What matrices are multiplied in.
    fn precision(&self) -> Precision;
}

/// Where a task's data is read for.
#[cfg_attr(not(feature = "language"), expect(dead_code, reason = "tables read only their recipe"))]
pub(crate) enum Purpose<'a> {
    /// A new run, whose folder is made when it is first needed.
    Start(&'a mut NewFolder),
    /// A run that was stopped.
    Resume(&'a RunFolder, &'a RunInfo),
    /// A plan; the folder goes away afterwards.
    Plan(&'a RunFolder),
}

#[cfg(feature = "language")]
impl Purpose<'_> {
    /// The folder that relative paths of the recipe start from.
    pub(crate) fn base(&self) -> &Path {
        match self {
            Purpose::Resume(_, info) => &info.base,
            Purpose::Start(_) | Purpose::Plan(_) => Path::new(""),
        }
    }
}

/// The state at the moment when training starts or continues.
#[cfg_attr(not(feature = "language"), expect(dead_code, reason = "tables need none of it"))]
pub(crate) struct Beginning<'a, T: Task> {
    pub(crate) folder: &'a RunFolder,
    pub(crate) network: &'a T::Network,
    pub(crate) trainer: &'a mut Trainer,
    pub(crate) watcher: &'a mut dyn Watcher,
    pub(crate) clock: &'a mut Clock,
}

/// The state after the last step.
pub(crate) struct Ending<'a, T: Task> {
    pub(crate) folder: &'a RunFolder,
    pub(crate) network: T::Network,
    pub(crate) graph: Graph,
    pub(crate) progress: &'a Progress,
    pub(crate) watcher: &'a mut dyn Watcher,
}

/// A kind of training: from a recipe and its data to a network, an objective and scores.
///
/// A new task is a folder with an implementation of this trait, and a line in `tasks.rs`.
pub(crate) trait Task: Sized {
    /// The command that trains it: `train`, or a name of its own.
    const COMMAND: &'static str;

    /// Tables, or keys as `table.key`, that mark a recipe as one of this task; none for the task of
    /// all other recipes.
    const KEYS: &'static [&'static str];

    /// How to train a finished model longer.
    const TRAIN_LONGER: &'static str;

    /// Whether weights of the model that training starts from stay as they are: checkpoints hold
    /// only the others, so a resumed run reads these again.
    const KEEPS_BASE: bool = false;

    /// The recipe.
    type Recipe: TaskRecipe;
    /// The network.
    type Network;
    /// What is collected while the network is trained.
    type Session;
    /// The trained model with its scores.
    type Outcome;
    /// How a run went: the object of `--json`.
    type Summary: Serialize;

    /// Finds what is wrong with a recipe before any data is read.
    fn check(_recipe: &Self::Recipe) -> Result<()> {
        Ok(())
    }

    /// Reads the data, on the device's threads.
    fn prepare(
        recipe: Self::Recipe,
        purpose: Purpose<'_>,
        device: &Device,
        watcher: &mut dyn Watcher,
    ) -> Result<Self>;

    /// Removes what [`Task::prepare`] wrote into the folder of a new run.
    fn remove(_folder: &RunFolder) {}

    /// The recipe.
    fn recipe(&self) -> &Self::Recipe;

    /// The hash of the training data.
    fn data_hash(&self) -> &str;

    /// What a resumed run needs that neither recipe nor data holds: the field `config` of
    /// `run.json`.
    fn note(&self) -> Option<serde_json::Value> {
        None
    }

    /// What the run will do; `sizes` once they are planned.
    fn work(&self, sizes: &Sizes) -> Work;

    /// The network with its first weights.
    fn build(&self, device: &Device) -> Result<(Self::Network, Graph)>;

    /// Reads the weights that training starts from, where the recipe names a model.
    fn load_weights(&self, _graph: &mut Graph) -> Result<()> {
        Ok(())
    }

    /// Optimiser steps between evaluations, where those are not passes over the data. The task then
    /// keeps the best weights itself.
    fn period(&self) -> Option<u64> {
        None
    }

    /// Floating-point operations that the device does per second at most, measured now.
    fn peak_flops(&self, _device: &Device) -> Option<f64> {
        None
    }

    /// Prepares what is collected while training.
    fn begin(&self, beginning: Beginning<'_, Self>) -> Result<Self::Session>;

    /// What is trained; without a session only its steps matter.
    fn objective<'a>(
        &'a self,
        network: &'a Self::Network,
        session: Option<&'a Self::Session>,
    ) -> Box<dyn Objective + 'a>;

    /// What the phase of training is called.
    fn training(&self) -> String {
        "training".into()
    }

    /// Tells the watcher what was collected since the last call.
    fn announce(&self, _session: &Self::Session, _watcher: &mut dyn Watcher) {}

    /// Evaluates the trained network and saves the model and its scores.
    fn finish(&self, session: &Self::Session, ending: Ending<'_, Self>) -> Result<Self::Outcome>;

    /// How the run went.
    fn summary(
        &self,
        ended: &Ended<'_>,
        session: &Self::Session,
        outcome: Option<&Self::Outcome>,
    ) -> Self::Summary;

    /// What a terminal shows of a finished run.
    fn closing(&self, summary: &Self::Summary) -> Closing;

    /// The task's part of the report.
    fn report(
        &self,
        snapshot: &Snapshot<'_>,
        session: &Self::Session,
        outcome: Option<&mut Self::Outcome>,
    ) -> Result<ReportData>;

    /// The rows of each kind of optimiser step, for a plan.
    fn planned_steps(&self) -> Vec<Range<usize>>;

    /// Runs the batches of an evaluation on a device that only counts.
    fn plan_evaluation(&self, graph: &mut Graph, network: &Self::Network) -> Result<()>;

    /// What the task adds to a plan.
    fn plan_details(&self, plan: &Plan, work: &Work) -> Result<PlanDetails>;

    /// What to change so that the run fits into so many bytes.
    fn way_to_fit(&self, available: usize) -> Result<String>;
}
