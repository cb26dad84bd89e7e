//! The recipe of a fine-tuning run.

use crate::error::Result;
use crate::language::SampleConfig;
use crate::run::names::{SYNONYMS, TITLE};
use crate::run::task::{Incidentals, TaskRecipe};
use ff_nn::{AdaptedBiases, LoraConfig, Precision};
use ff_ops::Preference;
use ff_settings::{ConfigError, Range, RecipeError, Settings, check_folder_name, find_beside};
use ff_train::TrainConfig;
use ff_train::optim::OptimizerConfig;
use ff_train::schedule::ScheduleConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that determines a fine-tuning run: the base model, the conversations, what is
/// trained, optimiser, schedule, length.
///
/// ```
/// use feedforward::finetune::FinetuneRecipe;
/// let text = "
///     base.model = 'models/smollm2'
///     data.path = 'instructions.json'
/// ";
/// let recipe = FinetuneRecipe::parse(text, "tone.toml", &["adapter.rank=16".into()])?;
/// assert_eq!(recipe.adapter.rank, 16);
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "A fine-tuning recipe of feedforward")]
pub struct FinetuneRecipe {
    /// The name of the run's folder; from the recipe's file name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model to start from.
    pub base: BaseTable,
    /// The conversations to learn from.
    pub data: RecordsTable,
    /// How pairs of answers are learned from.
    pub preference: PreferenceTable,
    /// The low-rank adapter (LoRA) that is trained, unless train.weights names weights of the
    /// model itself.
    pub adapter: AdapterTable,
    /// The optimiser. The learning rate is 2e-4 for an adapter and 2e-5 for the model's own
    /// weights by default, with `[preference]` 5e-5 and 1e-6; gradients are clipped to the norm 1.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ScheduleConfig,
    /// What is trained, and how long.
    pub train: FinetuneConfig,
    /// Answers written before and after training.
    pub sample: SampleConfig,
}

/// The defaults of `[sample]`, which differ from those of free text.
const OF_ANSWERS: &[(&str, &str)] = &[("sample.temperature", "0.0"), ("sample.max_tokens", "64")];

impl Default for FinetuneRecipe {
    fn default() -> Self {
        Self {
            name: None,
            base: BaseTable::default(),
            data: RecordsTable::default(),
            preference: PreferenceTable::default(),
            adapter: AdapterTable::default(),
            optimizer: OptimizerConfig { clip_norm: Some(1.0), ..OptimizerConfig::default() },
            schedule: ScheduleConfig::default(),
            train: FinetuneConfig::default(),
            sample: SampleConfig { temperature: 0.0, max_tokens: 64, ..SampleConfig::default() },
        }
    }
}

/// The table `[base]`: the model to start from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BaseTable {
    /// A Hugging Face folder, a GGUF file, or a run.
    pub model: PathBuf,
    /// The type of matrix products: f32, or bf16 with f32 sums and f32 weights.
    pub precision: Precision,
    /// Recompute each block in the backward pass instead of keeping its activations: less memory, a
    /// third more arithmetic.
    pub recompute: bool,
}

/// The table `[data]` of a fine-tuning recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordsTable {
    /// A JSON file with a list of records, or JSON lines. A record has `messages` (`role` and
    /// `content`), `conversations` (ShareGPT's `from` and `value`), `instruction` with `output` and
    /// perhaps `input` (Alpaca), or `prompt` with `completion`; for `[preference]` `chosen` and
    /// `rejected`, messages or texts, with `prompt` before both.
    pub path: PathBuf,
    /// The fraction of records held out, from the end of the file.
    pub valid: f64,
    /// The tokens that are learned.
    pub loss: LossOn,
}

impl Default for RecordsTable {
    fn default() -> Self {
        Self { path: PathBuf::new(), valid: 0.1, loss: LossOn::Answers }
    }
}

/// The tokens of a conversation that are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// Those of every answer, with the token that ends it.
    #[default]
    Answers,
    /// Those of the last answer.
    Last,
    /// All.
    All,
}

/// The table `[preference]`: pairs of answers to the same question, of which one was chosen. The
/// model before training is the reference of `dpo` and `ipo`; the last answer of a conversation is
/// judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreferenceTable {
    /// The loss; conversations are learned from without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<PreferenceName>,
    /// β: how strongly the model is held to its reference (`dpo`, `ipo`), the scale of rewards
    /// (`simpo`), or the weight of the odds (`orpo`); 0.1, for `simpo` 2 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// γ: the margin between the rewards of both answers, for `simpo`.
    pub gamma: f64,
    /// The probability that the wrong answer was chosen, for `dpo` and `simpo`.
    pub label_smoothing: f64,
}

