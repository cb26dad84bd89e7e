//! The recipe of a table: what to train on what, and how.

use super::evaluate_config::EvaluateConfig;
use super::kind;
use super::tune::config::TuneConfig;
use crate::run::names::{SYNONYMS, TITLE};
use crate::run::task::{Incidentals, TaskRecipe};
use ff_nn::{LossConfig, ModelConfig, Precision};
use ff_settings::{ConfigError, Problem, RecipeError, Settings, check_folder_name, find_beside};
use ff_table::{Encoded, SplitKind};
use ff_train::TrainConfig;
use ff_train::optim::OptimizerConfig;
use ff_train::schedule::ScheduleConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that decides a run: data, network, loss, optimiser, schedule, length, evaluation.
///
/// ```
/// use feedforward::Recipe;
/// let text = "
///     [data]
///     path = 'datasets/digits.csv'
///     target = 'label'
///     [model]
///     hidden = [128]
/// ";
/// let recipe = Recipe::parse(text, "digits.toml", &["train.epochs=5".into()])?;
/// assert_eq!((recipe.model.hidden, recipe.train.epochs), (vec![128], 5));
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "A recipe of feedforward")]
pub struct Recipe {
    /// The name of the run's folder; from the data's name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Start from the weights of this file, which `feedforward import` writes of another program's
    /// network; the recipe has the layers of that network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// Start with the optimiser's state of this file too, which `feedforward import` writes of a
    /// network of Keras: training goes on with its moments and its number of updates. Columns and
    /// target stay in their units: `data.scaling` is none and `data.target_scaling` false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_optimizer: Option<PathBuf>,
    /// The file to learn from and the use of its columns.
    pub data: ff_table::DataConfig,
    /// The network.
    pub model: ff_nn::ModelConfig,
    /// The loss.
    pub loss: ff_nn::LossConfig,
    /// The optimiser.
    pub optimizer: ff_train::optim::OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ff_train::schedule::ScheduleConfig,
    /// Length, batches, early stopping.
    pub train: ff_train::TrainConfig,
    /// The evaluation at the end.
    pub evaluate: EvaluateConfig,
    /// The search of `feedforward tune`.
    #[serde(skip_serializing_if = "TuneConfig::is_default")]
    pub tune: TuneConfig,
}

