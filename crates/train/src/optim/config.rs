//! What a recipe says about the optimiser.

use super::{ConfigError, GroupConfig};
use ff_settings::Range;
use ff_tensor::DType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The rule that turns gradients into updates.
///
/// ```
/// use ff_train::optim::OptimizerKind;
/// assert_eq!(OptimizerKind::AdamW.to_string(), "adamw");
/// assert_eq!(OptimizerKind::AdamW.default_lr(), 1e-3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum (`torch.optim.SGD`).
    Sgd,
    /// Adam: Kingma and Ba 2015 (`torch.optim.Adam`).
    Adam,
    /// Adam with decoupled weight decay: Loshchilov and Hutter 2019 (`torch.optim.AdamW`).
    #[default]
    AdamW,
    /// RMSprop: Hinton's lecture 6e, centred as in Graves 2013 (`torch.optim.RMSprop`).
    RmsProp,
    /// Adagrad: Duchi, Hazan and Singer 2011 (`torch.optim.Adagrad`).
    Adagrad,
    /// Lion, the sign of an interpolated momentum: Chen et al. 2023.
    Lion,
    /// Muon, matrices by their orthogonalised momentum and the rest by AdamW: Jordan et al. 2024 (`torch.optim.Muon`).
    Muon,
    /// L-BFGS, for small data as one batch: Nocedal 1980 (`torch.optim.LBFGS`).
    Lbfgs,
}

impl OptimizerKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Sgd,
        Self::Adam,
        Self::AdamW,
        Self::RmsProp,
        Self::Adagrad,
        Self::Lion,
        Self::Muon,
        Self::Lbfgs,
    ];

    /// Its name in a recipe.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Adam => "adam",
            Self::AdamW => "adamw",
            Self::RmsProp => "rmsprop",
            Self::Adagrad => "adagrad",
            Self::Lion => "lion",
            Self::Muon => "muon",
            Self::Lbfgs => "lbfgs",
        }
    }

    /// The learning rate where a recipe gives none: PyTorch's, and the paper's for Lion.
    pub const fn default_lr(self) -> f64 {
        match self {
            Self::Sgd | Self::Adam | Self::AdamW | Self::Muon => 1e-3,
            Self::RmsProp | Self::Adagrad => 1e-2,
            Self::Lion => 1e-4,
            Self::Lbfgs => 1.0,
        }
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How L-BFGS looks for a step's length.
///
/// ```
/// assert_eq!(ff_train::optim::LineSearch::default(), ff_train::optim::LineSearch::StrongWolfe);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineSearch {
    /// Bracket and zoom until the strong Wolfe conditions hold (c₁ = 10⁻⁴, c₂ = 0.9).
    #[default]
    StrongWolfe,
    /// Halve the step until the loss falls enough (Armijo, c₁ = 10⁻⁴).
    Backtracking,
    /// Always the learning rate.
    None,
}

/// How Muon's rate follows from a matrix's shape `[out, in]`, with the names of `torch.optim.Muon`.
///
/// ```
/// use ff_train::optim::AdjustLr;
/// assert_eq!(AdjustLr::default().factor(400, 100), 2.0);
/// assert_eq!(AdjustLr::MatchRmsAdamW.factor(400, 100), 4.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdjustLr {
    /// √max(1, out/in), Keller Jordan's.
    #[default]
    Original,
    /// 0.2 √max(out, in): steps as large as AdamW's, so that AdamW's rate and decay fit (Liu et al. 2025).
    #[serde(rename = "match_rms_adamw")]
    MatchRmsAdamW,
    /// √(out/in): Bernstein 2025.
    SpectralUnclamped,
}

impl AdjustLr {
    /// What the rate is multiplied with.
    pub fn factor(self, rows: usize, columns: usize) -> f64 {
        let (rows, columns) = (rows as f64, columns as f64);
        match self {
            Self::Original => (rows / columns).max(1.0).sqrt(),
            Self::MatchRmsAdamW => 0.2 * rows.max(columns).sqrt(),
            Self::SpectralUnclamped => (rows / columns).sqrt(),
        }
    }
}

