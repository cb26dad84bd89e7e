//! The angles of long sequences.

use std::sync::Arc;

/// The angles per position of a sequence with more positions than a model was first trained for; a
/// sequence has as many as its last position tells.
///
/// ```
/// use ff_ops::LongAngles;
/// let long = LongAngles::Table { above: 2, inv_freq: [0.5].into() };
/// let angles = long.of(&[0, 1, 0, 2], 2, &[1.0].into());
/// assert_eq!(angles.iter().map(|own| own[0]).collect::<Vec<_>>(), [1.0, 0.5]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum LongAngles {
    /// Other angles above a number of positions (LongRoPE; Ding et al., 2024).
    Table {
        /// The greatest number of positions with the usual angles.
        above: usize,
        /// The angle per position of each pair.
        inv_freq: Arc<[f64]>,
    },
    /// Angles from a base that grows with the number n of positions: base · (factor · n/above −
    /// factor + 1)^(d/(d − 2)) for d rotated features (dynamic NTK; bloc97 and emozilla, 2023).
    Base {
        /// The greatest number of positions with the usual angles.
        above: usize,
        /// The base of the usual angles.
        base: f64,
        /// By how much more positions than `above` count.
        factor: f64,
    },
}

impl LongAngles {
    /// Whether it fits this number of pairs.
    pub(super) fn check(&self, pairs: usize) -> Result<(), String> {
        match self {
            Self::Table { inv_freq, .. }
                if inv_freq.len() != pairs || !inv_freq.iter().all(|f| f.is_finite()) =>
            {
                let found = inv_freq.len();
                Err(format!("{found} angles of long sequences for {pairs} pairs; expected as many"))
            }
            Self::Base { base, factor, above }
                if !(base.is_finite() && factor.is_finite())
                    || *base <= 0.0
                    || *factor < 0.0
                    || *above == 0
                    || pairs < 2 =>
            {
                Err(format!(
                    "a base {base} that grows by {factor} above {above} positions, for {pairs} \
                     pairs; expected positive numbers and two pairs or more"
                ))
            }
            _ => Ok(()),
        }
    }

    /// The angles of each sequence of `length` positions.
    pub fn of(&self, positions: &[i32], length: usize, usual: &Arc<[f64]>) -> Vec<Arc<[f64]>> {
        let own = |positions: &[i32]| {
            let last = positions.iter().copied().max().unwrap_or(0).max(0);
            self.at(last as usize + 1, usual)
        };
        positions.chunks(length.max(1)).map(own).collect()
    }

    /// The angles of a sequence with `count` positions.
    fn at(&self, count: usize, usual: &Arc<[f64]>) -> Arc<[f64]> {
        match self {
            Self::Table { above, inv_freq } if count > *above => Arc::clone(inv_freq),
            Self::Base { above, base, factor } if count > *above => {
                let dim = 2.0 * usual.len() as f64;
                let grown = factor * count as f64 / *above as f64 - (factor - 1.0);
                let base = base * grown.powf(dim / (dim - 2.0));
                (0..usual.len()).map(|i| base.powf(-2.0 * i as f64 / dim)).collect()
            }
            _ => Arc::clone(usual),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_grows_from_the_bound_on() {
        let usual: Arc<[f64]> = (0..4).map(|i| 100f64.powf(-0.25 * f64::from(i))).collect();
        let long = LongAngles::Base { above: 16, base: 100.0, factor: 4.0 };
        assert_eq!(long.at(16, &usual), usual);
        let (near, far) = (long.at(17, &usual), long.at(64, &usual));
        assert!(usual[3] > near[3] && near[3] > far[3] && far[0] == 1.0);
        // θ (4 · 64/16 − 3)^(8/6) as the base.
        let base = 100.0 * 13f64.powf(8.0 / 6.0);
        assert!((far[1] - base.powf(-0.25)).abs() < 1e-15);
        assert!(long.check(1).unwrap_err().contains("two pairs"));
    }
}