impl Recipe {
    /// Reads a recipe's file and puts the overrides of the command line (`key=value`) in.
    ///
    /// A relative path of data that is not there from the current folder is looked for from the
    /// recipe's own.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is not right.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        let mut recipe =
            Self::parse(&ff_settings::read_text(path)?, &path.display().to_string(), sets)?;
        recipe.find_files(path.parent().unwrap_or(Path::new("")));
        Ok(recipe)
    }

    /// Reads a recipe from its text; `origin` is what messages call it.
    ///
    /// # Errors
    /// Something in it is not right.
    pub fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self, RecipeError> {
        ff_settings::parse(text, origin, sets)
    }

    /// The recipe of a table: settings of a quality, but for those that do not go with `sets`, then
    /// `sets`.
    ///
    /// ```
    /// use feedforward::{Recipe, table::Quality};
    /// let sets = ["optimizer.kind='sgd'".into()];
    /// let recipe = Recipe::for_table("iris.csv", Quality::Good, &sets)?;
    /// assert_eq!(recipe.model.members, Some(8));
    /// # Ok::<(), feedforward::RecipeError>(())
    /// ```
    ///
    /// # Errors
    /// An override is not right.
    pub fn for_table(path: &str, quality: Quality, sets: &[String]) -> Result<Self, RecipeError> {
        let path = format!("data.path={}", toml::Value::String(path.into()));
        let all = std::iter::once(path).chain(quality.sets_beside(sets));
        let all: Vec<String> = all.chain(sets.iter().cloned()).collect();
        Self::parse("", "the command line", &all)
    }

    /// The same recipe with other overrides.
    ///
    /// # Errors
    /// An override is not right.
    pub fn with_sets(&self, sets: &[String]) -> Result<Self, RecipeError> {
        Self::parse(&self.to_toml(), "the defaults", sets)
    }

    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// The first value of each table that is not.
    pub fn validate(&self) -> Result<(), RecipeError> {
        let errors = self.out_of_range().into_iter();
        RecipeError::check(errors.map(Problem::from).collect())
    }

    /// The recipe as TOML with a word on every key.
    ///
    /// ```
    /// let text = feedforward::Recipe::default().to_toml();
    /// assert!(text.contains("\nepochs = 200"));
    /// ```
    pub fn to_toml(&self) -> String {
        ff_settings::to_toml(self)
    }

    /// The same recipe with the batches, the sizes and the patience for these rows: see
    /// [`TrainConfig::batch_max`], [`TrainConfig::bags_below`],
    /// [`TrainConfig::refit_judged_above`], [`ff_nn::ModelConfig::double_above`],
    /// [`ff_nn::ModelConfig::halve_members_above`] and [`TrainConfig::text_patience`] with
    /// [`TrainConfig::text_min_gain`].
    pub(crate) fn for_data(&self, train: &Encoded, split: SplitKind) -> Self {
        let mut recipe = Self { train: self.train.for_rows(train.rows), ..self.clone() };
        let folds = split != SplitKind::Time && train.texts.is_empty();
        if recipe.train.bags_below.is_some_and(|most| train.rows >= most || !folds) {
            recipe.train.bags = None;
        }
        if recipe.train.refit_judged_above.is_some_and(|most| train.rows <= most) {
            recipe.train.refit_judged_above = None;
        }
        // The widths beside texts were chosen for any number of rows.
        if train.texts.is_empty() {
            recipe.model = self.model.for_rows(train.rows);
        }
        let texts = !train.texts.is_empty() && train.n_numeric == 0;
        let alone = texts && train.n_categorical == train.texts.len();
        if let Some(patience) = recipe.train.text_patience.filter(|_| alone) {
            recipe.train.patience = patience;
        }
        if alone && recipe.train.text_min_gain.is_some() {
            recipe.train.min_gain = recipe.train.text_min_gain;
        }
        kind::for_target(recipe.for_kind(), train);
        recipe
    }

    /// The parts of which a kind of network decides.
    pub(super) fn for_kind(&mut self) -> (&mut ModelConfig, &mut OptimizerConfig, &mut LossConfig) {
        (&mut self.model, &mut self.optimizer, &mut self.loss)
    }

    fn find_files(&mut self, folder: &Path) {
        let split = &mut self.data.split;
        let others = [&mut self.data.labels, &mut split.valid_path, &mut split.test_path];
        let paths = std::iter::once(&mut self.data.path).chain(others.into_iter().flatten());
        let starts = [&mut self.start, &mut self.start_optimizer];
        let paths = paths.chain(starts.into_iter().flatten());
        paths.for_each(|path| find_beside(path, folder));
    }
}

/// How much time a table's network may take when no recipe says so.
///
/// ```
/// assert!(feedforward::table::Quality::Fast.sets().contains(&"train.steps=1000"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    /// A small ensemble in a thousand steps, in a few seconds.
    Fast,
    /// An ensemble trained until it gets no better.
    #[default]
    Good,
    /// A larger one.
    Best,
}

impl Quality {
    /// The overrides of the default recipe, which docs/tables.md tells how they were chosen.
    pub fn sets(self) -> Vec<&'static str> {
        let mut sets = vec![
            "model.members=8",
            "model.numeric='piecewise'",
            "model.numeric_bins=8",
            "model.numeric_dim=4",
            "model.double_above=2000",
            "model.dropout=0.1",
            "optimizer.kind='adamw'",
            "optimizer.lr=0.003",
            "optimizer.weight_decay=0.1",
            "optimizer.ema=0.99",
            "train.batch_max=1024",
            "train.text_patience=2",
            "train.refit=true",
            "train.temperature=true",
        ];
        sets.extend(match self {
            // Few steps at a high rate that falls to zero.
            Self::Fast => &[
                "model.members=4",
                "optimizer.lr=0.012",
                "schedule.kind='one_cycle'",
                "train.steps=1000",
            ][..],
            Self::Good => &[
                "model.halve_members_above=2000",
                "train.patience_start=6",
                "train.text_min_gain=0.01",
                "train.bags=8",
                "train.bags_below=5000",
                "train.refit_judged_above=50000",
            ],
            Self::Best => &[
                "model.members=16",
                "model.numeric_bags='periodic'",
                "train.patience_start=6",
                "train.text_min_gain=0.01",
                "train.bags=8",
                "train.bags_below=50000",
                "train.refit_judged_above=50000",
            ],
        });
        sets
    }
}

