//! The search for settings: successive halving over declared ranges.

pub(super) mod config;
mod halving;
mod influence;
mod page;
mod trial;
mod vary;

use super::recipe::Recipe;
use super::setup;
use super::summary::TrainSummary;
use super::task::Tables;
use crate::error::{Error, Result};
use crate::files::write_text;
use crate::run::folder::{NewFolder, RunFolder};
use crate::run::life::{self, TrainOptions};
use crate::run::measure::open_device;
use crate::run::summary::{Closing, Ran};
use crate::run::task::TaskRecipe;
use crate::run::watch::{Notice, Watcher};
use crate::words;
use ff_settings::{read_text, shell_word};
use ff_table::prepare;
use ff_train::{Event, Monitor};
use halving::{Rung, best, rungs};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use trial::{Bench, draw};
use vary::Vary;

pub use config::TuneConfig;
pub use trial::Trial;

/// The recipe with its ranges, in the folder of a search.
const RECIPE: &str = "tune.toml";
/// Every trial so far.
const TRIALS: &str = "trials.json";
/// The states of unfinished trials.
const STATES: &str = "trials";
/// The run of the best settings.
const BEST: &str = "best";
/// Its recipe.
const BEST_RECIPE: &str = "best.toml";

/// How a search went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TuneSummary {
    /// The folder.
    pub folder: PathBuf,
    /// What trials are compared by: `valid loss` or `valid score`.
    pub monitor: &'static str,
    /// Every trial, the best first.
    pub trials: Vec<Trial>,
    /// Each varied setting with the share of the differences that it explains, the largest first.
    pub influence: Vec<Influence>,
    /// The run of the best settings.
    pub best: TrainSummary,
    /// What a terminal shows.
    #[serde(skip)]
    pub closing: Closing,
}

/// How much a setting mattered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Influence {
    /// The setting.
    pub key: String,
    /// ε²: the share of the variance of the ranks, after the first rung, that its values explain.
    pub share: f64,
}

