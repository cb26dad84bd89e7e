//! The recipe of an encoder under a head.

use crate::embedding::Pooling;
use crate::run::names::{SYNONYMS, TITLE};
use crate::run::task::{Incidentals, TaskRecipe};
use crate::table::{EvaluateConfig, Recipe};
use crate::words::count;
use ff_metrics::ThresholdAim;
use ff_nn::models::EncoderConfig;
use ff_nn::{LossConfig, Precision};
use ff_settings::{ConfigError, Range, RecipeError, Settings, check_folder_name, find_beside};
use ff_table::{DataConfig, SplitConfig};
use ff_train::optim::{OptimizerConfig, OptimizerKind};
use ff_train::schedule::ScheduleConfig;
use ff_train::{Monitor, TrainConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that decides a run of a published encoder: data, encoder, loss, optimiser, schedule,
/// length.
///
/// ```
/// use feedforward::sequence::SequenceRecipe;
/// let text = "
///     model.encoder = 'models/all-MiniLM-L6-v2'
///     data.path = 'sms_spam.csv'
///     data.target = 'type'
/// ";
/// let recipe = SequenceRecipe::parse(text, "spam.toml", &["train.epochs=2".into()])?;
/// assert_eq!((recipe.train.epochs, recipe.optimizer.clip_norm), (2, Some(1.0)));
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "A recipe of feedforward for a published encoder")]
pub struct SequenceRecipe {
    /// The name of the run's folder; from the data's name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The file to learn from and the use of its columns.
    pub data: DataConfig,
    /// The encoder.
    pub model: EncoderTable,
    /// The loss.
    pub loss: LossConfig,
    /// The optimiser. By default AdamW with a weight decay of 0.01 and gradients clipped to the
    /// norm 1, at a rate of 5e-5 · 768 / the encoder's width; with `model.frozen` at 1e-2 over the
    /// mean of tokens, else 1e-3.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time; linear to 0 after a warm-up of a tenth by default.
    pub schedule: ScheduleConfig,
    /// Length, batches, early stopping.
    pub train: SequenceConfig,
    /// The evaluation at the end.
    #[serde(skip_serializing_if = "SequenceEvaluate::is_default")]
    pub evaluate: SequenceEvaluate,
}

/// The table `[model]`: the encoder and what is trained of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderTable {
    /// A Hugging Face folder of BERT, RoBERTa, DistilBERT or ModernBERT, a folder of static
    /// embeddings, or a run that trained one.
    pub encoder: PathBuf,
    /// Train the head alone: the encoder's vectors are computed once.
    pub frozen: bool,
    /// The widths of hidden layers between the vector of the texts and the outputs; by default one
    /// of 128 where other columns stand beside the texts, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// How the vectors of a text's tokens become one: `cls`, with the family's hidden layer as
    /// `transformers` has it, or `mean`; by default as the encoder's folder says, else `cls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// The factor of the learning rate from each layer to the one below it; 1 for one rate.
    pub layer_decay: f64,
    /// The factor of the learning rate of the head; 1 by default, and 10 where other columns stand
    /// beside the texts or `hidden` has layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_rate: Option<f64>,
    /// The share of values dropped after the embeddings and in each residual branch; none with
    /// `frozen`.
    pub dropout: f64,
    /// The share of values dropped before the last layer.
    pub head_dropout: f64,
    /// The most tokens of a text, longer ones are cut; by default as the encoder's folder says,
    /// else its positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// The type of matrix products: f32, or bf16 with f32 sums and f32 weights.
    pub precision: Precision,
}

impl Default for EncoderTable {
    fn default() -> Self {
        Self {
            encoder: PathBuf::new(),
            frozen: false,
            hidden: None,
            pooling: None,
            layer_decay: 1.0,
            head_rate: None,
            dropout: 0.1,
            head_dropout: 0.1,
            max_tokens: None,
            precision: Precision::F32,
        }
    }
}

/// The table `[train]`: length and batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceConfig {
    /// Passes over the training part; 20 by default with `model.frozen`.
    pub epochs: usize,
    /// The maximum number of optimiser steps; overrides `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Texts per micro-batch, in memory at a time, of much the same length.
    pub batch_size: usize,
    /// Micro-batches per optimiser step.
    pub accumulate: usize,
    /// Epochs without improvement before training stops; 0 never stops early.
    pub patience: usize,
    /// The score that selects the best epoch.
    pub monitor: Monitor,
    /// Whether to keep the weights of the best epoch instead of the last.
    pub restore_best: bool,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The minimum number of seconds between checkpoints; one is always written at the end and on
    /// Ctrl-C.
    pub checkpoint_seconds: f64,
    /// Threads; 0 for one per core. Results do not depend on this choice.
    pub threads: usize,
}

