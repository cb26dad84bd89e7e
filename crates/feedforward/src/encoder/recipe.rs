//! The recipe of an encoder's other objectives.

use crate::embedding::Pooling;
use crate::run::names::{SYNONYMS, TITLE};
use crate::run::task::{Incidentals, TaskRecipe};
use crate::sequence::{
    EncoderTable, SequenceConfig, check_optimizer, find_files, usual, with_path,
};
use ff_metrics::{TagScheme, ThresholdAim};
use ff_nn::{LossConfig, Precision};
use ff_settings::{ConfigError, Range, RecipeError, Settings, check_folder_name};
use ff_table::{DataConfig, SplitConfig, SplitKind};
use ff_train::TrainConfig;
use ff_train::optim::OptimizerConfig;
use ff_train::schedule::ScheduleConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Everything that decides a run of an encoder for several labels or numbers, tags, masked tokens
/// or pairs.
///
/// ```
/// use feedforward::encoder::{EncoderRecipe, ObjectiveKind};
/// let text = "
///     objective.kind = 'labels'
///     model.encoder = 'models/all-MiniLM-L6-v2'
///     data.path = 'complaints.csv'
///     data.target = 'topics'
/// ";
/// let recipe = EncoderRecipe::parse(text, "complaints.toml", &[])?;
/// assert_eq!(recipe.objective.kind, ObjectiveKind::Labels);
/// # Ok::<(), feedforward::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(
    title = "A recipe of feedforward for labels, tags, masked tokens or pairs of an encoder"
)]
pub struct EncoderRecipe {
    /// The name of the run's folder; from the data's name by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is learned.
    pub objective: ObjectiveTable,
    /// The file to learn from.
    pub data: EncoderData,
    /// The encoder.
    pub model: EncoderTable,
    /// The loss of labels (bce) and of numbers (mse, mae, huber, …).
    pub loss: LossConfig,
    /// The optimiser. By default AdamW with a weight decay of 0.01 and gradients clipped to the
    /// norm 1, at a rate of 5e-5 · 768 / the encoder's width.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time; linear to 0 after a warm-up of a tenth by default.
    pub schedule: ScheduleConfig,
    /// Length, batches, early stopping.
    pub train: SequenceConfig,
    /// The evaluation at the end.
    #[serde(skip_serializing_if = "LabelEvaluate::is_default")]
    pub evaluate: LabelEvaluate,
}

/// What an encoder learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveKind {
    /// Any number of labels of a text.
    #[default]
    Labels,
    /// Several numbers of a text.
    Numbers,
    /// A tag of each word: named entities.
    Tags,
    /// Masked tokens: the objective of pretraining.
    Masked,
    /// Vectors: those of texts that belong together are near.
    Pairs,
}

impl ObjectiveKind {
    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Numbers => "numbers",
            Self::Tags => "tags",
            Self::Masked => "masked",
            Self::Pairs => "pairs",
        }
    }
}

/// The table `[objective]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveTable {
    /// What is learned: `labels`, `numbers`, `tags`, `masked` or `pairs`.
    pub kind: ObjectiveKind,
    /// `tags`: how they mark spans; found from the tags by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<TagScheme>,
    /// `masked`: the share of tokens that are to be found; of these 80 % are masked, 10 % are
    /// another token, 10 % stay.
    pub mask: f64,
    /// `pairs`: the factor of cosines in the softmax over the candidates of a batch.
    pub scale: f64,
}

impl Default for ObjectiveTable {
    fn default() -> Self {
        Self { kind: ObjectiveKind::Labels, scheme: None, mask: 0.15, scale: 20.0 }
    }
}

/// The table `[data]`: the file and the use of its columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderData {
    /// The file: a table; for `tags` JSON lines or CoNLL, for `masked` also plain text.
    pub path: PathBuf,
    /// The columns of texts, found by default. `tags`: the key of the words in JSON lines, `tokens`
    /// by default. `pairs`: two or more columns in order, a text, the one that belongs to it, and
    /// others that do not.
    pub text: Vec<String>,
    /// `labels`: the column of a list of labels. `tags`: the key of the tags in JSON lines, `tags`
    /// by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `labels`, `numbers`: columns that are a label each, true or false, or a number each.
    pub targets: Vec<String>,
    /// What is between the labels of a list; the first of `|`, `;` and `,` that occurs by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Texts that stand for a missing value.
    pub null_values: Vec<String>,
    /// Use at most this many rows, the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
    /// How rows are split: at random, or given by files.
    pub split: SplitConfig,
}

impl Default for EncoderData {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            text: Vec::new(),
            target: None,
            targets: Vec::new(),
            separator: None,
            null_values: DataConfig::default().null_values,
            max_rows: None,
            split: SplitConfig::default(),
        }
    }
}

/// The table `[evaluate]`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelEvaluate {
    /// `labels`: what the threshold of each label is chosen for on the validation part; 0.5 by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdAim>,
}

impl LabelEvaluate {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl EncoderRecipe {
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

    /// The recipe of a file whose overrides name encoder and objective.
    ///
    /// # Errors
    /// An override is not right.
    pub fn for_file(path: &str, sets: &[String]) -> Result<Self, RecipeError> {
        Self::parse("", "the command line", &with_path(path, sets))
    }