/// The table `[optimizer]` of a recipe: a rule, its settings and what is done to gradients and weights around it.
///
/// It is one flat table, so that a misspelt key is shown in its line; [`OptimizerConfig::validate`] says which keys
/// belong to which rule. What is left out has PyTorch's default. The order in which a step uses it all is described
/// at [`Optimizer::step`](super::Optimizer::step).
///
/// ```
/// use ff_train::optim::{OptimizerConfig, OptimizerKind};
/// let config: OptimizerConfig =
///     serde_json::from_str(r#"{ "kind": "adamw", "lr": 1e-3, "clip_norm": 1.0 }"#)?;
/// config.validate()?;
/// assert_eq!(config.weight_decay(), 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// The rule: sgd, adam, adamw, rmsprop, adagrad, lion, muon or lbfgs.
    pub kind: OptimizerKind,
    /// The learning rate, which the schedule scales. Default: 1e-3; 1e-2 for rmsprop and adagrad, 1e-4 for lion, 1 for
    /// lbfgs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Weight decay on matrices and embeddings. Decoupled (w ← w − lr·decay·w) for adamw, lion and muon, added to the
    /// gradient after clipping for the others, as in PyTorch. Default: 0.01 for adamw, 0.1 for muon, else 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The decay of the running means of the gradient and of its square; with muon, those of AdamW for the rest. Default:
    /// [0.9, 0.999]; [0.9, 0.99] for lion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// Added to the denominator (muon: AdamW's). Default: 1e-8; 1e-10 for adagrad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// Adam and AdamW: divide by the largest second moment so far (Reddi et al. 2018). Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amsgrad: Option<bool>,
    /// SGD, RMSprop and Muon: momentum. Default: 0; 0.95 for muon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// SGD: the share of a gradient that does not enter the momentum. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dampening: Option<f64>,
    /// SGD and Muon: Nesterov's momentum. Default: false; true for muon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// RMSprop: the decay of the running mean of squares. Default: 0.99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// RMSprop: divide by the running variance instead of the mean square. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centered: Option<bool>,
    /// Adagrad: the rate falls as 1 / (1 + t·lr_decay). Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_decay: Option<f64>,
    /// Adagrad: what the sums of squares start from. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_accumulator_value: Option<f64>,
    /// Muon: AdamW's rate for what is no weight matrix; the schedule scales it as it does `lr`. Default: `lr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adamw_lr: Option<f64>,
    /// Muon: how the rate follows from a matrix's shape: original, match_rms_adamw or spectral_unclamped. Default: original.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjust_lr_fn: Option<AdjustLr>,
    /// Muon: iterations that make a momentum orthogonal. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_steps: Option<usize>,
    /// Muon: whether these iterations multiply in bf16, as PyTorch's do. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_bf16: Option<bool>,
    /// L-BFGS: how many past steps shape the search direction. Default: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_size: Option<usize>,
    /// L-BFGS: iterations in one step. Default: 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_iter: Option<usize>,
    /// L-BFGS: evaluations of the loss in one step. Default: 1.25 max_iter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_eval: Option<usize>,
    /// L-BFGS: converged where no gradient is larger. Default: 1e-7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_grad: Option<f64>,
    /// L-BFGS: converged where neither loss nor weights change more. Default: 1e-9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_change: Option<f64>,
    /// L-BFGS: strong_wolfe, backtracking or none. Default: strong_wolfe (PyTorch: none).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_search: Option<LineSearch>,
    /// The penalty l1·Σ|w| on matrices and embeddings; its gradient counts when clipping. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l1: Option<f64>,
    /// The penalty l2/2·Σw² on matrices and embeddings; its gradient counts when clipping. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Clips each gradient to ± this. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// Scales all gradients down so that their common norm is at most this. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Scales down each row of a weight matrix (what leads into one unit) to at most this norm. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_norm: Option<f64>,
    /// Keeps a running average of the weights with this decay, for evaluation and for the final model. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Other settings for parameters by name; the first group that matches counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
}

