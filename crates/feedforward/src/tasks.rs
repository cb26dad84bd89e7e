//! Every task, and recipes of any of them.

#[cfg(feature = "language")]
use crate::encoder::{EncoderRecipe, EncoderTask};
use crate::error::Result;
#[cfg(feature = "language")]
use crate::finetune::{FineTuning, FinetuneRecipe};
#[cfg(feature = "language")]
use crate::language::Pretraining;
use crate::run::folder::RunFolder;
use crate::run::life::{self, TrainOptions};
use crate::run::measure;
use crate::run::plan::Plan;
use crate::run::summary::{Ran, RunSummary};
use crate::run::task::{Task, TaskRecipe};
use crate::run::watch::Watcher;
#[cfg(feature = "language")]
use crate::sequence::{SequenceRecipe, Sequences};
use crate::table::{Recipe, Tables};
use crate::task_keys::{
    ENCODER_KEYS, FINETUNE_KEYS, PRETRAIN_KEYS, SEQUENCE_KEYS, TRANSLATION_KEYS, is_set_of,
    states_any,
};
#[cfg(feature = "language")]
use crate::translation::{Translating, TranslationRecipe};
use ff_settings::{Problem, RecipeError, read_text};
use ff_tensor::DeviceOptions;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};
use std::marker::PhantomData;
use std::path::Path;

/// Every task. The first one that has a key of the recipe trains it; the last one takes all others.
static TASKS: &[TaskKind] = &[
    #[cfg(feature = "language")]
    TaskKind::of::<Translating>(),
    #[cfg(feature = "language")]
    TaskKind::of::<FineTuning>(),
    #[cfg(feature = "language")]
    TaskKind::of::<Pretraining>(),
    #[cfg(feature = "language")]
    TaskKind::of::<EncoderTask>(),
    #[cfg(feature = "language")]
    TaskKind::of::<Sequences>(),
    TaskKind::of::<Tables>(),
];

/// Reads a recipe file, with overrides.
type Open = fn(&Path, &[String]) -> Result<Box<dyn TrainRecipe>, RecipeError>;
/// Reads a recipe's text, with its name in messages and overrides.
type Parse = fn(&str, &str, &[String]) -> Result<Box<dyn TrainRecipe>, RecipeError>;

/// A task as a value.
struct TaskKind {
    command: &'static str,
    keys: &'static [&'static str],
    open: Open,
    parse: Parse,
    resume: fn(&RunFolder, &str, &TrainOptions, &mut dyn Watcher) -> Result<RunSummary>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl TaskKind {
    const fn of<T: Task + 'static>() -> Self
    where
        T::Recipe: JsonSchema + 'static,
    {
        Self {
            command: T::COMMAND,
            keys: T::KEYS,
            open: |path, sets| {
                Ok(Box::new(Of::<T> { recipe: T::Recipe::load(path, sets)?, task: PhantomData }))
            },
            parse: |text, origin, sets| {
                let recipe: T::Recipe = ff_settings::parse(text, origin, sets)?;
                Ok(Box::new(Of::<T> { recipe, task: PhantomData }))
            },
            resume: |folder, text, options, watcher| {
                life::resume::<T>(folder, text, options, watcher).map(erased::<T>)
            },
            schema: SchemaGenerator::subschema_for::<T::Recipe>,
        }
    }

    /// The task that a recipe states, with the overrides of the command line.
    ///
    /// # Errors
    /// The program was built without this task.
    fn stated(text: &str, sets: &[String]) -> Result<&'static Self, RecipeError> {
        let has_any =
            |keys: &[&str]| states_any(text, keys) || sets.iter().any(|set| is_set_of(set, keys));
        let language =
            [TRANSLATION_KEYS, FINETUNE_KEYS, PRETRAIN_KEYS, ENCODER_KEYS, SEQUENCE_KEYS];
        if cfg!(not(feature = "language")) && language.into_iter().any(has_any) {
            let message =
                "this recipe trains a language model, which this program was built without";
            let help = "build it with --features language, or without --no-default-features";
            return Err(RecipeError::new(Problem::new(message).help(help)));
        }
        let stated = TASKS.iter().find(|task| has_any(task.keys));
        Ok(stated.unwrap_or(&TASKS[TASKS.len() - 1]))
    }

    /// The JSON schema of recipes that state this task.
    fn condition(&self) -> Value {
        let mut any: Vec<Value> = Vec::new();
        let mut inner: Vec<(&str, Vec<Value>)> = Vec::new();
        for key in self.keys {
            let Some((table, key)) = key.split_once('.') else {
                any.push(json!({ "required": [key] }));
                continue;
            };
            let key = json!({ "required": [key] });
            match inner.iter_mut().find(|(name, _)| *name == table) {
                Some((_, keys)) => keys.push(key),
                None => inner.push((table, vec![key])),
            }
        }
        any.extend(inner.into_iter().map(|(table, keys)| {
            json!({ "required": [table], "properties": { (table): { "anyOf": keys } } })
        }));
        json!({ "anyOf": any })
    }
}

