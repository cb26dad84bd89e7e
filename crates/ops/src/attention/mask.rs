//! The mask: the keys that each query sees.

use super::layout::Sizes;
use super::{Attention, TILE};
use ff_kernels::Band;
use std::ops::Range;

/// The band allowed by `causal`, the window and the keys ahead.
pub(super) fn band(op: &Attention, queries: usize, keys: usize) -> Band {
    let offset = keys as isize - queries as isize;
    let most = isize::MAX / 8;
    let low = op.window.map(|window| offset + 1 - window.min(most as usize) as isize);
    let ahead = if op.causal { Some(0) } else { op.ahead };
    let high = ahead.map(|ahead| offset + 1 + ahead.min(most as usize) as isize);
    Band { low: low.unwrap_or(Band::ALL.low), high: high.unwrap_or(Band::ALL.high) }
}

/// The number of query-key pairs in the band.
pub(super) fn pairs(op: &Attention, sizes: &Sizes) -> usize {
    let band = band(op, sizes.queries, sizes.keys);
    (0..sizes.queries).map(|t| band.columns(t..t + 1, sizes.keys).len()).sum()
}

/// The effect of the segments on a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// No query sees any key.
    Nothing,
    /// Each pair needs a check.
    Pairs,
    /// The segments mask nothing.
    Band,
}

/// The band and the segments of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mask<'a> {
    pub(super) band: Band,
    pub(super) keys: Option<&'a [i32]>,
    pub(super) queries: Option<&'a [i32]>,
}

impl Mask<'_> {
    /// The treatment of a tile.
    pub(super) fn look(&self, queries: &Range<usize>, keys: &Range<usize>) -> Look {
        let Some(segments) = self.keys else { return Look::Band };
        let (least, most) = span(&segments[keys.clone()]);
        if most < 0 {
            return Look::Nothing;
        }
        let Some(wanted) = self.queries else {
            return if least < 0 { Look::Pairs } else { Look::Band };
        };
        let (first, last) = span(&wanted[queries.clone()]);
        if most < first || last < least {
            Look::Nothing
        } else if least >= 0 && least == most && first == last {
            Look::Band
        } else {
            Look::Pairs
        }
    }

    /// Whether query t sees key s.
    pub(super) fn sees(&self, t: usize, s: usize) -> bool {
        let segment = self.keys.map_or(0, |keys| keys[s]);
        self.band.columns(t..t + 1, s + 1).contains(&s)
            && segment >= 0
            && self.queries.is_none_or(|queries| queries[t] == segment)
    }

    /// The key segments of a tile, followed by padding.
    pub(super) fn tile(&self, keys: &Range<usize>) -> [i32; TILE] {
        let mut tile = [-1; TILE];
        if let Some(segments) = self.keys {
            tile[..keys.len()].copy_from_slice(&segments[keys.clone()]);
        }
        tile
    }
}

/// The least and the greatest segment.
fn span(segments: &[i32]) -> (i32, i32) {
    segments.iter().fold((i32::MAX, i32::MIN), |(least, most), &s| (least.min(s), most.max(s)))
}
