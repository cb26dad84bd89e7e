//! Scaling of numbers, with scikit-learn's definitions.

use serde::{Deserialize, Serialize};

use crate::config::Scaling;
use crate::statistics::{moments, quantile_sorted};

/// A fitted scaling `x → y`.
///
/// ```
/// use ff_table::{Scaler, Scaling};
///
/// let scaler = Scaler::fit(Scaling::Standard, &mut [1.0, 3.0]);
/// assert_eq!(scaler, Scaler::Linear { shift: 2.0, scale: 1.0 });
/// assert_eq!(scaler.apply(5.0), 3.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Scaler {
    /// `y = x`.
    None,
    /// `y = (x - shift) / scale`.
    Linear {
        /// The mean, the minimum or the median.
        shift: f64,
        /// The standard deviation, the range or the range between the quartiles; 1 where that is 0.
        scale: f64,
    },
    /// `y = z / sqrt(1 + z² / 9)` with `z = (x - shift) / scale`.
    Smooth {
        /// The median.
        shift: f64,
        /// The range between the quartiles, or half the range; 1 where both are 0.
        scale: f64,
    },
    /// The rank of `x` among the training values, 0 to 1; with `normal`, the normal quantile of
    /// that rank.
    Quantile {
        /// Ascending references at evenly spaced ranks.
        references: Vec<f64>,
        /// Whether the rank becomes a normal quantile.
        normal: bool,
    },
}

/// References of a quantile scaling, as in scikit-learn.
const REFERENCES: usize = 1000;

/// Ranks nearer to 0 or 1 than this have no useful normal quantile; scikit-learn's bound.
const EDGE: f64 = 1e-7;

impl Scaler {
    /// Fits a scaling to finite values, which it sorts where it needs their order.
    pub fn fit(scaling: Scaling, values: &mut [f64]) -> Self {
        if values.is_empty() {
            return Self::None;
        }
        match scaling {
            Scaling::None => Self::None,
            Scaling::Standard => {
                let (mean, std) = moments(values.iter().copied());
                // Rounding leaves a trace of deviation in equal values; scikit-learn's bound for
                // "constant".
                let n = values.len() as f64;
                let noise = n * f64::EPSILON * std * std + (n * mean * f64::EPSILON).powi(2);
                Self::linear(mean, if std * std <= noise { 0.0 } else { std })
            }
            Scaling::Minmax => {
                let (min, max) = values
                    .iter()
                    .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
                Self::linear(min, max - min)
            }
            Scaling::Robust => {
                values.sort_unstable_by(f64::total_cmp);
                let quartile = |q| quantile_sorted(values, q);
                Self::linear(quartile(0.5), quartile(0.75) - quartile(0.25))
            }
            Scaling::RobustSmooth => {
                values.sort_unstable_by(f64::total_cmp);
                let quartile = |q| quantile_sorted(values, q);
                let iqr = quartile(0.75) - quartile(0.25);
                let half = 0.5 * (values[values.len() - 1] - values[0]);
                let Self::Linear { shift, scale } =
                    Self::linear(quartile(0.5), if iqr > 0.0 { iqr } else { half })
                else {
                    return Self::None;
                };
                Self::Smooth { shift, scale }
            }
            Scaling::QuantileNormal | Scaling::QuantileUniform => {
                values.sort_unstable_by(f64::total_cmp);
                let count = values.len().clamp(2, REFERENCES);
                let rank = |i| i as f64 / (count - 1) as f64;
                let references = (0..count).map(|i| quantile_sorted(values, rank(i))).collect();
                Self::Quantile { references, normal: scaling == Scaling::QuantileNormal }
            }
        }
    }

    fn linear(shift: f64, scale: f64) -> Self {
        let scale = if scale > 0.0 && scale.is_finite() { scale } else { 1.0 };
        Self::Linear { shift, scale }
    }