/// A recipe of any task.
///
/// ```no_run
/// # fn main() -> feedforward::Result<()> {
/// let recipe = feedforward::open_recipe("recipes/arithmetic.toml".as_ref(), &[])?;
/// assert_eq!(recipe.command(), "pretrain");
/// recipe.train(&Default::default(), &mut ())?;
/// # Ok(())
/// # }
/// ```
pub trait TrainRecipe {
    /// The command of its task: `train`, `pretrain`.
    fn command(&self) -> &'static str;

    /// The recipe as TOML with a comment on every key.
    fn to_toml(&self) -> String;

    /// The recipe as JSON.
    fn to_json(&self) -> Value;

    /// Trains what it describes, in a new folder.
    ///
    /// # Errors
    /// The recipe, the data or the folder is not right, the plan does not fit into memory, or
    /// training diverged.
    fn train(&self, options: &TrainOptions, watcher: &mut dyn Watcher) -> Result<RunSummary>;

    /// Plans a run and measures a few of its steps; nothing is left on disk.
    ///
    /// # Errors
    /// The recipe or the data is not right.
    fn plan(&self, options: DeviceOptions, watcher: &mut dyn Watcher) -> Result<Plan>;
}

/// A recipe with its task.
struct Of<T: Task> {
    recipe: T::Recipe,
    task: PhantomData<T>,
}

impl<T: Task> TrainRecipe for Of<T> {
    fn command(&self) -> &'static str {
        T::COMMAND
    }

    fn to_toml(&self) -> String {
        ff_settings::to_toml(&self.recipe)
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(&self.recipe).unwrap_or_default()
    }

    fn train(&self, options: &TrainOptions, watcher: &mut dyn Watcher) -> Result<RunSummary> {
        life::start::<T>(&self.recipe, options, watcher).map(erased::<T>)
    }

    fn plan(&self, options: DeviceOptions, watcher: &mut dyn Watcher) -> Result<Plan> {
        measure::plan::<T>(&self.recipe, options, watcher)
    }
}

impl From<Recipe> for Box<dyn TrainRecipe> {
    fn from(recipe: Recipe) -> Self {
        Box::new(Of::<Tables> { recipe, task: PhantomData })
    }
}

#[cfg(feature = "language")]
impl From<FinetuneRecipe> for Box<dyn TrainRecipe> {
    fn from(recipe: FinetuneRecipe) -> Self {
        Box::new(Of::<FineTuning> { recipe, task: PhantomData })
    }
}

#[cfg(feature = "language")]
impl From<TranslationRecipe> for Box<dyn TrainRecipe> {
    fn from(recipe: TranslationRecipe) -> Self {
        Box::new(Of::<Translating> { recipe, task: PhantomData })
    }
}

#[cfg(feature = "language")]
impl From<EncoderRecipe> for Box<dyn TrainRecipe> {
    fn from(recipe: EncoderRecipe) -> Self {
        Box::new(Of::<EncoderTask> { recipe, task: PhantomData })
    }
}

#[cfg(feature = "language")]
impl From<SequenceRecipe> for Box<dyn TrainRecipe> {
    fn from(recipe: SequenceRecipe) -> Self {
        Box::new(Of::<Sequences> { recipe, task: PhantomData })
    }
}

/// Whether a recipe's text or overrides name a published encoder, or an objective of one.
///
/// ```
/// assert!(feedforward::names_encoder("model.encoder = 'models/bert'", &[]));
/// assert!(!feedforward::names_encoder("data.path = 'mail.csv'", &["train.seed=1".into()]));
/// ```
pub fn names_encoder(text: &str, sets: &[String]) -> bool {
    [SEQUENCE_KEYS, ENCODER_KEYS]
        .into_iter()
        .any(|keys| states_any(text, keys) || sets.iter().any(|set| is_set_of(set, keys)))
}

