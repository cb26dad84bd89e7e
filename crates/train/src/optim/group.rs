//! Parameter groups, and the cut of the arena into pieces that share their settings.

use super::{ConfigError, OptimizerConfig, OptimizerKind};
use ff_graph::{ParamKind, ParamSpec, Params, Segment};
use ff_settings::Range;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of their own for the parameters whose names match a pattern.
///
/// ```
/// use ff_train::optim::GroupConfig;
/// let group: GroupConfig =
///     serde_json::from_str(r#"{ "match": "head.*", "lr_scale": 10, "weight_decay": 0 }"#)?;
/// assert!(group.matches("head.weight") && !group.matches("body.head.weight"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// A pattern for whole names: `*` stands for any characters, dots too, `?` for one.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Multiplies the learning rate; 0 leaves these parameters as they are. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_scale: Option<f64>,
    /// Weight decay of these, whatever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// L1 penalty of these, whatever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l1: Option<f64>,
    /// L2 penalty of these, whatever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Muon: whether AdamW updates these, such as the last layer of a language model. Default: what is no weight matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adamw: Option<bool>,
}

impl GroupConfig {
    /// Whether a parameter's name matches.
    pub fn matches(&self, name: &str) -> bool {
        glob(self.pattern.as_bytes(), name.as_bytes())
    }

    pub(super) fn validate(&self, index: usize) -> Result<(), ConfigError> {
        let key = |name: &str| format!("groups[{index}].{name}");
        if self.pattern.is_empty() {
            let message = "must be a pattern of parameter names, such as \"head.*\"; it is empty";
            return Err(ConfigError::new(key("match"), message));
        }
        let checks = [
            ("lr_scale", self.lr_scale),
            ("weight_decay", self.weight_decay),
            ("l1", self.l1),
            ("l2", self.l2),
        ];
        if self.adamw == Some(false) {
            let message = "must be true where it is given; weight matrices are Muon's anyway";
            return Err(ConfigError::new(key("adamw"), message));
        }
        checks.iter().try_for_each(|&(name, v)| Range::AtLeast(0.0).check(&key(name), v))
    }
}

/// Whether `name` as a whole matches `pattern`, with `*` for any run of characters and `?` for one byte.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on after a mismatch: behind the last star, with one more character given to it.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after_star, taken)) = retry else { return false };
                retry = Some((after_star, taken + 1));
                p = after_star;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// What a piece of the arena is updated with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    pub(super) lr_scale: f64,
    pub(super) weight_decay: f64,
    pub(super) l1: f64,
    pub(super) l2: f64,
    /// Whether a matrix's momentum is made orthogonal.
    pub(super) muon: bool,
}

/// The most values in one piece: some microseconds of work, many times what it takes to hand a piece to a thread.
const PIECE: usize = 1 << 13;

/// The arena cut into pieces that each have one group; the cut depends on the parameters and groups alone, so sums over
/// pieces have the same bits for any number of threads.
#[derive(Debug)]
pub(super) struct Layout {
    /// Piece i is `bounds[i]..bounds[i + 1]`; the pieces cover the arena.
    pub(super) bounds: Vec<usize>,
    piece_groups: Vec<u32>,
    groups: Vec<Group>,
}

impl Layout {
    pub(super) fn new(config: &OptimizerConfig, params: &Params) -> Result<Self, ConfigError> {
        let mut infos: Vec<_> =
            params.infos().iter().filter(|i| i.spec.segment == Segment::Trainable).collect();
        infos.sort_by_key(|info| info.offset);
        for (i, group) in config.groups.iter().enumerate() {
            if !infos.iter().any(|info| group.matches(&info.spec.name)) {
                let names: Vec<&str> = infos.iter().map(|i| i.spec.name.as_str()).collect();
                return Err(ConfigError::new(
                    format!("groups[{i}].match"),
                    format!(
                        "\"{}\" matches no trainable parameter; {}",
                        group.pattern,
                        list(&names)
                    ),
                ));
            }
        }
        let mut layout = Self { bounds: vec![0], piece_groups: Vec::new(), groups: Vec::new() };
        // The run of parameters with one group that has not been cut yet.
        let mut run: Option<(u32, usize)> = None;
        for info in infos {
            let group = Self::group_of(config, &info.spec);
            let found = layout.groups.iter().position(|g| *g == group);
            let id = found.unwrap_or_else(|| {
                layout.groups.push(group);
                layout.groups.len() - 1
            }) as u32;
            if let Some((other, end)) = run
                && other != id
            {
                layout.cut(other, end);
            }
            run = Some((id, info.range().end));
        }
        if let Some((id, end)) = run {
            layout.cut(id, end);
        }
        Ok(layout)
    }

    pub(super) fn group_of(config: &OptimizerConfig, spec: &ParamSpec) -> Group {
        let (name, kind) = (spec.name.as_str(), spec.kind);
        let shrinks = matches!(kind, ParamKind::Weight | ParamKind::Embedding);
        let is_matrix =
            kind == ParamKind::Weight && spec.shape.rank() >= 2 && !spec.shape.is_empty();
        let default = |value: f64| if shrinks { value } else { 0.0 };
        let group = config.groups.iter().find(|group| group.matches(name));
        let of = |own: fn(&GroupConfig) -> Option<f64>| group.and_then(own);
        Group {
            lr_scale: of(|g| g.lr_scale).unwrap_or(1.0),
            weight_decay: of(|g| g.weight_decay).unwrap_or_else(|| default(config.weight_decay())),
            l1: of(|g| g.l1).unwrap_or_else(|| default(config.l1.unwrap_or(0.0))),
            l2: of(|g| g.l2).unwrap_or_else(|| default(config.l2.unwrap_or(0.0))),
            muon: config.kind == OptimizerKind::Muon
                && is_matrix
                && group.and_then(|g| g.adamw) != Some(true),
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

/// The names there are, shortened to a line.
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
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("head.*", "head.weight", true),
            ("head.*", "head.", true),
            ("head.*", "head", false),
            ("head.*", "a.head.weight", false),
            ("*", "", true),
            ("*.bias", "layers.0.bias", true),
            ("*.bias", "layers.0.bias.x", false),
            ("layers.?.weight", "layers.3.weight", true),
            ("layers.?.weight", "layers.13.weight", false),
            ("*a*b*c", "xxaxbxbxc", true),
            ("*a*b*c", "xxaxcxbx", false),
            ("", "", true),
            ("", "x", false),
            ("**", "anything", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

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
        // b's bias decays because it was asked for, and joins b's weight.
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
            "`groups[0].match` \"haed.*\" matches no trainable parameter; there are head.weight"
        );
    }
}
