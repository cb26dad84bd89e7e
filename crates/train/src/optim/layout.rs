//! The division of the arena into pieces with common settings.

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
    /// The arena of these parameters.
    pub(super) fn of(parameters: Vec<Parameter>) -> Self {
        let (piece_groups, groups) = (Vec::new(), Vec::new());
        let mut layout = Self { bounds: vec![0], parameters, piece_groups, groups };
        layout.cut_arena();
        layout
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{GroupConfig, OptimizerConfig};
    use ff_graph::{ParamKind, ParamSpec, Params};
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