impl Quality {
    /// The overrides that go with others of the same recipe.
    fn sets_beside(self, own: &[String]) -> impl Iterator<Item = String> {
        let sets = |keys: &[&str]| {
            own.iter().any(|set| {
                keys.iter().any(|key| set.split('=').next().map(str::trim) == Some(*key))
            })
        };
        let mut left_out = Vec::new();
        // Another rule has another rate.
        if sets(&["optimizer.kind", "optimizer"]) {
            left_out.push("optimizer.");
        }
        // Other vectors of numbers have other sizes.
        if sets(&["model.numeric"]) {
            left_out.push("model.numeric");
        }
        // Another kind of network brings its own settings.
        if sets(&["model.kind"]) {
            left_out.extend(["model.", "optimizer.", "schedule."]);
            left_out.extend([
                "train.batch",
                "train.patience",
                "train.text",
                "train.steps",
                "train.bags",
                "train.refit_judged",
            ]);
        }
        // Members need biases and f32.
        if sets(&["model.precision", "model.bias", "model"]) {
            left_out.push("model.");
        }
        // A patience that is asked for holds from the start.
        if sets(&["train.patience", "train"]) {
            left_out.extend(["train.patience_start", "train.text_patience"]);
        }
        if sets(&["train.min_delta", "train.min_gain", "train"]) {
            left_out.push("train.text_min_gain");
        }
        // So do members.
        if sets(&["model.members"]) {
            left_out.push("model.halve_members_above");
        }
        // Bags that are asked for are made, or refused.
        if sets(&["train.bags", "train"]) {
            left_out.push("train.bags_below");
        }
        // A network that is asked for anew on all rows is.
        if sets(&["train.refit", "train"]) {
            left_out.push("train.refit_judged_above");
        }
        // Steps would override epochs; each shape has keys of its own.
        if sets(&["train.epochs", "train"]) {
            left_out.push("train.steps");
        }
        if sets(&["schedule.kind", "schedule"]) {
            // A rate that falls gains most at its end.
            left_out.extend(["schedule.", "train.patience_start", "train.text_min_gain"]);
            left_out.push("train.refit_judged_above");
        }
        let keep = move |set: &&str| !left_out.iter().any(|prefix| set.starts_with(prefix));
        self.sets().into_iter().filter(keep).map(str::to_owned)
    }
}

impl Settings for Recipe {
    const TITLE: &str = TITLE;
    const SYNONYMS: &[(&str, &str)] = SYNONYMS;

    fn beneath(recipe: &toml::Value) -> Vec<(&'static str, &'static str)> {
        kind::defaults(recipe)
    }

    fn out_of_range(&self) -> Vec<ConfigError> {
        let name = self.name.as_deref().map_or(Ok(()), |name| check_folder_name("name", name));
        let state = match (&self.start_optimizer, &self.start) {
            (Some(_), None) => Err(ConfigError::new(
                "start_optimizer",
                "needs `start`, the weights that the state belongs to",
            )),
            _ => Ok(()),
        };
        let tables = [
            name,
            state,
            self.data.validate(),
            self.model.validate(),
            self.loss.validate(),
            self.optimizer.validate().map_err(|e| e.inside("optimizer")),
            self.schedule.validate().map_err(|e| e.inside("schedule")),
            self.train.validate(),
            self.evaluate.validate(),
            self.tune.validate(),
        ];
        tables.into_iter().filter_map(Result::err).collect()
    }
}

impl TaskRecipe for Recipe {
    fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        Recipe::load(path, sets)
    }

    /// The recipe's name, or that of its data without what follows the first dot.
    fn run_name(&self) -> String {
        let stem = self.data.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let stem = stem.map(|stem| stem.split('.').next().unwrap_or_default().to_owned());
        let name = self.name.clone().or(stem).unwrap_or_default();
        let plain: String =
            name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).collect();
        let plain = plain.trim_matches('-');
        if plain.is_empty() { "run".into() } else { plain.into() }
    }

    fn without_search(&self) -> Self {
        Self { tune: TuneConfig::default(), ..self.clone() }
    }

    fn incidentals(&mut self) -> Incidentals<'_> {
        (&mut self.name, &mut self.train.threads, &mut self.train.checkpoint_seconds)
    }

    fn optimizer(&self) -> &OptimizerConfig {
        &self.optimizer
    }

    fn start_optimizer(&self) -> Option<&Path> {
        self.start_optimizer.as_deref()
    }

    fn schedule(&self) -> &ScheduleConfig {
        &self.schedule
    }

    fn loop_config(&self) -> TrainConfig {
        self.train.clone()
    }

    fn precision(&self) -> Precision {
        self.model.precision
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
