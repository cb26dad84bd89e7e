//! The recipe of a language model.

use super::addition::Addition;
use super::decoder_config;
use super::tables::{ModelTable, PretrainConfig, SampleConfig, TokenizerTable};
use crate::run::names::{SYNONYMS, TITLE};
use crate::run::task::{Incidentals, TaskRecipe};
use ff_nn::Precision;
use ff_settings::{ConfigError, RecipeError, Settings, check_folder_name, find_beside};
use ff_text::TextConfig;
use ff_train::TrainConfig;
use ff_train::optim::OptimizerConfig;
use ff_train::schedule::ScheduleConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that determines a pretraining run: text, tokenizer, model, optimiser, schedule,
/// length.
///
/// ```
/// use feedforward::language::PretrainRecipe;
/// let text = "
///     [data]
///     paths = ['shakespeare.txt']
///     [tokenizer]
///     kind = 'characters'
///     [model.config]
///     model_type = 'gpt2'
///     n_embd = 128
///     n_layer = 4
///     n_head = 4
/// ";
/// let recipe = PretrainRecipe::parse(text, "shakespeare.toml", &["train.steps=2000".into()])?;
/// assert_eq!(recipe.train.steps, Some(2000));
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "A pretraining recipe of feedforward")]
pub struct PretrainRecipe {
    /// The name of the run's folder; from the recipe's file name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The text to learn from.
    pub data: TextConfig,
    /// Sums to learn from instead of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<Addition>,
    /// The tokenizer.
    pub tokenizer: TokenizerTable,
    /// The model.
    pub model: ModelTable,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ScheduleConfig,
    /// Length, windows, evaluations.
    pub train: PretrainConfig,
    /// Samples written during training.
    pub sample: SampleConfig,
}

impl PretrainRecipe {
    /// Reads a recipe's file and puts the overrides of the command line (`key=value`) in.
    ///
    /// A relative path that is not there from the current folder is looked for from the recipe's
    /// own.
    ///
    /// # Errors
    /// The file cannot be read, or a value in it is wrong.
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        let mut recipe =
            Self::parse(&ff_settings::read_text(path)?, &path.display().to_string(), sets)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (text, model) = recipe.paths();
        text.into_iter().chain(model).for_each(|path| find_beside(path, folder));
        if recipe.name.is_none() {
            recipe.name = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .filter(|name| name != "recipe");
        }
        Ok(recipe)
    }

    /// The paths of texts, and those of the model and the tokenizer.
    fn paths(&mut self) -> (Vec<&mut PathBuf>, Vec<&mut PathBuf>) {
        let text = self.data.paths.iter_mut().chain(&mut self.data.valid_paths).collect();
        let model = &mut self.model;
        let own = [&mut model.from, &mut model.config_file, &mut self.tokenizer.path];
        (text, own.into_iter().flatten().collect())
    }

    /// The same recipe with relative paths that start at `base`. A text that is not there may lie
    /// in the current folder: a run knows the hash of its text, but not that of a model.
    pub(super) fn started_in(&self, base: &Path) -> Self {
        let mut recipe = self.clone();
        let (text, model) = recipe.paths();
        for path in text {
            let there = base.join(&path);
            if there.exists() || !path.exists() {
                *path = there;
            }
        }
        for path in model {
            *path = base.join(&path);
        }
        recipe
    }

    /// Reads a recipe from its text; messages call it `origin`.
    ///
    /// # Errors
    /// A value in it is wrong.
    pub fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self, RecipeError> {
        ff_settings::parse(text, origin, sets)
    }

    /// The recipe as TOML with a word on every key.
    pub fn to_toml(&self) -> String {
        ff_settings::to_toml(self)
    }
}

impl Settings for PretrainRecipe {
    const TITLE: &str = TITLE;
    const SYNONYMS: &[(&str, &str)] = SYNONYMS;

    fn out_of_range(&self) -> Vec<ConfigError> {
        let name = self.name.as_deref().map_or(Ok(()), |name| check_folder_name("name", name));
        let tables = [
            name,
            self.check_data(),
            self.tokenizer.validate(),
            self.check_model(),
            self.optimizer.validate().map_err(|e| e.inside("optimizer")),
            self.schedule.validate().map_err(|e| e.inside("schedule")),
            self.train.validate(),
            self.sample.validate(),
        ];
        tables.into_iter().filter_map(Result::err).collect()
    }
}

impl PretrainRecipe {
    fn check_data(&self) -> Result<(), ConfigError> {
        match (&self.generate, self.data.paths.is_empty()) {
            (None, true) => Err(ConfigError::new(
                "data.paths",
                "names no text: list files or folders, such as [\"corpus.txt\"]",
            )),
            (Some(_), false) => {
                Err(ConfigError::new("data.paths", "and [generate] exclude each other: remove one"))
            }
            (None, false) => self.data.validate(),
            (Some(sums), true) => sums.validate(),
        }
    }

    /// Checks the recipe's own keys of the model; a config in another file is read when it is used.
    fn check_model(&self) -> Result<(), ConfigError> {
        let model = &self.model;
        if model.from.is_none() && model.config_file.is_none() && model.config.is_empty() {
            let message = "is missing: write the keys of a config.json, such as model_type = \"llama\", or name one with \
                           model.config_file, or a model to continue from with model.from";
            return Err(ConfigError::new("model.config", message));
        }
        decoder_config::check_own(model, self.train.context)
    }
}

impl TaskRecipe for PretrainRecipe {
    fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        PretrainRecipe::load(path, sets)
    }

    fn run_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| "language-model".into())
    }

    fn incidentals(&mut self) -> Incidentals<'_> {
        (&mut self.name, &mut self.train.threads, &mut self.train.checkpoint_seconds)
    }

    fn optimizer(&self) -> &OptimizerConfig {
        &self.optimizer
    }

    fn schedule(&self) -> &ScheduleConfig {
        &self.schedule
    }

    fn loop_config(&self) -> TrainConfig {
        let train = &self.train;
        TrainConfig {
            epochs: train.passes,
            steps: train.steps,
            batch_size: train.batch_size,
            accumulate: train.accumulate,
            seed: train.seed,
            patience: 0,
            restore_best: false,
            checkpoint_seconds: train.checkpoint_seconds,
            threads: train.threads,
            ..TrainConfig::default()
        }
    }

    fn precision(&self) -> Precision {
        self.model.precision
    }
}
