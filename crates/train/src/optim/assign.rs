//! The settings of each parameter: those of its group, or of the recipe.

use super::config::OptimizerConfig;
use super::group::GroupConfig;
use super::layout::{Group, Layout, Parameter};
use ff_graph::{ParamKind, ParamSpec, Params, Segment};
use ff_settings::ConfigError;

impl Layout {
    /// The arena with the settings of a recipe.
    ///
    /// # Errors
    /// A group that is not optional matches no parameter.
    pub(super) fn new(config: &OptimizerConfig, params: &Params) -> Result<Self, ConfigError> {
        let infos = params.infos().iter().enumerate();
        let infos: Vec<_> =
            infos.filter(|(_, info)| info.spec.segment == Segment::Trainable).collect();
        for (i, group) in config.groups.iter().enumerate() {
            let any = infos.iter().any(|(_, info)| group.matches(&info.spec.name));
            if !any && !group.optional {
                let names: Vec<&str> =
                    infos.iter().map(|(_, info)| info.spec.name.as_str()).collect();
                let (pattern, names) = (&group.pattern, list(&names));
                let message = format!("\"{pattern}\" matches no trainable parameter; {names}");
                return Err(ConfigError::new(format!("groups[{i}].match"), message));
            }
        }
        let parameters = infos.iter().map(|(index, info)| Parameter {
            index: *index,
            range: info.range(),
            shape: info.spec.shape,
            group: group_of(config, &info.spec),
        });
        Ok(Self::of(parameters.collect()))
    }
}

/// What the rule does with one parameter beyond its own settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterSettings {
    /// The factor of the learning rate.
    pub lr_scale: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// The L1 penalty.
    pub l1: f64,
    /// The L2 penalty.
    pub l2: f64,
}

impl OptimizerConfig {
    /// The settings of a parameter: those of its group, or of the recipe, with weight decay and
    /// penalties only for matrices and embeddings.
    ///
    /// ```
    /// use ff_graph::{ParamKind, ParamSpec};
    /// use ff_train::optim::{OptimizerConfig, OptimizerKind};
    /// let config = OptimizerConfig::new(OptimizerKind::AdamW);
    /// let bias = ParamSpec::new("bias", [3], ParamKind::Bias);
    /// assert_eq!(config.of_parameter(&bias).weight_decay, 0.0);
    /// ```
    pub fn of_parameter(&self, spec: &ParamSpec) -> ParameterSettings {
        let Group { lr_scale, weight_decay, l1, l2, .. } = group_of(self, spec);
        ParameterSettings { lr_scale, weight_decay, l1, l2 }
    }
}

/// The settings of a parameter: those of its group, or of the recipe, with weight decay and
/// penalties only for matrices and embeddings.
fn group_of(config: &OptimizerConfig, spec: &ParamSpec) -> Group {
    let shrinks = matches!(spec.kind, ParamKind::Weight | ParamKind::Embedding);
    let is_matrix =
        spec.kind == ParamKind::Weight && spec.shape.rank() >= 2 && !spec.shape.is_empty();
    let default = |value: f64| if shrinks { value } else { 0.0 };
    let group = config.groups.iter().find(|group| group.matches(&spec.name));
    let of = |own: fn(&GroupConfig) -> Option<f64>| group.and_then(own);
    Group {
        lr_scale: of(|g| g.lr_scale).unwrap_or(1.0),
        weight_decay: of(|g| g.weight_decay).unwrap_or_else(|| default(config.weight_decay())),
        l1: of(|g| g.l1).unwrap_or_else(|| default(config.l1.unwrap_or(0.0))),
        l2: of(|g| g.l2).unwrap_or_else(|| default(config.l2.unwrap_or(0.0))),
        fan_in: if config.ntk && is_matrix { spec.shape.last() as f64 } else { 1.0 },
        matrix: config.kind.info().splits_matrices
            && is_matrix
            && group.and_then(|g| g.adamw) != Some(true),
    }
}

/// Names, shortened to fit a line.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    if names.is_empty() {
        return "there is none".into();
    }
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if more > 0 {
        format!("there are {shown} and {more} more")
    } else {
        format!("there are {shown}")
    }
}
