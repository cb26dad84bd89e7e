//! The division of the arena into pieces with common settings.

use super::config::OptimizerConfig;
use super::group::GroupConfig;
use ff_graph::{ParamKind, ParamSpec, Params, Segment};
use ff_settings::ConfigError;
use ff_tensor::Shape;
use std::ops::Range;

/// The settings of a piece of the arena.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    pub(super) lr_scale: f64,
    pub(super) weight_decay: f64,
    pub(super) l1: f64,
    pub(super) l2: f64,
    /// The inputs of a weight matrix in the NTK parametrisation, else 1.
    pub(super) fan_in: f64,
    /// Whether it is a weight matrix, updated by the rule's own method for matrices.
    pub(super) matrix: bool,
}

/// A trainable parameter and its settings.
#[derive(Debug)]
pub(super) struct Parameter {
    /// Its index in [`Params::infos`].
    pub(super) index: usize,
    pub(super) range: Range<usize>,
    pub(super) shape: Shape,
    pub(super) group: Group,
}

/// The maximum number of values per piece: a few microseconds of work, many times the cost of
/// passing a piece to a thread.
const PIECE: usize = 1 << 13;

/// The arena, divided into pieces of one group each. The division depends only on parameters and
/// groups, so sums over pieces are bit-identical for any number of threads.
#[derive(Debug)]
pub(super) struct Layout {
    /// Piece i is `bounds[i]..bounds[i + 1]`; the pieces cover the arena.
    pub(super) bounds: Vec<usize>,
    /// The trainable parameters in the order of [`Params::infos`].
    pub(super) parameters: Vec<Parameter>,
    piece_groups: Vec<u32>,
    groups: Vec<Group>,
}

impl Layout {
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
        let mut layout = Self {
            bounds: vec![0],
            parameters: parameters.collect(),
            piece_groups: Vec::new(),
            groups: Vec::new(),
        };
        layout.cut_arena();
        Ok(layout)
    }

    fn cut_arena(&mut self) {
        let mut sorted: Vec<(usize, Group)> =
            self.parameters.iter().map(|p| (p.range.end, p.group)).collect();
        sorted.sort_by_key(|(end, _)| *end);
        // Adjacent values of one group, not yet divided.
        let mut run: Option<(u32, usize)> = None;
        for (end, group) in sorted {
            let found = self.groups.iter().position(|g| *g == group);
            let id = found.unwrap_or_else(|| {
                self.groups.push(group);
                self.groups.len() - 1
            }) as u32;
            if let Some((other, end)) = run
                && other != id
            {
                self.cut(other, end);
            }
            run = Some((id, end));
        }
        if let Some((id, end)) = run {
            self.cut(id, end);
        }
    }

    fn cut(&mut self, group: u32, end: usize) {
        let mut start = self.bounds.last().copied().unwrap_or(0);
        while start < end {
            start = end.min(start + PIECE);
            self.bounds.push(start);
            self.piece_groups.push(group);
        }
    }

    /// The values of the arena.
    pub(super) fn len(&self) -> usize {
        self.bounds.last().copied().unwrap_or(0)
    }

    pub(super) fn pieces(&self) -> usize {
        self.piece_groups.len()
    }

    pub(super) fn group(&self, piece: usize) -> &Group {
        &self.groups[self.piece_groups[piece] as usize]
    }

    pub(super) fn range(&self, piece: usize) -> std::ops::Range<usize> {
        self.bounds[piece]..self.bounds[piece + 1]
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

#[cfg(test)]
mod tests {
    use super::*;
    use ff_tensor::{DType, Device};

    #[test]
    fn pieces_cover_the_arena_and_neighbours_with_one_group_are_joined() {
        let specs = vec![
            ParamSpec::new("a.weight", [100, 100], ParamKind::Weight),
            ParamSpec::new("b.weight", [2, 3], ParamKind::Weight),
            ParamSpec::new("b.bias", [2], ParamKind::Bias),
            ParamSpec::new("c.gain", [5], ParamKind::Gain),
            ParamSpec::new("empty", [0, 4], ParamKind::Weight),
            ParamSpec::new("mean", [5], ParamKind::Statistic),
            ParamSpec::new("d.weight", [7], ParamKind::Embedding),
        ];
        let params = Params::allocate(&Device::default(), DType::F32, specs, true).unwrap();
        let layout = Layout::new(&OptimizerConfig::default(), &params).unwrap();
        assert_eq!(layout.bounds, [0, 8192, 10_006, 10_013, 10_020]);
        assert_eq!(layout.pieces(), 4);
        assert_eq!(layout.group(1).weight_decay, 0.01);
        assert_eq!(layout.group(2).weight_decay, 0.0);
        assert_eq!(layout.group(3).weight_decay, 0.01);

        let head = GroupConfig {
            pattern: "b.*".into(),
            lr_scale: Some(10.0),
            weight_decay: Some(0.5),
            ..GroupConfig::default()
        };
        let config = OptimizerConfig { groups: vec![head], ..OptimizerConfig::default() };
        let layout = Layout::new(&config, &params).unwrap();
        // The bias of b decays as requested, and joins the weight of b.
        assert_eq!(layout.bounds, [0, 8192, 10_000, 10_008, 10_013, 10_020]);
        assert_eq!(layout.group(2).lr_scale, 10.0);
        assert_eq!(layout.group(2).weight_decay, 0.5);

        let none = Params::allocate(&Device::default(), DType::F32, vec![], true).unwrap();
        let layout = Layout::new(&OptimizerConfig::default(), &none).unwrap();
        assert_eq!((layout.pieces(), layout.bounds), (0, vec![0]));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error_with_the_names_there_are() {
        let specs = vec![ParamSpec::new("head.weight", [2, 2], ParamKind::Weight)];
        let params = Params::allocate(&Device::default(), DType::F32, specs, true).unwrap();
        let group = GroupConfig { pattern: "haed.*".into(), ..GroupConfig::default() };
        let config = OptimizerConfig { groups: vec![group], ..OptimizerConfig::default() };
        let error = Layout::new(&config, &params).unwrap_err();
        assert_eq!(
            error.to_string(),
            "groups[0].match: \"haed.*\" matches no trainable parameter; there are head.weight"
        );
    }
}