    /// Keys that say something, with the objectives that they are for.
    fn keys(&self) -> Vec<(&'static str, bool, &'static [ObjectiveKind])> {
        use ObjectiveKind::{Labels, Masked, Numbers, Pairs, Tags};
        let (objective, data, usual) = (&self.objective, &self.data, ObjectiveTable::default());
        vec![
            ("objective.scheme", objective.scheme.is_some(), &[Tags]),
            ("objective.mask", objective.mask != usual.mask, &[Masked]),
            ("objective.scale", objective.scale != usual.scale, &[Pairs]),
            ("data.target", data.target.is_some(), &[Labels, Tags]),
            ("data.targets", !data.targets.is_empty(), &[Labels, Numbers]),
            ("data.separator", data.separator.is_some(), &[Labels]),
            ("loss", self.loss != LossConfig::default(), &[Labels, Numbers]),
            ("evaluate.threshold", self.evaluate.threshold.is_some(), &[Labels]),
            ("model.frozen", self.model.frozen, &[Labels, Numbers, Tags]),
            ("model.pooling", self.model.pooling.is_some(), &[Labels, Numbers, Pairs]),
        ]
    }

    fn check_tables(&self) -> Result<(), ConfigError> {
        self.model.check()?;
        self.train.check()?;
        check_optimizer(&self.optimizer)?;
        let (kind, data) = (self.objective.kind, &self.data);
        for (key, said, kinds) in self.keys() {
            if said && !kinds.contains(&kind) {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let message = format!(
                    "is for the objective {}, and this is {}; leave it out",
                    names.join(" or "),
                    kind.name()
                );
                return Err(ConfigError::new(key, message));
            }
        }
        match kind {
            ObjectiveKind::Labels if data.target.is_some() != data.targets.is_empty() => {
                let message = "labels are a list in the column data.target, or columns that are \
                               true or false, data.targets = [\"late\", \"broken\"]: name one of both";
                return Err(ConfigError::new("data.target", message));
            }
            ObjectiveKind::Numbers if data.targets.is_empty() => {
                let message =
                    "name the columns of the numbers: data.targets = [\"length\", \"price\"]";
                return Err(ConfigError::new("data.targets", message));
            }
            ObjectiveKind::Pairs if data.text.len() == 1 => {
                let message = "a pair has two columns of texts, such as [\"question\", \"answer\"]";
                return Err(ConfigError::new("data.text", message));
            }
            ObjectiveKind::Pairs if self.train.batch_size < 2 => {
                let message =
                    "the other pairs of a batch are what a pair is told from; take 2 or more";
                return Err(ConfigError::new("train.batch_size", message));
            }
            _ => {}
        }
        if self.model.hidden.is_some() {
            let message = "is for a class or a number of a table's rows; leave it out here";
            return Err(ConfigError::new("model.hidden", message));
        }
        if data.separator.as_deref() == Some("") {
            return Err(ConfigError::new("data.separator", "is empty; name a text such as \";\""));
        }
        let split = &data.split;
        if !matches!(split.kind, SplitKind::Auto | SplitKind::Random | SplitKind::Given)
            || split.column.is_some()
        {
            let message = "rows are split at random here, or given by valid_path and test_path";
            return Err(ConfigError::new("data.split", message));
        }
        Range::Above(0.0).check("objective.mask", self.objective.mask)?;
        Range::BelowOne.check("objective.mask", self.objective.mask)?;
        Range::Above(0.0).check("objective.scale", self.objective.scale)?;
        if let Some(aim) = self.evaluate.threshold {
            aim.validate().map_err(|e| ConfigError::new("evaluate.threshold", e.to_string()))?;
        }
        // What a table checks of its file and split.
        let (path, split) = (data.path.clone(), data.split.clone());
        DataConfig { path, split, max_rows: data.max_rows, ..DataConfig::default() }.validate()
    }

    /// The pooling of vectors, where the recipe or the encoder's folder says one.
    pub(super) fn pooling(&self, folder: Option<Pooling>) -> Pooling {
        self.model.pooling.or(folder).unwrap_or(Pooling::Mean)
    }
}

impl Settings for EncoderRecipe {
    const TITLE: &str = TITLE;
    const SYNONYMS: &[(&str, &str)] = SYNONYMS;

    fn beneath(recipe: &toml::Value) -> Vec<(&'static str, &'static str)> {
        usual(recipe)
    }

    fn out_of_range(&self) -> Vec<ConfigError> {
        let name = self.name.as_deref().map_or(Ok(()), |name| check_folder_name("name", name));
        let tables = [
            name,
            self.check_tables(),
            self.loss.validate(),
            self.optimizer.validate().map_err(|e| e.inside("optimizer")),
            self.schedule.validate().map_err(|e| e.inside("schedule")),
        ];
        tables.into_iter().filter_map(Result::err).collect()
    }
}

impl TaskRecipe for EncoderRecipe {
    fn load(path: &Path, sets: &[String]) -> Result<Self, RecipeError> {
        EncoderRecipe::load(path, sets)
    }

    fn run_name(&self) -> String {
        let stem = self.data.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        self.name.clone().or(stem).unwrap_or_else(|| self.objective.kind.name().into())
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