impl Default for PreferenceTable {
    fn default() -> Self {
        Self { loss: None, beta: None, gamma: 1.0, label_smoothing: 0.0 }
    }
}

/// The loss of pairs of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceName {
    /// Direct preference optimisation (Rafailov et al., 2023).
    Dpo,
    /// Identity preference optimisation (Azar et al., 2023), by token.
    Ipo,
    /// Odds-ratio preference optimisation (Hong et al., 2024): the chosen answer is learned as
    /// well.
    Orpo,
    /// Simple preference optimisation (Meng et al., 2024): rewards by token, and a margin.
    Simpo,
}

impl PreferenceName {
    pub(super) fn kind(self) -> Preference {
        match self {
            Self::Dpo => Preference::Dpo,
            Self::Ipo => Preference::Ipo,
            Self::Orpo => Preference::Orpo,
            Self::Simpo => Preference::SimPo,
        }
    }

    pub(super) fn beta(self) -> f64 {
        if self == Self::Simpo { 2.0 } else { 0.1 }
    }
}

/// The table `[adapter]`: y = x Wᵀ + s (x Aᵀ) Bᵀ, of which A and B are trained (LoRA, Hu et al.,
/// 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools)]
pub struct AdapterTable {
    /// The rank of A and B.
    pub rank: usize,
    /// α: the scale s is α / rank.
    pub alpha: f64,
    /// The layers with an adapter, by name or pattern such as `q_proj` or `layers.2*.mlp.*`; all
    /// linear layers if empty.
    pub targets: Vec<String>,
    /// The probability of dropping a value of the input of A in training.
    pub dropout: f64,
    /// Whether s is α / √rank (rsLoRA).
    pub rank_stabilized: bool,
    /// Layers without an adapter, by name or pattern, whatever `targets` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Whether the rows of W + s B A give directions alone, and each has a magnitude that is
    /// trained as well (DoRA, Liu et al., 2024).
    pub dora: bool,
    /// Whether B has a bias.
    pub lora_bias: bool,
    /// The biases of the model that are trained as well: `none`, those of layers with an adapter
    /// (`lora_only`), or `all`. The adapter holds its own values of them.
    pub bias: BiasName,
    /// Parts of the model that are trained whole, by name or pattern, such as `lm_head`,
    /// `embed_tokens` or `model.norm`. The adapter holds its own values of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// The stacked matrices of a mixture's experts with an adapter, by name or pattern:
    /// `gate_up_proj`, `down_proj`. Each expert's has its own A and B.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<String>,
    /// The ids of tokens whose embeddings are trained as well, and their outputs where these are
    /// the same table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<u32>,
    /// A text behind which alone the adapter acts, such as `<|im_start|>assistant`: from its last
    /// occurrence on (activated LoRA). What is before has the keys and values of the base model, so
    /// that one conversation can go on with several adapters. Only what follows it is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation: Option<String>,
    /// Whether an output layer that is the table of embeddings stays the same matrix where
    /// `modules_to_save` names the table; otherwise the output layer stays as it was. PEFT has a
    /// way to write the first for tables called `embed_tokens` alone.
    pub keep_tied: bool,
}

/// The biases of the model that are trained with an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BiasName {
    /// None.
    #[default]
    None,
    /// Those of layers with an adapter.
    LoraOnly,
    /// All.
    All,
}

impl Default for AdapterTable {
    fn default() -> Self {
        let LoraConfig { rank, alpha, targets, dropout, rank_stabilized, .. } =
            LoraConfig::default();
        Self {
            rank,
            alpha,
            targets,
            dropout,
            rank_stabilized,
            exclude: Vec::new(),
            dora: false,
            lora_bias: false,
            bias: BiasName::None,
            modules_to_save: Vec::new(),
            experts: Vec::new(),
            tokens: Vec::new(),
            invocation: None,
            keep_tied: true,
        }
    }
}

impl AdapterTable {
    /// The specification with the tokens of the invocation.
    pub(crate) fn config(&self, invocation: &[u32]) -> LoraConfig {
        LoraConfig {
            invocation: invocation.to_vec(),
            rank: self.rank,
            alpha: self.alpha,
            targets: self.targets.clone(),
            dropout: self.dropout,
            rank_stabilized: self.rank_stabilized,
            exclude: self.exclude.clone(),
            dora: self.dora,
            lora_bias: self.lora_bias,
            biases: match self.bias {
                BiasName::None => AdaptedBiases::None,
                BiasName::LoraOnly => AdaptedBiases::Adapted,
                BiasName::All => AdaptedBiases::All,
            },
            saved: self.modules_to_save.clone(),
            parameters: self.experts.clone(),
            tokens: self.tokens.clone(),
            keep_tied: self.keep_tied,
            ..LoraConfig::default()
        }
    }
}

