//! The optimiser in recipes.

use super::group::GroupConfig;
use super::registry::{Named, OptimizerKind};
use crate::keys::{Given, default_sentence, number_text};
use ff_settings::ConfigError;
use ff_settings::Range;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// The `[optimizer]` table of a recipe: a rule, its settings, and the treatment of gradients and
/// weights around it.
///
/// The table is flat: the keys of the rule are beside the keys common to all rules, and
/// [`OptimizerConfig::validate`] reports those of other rules. Omitted keys have PyTorch's
/// defaults. [`Optimizer::step`](super::Optimizer::step) documents the order of their use.
///
/// ```
/// use ff_train::optim::{OptimizerConfig, Sgd};
/// let json = r#"{ "kind": "sgd", "momentum": 0.9, "clip_norm": 1 }"#;
/// let config: OptimizerConfig = serde_json::from_str(json)?;
/// config.validate()?;
/// let same = Sgd { momentum: 0.9, ..Sgd::default() };
/// assert_eq!(config, OptimizerConfig { clip_norm: Some(1.0), ..same.into() });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false), transform = add_facts)]
pub struct OptimizerConfig {
    /// The rule.
    pub kind: OptimizerKind,
    /// The learning rate, scaled by the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Weight decay on matrices and embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The keys of the rule.
    #[serde(flatten)]
    pub settings: Given<OptimizerKind>,
    /// The penalty l1·Σ|w| on matrices and embeddings; its gradient counts when clipping. Default:
    /// 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l1: Option<f64>,
    /// The penalty l2/2·Σw² on matrices and embeddings; its gradient counts when clipping. Default:
    /// 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Clips each gradient to ± this value. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// Scales all gradients down so that their common norm is at most this. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Scales each row of a weight matrix (the inputs of one unit) down to at most this norm.
    /// Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_norm: Option<f64>,
    /// Whether weight decay changes over training. Default: constant.
    #[serde(skip_serializing_if = "DecaySchedule::is_default")]
    pub weight_decay_schedule: DecaySchedule,
    /// Adam and AdamW: trains weight matrices in the NTK parametrisation, x Wᵀ / √fan_in, with the
    /// stored matrix W / √fan_in: its rate is divided by √fan_in, so that layers of any width learn
    /// at one rate. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ntk: bool,
    /// Keeps a running average of the weights with this decay, for evaluation and for the final
    /// model. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Settings for parameters by name; the first matching group applies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
}

/// How weight decay changes over training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecaySchedule {
    /// It stays.
    #[default]
    Constant,
    /// It stays over the first half, then falls to 0 as half a cosine.
    FlatCos,
}

impl DecaySchedule {
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The factor when this part of training is over.
    pub fn at(self, progress: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::FlatCos => ff_ops::flat_cos(progress),
        }
    }
}

/// The settings of a rule, without other keys.
impl<S: Named> From<S> for OptimizerConfig {
    fn from(settings: S) -> Self {
        Self { kind: S::KIND, settings: settings.give(), ..Self::default() }
    }
}

impl OptimizerConfig {
    /// A rule with its defaults.
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// The learning rate, by default that of the rule.
    pub fn lr(&self) -> f64 {
        self.lr.unwrap_or(self.kind.info().lr)
    }

    /// The weight decay of matrices and embeddings, by default that of the rule.
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay.unwrap_or(self.kind.info().weight_decay)
    }

    /// Whether the rule evaluates the loss several times per step, over all rows at once.
    pub fn needs_closure(&self) -> bool {
        self.kind.info().reevaluates
    }

    /// Checks that every setting is in range and belongs to this rule.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.needs_closure() {
            self.refuse_keys_of_gradient_steps()?;
        }
        self.kind.check(&self.settings)?;
        if self.ntk && !matches!(self.kind, OptimizerKind::Adam | OptimizerKind::AdamW) {
            let message = format!("goes with adam and adamw only, not with {}", self.kind);
            return Err(ConfigError::new("ntk", message));
        }
        let ranges = [
            ("lr", self.lr, Range::AtLeast(0.0)),
            ("weight_decay", self.weight_decay, Range::AtLeast(0.0)),
            ("l1", self.l1, Range::AtLeast(0.0)),
            ("l2", self.l2, Range::AtLeast(0.0)),
            ("clip_value", self.clip_value, Range::Above(0.0)),
            ("clip_norm", self.clip_norm, Range::Above(0.0)),
            ("max_norm", self.max_norm, Range::Above(0.0)),
            ("ema", self.ema, Range::BelowOne),
        ];
        ranges.iter().try_for_each(|&(key, value, range)| range.check(key, value))?;
        self.groups.iter().enumerate().try_for_each(|(i, group)| group.validate(i))
    }

    /// Rules that re-evaluate the loss search along a line: nothing may change their gradient or
    /// weights in between.
    fn refuse_keys_of_gradient_steps(&self) -> Result<(), ConfigError> {
        let given = [
            ("weight_decay", self.weight_decay.is_some()),
            ("l1", self.l1.is_some()),
            ("clip_value", self.clip_value.is_some()),
            ("clip_norm", self.clip_norm.is_some()),
            ("max_norm", self.max_norm.is_some()),
            ("weight_decay_schedule", !self.weight_decay_schedule.is_default()),
            ("groups", !self.groups.is_empty()),
        ];
        let Some((key, _)) = given.iter().find(|(_, given)| *given) else { return Ok(()) };
        let others = OptimizerKind::ALL.iter().filter(|kind| !kind.info().reevaluates);
        let others: Vec<&str> = others.map(|kind| kind.name()).collect();
        let others = others.join(", ");
        let help = if *key == "weight_decay" { "; `l2` does the same" } else { "" };
        let message = format!("does not apply to {}, only to {others}{help}", self.kind);
        Err(ConfigError::new(*key, message))
    }
}

/// Completes the descriptions of common keys from the registry.
fn add_facts(schema: &mut Schema) {
    let names = |kinds: Vec<OptimizerKind>| -> String {
        kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
    };
    let all = OptimizerKind::ALL;
    let decoupled = all.into_iter().filter(|kind| kind.info().decoupled).collect();
    let lr = all.iter().map(|kind| (kind.name(), number_text(kind.info().lr)));
    let decay = all.iter().map(|kind| (kind.name(), number_text(kind.info().weight_decay)));
    let additions = [
        ("kind", format!(" One of {}.", names(all.to_vec()))),
        ("lr", default_sentence(lr)),
        (
            "weight_decay",
            format!(
                " Decoupled (w ← w − lr·decay·w) for {}, added to the gradient after clipping for \
                 the others, as in PyTorch.{}",
                names(decoupled),
                default_sentence(decay)
            ),
        ),
    ];
    for (key, text) in additions {
        if let Some(about) = schema.pointer_mut(&format!("/properties/{key}/description"))
            && let Some(old) = about.as_str()
        {
            *about = format!("{old}{text}").into();
        }
    }
}