/// One key's name, whether it is set, and the kinds it applies to; empty for all.
type Key = (&'static str, fn(&OptimizerConfig) -> bool, &'static [OptimizerKind]);

const KEYS: &[Key] = {
    use OptimizerKind::{Adagrad, Adam, AdamW, Lbfgs, Lion, Muon, RmsProp, Sgd};
    const GRADIENT: &[OptimizerKind] = &[Sgd, Adam, AdamW, RmsProp, Adagrad, Lion, Muon];
    &[
        ("weight_decay", |c| c.weight_decay.is_some(), GRADIENT),
        ("betas", |c| c.betas.is_some(), &[Adam, AdamW, Lion, Muon]),
        ("eps", |c| c.eps.is_some(), &[Adam, AdamW, RmsProp, Adagrad, Muon]),
        ("amsgrad", |c| c.amsgrad.is_some(), &[Adam, AdamW]),
        ("momentum", |c| c.momentum.is_some(), &[Sgd, RmsProp, Muon]),
        ("dampening", |c| c.dampening.is_some(), &[Sgd]),
        ("nesterov", |c| c.nesterov.is_some(), &[Sgd, Muon]),
        ("alpha", |c| c.alpha.is_some(), &[RmsProp]),
        ("centered", |c| c.centered.is_some(), &[RmsProp]),
        ("lr_decay", |c| c.lr_decay.is_some(), &[Adagrad]),
        ("initial_accumulator_value", |c| c.initial_accumulator_value.is_some(), &[Adagrad]),
        ("adamw_lr", |c| c.adamw_lr.is_some(), &[Muon]),
        ("adjust_lr_fn", |c| c.adjust_lr_fn.is_some(), &[Muon]),
        ("ns_steps", |c| c.ns_steps.is_some(), &[Muon]),
        ("ns_bf16", |c| c.ns_bf16.is_some(), &[Muon]),
        ("history_size", |c| c.history_size.is_some(), &[Lbfgs]),
        ("max_iter", |c| c.max_iter.is_some(), &[Lbfgs]),
        ("max_eval", |c| c.max_eval.is_some(), &[Lbfgs]),
        ("tolerance_grad", |c| c.tolerance_grad.is_some(), &[Lbfgs]),
        ("tolerance_change", |c| c.tolerance_change.is_some(), &[Lbfgs]),
        ("line_search", |c| c.line_search.is_some(), &[Lbfgs]),
        ("l1", |c| c.l1.is_some(), GRADIENT),
        ("clip_value", |c| c.clip_value.is_some(), GRADIENT),
        ("clip_norm", |c| c.clip_norm.is_some(), GRADIENT),
        ("max_norm", |c| c.max_norm.is_some(), GRADIENT),
        ("groups", |c| !c.groups.is_empty(), GRADIENT),
    ]
};

impl OptimizerConfig {
    /// This rule with its defaults.
    pub fn new(kind: OptimizerKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// The learning rate, given or the rule's default.
    pub fn lr(&self) -> f64 {
        self.lr.unwrap_or(self.kind.default_lr())
    }

    /// The weight decay of matrices and embeddings, given or the rule's default.
    pub fn weight_decay(&self) -> f64 {
        let default = match self.kind {
            OptimizerKind::AdamW => 0.01,
            OptimizerKind::Muon => 0.1,
            _ => 0.0,
        };
        self.weight_decay.unwrap_or(default)
    }

    /// How many values are kept for each trainable parameter besides itself and its gradient; for Muon, of what is no
    /// matrix, one more than of matrices.
    pub fn values_per_parameter(&self) -> usize {
        let rule = match self.kind {
            OptimizerKind::Sgd => usize::from(self.momentum.unwrap_or(0.0) != 0.0),
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                2 + usize::from(self.amsgrad.unwrap_or(false))
            }
            OptimizerKind::RmsProp => {
                1 + usize::from(self.momentum.unwrap_or(0.0) != 0.0)
                    + usize::from(self.centered.unwrap_or(false))
            }
            OptimizerKind::Adagrad | OptimizerKind::Lion => 1,
            OptimizerKind::Muon => 2,
            OptimizerKind::Lbfgs => super::lbfgs::arrays(self),
        };
        rule + usize::from(self.ema.is_some())
    }