/// The table `[train]` of a fine-tuning recipe.
///
/// ```
/// let train = feedforward::finetune::FinetuneConfig { epochs: 1, ..Default::default() };
/// assert_eq!((train.batch_size, train.packing), (4, true));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// The weights of the model to train in place of an adapter, by name or pattern: `*` for all,
    /// `layers.*.mlp.*` for feedforward blocks, `layers.29.*` for a layer, `embed_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<String>,
    /// Passes over the conversations.
    pub epochs: usize,
    /// The most optimiser steps; overrides `epochs` where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// The most tokens of a conversation, and those of a row.
    pub context: usize,
    /// Rows per micro-batch, which is in memory at a time.
    pub batch_size: usize,
    /// Micro-batches per optimiser step; the loss is averaged over all their answers' tokens.
    pub accumulate: usize,
    /// Whether a row holds several conversations, which do not see each other.
    pub packing: bool,
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

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            weights: Vec::new(),
            epochs: 3,
            steps: None,
            context: 512,
            batch_size: 4,
            accumulate: 1,
            packing: true,
            patience: 0,
            restore_best: true,
            seed: 0,
            checkpoint_seconds: 60.0,
            threads: 0,
        }
    }
}

impl FinetuneRecipe {
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
        find_beside(&mut recipe.base.model, folder);
        find_beside(&mut recipe.data.path, folder);
        if recipe.name.is_none() {
            recipe.name = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .filter(|name| name != "recipe");
        }
        Ok(recipe)
    }

    /// Reads a recipe from its text; messages call it `origin`.
    ///
    /// # Errors
    /// A value in it is wrong.
    pub fn parse(text: &str, origin: &str, sets: &[String]) -> Result<Self, RecipeError> {
        let mut recipe: Self = ff_settings::parse(text, origin, sets)?;
        let usual = match (recipe.preference.loss.is_some(), recipe.trains_adapter()) {
            (false, true) => 2e-4,
            (false, false) => 2e-5,
            (true, true) => 5e-5,
            (true, false) => 1e-6,
        };
        recipe.optimizer.lr.get_or_insert(usual);
        Ok(recipe)
    }

    /// The same recipe with relative paths that start at `base`.
    pub(super) fn started_in(&self, base: &Path) -> Self {
        let mut recipe = self.clone();
        recipe.base.model = base.join(&recipe.base.model);
        recipe.data.path = base.join(&recipe.data.path);
        recipe
    }

    /// Whether an adapter is trained, and not the model's own weights.
    pub(super) fn trains_adapter(&self) -> bool {
        self.train.weights.is_empty()
    }

    fn check_tables(&self) -> Result<(), ConfigError> {
        let (train, adapter) = (&self.train, &self.adapter);
        if self.base.model.as_os_str().is_empty() {
            let message = "is missing: name a Hugging Face folder or a run to start from";
            return Err(ConfigError::new("base.model", message));
        }
        if self.data.path.as_os_str().is_empty() {
            let message = "is missing: name a file of conversations, JSON or JSON lines";
            return Err(ConfigError::new("data.path", message));
        }
        if !self.trains_adapter() && *adapter != AdapterTable::default() {
            let message = "and [adapter] exclude each other: remove one";
            return Err(ConfigError::new("train.weights", message));
        }
        let bf16 = self.base.precision == Precision::Bf16;
        for (key, set) in [
            ("adapter.dropout", adapter.dropout > 0.0),
            ("adapter.dora", adapter.dora),
            ("adapter.lora_bias", adapter.lora_bias),
        ] {
            if bf16 && set {
                let message = "works with base.precision = \"f32\" only";
                return Err(ConfigError::new(key, message));
            }
        }
        let experts = !adapter.experts.is_empty();
        for (key, set) in [
            ("adapter.dropout", adapter.dropout > 0.0),
            ("adapter.dora", adapter.dora),
            ("adapter.lora_bias", adapter.lora_bias),
        ] {
            if experts && set {
                let message = "is not supported beside adapter.experts, as in PEFT";
                return Err(ConfigError::new(key, message));
            }
        }
        for (key, set) in [
            ("adapter.dora", adapter.dora),
            ("adapter.lora_bias", adapter.lora_bias),
            ("adapter.bias", adapter.bias != BiasName::None),
            ("adapter.modules_to_save", !adapter.modules_to_save.is_empty()),
            ("adapter.experts", experts),
            ("adapter.tokens", !adapter.tokens.is_empty()),
        ] {
            if adapter.invocation.is_some() && set {
                let message = "is not supported beside adapter.invocation";
                return Err(ConfigError::new(key, message));
            }
        }
        let ids: std::collections::BTreeSet<u32> = adapter.tokens.iter().copied().collect();
        if ids.len() < adapter.tokens.len() {
            return Err(ConfigError::new("adapter.tokens", "names a token twice"));
        }
        for (key, set, reason) in [
            ("adapter.dropout", adapter.dropout > 0.0, "needs another product of each layer"),
            ("adapter.lora_bias", adapter.lora_bias, "has no place in the magnitudes"),
        ] {
            if adapter.dora && set {
                let message = format!("{reason} with adapter.dora, and is not supported beside it");
                return Err(ConfigError::new(key, message));
            }
        }
        for (key, value) in [
            ("adapter.rank", adapter.rank as u64),
            ("train.epochs", train.epochs as u64),
            ("train.steps", train.steps.unwrap_or(1)),
            ("train.context", train.context as u64),
            ("train.batch_size", train.batch_size as u64),
            ("train.accumulate", train.accumulate as u64),
        ] {
            Range::AtLeast(1.0).check(key, value as f64)?;
        }
        let preference = &self.preference;
        if preference.loss.is_none() && *preference != PreferenceTable::default() {
            let message = "is missing: name the loss of pairs (dpo, ipo, orpo or simpo)";
            return Err(ConfigError::new("preference.loss", message));
        }
        if preference.loss.is_some() && self.data.loss != LossOn::Answers {
            let message = "is for conversations: of pairs the last answer is learned; remove it";
            return Err(ConfigError::new("data.loss", message));
        }
        Range::Above(0.0).check("preference.beta", preference.beta.unwrap_or(1.0))?;
        Range::AtLeast(0.0).check("preference.gamma", preference.gamma)?;
        if !(0.0..0.5).contains(&preference.label_smoothing) {
            let message = format!("must lie in [0, 0.5), found {}", preference.label_smoothing);
            return Err(ConfigError::new("preference.label_smoothing", message));
        }
        Range::BelowOne.check("data.valid", self.data.valid)?;
        Range::Above(0.0).check("adapter.alpha", adapter.alpha)?;
        Range::BelowOne.check("adapter.dropout", adapter.dropout)?;
        Range::AtLeast(0.0).check("train.checkpoint_seconds", train.checkpoint_seconds)
    }
}