    /// Scales a finite value.
    #[inline]
    pub fn apply(&self, x: f64) -> f64 {
        match self {
            Self::None => x,
            Self::Linear { shift, scale } => (x - shift) / scale,
            Self::Smooth { shift, scale } => smooth((x - shift) / scale),
            Self::Quantile { references, normal } => quantile(references, *normal, x),
        }
    }

    /// Whether its numbers are usable: a file may hold anything.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::None => true,
            Self::Linear { shift, scale } | Self::Smooth { shift, scale } => {
                shift.is_finite() && *scale > 0.0 && scale.is_finite()
            }
            Self::Quantile { references, .. } => {
                references.len() >= 2
                    && references.iter().all(|x| x.is_finite())
                    && references.windows(2).all(|pair| pair[0] <= pair[1])
            }
        }
    }
}

/// z within ±[`SMOOTH`], where it ends slowly.
#[inline]
fn smooth(z: f64) -> f64 {
    // The sign of numbers too large to square.
    if z.abs() > 1e150 { SMOOTH.copysign(z) } else { z / (1.0 + (z / SMOOTH).powi(2)).sqrt() }
}

/// The bound of smoothly clipped numbers.
pub const SMOOTH: f64 = 3.0;

fn quantile(references: &[f64], normal: bool, x: f64) -> f64 {
    let rank = rank(references, x);
    if normal { normal_quantile(rank.clamp(EDGE, 1.0 - EDGE)) } else { rank }
}

/// The rank of `x` from 0 to 1; the middle of the ranks that equal references span.
fn rank(references: &[f64], x: f64) -> f64 {
    let last = references.len() - 1;
    if x <= references[0] {
        return 0.0;
    }
    if x >= references[last] {
        return 1.0;
    }
    let below = references.partition_point(|r| *r < x);
    let upto = references.partition_point(|r| *r <= x);
    let place = if upto > below {
        (below + upto - 1) as f64 / 2.0
    } else {
        let (low, high) = (references[below - 1], references[below]);
        (below - 1) as f64 + (x - low) / (high - low)
    };
    place / last as f64
}

/// The quantile of the standard normal distribution: Wichura's AS 241 (PPND16), good to 1e-16
/// relative.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let poly = |c: &[f64; 8], x: f64| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * poly(&A, r) / poly(&B, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let z = if r <= 5.0 {
        poly(&C, r - 1.6) / poly(&D, r - 1.6)
    } else {
        poly(&E, r - 5.0) / poly(&F, r - 5.0)
    };
    if q < 0.0 { -z } else { z }
}

/// The coefficients of AS 241, ascending, above and below: of q = p − ½ up to 0.425 in 0.180625 −
/// q², of tails in r − 1.6 with r = √(−ln p) up to 5, and of farther tails in r − 5.
pub const NORMAL_QUANTILE: [[[f64; 8]; 2]; 3] = [[A, B], [C, D], [E, F]];