/// Searches settings of a recipe in a new folder, then trains the best ones: `[tune]` says which.
///
/// Trials are compared on the validation part; the test part judges the best one alone. Results do
/// not depend on the number of threads, and a killed search, once resumed, gives bit-identical
/// results.
///
/// # Errors
/// Invalid recipe, ranges, data or folder, or an interruption, after which [`resume_tune`]
/// continues.
pub fn tune(
    recipe: &Recipe,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<TuneSummary> {
    let mut recipe = recipe.clone();
    if recipe.tune.vary.is_empty() {
        recipe.tune.vary = vary::defaults(&recipe);
    }
    let vary = ranges(&recipe)?;
    let name = format!("{}-tune", recipe.run_name());
    let mut new = NewFolder::check(options.out.as_deref(), name)?;
    let search = Search::open(recipe, vary, options, watcher)?;
    let folder = new.make()?;
    write_text(&folder.path().join(RECIPE), &search.recipe.to_toml())?;
    search.run(&folder, options, watcher)
}

/// Resumes a stopped search.
///
/// # Errors
/// There is no search in the folder, it is finished, or as [`tune`].
pub fn resume_tune(
    path: &Path,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<TuneSummary> {
    let folder = RunFolder::at(path);
    let stated = path.join(RECIPE);
    if !stated.is_file() {
        return Err(Error::run(path, format!("is not the folder of a search: it has no {RECIPE}")));
    }
    if RunFolder::at(path.join(BEST)).scores().is_file() {
        return Err(Error::run(path, "is finished; its best run is in best/"));
    }
    let recipe = Recipe::load(&stated, &[])?;
    let vary = ranges(&recipe)?;
    Search::open(recipe, vary, options, watcher)?.run(&folder, options, watcher)
}

/// The ranges of a recipe, checked against it.
fn ranges(recipe: &Recipe) -> Result<Vec<Vary>> {
    let plain = recipe.without_search();
    let mut all: Vec<Vary> = Vec::new();
    for text in &recipe.tune.vary {
        let vary = Vary::parse(text)?;
        vary.check(&plain)?;
        if all.iter().any(|other| other.key == vary.key) {
            return Err(Error::usage(format!("`{}` is varied twice", vary.key)));
        }
        all.push(vary);
    }
    Ok(all)
}

/// A search about to run.
struct Search {
    recipe: Recipe,
    vary: Vec<Vary>,
    trials: Vec<Trial>,
    rungs: Vec<Rung>,
    prepared: ff_table::Prepared,
    device: ff_tensor::Device,
}

impl Search {
    fn open(
        recipe: Recipe,
        vary: Vec<Vary>,
        options: &TrainOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<Self> {
        let device = open_device(&recipe, options.device)?;
        watcher.event(Event::Phase(&format!("reading {}", recipe.data.path.display())));
        let threads = device.cpu().threads();
        let prepared = prepare(&recipe.data, recipe.train.seed, Path::new(""), threads)?;
        if prepared.valid.rows == 0 {
            return Err(Error::usage(
                "a search compares its trials on the validation part, and this split has none: set data.split.valid",
            ));
        }
        let trials = draw(&recipe.without_search(), &vary, recipe.tune.trials)?;
        let rows = prepared.train.rows;
        let config = setup::portions(&recipe.for_data(&prepared.train, prepared.split));
        let epochs = config.total_steps(rows).div_ceil(config.steps_per_epoch(rows).max(1));
        let rungs = rungs(trials.len(), epochs as usize);
        Ok(Self { recipe, vary, trials, rungs, prepared, device })
    }

    fn run(
        mut self,
        folder: &RunFolder,
        options: &TrainOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<TuneSummary> {
        let states = folder.path().join(STATES);
        std::fs::create_dir_all(&states).map_err(ff_formats::Error::io(&states, "making"))?;
        let _claim = folder.claim()?;
        watcher.notice(&Notice::Run(folder.path()));
        let plain = self.recipe.without_search();
        let bench = Bench {
            recipe: &plain,
            prepared: &self.prepared,
            device: &self.device,
            folder: &states,
        };
        let mut going: Vec<usize> = (0..self.trials.len()).collect();
        let mut influence = Vec::new();
        for (i, &Rung { trials, epochs }) in self.rungs.iter().enumerate() {
            going = best(&going, |trial| self.trials[trial].merit(), trials);
            for (j, &trial) in going.iter().enumerate() {
                let trial = &mut self.trials[trial];
                watcher.event(Event::Phase(&format!(
                    "rung {} of {}, trial {} of {trials}: {}",
                    i + 1,
                    self.rungs.len(),
                    j + 1,
                    trial.words()
                )));
                trial.train(epochs, &bench, watcher)?;
            }
            if i == 0 {
                influence = self.influence(epochs);
            }
            self.save(folder, &influence, false)?;
        }
        // The last rung has one trial.
        let winner = going.first().map_or(&self.trials[0], |&winner| &self.trials[winner]);
        let recipe = &winner.recipe;
        write_text(&folder.path().join(BEST_RECIPE), &recipe.to_toml())?;
        watcher.event(Event::Phase("training the best settings"));
        let Some(best) = train_best(recipe, folder, options, watcher)? else {
            return Err(interrupted());
        };
        self.save(folder, &influence, true)?;
        // A finished search needs no states.
        let _ = std::fs::remove_dir_all(&states);
        let trials: Vec<Trial> =
            self.order().into_iter().map(|trial| self.trials[trial].clone()).collect();
        Ok(TuneSummary {
            folder: folder.path().to_owned(),
            monitor: self.monitor(),
            closing: self.closing(folder, winner, &best),
            trials,
            influence,
            best: best.summary,
        })
    }

    /// The trials, the best first: those of the last rung, then by how far they came.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.trials.len()).collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (&self.trials[a], &self.trials[b]);
            b.rung.cmp(&a.rung).then(b.merit().total_cmp(&a.merit())).then(a.trial.cmp(&b.trial))
        });
        order
    }

    /// What each setting explains of the differences after so many epochs, the largest first.
    fn influence(&self, epochs: usize) -> Vec<Influence> {
        let varied = || self.trials.iter().filter(|trial| !trial.settings.is_empty());
        let merits: Vec<f64> = varied().map(|trial| trial.merit_after(epochs)).collect();
        let of = |vary: &Vary| {
            let settings: Vec<String> =
                varied().map(|trial| trial.settings[&vary.key].clone()).collect();
            let share = influence::share(&settings, &merits, vary.is_range());
            Influence { key: vary.key.clone(), share }
        };
        let mut all: Vec<Influence> = self.vary.iter().map(of).collect();
        all.sort_by(|a, b| b.share.total_cmp(&a.share));
        all
    }

    /// What trials are compared by.
    fn monitor(&self) -> &'static str {
        match self.recipe.train.monitor {
            Monitor::Loss => "valid loss",
            Monitor::Score => "valid score",
        }
    }

    fn save(&self, folder: &RunFolder, influence: &[Influence], finished: bool) -> Result<()> {
        let order = self.order();
        let trials: Vec<&Trial> = order.iter().map(|&trial| &self.trials[trial]).collect();
        let state = json!({ "monitor": self.monitor(), "influence": influence, "trials": trials });
        write_text(&folder.path().join(TRIALS), &format!("{state:#}"))?;
        page::write(self, folder, &order, influence, finished)
    }

    /// What a terminal shows of a finished search.
    fn closing(&self, folder: &RunFolder, winner: &Trial, best: &Ran<TrainSummary>) -> Closing {
        let value = |trial: &Trial| {
            let value = trial.value.map_or_else(|| "diverged".into(), |v| format!("{v:.4}"));
            let epochs = words::plural(trial.epochs, "epoch");
            format!("{} {value} after {epochs}", self.monitor())
        };
        let shown = |name| shell_word(&folder.path().join(name).display().to_string());
        let own = &self.trials[0];
        let beside =
            (winner.trial != own.trial).then(|| format!("{}: {}", own.words(), value(own)));
        Closing {
            headline: format!(
                "trial {} of {} did best: {}",
                winner.trial,
                self.trials.len(),
                value(winner)
            ),
            lines: std::iter::once(winner.words()).chain(beside).collect(),
            verdict: best.closing.verdict.clone(),
            next: vec![
                format!("feedforward predict {} --data new.csv", shown(BEST)),
                format!("feedforward train {}", shown(BEST_RECIPE)),
            ],
        }
    }
}

/// Trains the best settings as a run of its own, or resumes it; `None` if it was interrupted.
fn train_best(
    recipe: &Recipe,
    folder: &RunFolder,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<Option<Ran<TrainSummary>>> {
    let run = RunFolder::at(folder.path().join(BEST));
    let options = TrainOptions { out: Some(run.path().to_owned()), ..options.clone() };
    let ran = if run.recipe().is_file() {
        life::resume::<Tables>(&run, &read_text(&run.recipe())?, &options, watcher)?
    } else {
        // A kill before the recipe was written leaves a folder that holds nothing.
        if run.path().is_dir() {
            std::fs::remove_dir_all(run.path())
                .map_err(ff_formats::Error::io(run.path(), "removing"))?;
        }
        life::start::<Tables>(recipe, &options, watcher)?
    };
    Ok((!ran.interrupted).then_some(ran))
}

fn interrupted() -> Error {
    Error::usage("was interrupted; everything so far is saved")
}
