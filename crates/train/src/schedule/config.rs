//! What a recipe says about the schedule.

use super::Span;
use ff_settings::{ConfigError, Range};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The shape of a schedule after its warm-up. Below, lr is the optimiser's rate, t the step and T the number of steps, both
/// after the warm-up.
///
/// ```
/// use ff_train::schedule::ScheduleKind;
/// assert_eq!(ScheduleKind::OneCycle.to_string(), "one_cycle");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// lr.
    #[default]
    Constant,
    /// lr · gammaᵏ after k times step_size, or k of the milestones (`StepLR`, `MultiStepLR`).
    Step,
    /// lr · gammaᵗ (`ExponentialLR`).
    Exponential,
    /// min_lr + (lr − min_lr) (1 + cos(π t / T)) / 2 (`CosineAnnealingLR`), or with `cycle` the same from the beginning
    /// again and again (`CosineAnnealingWarmRestarts`): Loshchilov and Hutter 2017.
    Cosine,
    /// lr · (start_factor + (end_factor − start_factor) t / T) (`LinearLR`).
    Linear,
    /// min_lr + (lr − min_lr) (1 − t / T)^power (`PolynomialLR`).
    Polynomial,
    /// Up from lr / div_factor to lr within pct_start, then down to lr / div_factor / final_div_factor: Smith and Topin
    /// 2018 (`OneCycleLR` with `cycle_momentum=False`).
    OneCycle,
    /// lr, and over the last `decay` steps min_lr + (lr − min_lr) f(s), where s goes from 0 to 1 and f is 1 − s, 1 − √s or
    /// half a cosine: with a warm-up, the schedule of runs whose length is not known before (Hägele et al. 2024).
    WarmupStableDecay,
    /// lr · factor each time that the validation score has not got better for patience evaluations
    /// (`ReduceLROnPlateau`).
    Plateau,
}

impl ScheduleKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Constant,
        Self::Step,
        Self::Exponential,
        Self::Cosine,
        Self::Linear,
        Self::Polynomial,
        Self::OneCycle,
        Self::WarmupStableDecay,
        Self::Plateau,
    ];

    /// Its name in a recipe.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Step => "step",
            Self::Exponential => "exponential",
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Polynomial => "polynomial",
            Self::OneCycle => "one_cycle",
            Self::WarmupStableDecay => "warmup_stable_decay",
            Self::Plateau => "plateau",
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one-cycle goes from one rate to the next.
///
/// ```
/// assert_eq!(ff_train::schedule::Anneal::default(), ff_train::schedule::Anneal::Cos);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Along half a cosine.
    #[default]
    Cos,
    /// Along a straight line.
    Linear,
}

/// How warm-up–stable–decay comes down at the end.
///
/// ```
/// use ff_train::schedule::DecayType;
/// assert_eq!(serde_json::from_str::<DecayType>("\"1-sqrt\"")?, DecayType::default());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayType {
    /// Along 1 − √s.
    #[default]
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
    /// Along a straight line.
    Linear,
    /// Along half a cosine.
    Cosine,
}

/// What `threshold` is measured in.
///
/// ```
/// assert_eq!(ff_train::schedule::ThresholdMode::default(), ff_train::schedule::ThresholdMode::Rel);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// A share of the best score.
    #[default]
    Rel,
    /// The score itself.
    Abs,
}

/// The table `[schedule]` of a recipe; what is left out has PyTorch's default.
///
/// ```
/// use ff_train::schedule::{ScheduleConfig, ScheduleKind};
/// let config: ScheduleConfig =
///     serde_json::from_str(r#"{ "kind": "cosine", "warmup": 0.05, "min_lr": 1e-5 }"#)?;
/// config.validate()?;
/// assert_eq!(config.kind, ScheduleKind::Cosine);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// The shape: constant, step, exponential, cosine, linear, polynomial, one_cycle, warmup_stable_decay or plateau.
    pub kind: ScheduleKind,
    /// The rate rises in a straight line over this many steps, or this share of all steps, before the shape begins.
    /// Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Span>,
    /// What share of the rate the warm-up begins with. Default: 1 / (warmup + 1), so that step t has (t + 1) / (warmup + 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_start: Option<f64>,
    /// Step: how far apart the drops are, in steps or as a share of all steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_size: Option<Span>,
    /// Step: where the drops are, instead of `step_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones: Option<Vec<Span>>,
    /// Step: what a drop multiplies the rate with (default: 0.1); exponential: what every step does (required).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Cosine: the length of the first cycle, in steps or as a share of all steps. Default: one cycle without restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycle: Option<Span>,
    /// Cosine: each cycle is this many times as long as the one before. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycle_multiplier: Option<u64>,
    /// Cosine, polynomial, warmup_stable_decay, plateau: the lowest rate. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// Linear: the share of the rate at the start. Default: 1 (PyTorch: 1/3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_factor: Option<f64>,
    /// Linear: the share of the rate at the end. Default: 0 (PyTorch: 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_factor: Option<f64>,
    /// Polynomial: the exponent. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// One-cycle: the share of steps on the way up. Default: 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pct_start: Option<f64>,
    /// One-cycle: cos or linear. Default: cos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anneal: Option<Anneal>,
    /// One-cycle: it starts from lr / div_factor. Default: 25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub div_factor: Option<f64>,
    /// One-cycle: it ends at the start divided by this. Default: 1e4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_div_factor: Option<f64>,
    /// One-cycle: come down the way it went up, then fall to the end. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub three_phase: Option<bool>,
    /// Warm-up–stable–decay: how long the rate comes down at the end, in steps or as a share of all steps after the warm-up.
    /// Default: 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<Span>,
    /// Warm-up–stable–decay: 1-sqrt, linear or cosine. Default: 1-sqrt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_type: Option<DecayType>,
    /// Plateau: what the rate is multiplied with. Default: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Plateau: how many evaluations without a better score are borne. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Plateau: how much better a score must be to count. Default: 1e-4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Plateau: whether the threshold is rel (a share of the best) or abs. Default: rel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_mode: Option<ThresholdMode>,
    /// Plateau: how many evaluations after a reduction are not counted. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<u64>,
    /// Plateau: reductions smaller than this are not made. Default: 1e-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
}