impl Settings for FinetuneRecipe {
    const TITLE: &str = TITLE;
    const SYNONYMS: &[(&str, &str)] = SYNONYMS;

    fn beneath(recipe: &toml::Value) -> Vec<(&'static str, &'static str)> {
        let kind = recipe.get("optimizer").and_then(|table| table.get("kind"));
        let line_search = kind.and_then(toml::Value::as_str) == Some("lbfgs");
        let clipping = (!line_search).then_some(("optimizer.clip_norm", "1.0"));
        clipping.into_iter().chain(OF_ANSWERS.iter().copied()).collect()
    }

    fn out_of_range(&self) -> Vec<ConfigError> {
        let name = self.name.as_deref().map_or(Ok(()), |name| check_folder_name("name", name));
        let tables = [
            name,
            self.check_tables(),
            self.optimizer.validate().map_err(|e| e.inside("optimizer")),
            self.schedule.validate().map_err(|e| e.inside("schedule")),
        ];
        tables.into_iter().filter_map(Result::err).collect()
    }
}

impl TaskRecipe for FinetuneRecipe {
    fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        FinetuneRecipe::load(path, sets)
    }

    fn run_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| "fine-tuned".into())
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

#[cfg(test)]
mod tests {
    use super::FinetuneRecipe;

    #[test]
    fn a_key_of_a_table_leaves_the_other_defaults() {
        let base = "base.model = 'm'\ndata.path = 'd.json'\n";
        let parse = |text: &str| FinetuneRecipe::parse(text, "r.toml", &[]).unwrap();
        let whole = parse(base);
        assert_eq!((whole.optimizer.clip_norm, whole.sample.max_tokens), (Some(1.0), 64));
        for table in ["optimizer", "schedule", "train", "sample", "adapter", "preference"] {
            assert_eq!(parse(&format!("{base}[{table}]\n")), whole, "{table}");
        }
        let given = parse(&format!("{base}optimizer.clip_norm = 5\nsample.temperature = 1\n"));
        assert_eq!((given.optimizer.clip_norm, given.sample.temperature), (Some(5.0), 1.0));
        assert_eq!(parse(&format!("{base}optimizer.kind = 'lbfgs'")).optimizer.clip_norm, None);
    }
}