impl Default for SequenceConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            steps: None,
            batch_size: 32,
            accumulate: 1,
            patience: 0,
            monitor: Monitor::Loss,
            restore_best: true,
            seed: 0,
            checkpoint_seconds: 60.0,
            threads: 0,
        }
    }
}

/// The table `[evaluate]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceEvaluate {
    /// What the decision threshold of `data.positive` is chosen for on the validation part; the
    /// likeliest class by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdAim>,
    /// The k of the top-k accuracy; 5, or 2 where there are few classes, by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
}

impl EncoderTable {
    /// Puts in the rate for an encoder, where the recipe names none: narrow ones learn at higher
    /// rates, and a linear layer at a higher one than a head of two layers.
    pub(crate) fn add_rate(&self, optimizer: &mut OptimizerConfig, config: &EncoderConfig) {
        if optimizer.kind == OptimizerKind::AdamW {
            let usual = match (self.frozen, config.mean_pooled) {
                (true, true) => 1e-2,
                (true, false) => 1e-3,
                (false, _) => 5e-5 * 768.0 / config.hidden_size as f64,
            };
            optimizer.lr.get_or_insert(usual);
        }
    }

    /// Finds what is wrong with its values.
    ///
    /// # Errors
    /// The first one.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.encoder.as_os_str().is_empty() {
            let message = "is missing: name the folder of BERT, RoBERTa, DistilBERT, ModernBERT or of \
                           static embeddings";
            return Err(ConfigError::new("model.encoder", message));
        }
        if self.pooling == Some(Pooling::Last) {
            let message = "last is for decoders; an encoder has cls and mean";
            return Err(ConfigError::new("model.pooling", message));
        }
        if self.frozen && self.layer_decay != 1.0 {
            let message = "has no layers to act on with model.frozen; leave one of them out";
            return Err(ConfigError::new("model.layer_decay", message));
        }
        Range::Above(0.0).check("model.layer_decay", self.layer_decay)?;
        Range::Unit.check("model.layer_decay", self.layer_decay)?;
        if let Some(rate) = self.head_rate {
            Range::Above(0.0).check("model.head_rate", rate)?;
        }
        for &width in self.hidden.iter().flatten() {
            Range::AtLeast(1.0).check("model.hidden", width as f64)?;
        }
        Range::BelowOne.check("model.dropout", self.dropout)?;
        Range::BelowOne.check("model.head_dropout", self.head_dropout)
    }
}

impl SequenceConfig {
    /// Why training ended, in words.
    pub(crate) fn reason(&self, stopped: &str, steps: u64) -> String {
        match stopped {
            "early" => format!("no gain for {} epochs", self.patience),
            _ => format!("all {} steps are done", count(steps)),
        }
    }

    /// Finds what is wrong with its values.
    ///
    /// # Errors
    /// The first one.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("train.epochs", self.epochs as u64),
            ("train.steps", self.steps.unwrap_or(1)),
            ("train.batch_size", self.batch_size as u64),
            ("train.accumulate", self.accumulate as u64),
        ] {
            Range::AtLeast(1.0).check(key, value as f64)?;
        }
        Range::AtLeast(0.0).check("train.checkpoint_seconds", self.checkpoint_seconds)
    }

    /// The training loop's view of it.
    pub(crate) fn loop_config(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            steps: self.steps,
            batch_size: self.batch_size,
            accumulate: self.accumulate,
            seed: self.seed,
            patience: self.patience,
            monitor: self.monitor,
            restore_best: self.restore_best,
            checkpoint_seconds: self.checkpoint_seconds,
            threads: self.threads,
            ..TrainConfig::default()
        }
    }
}

/// Refuses an optimiser that takes all rows at every step.
///
/// # Errors
/// It is one.
pub(crate) fn check_optimizer(optimizer: &OptimizerConfig) -> Result<(), ConfigError> {
    if optimizer.needs_closure() {
        let message = "takes all rows at every step, which is too much for an encoder; use adamw";
        return Err(ConfigError::new("optimizer.kind", message));
    }
    Ok(())
}

