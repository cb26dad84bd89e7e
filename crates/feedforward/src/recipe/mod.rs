//! The recipe: one TOML file that says what to train on what, and how.
//!
//! Reading one finds everything that is wrong with it at once, each with its line, its column and the nearest right
//! name: see [`RecipeError`].

mod check;
mod document;
mod error;
mod evaluate;
mod expect;
mod write;

pub(crate) use check::nearest;
pub use error::{Problem, RecipeError, Source};
pub use evaluate::EvaluateConfig;

use std::path::{Path, PathBuf};

use crate::pretrain::PretrainRecipe;
use document::{Document, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a `--set` is called where a file has its path.
const SET: &str = "--set";

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
        let mut recipe = Self::parse(&read_text(path)?, &path.display().to_string(), sets)?;
        recipe.find_files(path.parent().unwrap_or(Path::new("")));
        Ok(recipe)
    }

    /// Reads a recipe from its text; `origin` is what messages call it.
    ///
    /// # Errors
    /// Something in it is not right.
    pub fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self, RecipeError> {
        parse(text, origin, sets)
    }

    /// The same recipe with other overrides.
    ///
    /// # Errors
    /// An override is not right.
    pub fn with_sets(&self, sets: &[String]) -> Result<Self, RecipeError> {
        Self::parse(&self.to_toml(), "the defaults", sets)
    }

    /// Checks that every value is in its domain.
    ///
    /// # Errors
    /// Every table's first value that is not.
    pub fn validate(&self) -> Result<(), RecipeError> {
        let problems = self.out_of_domain().into_iter();
        RecipeError::check(
            problems
                .map(|(key, message)| Problem::new(format!("`{key}`: {message}")).key(key))
                .collect(),
        )
    }

    /// The recipe as TOML with a word on every key.
    ///
    /// ```
    /// let text = feedforward::Recipe::default().to_toml();
    /// assert!(text.contains("\nepochs = 200"));
    /// ```
    pub fn to_toml(&self) -> String {
        to_toml(self)
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

impl RecipeFile for Recipe {
    fn out_of_domain(&self) -> Vec<(String, String)> {
        let data = self.data.validate().err().map(|error| match error {
            ff_table::DataError::Config { key, message } => (key, message),
            other => ("data".to_owned(), other.to_string()),
        });
        let nn = |error: ff_nn::ConfigError| (error.key, error.message);
        let optim = |error: ff_train::optim::ConfigError| (error.key, error.message);
        let tables = [
            ("data", data),
            ("model", self.model.validate().err().map(nn)),
            ("loss", self.loss.validate().err().map(nn)),
            ("optimizer", self.optimizer.validate().err().map(optim)),
            ("schedule", self.schedule.validate().err().map(optim)),
            ("train", self.train.validate().err().map(nn)),
            ("evaluate", self.evaluate.validate().err().map(nn)),
        ];
        let name = self.name.as_deref().filter(|name| !is_folder_name(name)).map(|name| {
            let message = format!("\"{name}\" cannot name a folder: take letters, digits, - and _");
            ("name".to_owned(), message)
        });
        let tables = tables.into_iter().filter_map(|(table, problem)| {
            let (key, message) = problem?;
            let inside =
                key.strip_prefix(table).is_some_and(|k| k.is_empty() || k.starts_with('.'));
            Some((if inside { key } else { format!("{table}.{key}") }, message))
        });
        name.into_iter().chain(tables).collect()
    }
}

/// A TOML file that is read with care: against its schema, then against the domains of its values.
pub(crate) trait RecipeFile: Serialize + serde::de::DeserializeOwned + JsonSchema {
    /// Each table's first value that is out of its domain: its key and what is wrong.
    fn out_of_domain(&self) -> Vec<(String, String)>;
}

/// Reads a file from its text with the overrides of the command line.
pub(crate) fn parse<R: RecipeFile>(
    text: &str,
    origin: &str,
    sets: &[String],
) -> Result<R, RecipeError> {
    let mut document = Document::parse(text, origin)?;
    sets.iter().try_for_each(|set| document.set(set))?;
    check::check(&mut document, &schema_json::<R>())?;
    let recipe = R::deserialize(document.to_toml()).map_err(|error| {
        let problem = Problem::new(error.to_string().trim().to_owned());
        RecipeError::new(problem.at(&document.source, None))
    })?;
    let problems = recipe.out_of_domain();
    RecipeError::check(problems.into_iter().map(|p| placed(&document, p)).collect())?;
    Ok(recipe)
}

/// As TOML with a word on every key.
pub(crate) fn to_toml<R: RecipeFile>(recipe: &R) -> String {
    // Serialising can only fail for numbers above 2⁶³; such a recipe could not be written in TOML in the first place.
    let table = toml::Table::try_from(recipe).unwrap_or_default();
    write::write(&table, &schema_json::<R>())
}

/// The text of a recipe's file.
pub(crate) fn read_text(path: &Path) -> Result<String, RecipeError> {
    std::fs::read_to_string(path).map_err(|error| {
        let problem = Problem::new(format!("cannot read the recipe `{}`: {error}", path.display()));
        RecipeError::new(match near_file(path) {
            Some(near) if error.kind() == std::io::ErrorKind::NotFound => {
                problem.help(format!("did you mean `{}`?", near.display()))
            }
            _ => problem,
        })
    })
}

/// A path that is not there from the current folder is looked for beside the recipe.
pub(crate) fn find_beside(path: &mut PathBuf, folder: &Path) {
    if path.is_relative() && path.as_os_str() != "-" && !path.exists() {
        let beside = folder.join(&path);
        if beside.exists() {
            *path = beside;
        }
    }
}

pub(crate) fn schema_json<R: JsonSchema>() -> serde_json::Value {
    let mut schema = schemars::schema_for!(R).to_value();
    plain_descriptions(&mut schema);
    schema
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
    plain_descriptions(&mut schema);
    schema
}

/// Leaves the words of descriptions: the documentation they are made of has examples in Rust and broken lines.
fn plain_descriptions(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    serde_json::Value::String(text) if key == "description" => {
                        let words = text.split("\n\n```").next().unwrap_or_default();
                        *value = words.split('\n').collect::<Vec<_>>().join(" ").trim().into();
                    }
                    other => plain_descriptions(other),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(plain_descriptions),
        _ => {}
    }
}

/// A value out of its domain at the place where it was written.
fn placed(document: &Document, (key, message): (String, String)) -> Problem {
    let problem = Problem::new(format!("`{key}`: {message}")).key(&key);
    match document.find(&key) {
        (Some(node), true) => problem.at(&node.place.source, Some(node.place.span.clone())),
        (Some(node), false) if !matches!(node.value, Value::Table(_)) => {
            problem.at(&node.place.source, Some(node.place.span.clone()))
        }
        _ => {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", &key));
            let place = if table.is_empty() { String::new() } else { format!(" in [{table}]") };
            problem
                .at(&document.source, None)
                .help(format!("`{name}` is not given{place}: write it there, or --set {key}=…"))
        }
    }
}

pub(crate) fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

/// The file of the same folder with the nearest name.
fn near_file(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).ok()?;
    let mut names: Vec<String> = entries
        .map(|entry| {
            Some(entry.ok()?.path()).filter(|p| p.extension().is_some_and(|e| e == "toml"))
        })
        .filter_map(|path| path?.file_name()?.to_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    nearest(path.file_name()?.to_str()?, &names).map(|name| path.with_file_name(name))
}

#[cfg(test)]
mod tests;