/// The recipe of a table whose overrides name a published encoder; `None` where they name none.
///
/// ```
/// # #[cfg(feature = "language")] {
/// let sets = ["data.target='type'".into(), "model.encoder='models/bert'".into()];
/// let recipe = feedforward::encoder_recipe("mail.csv", &sets)?.unwrap();
/// assert!(recipe.to_toml().contains("encoder = \"models/bert\""));
/// # }
/// assert!(feedforward::encoder_recipe("mail.csv", &["train.seed=1".into()])?.is_none());
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
///
/// # Errors
/// An override is not right, or the program was built without encoders.
pub fn encoder_recipe(
    path: &str,
    sets: &[String],
) -> Result<Option<Box<dyn TrainRecipe>>, RecipeError> {
    if !names_encoder("", sets) {
        return Ok(None);
    }
    TaskKind::stated("", sets)?;
    #[cfg(feature = "language")]
    if sets.iter().any(|set| is_set_of(set, ENCODER_KEYS)) {
        return Ok(Some(EncoderRecipe::for_file(path, sets)?.into()));
    }
    #[cfg(feature = "language")]
    return Ok(Some(SequenceRecipe::for_table(path, sets)?.into()));
    #[cfg(not(feature = "language"))]
    {
        let _ = path;
        Ok(None)
    }
}

fn erased<T: Task>(ran: Ran<T::Summary>) -> RunSummary {
    RunSummary {
        run: ran.folder.path().to_owned(),
        command: T::COMMAND,
        interrupted: ran.interrupted,
        steps: ran.steps,
        closing: ran.closing,
        json: serde_json::to_value(&ran.summary).unwrap_or_default(),
    }
}

/// The command of the task that a recipe's text states: `train`, `pretrain`.
///
/// ```
/// # #[cfg(feature = "language")]
/// assert_eq!(feedforward::stated_command("[tokenizer]\nkind = 'bpe'"), "pretrain");
/// assert_eq!(feedforward::stated_command("data.path = 'iris.csv'"), "train");
/// ```
pub fn stated_command(text: &str) -> &'static str {
    TaskKind::stated(text, &[]).map_or(Tables::COMMAND, |task| task.command)
}

/// Reads a recipe file of any task, with the overrides of the command line (`key=value`) applied.
///
/// # Errors
/// The file cannot be read, or has mistakes.
pub fn open_recipe(path: &Path, sets: &[String]) -> Result<Box<dyn TrainRecipe>, RecipeError> {
    let task = TaskKind::stated(&read_text(path)?, sets)?;
    (task.open)(path, sets)
}

/// Reads the text of a recipe of any task with overrides; `origin` is its name in messages.
///
/// ```
/// let text = "data.path = 'iris.csv'\ndata.target = 'species'";
/// let recipe = feedforward::parse_recipe(text, "the text", &["train.epochs=5".into()])?;
/// assert_eq!(recipe.command(), "train");
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
///
/// # Errors
/// The text has mistakes.
pub fn parse_recipe(
    text: &str,
    origin: &str,
    sets: &[String],
) -> Result<Box<dyn TrainRecipe>, RecipeError> {
    (TaskKind::stated(text, sets)?.parse)(text, origin, sets)
}

/// Resumes a stopped run of any task from its last checkpoint, or from step 0 without one.
///
/// # Errors
/// There is no such run, it is finished, its recipe or its data has changed, or its checkpoint does
/// not fit.
pub fn resume(
    path: &Path,
    options: &TrainOptions,
    watcher: &mut dyn Watcher,
) -> Result<RunSummary> {
    let folder = RunFolder::open(path)?;
    let text = read_text(&folder.recipe())?;
    (TaskKind::stated(&text, &[])?.resume)(&folder, &text, options, watcher)
}

/// The JSON schema of recipes of any task, for editors.
///
/// ```
/// let schema = feedforward::recipe_schema();
/// assert!(
///     schema.contains("\"$schema\"")
///         && schema.contains("\"target\"")
/// );
/// ```
pub fn recipe_schema() -> String {
    let mut generator = SchemaGenerator::default();
    let schemas: Vec<Schema> = TASKS.iter().map(|task| (task.schema)(&mut generator)).collect();
    // From the last task on: if a recipe states this task then its schema, else that of the tasks
    // behind.
    let mut tasks = TASKS.iter().zip(schemas).rev();
    let last = tasks.next().map(|(_, schema)| schema.to_value()).unwrap_or_default();
    let choice = tasks.fold(
        last,
        |others, (task, schema)| json!({ "if": task.condition(), "then": schema, "else": others }),
    );
    let mut whole = json!({
        "$schema": generator.settings().meta_schema,
        "title": "A recipe of feedforward",
    });
    if let (Some(whole), Value::Object(choice)) = (whole.as_object_mut(), choice) {
        whole.extend(choice);
        whole.insert("$defs".into(), generator.take_definitions(true).into());
    }
    ff_settings::plain_descriptions(&mut whole);
    format!("{whole:#}\n")
}

#[cfg(all(test, feature = "language"))]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipe.schema.json");
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            published == crate::tasks::recipe_schema(),
            "docs/recipe.schema.json is out of date: run `feedforward recipe schema > docs/recipe.schema.json`"
        );
    }
}