const A: [f64; 8] = [
    3.387_132_872_796_366_5,
    133.141_667_891_784_38,
    1_971.590_950_306_551_3,
    13_731.693_765_509_46,
    45_921.953_931_549_87,
    67_265.770_927_008_7,
    33_430.575_583_588_13,
    2_509.080_928_730_122_7,
];
const B: [f64; 8] = [
    1.0,
    42.313_330_701_600_91,
    687.187_007_492_057_9,
    5_394.196_021_424_751,
    21_213.794_301_586_597,
    39_307.895_800_092_71,
    28_729.085_735_721_943,
    5_226.495_278_852_545,
];
const C: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    0.241_780_725_177_450_6,
    0.022_723_844_989_269_184,
    7.745_450_142_783_414e-4,
];
const D: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    0.689_767_334_985_1,
    0.148_103_976_427_480_08,
    0.015_198_666_563_616_457,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const E: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    0.296_560_571_828_504_87,
    0.026_532_189_526_576_124,
    0.001_242_660_947_388_078_4,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const F: [f64; 8] = [
    1.0,
    0.599_832_206_555_888,
    0.136_929_880_922_735_8,
    0.014_875_361_290_850_615,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_8e-15,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles_agree_with_scipy() {
        // scipy.stats.norm.ppf
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.01, -2.326_347_874_040_840_8),
            (1e-7, -5.199_337_582_192_816_5),
            (1e-12, -7.034_483_825_301_131),
        ] {
            assert!((normal_quantile(p) - z).abs() <= 1e-14 * (1.0 + z.abs()), "{p}");
        }
    }

    #[test]
    fn linear_scalings_agree_with_scikit_learn() {
        let values = [1.0, 2.0, 4.0, 9.0];
        let fit = |scaling| Scaler::fit(scaling, &mut values.clone());
        // StandardScaler: mean 4, std sqrt(9.5); RobustScaler: median 3, quartiles 1.75 and 5.25.
        assert_eq!(fit(Scaling::Standard), Scaler::Linear { shift: 4.0, scale: 9.5f64.sqrt() });
        assert_eq!(fit(Scaling::Robust), Scaler::Linear { shift: 3.0, scale: 3.5 });
        assert_eq!(fit(Scaling::Minmax), Scaler::Linear { shift: 1.0, scale: 8.0 });
        assert_eq!(fit(Scaling::None).apply(9.0), 9.0);
    }

    #[test]
    fn smooth_scaling_agrees_with_pytabkit() {
        // RobustScaleFactory and smooth_clip of [1, 2, 4, 9]: median 3, quartiles 1.75 and 5.25.
        let smooth = Scaler::fit(Scaling::RobustSmooth, &mut [1.0, 2.0, 4.0, 9.0]);
        assert_eq!(smooth, Scaler::Smooth { shift: 3.0, scale: 3.5 });
        let z = 6.0 / 3.5;
        assert!((smooth.apply(9.0) - z / (1.0f64 + z * z / 9.0).sqrt()).abs() < 1e-15);
        assert_eq!((smooth.apply(1e300), smooth.apply(-1e300)), (3.0, -3.0));
        // Equal quartiles: half the range.
        let flag = Scaler::fit(Scaling::RobustSmooth, &mut [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(flag, Scaler::Smooth { shift: 0.0, scale: 0.5 });
        let equal = Scaler::fit(Scaling::RobustSmooth, &mut [7.0; 3]);
        assert_eq!(equal.apply(7.0), 0.0);
    }

    #[test]
    fn equal_values_are_shifted_only() {
        for scaling in [Scaling::Standard, Scaling::Robust, Scaling::Minmax] {
            assert!(Scaler::fit(scaling, &mut [0.1; 7]).apply(0.1).abs() < 1e-15);
            assert_eq!(Scaler::fit(scaling, &mut [0.1; 7]).apply(1.1).round(), 1.0);
        }
        assert_eq!(Scaler::fit(Scaling::Standard, &mut []), Scaler::None);
    }

    #[test]
    fn quantile_ranks_agree_with_scikit_learn() {
        // QuantileTransformer(n_quantiles=5).fit([1, 2, 2, 2, 9]): ties map to the middle of their
        // ranks.
        let uniform = Scaler::fit(Scaling::QuantileUniform, &mut [2.0, 9.0, 2.0, 1.0, 2.0]);
        for (x, rank) in [
            (0.0, 0.0),
            (1.0, 0.0),
            (1.5, 0.125),
            (2.0, 0.5),
            (5.5, 0.875),
            (9.0, 1.0),
            (99.0, 1.0),
        ] {
            assert!((uniform.apply(x) - rank).abs() < 1e-15, "{x}");
        }
        let normal = Scaler::fit(Scaling::QuantileNormal, &mut [2.0, 9.0, 2.0, 1.0, 2.0]);
        assert_eq!(normal.apply(2.0), 0.0);
        assert!((normal.apply(99.0) - 5.199_337_582_192_816_5).abs() < 1e-7);
        assert!((normal.apply(5.5) - 1.150_349_380_376_008).abs() < 1e-14);
    }
}
