//! The recipe: one TOML file that says what to train on what, and how.
//!
//! Reading one finds everything that is wrong with it at once, each with its line, its column and the nearest right
//! name: see [`RecipeError`].

mod evaluate;

pub use evaluate::EvaluateConfig;
pub use ff_settings::{Problem, RecipeError, Source};

use std::path::Path;

use crate::pretrain::PretrainRecipe;
use ff_settings::{ConfigError, Settings, check_folder_name, find_beside};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// What the run's folder is called; from the data's name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The file to learn from and what becomes of its columns.
    pub data: ff_table::DataConfig,
    /// The network.
    pub model: ff_nn::ModelConfig,
    /// What is made small.
    pub loss: ff_nn::LossConfig,
    /// How it is made small.
    pub optimizer: ff_train::optim::OptimizerConfig,
    /// How the learning rate changes.
    pub schedule: ff_train::schedule::ScheduleConfig,
    /// How long and in which portions.
    pub train: ff_train::TrainConfig,
    /// What is measured at the end.
    pub evaluate: EvaluateConfig,
}

impl Recipe {
    /// Reads a recipe's file and puts the overrides of the command line (`key=value`) in.
    ///
    /// A relative path of data that is not there from the current folder is looked for from the recipe's own.
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

    /// The JSON schema of recipes of any kind, for editors: a recipe with a table that only language models have is checked
    /// as one of those.
    ///
    /// ```
    /// let schema = feedforward::Recipe::schema();
    /// assert!(schema.contains("\"$schema\"") && schema.contains("\"target\"") && schema.contains("\"context\""));
    /// ```
    pub fn schema() -> String {
        format!("{:#}\n", whole_schema())
    }

    fn find_files(&mut self, folder: &Path) {
        let split = &mut self.data.split;
        let others = [&mut self.data.labels, &mut split.valid_path, &mut split.test_path];
        let paths = std::iter::once(&mut self.data.path).chain(others.into_iter().flatten());
        paths.for_each(|path| find_beside(path, folder));
    }
}

impl Settings for Recipe {
    const TITLE: &str = TITLE;
    const SYNONYMS: &[(&str, &str)] = SYNONYMS;

    fn out_of_range(&self) -> Vec<ConfigError> {
        let name = self.name.as_deref().map_or(Ok(()), |name| check_folder_name("name", name));
        let tables = [
            name,
            self.data.validate(),
            self.model.validate(),
            self.loss.validate(),
            self.optimizer.validate().map_err(|e| e.inside("optimizer")),
            self.schedule.validate().map_err(|e| e.inside("schedule")),
            self.train.validate(),
            self.evaluate.validate(),
        ];
        tables.into_iter().filter_map(Result::err).collect()
    }
}

/// The schema of both kinds of recipes, which share their definitions.
fn whole_schema() -> serde_json::Value {
    let mut generator = schemars::SchemaGenerator::default();
    let language = generator.subschema_for::<PretrainRecipe>();
    let table = generator.subschema_for::<Recipe>();
    let mut schema = serde_json::json!({
        "$schema": generator.settings().meta_schema,
        "title": "A recipe of feedforward",
        "if": PretrainRecipe::is_one_schema(),
        "then": language,
        "else": table,
        "$defs": generator.take_definitions(true),
    });
    ff_settings::plain_descriptions(&mut schema);
    schema
}

/// What other programs call our keys.
pub(crate) const SYNONYMS: &[(&str, &str)] = &[
    ("learning_rate", "optimizer.lr"),
    ("rate", "optimizer.lr"),
    ("optimizer_name", "optimizer.kind"),
    ("decay", "optimizer.weight_decay"),
    ("grad_clip", "optimizer.clip_norm"),
    ("gradient_clip", "optimizer.clip_norm"),
    ("max_grad_norm", "optimizer.clip_norm"),
    ("hidden_layer_sizes", "model.hidden"),
    ("hidden_sizes", "model.hidden"),
    ("layers", "model.hidden"),
    ("units", "model.hidden"),
    ("normalization", "model.norm"),
    ("batch_norm", "model.norm"),
    ("max_epochs", "train.epochs"),
    ("num_epochs", "train.epochs"),
    ("max_steps", "train.steps"),
    ("early_stopping", "train.patience"),
    ("gradient_accumulation_steps", "train.accumulate"),
    ("random_state", "train.seed"),
    ("file", "data.path"),
    ("label", "data.target"),
    ("sample_weight", "data.weight"),
];

/// The first line of a written recipe.
pub(crate) const TITLE: &str = "A recipe of feedforward. Every key: `feedforward recipe schema`; try another value: --set KEY=VALUE";

#[cfg(test)]
mod tests;