    /// How many bytes are kept for each trainable parameter besides itself and its gradient.
    pub fn bytes_per_parameter(&self, dtype: DType) -> usize {
        self.values_per_parameter() * dtype.bytes()
    }

    /// Muon's momentum is the weight of a running mean.
    fn momentum_range(&self) -> Range {
        if self.kind == OptimizerKind::Muon { Range::BelowOne } else { Range::AtLeast(0.0) }
    }

    /// Checks every setting's range, and that it belongs to this rule.
    ///
    /// # Errors
    /// The first key that does not fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, is_set, kinds) in KEYS {
            if is_set(self) && !kinds.contains(&self.kind) {
                let names: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
                let mut message =
                    format!("does not apply to {}, only to {}", self.kind, names.join(", "));
                if *key == "weight_decay" {
                    message += "; `l2` does the same";
                }
                return Err(ConfigError::new(*key, message));
            }
        }
        let checks: &[(&str, Option<f64>, Range)] = &[
            ("lr", self.lr, Range::AtLeast(0.0)),
            ("weight_decay", self.weight_decay, Range::AtLeast(0.0)),
            ("betas", self.betas.map(|b| b[0]), Range::BelowOne),
            ("betas", self.betas.map(|b| b[1]), Range::BelowOne),
            ("eps", self.eps, Range::AtLeast(0.0)),
            ("momentum", self.momentum, self.momentum_range()),
            ("adamw_lr", self.adamw_lr, Range::AtLeast(0.0)),
            ("dampening", self.dampening, Range::Any),
            ("alpha", self.alpha, Range::BelowOne),
            ("lr_decay", self.lr_decay, Range::AtLeast(0.0)),
            ("initial_accumulator_value", self.initial_accumulator_value, Range::AtLeast(0.0)),
            ("tolerance_grad", self.tolerance_grad, Range::AtLeast(0.0)),
            ("tolerance_change", self.tolerance_change, Range::AtLeast(0.0)),
            ("l1", self.l1, Range::AtLeast(0.0)),
            ("l2", self.l2, Range::AtLeast(0.0)),
            ("clip_value", self.clip_value, Range::Above(0.0)),
            ("clip_norm", self.clip_norm, Range::Above(0.0)),
            ("max_norm", self.max_norm, Range::Above(0.0)),
            ("ema", self.ema, Range::BelowOne),
        ];
        for &(key, value, range) in checks {
            range.check(key, value)?;
        }
        let counts = [
            ("ns_steps", self.ns_steps),
            ("history_size", self.history_size),
            ("max_iter", self.max_iter),
            ("max_eval", self.max_eval),
        ];
        for (key, value) in counts {
            if value == Some(0) {
                return Err(ConfigError::new(key, "must be at least 1, found 0"));
            }
        }
        if let Some(steps) = self.ns_steps.filter(|&steps| steps >= 100) {
            return Err(ConfigError::new("ns_steps", format!("must be below 100, found {steps}")));
        }
        if self.nesterov == Some(true)
            && self.kind == OptimizerKind::Sgd
            && (self.momentum.unwrap_or(0.0) == 0.0 || self.dampening.unwrap_or(0.0) != 0.0)
        {
            let message = "needs `momentum` above 0 and `dampening` of 0";
            return Err(ConfigError::new("nesterov", message));
        }
        self.groups.iter().enumerate().try_for_each(|(i, group)| group.validate(i))
    }
}