type Key = (&'static str, fn(&ScheduleConfig) -> bool, &'static [ScheduleKind]);

const KEYS: &[Key] = {
    use ScheduleKind::{
        Cosine, Exponential, Linear, OneCycle, Plateau, Polynomial, Step, WarmupStableDecay,
    };
    &[
        ("step_size", |c| c.step_size.is_some(), &[Step]),
        ("milestones", |c| c.milestones.is_some(), &[Step]),
        ("gamma", |c| c.gamma.is_some(), &[Step, Exponential]),
        ("cycle", |c| c.cycle.is_some(), &[Cosine]),
        ("cycle_multiplier", |c| c.cycle_multiplier.is_some(), &[Cosine]),
        ("min_lr", |c| c.min_lr.is_some(), &[Cosine, Polynomial, WarmupStableDecay, Plateau]),
        ("start_factor", |c| c.start_factor.is_some(), &[Linear]),
        ("end_factor", |c| c.end_factor.is_some(), &[Linear]),
        ("power", |c| c.power.is_some(), &[Polynomial]),
        ("pct_start", |c| c.pct_start.is_some(), &[OneCycle]),
        ("anneal", |c| c.anneal.is_some(), &[OneCycle]),
        ("div_factor", |c| c.div_factor.is_some(), &[OneCycle]),
        ("final_div_factor", |c| c.final_div_factor.is_some(), &[OneCycle]),
        ("three_phase", |c| c.three_phase.is_some(), &[OneCycle]),
        ("decay", |c| c.decay.is_some(), &[WarmupStableDecay]),
        ("decay_type", |c| c.decay_type.is_some(), &[WarmupStableDecay]),
        ("factor", |c| c.factor.is_some(), &[Plateau]),
        ("patience", |c| c.patience.is_some(), &[Plateau]),
        ("threshold", |c| c.threshold.is_some(), &[Plateau]),
        ("threshold_mode", |c| c.threshold_mode.is_some(), &[Plateau]),
        ("cooldown", |c| c.cooldown.is_some(), &[Plateau]),
        ("eps", |c| c.eps.is_some(), &[Plateau]),
    ]
};

impl ScheduleConfig {
    /// This shape with its defaults.
    pub fn new(kind: ScheduleKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Checks every setting's range, and that it belongs to this shape.
    ///
    /// # Errors
    /// The first key that does not fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, is_set, kinds) in KEYS {
            if is_set(self) && !kinds.contains(&self.kind) {
                let names: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
                let message =
                    format!("does not apply to {}, only to {}", self.kind, names.join(", "));
                return Err(ConfigError::new(*key, message));
            }
        }
        let checks = [
            ("warmup_start", self.warmup_start, Range::Unit),
            ("gamma", self.gamma, Range::Above(0.0)),
            ("min_lr", self.min_lr, Range::AtLeast(0.0)),
            ("start_factor", self.start_factor, Range::AtLeast(0.0)),
            ("end_factor", self.end_factor, Range::AtLeast(0.0)),
            ("power", self.power, Range::Above(0.0)),
            ("pct_start", self.pct_start, Range::Unit),
            ("div_factor", self.div_factor, Range::AtLeast(1.0)),
            ("final_div_factor", self.final_div_factor, Range::AtLeast(1.0)),
            ("factor", self.factor, Range::BelowOne),
            ("threshold", self.threshold, Range::AtLeast(0.0)),
            ("eps", self.eps, Range::AtLeast(0.0)),
        ];
        checks.iter().try_for_each(|&(key, value, range)| range.check(key, value))?;
        self.validate_spans()?;
        if self.cycle_multiplier == Some(0) {
            return Err(ConfigError::new("cycle_multiplier", "must be at least 1, found 0"));
        }
        if self.cycle_multiplier.is_some() && self.cycle.is_none() {
            let message = "needs `cycle`, the length of the first cycle";
            return Err(ConfigError::new("cycle_multiplier", message));
        }
        if self.kind == ScheduleKind::Exponential && self.gamma.is_none() {
            let message = "is required for exponential: what each step multiplies the rate with, such as 0.9995";
            return Err(ConfigError::new("gamma", message));
        }
        if self.kind == ScheduleKind::Step && self.step_size.is_some() == self.milestones.is_some()
        {
            let message = "or `milestones` is required for step, and not both: after how many steps the rate drops, \
                 such as 0.3 for 30 % of all steps";
            return Err(ConfigError::new("step_size", message));
        }
        Ok(())
    }

    fn validate_spans(&self) -> Result<(), ConfigError> {
        let milestones = self.milestones.iter().flatten().map(|span| ("milestones", Some(*span)));
        let spans = [
            ("warmup", self.warmup),
            ("step_size", self.step_size),
            ("cycle", self.cycle),
            ("decay", self.decay),
        ];
        for (key, span) in spans.into_iter().chain(milestones) {
            let Some(span) = span else { continue };
            if !span.is_valid() {
                let message = format!("must be steps or a share between 0.0 and 1.0, found {span}");
                return Err(ConfigError::new(key, message));
            }
            if span.is_zero() && matches!(key, "step_size" | "cycle") {
                return Err(ConfigError::new(key, "must be at least one step, found 0"));
            }
        }
        Ok(())
    }
}