impl SequenceEvaluate {
    fn as_table(&self) -> EvaluateConfig {
        EvaluateConfig { threshold: self.threshold, top_k: self.top_k, importance: 0 }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Looks for the data and the encoder of a recipe from its own folder, where they are not there
/// from the current one.
pub(crate) fn find_files(
    (path, split): (&mut PathBuf, &mut SplitConfig),
    encoder: &mut PathBuf,
    recipe: &Path,
) {
    let folder = recipe.parent().unwrap_or(Path::new(""));
    let others = [&mut split.valid_path, &mut split.test_path].into_iter().flatten();
    others.chain([path, encoder]).for_each(|path| find_beside(path, folder));
}

/// The overrides of the command line, with the path of the data before them.
pub(crate) fn with_path(path: &str, sets: &[String]) -> Vec<String> {
    let path = format!("data.path={}", toml::Value::String(path.into()));
    std::iter::once(path).chain(sets.iter().cloned()).collect()
}

/// The defaults of fine-tuning.
const USUAL: &[(&str, &str)] = &[
    ("optimizer.kind", "'adamw'"),
    ("optimizer.weight_decay", "0.01"),
    ("optimizer.clip_norm", "1.0"),
    ("schedule.kind", "'linear'"),
    ("schedule.warmup", "0.1"),
];
/// The length of a head alone.
const HEAD: &[(&str, &str)] = &[("train.epochs", "20")];

/// The defaults of fine-tuning that a recipe does not replace.
pub(crate) fn usual(recipe: &toml::Value) -> Vec<(&'static str, &'static str)> {
    let given = |key: &str| key.split('.').try_fold(recipe, |table, part| table.get(part));
    let kind = given("optimizer.kind").and_then(toml::Value::as_str);
    let frozen = given("model.frozen").and_then(toml::Value::as_bool) == Some(true);
    // What goes with a setting that the recipe replaces.
    let left_out = |key: &str| {
        let optimizer = kind.is_some_and(|kind| kind != "adamw");
        let schedule = given("schedule.kind").is_some();
        (optimizer && key.starts_with("optimizer.")) || (schedule && key.starts_with("schedule."))
    };
    let rest = if frozen { HEAD } else { &[] };
    USUAL.iter().chain(rest).copied().filter(|(key, _)| !left_out(key)).collect()
}

impl SequenceRecipe {
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
        let data = (&mut recipe.data.path, &mut recipe.data.split);
        find_files(data, &mut recipe.model.encoder, path);
        Ok(recipe)
    }

    /// Reads a recipe from its text; messages call it `origin`.
    ///
    /// # Errors
    /// A value in it is wrong.
    pub fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self, RecipeError> {
        ff_settings::parse(text, origin, sets)
    }

    /// The recipe of a table whose overrides name the encoder.
    ///
    /// # Errors
    /// An override is not right.
    pub fn for_table(path: &str, sets: &[String]) -> Result<Self, RecipeError> {
        Self::parse("", "the command line", &with_path(path, sets))
    }

    /// The parts that it shares with the recipe of a table.
    pub(super) fn as_table(&self) -> Recipe {
        Recipe {
            name: self.name.clone(),
            data: self.data.clone(),
            loss: self.loss.clone(),
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            train: self.loop_config(),
            evaluate: self.evaluate.as_table(),
            ..Recipe::default()
        }
    }

    fn check_tables(&self) -> Result<(), ConfigError> {
        self.model.check()?;
        self.train.check()?;
        for (key, set) in [
            ("data.target_log", self.data.target_log),
            ("data.target_clamp", self.data.target_clamp),
        ] {
            if set {
                let message = "does not go with model.encoder, whose last layer is linear";
                return Err(ConfigError::new(key, message));
            }
        }
        check_optimizer(&self.optimizer)
    }
}

impl Settings for SequenceRecipe {
    const TITLE: &str = TITLE;
    const SYNONYMS: &[(&str, &str)] = SYNONYMS;

    fn beneath(recipe: &toml::Value) -> Vec<(&'static str, &'static str)> {
        usual(recipe)
    }

    fn out_of_range(&self) -> Vec<ConfigError> {
        let name = self.name.as_deref().map_or(Ok(()), |name| check_folder_name("name", name));
        let tables = [
            name,
            self.data.validate(),
            self.check_tables(),
            self.loss.validate(),
            self.evaluate.as_table().validate(),
            self.optimizer.validate().map_err(|e| e.inside("optimizer")),
            self.schedule.validate().map_err(|e| e.inside("schedule")),
        ];
        tables.into_iter().filter_map(Result::err).collect()
    }
}

impl TaskRecipe for SequenceRecipe {
    fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        SequenceRecipe::load(path, sets)
    }

    fn run_name(&self) -> String {
        self.as_table().run_name()
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
        self.train.loop_config()
    }

    fn precision(&self) -> Precision {
        self.model.precision
    }
}
