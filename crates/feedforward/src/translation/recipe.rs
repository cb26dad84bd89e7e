//! The recipe of a fine-tuning run on pairs of texts.

use crate::encoder::EncoderData;
use crate::finetune::{AdapterTable, BaseTable, BiasName};
use crate::run::names::{SYNONYMS, TITLE};
use crate::run::task::{Incidentals, TaskRecipe};
use crate::sequence::check_optimizer;
use ff_nn::Precision;
use ff_nn::models::{EncoderDecoderConfig, EncoderDecoderDropout};
use ff_settings::{ConfigError, Range, RecipeError, Settings, check_folder_name, find_beside};
use ff_table::{DataConfig, SplitConfig, SplitKind};
use ff_train::TrainConfig;
use ff_train::optim::OptimizerConfig;
use ff_train::schedule::ScheduleConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that decides a fine-tuning run of an encoder with a decoder: the base model, the
/// pairs, what is trained, optimiser, schedule, length.
///
/// ```
/// use feedforward::translation::TranslationRecipe;
/// let text = "
///     base.model = 'models/t5-small'
///     data.path = 'articles.jsonl'
///     data.source = 'article'
///     data.target = 'summary'
///     data.prefix = 'summarize: '
/// ";
/// let recipe = TranslationRecipe::parse(text, "news.toml", &["train.epochs=2".into()])?;
/// assert_eq!((recipe.train.epochs, recipe.adapter.rank), (2, 8));
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "A recipe of feedforward for an encoder with a decoder")]
pub struct TranslationRecipe {
    /// The name of the run's folder; from the recipe's or the data's file name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model to start from: Marian, T5 (1.1, Flan-T5) or mT5.
    pub base: BaseTable,
    /// The pairs to learn from.
    pub data: TranslationData,
    /// The loss.
    pub loss: TranslationLoss,
    /// The low-rank adapter (LoRA) that is trained and then merged into the model, unless
    /// train.weights names weights of the model itself.
    pub adapter: AdapterTable,
    /// The optimiser. By default AdamW with gradients clipped to the norm 1, at a rate of 1e-3 for
    /// an adapter and of 3e-4 (Marian: 5e-5) for the model's own weights.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time; linear to 0 after a warm-up of a twentieth by default.
    pub schedule: ScheduleConfig,
    /// What is trained, and how long.
    pub train: TranslationConfig,
    /// What is written before and after training to be judged.
    #[serde(skip_serializing_if = "TranslationEvaluate::is_default")]
    pub evaluate: TranslationEvaluate,
}

/// The table `[data]`: the file of pairs and the use of its columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TranslationData {
    /// A table: CSV, JSON lines, Parquet and others.
    pub path: PathBuf,
    /// The column of the texts to read; by default the first of the only two, or of the only two
    /// with several words.
    pub source: String,
    /// The column of the texts to write; by default the second of those.
    pub target: String,
    /// What stands before every source, such as `translate English to German: ` for T5.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The most tokens of a source, longer ones are cut; 512, or the model's positions if it has
    /// fewer, by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_source: Option<usize>,
    /// The same of a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_target: Option<usize>,
    /// Texts that stand for a missing value; pairs with one are left out, as those with an empty
    /// text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub null_values: Vec<String>,
    /// Use at most this many pairs, the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
    /// How pairs are split: at random, or given by files.
    pub split: SplitConfig,
}

impl Default for TranslationData {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            source: String::new(),
            target: String::new(),
            prefix: String::new(),
            max_source: None,
            max_target: None,
            null_values: Vec::new(),
            max_rows: None,
            split: SplitConfig { valid: 0.1, test: 0.0, ..SplitConfig::default() },
        }
    }
}

impl TranslationData {
    /// As rows of texts are read.
    pub(super) fn as_rows(&self) -> EncoderData {
        let named = [&self.source, &self.target].into_iter().filter(|name| !name.is_empty());
        EncoderData {
            path: self.path.clone(),
            text: named.cloned().collect(),
            null_values: self.null_values.clone(),
            max_rows: self.max_rows,
            split: self.split.clone(),
            ..EncoderData::default()
        }
    }
}

/// The table `[loss]`: the cross-entropy of each token of the target, behind those before it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TranslationLoss {
    /// The share of each token's probability that is spread over all tokens; Marian's models were
    /// made with 0.1.
    pub label_smoothing: f64,
}

/// The table `[evaluate]`: what is written of the held-out pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TranslationEvaluate {
    /// The most pairs of a part whose targets are written, the first ones; 0 writes none. The loss
    /// is that of all pairs.
    pub rows: usize,
    /// How many unfinished targets are kept while one is written; 1 takes the likeliest token every
    /// time.
    pub beams: usize,
    /// The most tokens to write; by default twice those of the longest wanted target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

impl Default for TranslationEvaluate {
    fn default() -> Self {
        Self { rows: 200, beams: 1, max_tokens: None }
    }
}

impl TranslationEvaluate {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The table `[train]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TranslationConfig {
    /// The weights of the model to train in place of an adapter, by name or pattern: `*` for all,
    /// `decoder.*` for T5's decoder.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<String>,
    /// The share of values that training drops, in place of the one in the model's config
    /// (`dropout`, and T5's `dropout_rate`, which is that of attention and activations, too).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// The same of the weights of attention (`attention_dropout`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_dropout: Option<f64>,
    /// The same of what the activations give (`activation_dropout`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_dropout: Option<f64>,
    /// Passes over the pairs.
    pub epochs: usize,
    /// The most optimiser steps; overrides `epochs` where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Pairs per micro-batch, in memory at a time, of much the same length.
    pub batch_size: usize,
    /// Micro-batches per optimiser step; the loss is averaged over all their targets' tokens.
    pub accumulate: usize,
    /// Passes without a better held-out loss before training stops; 0 never stops early.
    pub patience: usize,
    /// Keep the weights of the best evaluation instead of the last ones; costs a second copy of
    /// what is trained.
    pub restore_best: bool,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The least seconds between two checkpoints; one is always made at the end and on Ctrl-C.
    pub checkpoint_seconds: f64,
    /// Threads; 0 for one per core. Results do not depend on it.
    pub threads: usize,
}

impl Default for TranslationConfig {
    fn default() -> Self {
        Self {
            weights: Vec::new(),
            dropout: None,
            attention_dropout: None,
            activation_dropout: None,
            epochs: 3,
            steps: None,
            batch_size: 16,
            accumulate: 1,
            patience: 0,
            restore_best: true,
            seed: 0,
            checkpoint_seconds: 60.0,
            threads: 0,
        }
    }
}

impl TranslationRecipe {
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
        let split = &mut recipe.data.split;
        let others = [&mut split.valid_path, &mut split.test_path].into_iter().flatten();
        others
            .chain([&mut recipe.data.path, &mut recipe.base.model])
            .for_each(|path| find_beside(path, folder));
        if recipe.name.is_none() {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            recipe.name = stem.filter(|name| name != "recipe");
        }
        Ok(recipe)
    }

    /// Reads a recipe from its text; messages call it `origin`.
    ///
    /// # Errors
    /// A value in it is wrong.
    pub fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self, RecipeError> {
        ff_settings::parse(text, origin, sets)
    }

    /// Whether an adapter is trained, and not the model's own weights.
    pub(super) fn trains_adapter(&self) -> bool {
        self.train.weights.is_empty()
    }

    /// The shares that training drops.
    pub(super) fn dropout(&self, config: &EncoderDecoderConfig) -> EncoderDecoderDropout {
        let train = &self.train;
        config.dropout_with([train.dropout, train.attention_dropout, train.activation_dropout])
    }

    /// Puts in the rate that the recipe does not name.
    pub(super) fn add_rate(&mut self, family: &str) {
        let usual = match (self.trains_adapter(), family) {
            (true, _) => 1e-3,
            (false, "marian") => 5e-5,
            (false, _) => 3e-4,
        };
        self.optimizer.lr.get_or_insert(usual);
    }

    fn check_adapter(&self) -> Result<(), ConfigError> {
        let adapter = &self.adapter;
        if !self.trains_adapter() && *adapter != AdapterTable::default() {
            let message = "and [adapter] exclude each other: remove one";
            return Err(ConfigError::new("train.weights", message));
        }
        for (key, set) in [
            ("adapter.lora_bias", adapter.lora_bias),
            ("adapter.bias", adapter.bias != BiasName::None),
            ("adapter.modules_to_save", !adapter.modules_to_save.is_empty()),
            ("adapter.experts", !adapter.experts.is_empty()),
            ("adapter.tokens", !adapter.tokens.is_empty()),
            ("adapter.invocation", adapter.invocation.is_some()),
            ("adapter.keep_tied", !adapter.keep_tied),
        ] {
            if set {
                let message = "is for language models of one stack; leave it out here";
                return Err(ConfigError::new(key, message));
            }
        }
        let bf16 = self.base.precision == Precision::Bf16;
        let dropout = adapter.dropout > 0.0;
        for (key, set) in [("adapter.dropout", dropout), ("adapter.dora", adapter.dora)] {
            if bf16 && set {
                let message = "works with base.precision = \"f32\" only";
                return Err(ConfigError::new(key, message));
            }
        }
        if dropout && adapter.dora {
            let message = "needs another product of each layer with adapter.dora, and is not \
                           supported beside it";
            return Err(ConfigError::new("adapter.dropout", message));
        }
        Range::AtLeast(1.0).check("adapter.rank", adapter.rank as f64)?;
        Range::Above(0.0).check("adapter.alpha", adapter.alpha)?;
        Range::BelowOne.check("adapter.dropout", adapter.dropout)
    }

    fn check_tables(&self) -> Result<(), ConfigError> {
        let (train, data) = (&self.train, &self.data);
        if self.base.model.as_os_str().is_empty() {
            let message = "is missing: name the folder of a Marian or T5 model, or a run";
            return Err(ConfigError::new("base.model", message));
        }
        if data.source.is_empty() != data.target.is_empty() {
            let message = "and data.target go together: name both columns, or none to find them";
            return Err(ConfigError::new("data.source", message));
        }
        if !data.source.is_empty() && data.source == data.target {
            let message = "is the column of the sources, too";
            return Err(ConfigError::new("data.target", message));
        }
        check_optimizer(&self.optimizer)?;
        for (key, value) in [
            ("train.epochs", train.epochs as u64),
            ("train.steps", train.steps.unwrap_or(1)),
            ("train.batch_size", train.batch_size as u64),
            ("train.accumulate", train.accumulate as u64),
            ("evaluate.beams", self.evaluate.beams as u64),
            ("evaluate.max_tokens", self.evaluate.max_tokens.unwrap_or(1) as u64),
        ] {
            Range::AtLeast(1.0).check(key, value as f64)?;
        }
        for (key, value) in
            [("data.max_source", data.max_source), ("data.max_target", data.max_target)]
        {
            // One token, and the one that ends the text.
            Range::AtLeast(2.0).check(key, value.unwrap_or(2) as f64)?;
        }
        let split = &data.split;
        if !matches!(split.kind, SplitKind::Auto | SplitKind::Random | SplitKind::Given)
            || split.column.is_some()
        {
            let message = "pairs are split at random here, or given by valid_path and test_path";
            return Err(ConfigError::new("data.split", message));
        }
        for (key, share) in [
            ("train.dropout", train.dropout),
            ("train.attention_dropout", train.attention_dropout),
            ("train.activation_dropout", train.activation_dropout),
        ] {
            Range::BelowOne.check(key, share.unwrap_or(0.0))?;
        }
        Range::BelowOne.check("loss.label_smoothing", self.loss.label_smoothing)?;
        Range::AtLeast(0.0).check("train.checkpoint_seconds", train.checkpoint_seconds)?;
        // What a table checks of its file and split.
        let (path, split) = (data.path.clone(), split.clone());
        DataConfig { path, split, max_rows: data.max_rows, ..DataConfig::default() }.validate()
    }
}

/// The defaults of the split, the optimiser and the schedule.
const USUAL: &[(&str, &str)] = &[
    ("data.split.valid", "0.1"),
    ("data.split.test", "0.0"),
    ("optimizer.kind", "'adamw'"),
    ("optimizer.clip_norm", "1.0"),
    ("schedule.kind", "'linear'"),
    ("schedule.warmup", "0.05"),
];

impl Settings for TranslationRecipe {
    const TITLE: &str = TITLE;
    const SYNONYMS: &[(&str, &str)] = SYNONYMS;

    fn beneath(recipe: &toml::Value) -> Vec<(&'static str, &'static str)> {
        let given = |key: &str| key.split('.').try_fold(recipe, |table, part| table.get(part));
        let kind = given("optimizer.kind").and_then(toml::Value::as_str);
        let left_out = |key: &str| {
            let optimizer = kind.is_some_and(|kind| kind != "adamw");
            let schedule = given("schedule.kind").is_some();
            (optimizer && key.starts_with("optimizer."))
                || (schedule && key.starts_with("schedule."))
        };
        USUAL.iter().copied().filter(|(key, _)| !left_out(key)).collect()
    }

    fn out_of_range(&self) -> Vec<ConfigError> {
        let name = self.name.as_deref().map_or(Ok(()), |name| check_folder_name("name", name));
        let tables = [
            name,
            self.check_tables(),
            self.check_adapter(),
            self.optimizer.validate().map_err(|e| e.inside("optimizer")),
            self.schedule.validate().map_err(|e| e.inside("schedule")),
        ];
        tables.into_iter().filter_map(Result::err).collect()
    }
}

impl TaskRecipe for TranslationRecipe {
    fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        TranslationRecipe::load(path, sets)
    }

    fn run_name(&self) -> String {
        let stem = self.data.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        self.name.clone().or(stem).unwrap_or_else(|| "translation".into())
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
            epochs: train.epochs,
            steps: train.steps,
            batch_size: train.batch_size,
            accumulate: train.accumulate,
            seed: train.seed,
            patience: train.patience,
            restore_best: train.restore_best,
            checkpoint_seconds: train.checkpoint_seconds,
            threads: train.threads,
            ..TrainConfig::default()
        }
    }

    fn precision(&self) -> Precision {
        self.base.precision
    }
}
