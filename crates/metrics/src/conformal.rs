//! Split-conformal prediction: intervals of numbers and sets of classes that hold the truth as
//! often as asked for (Vovk et al., 2005; Lei et al., 2018; Angelopoulos and Bates, 2023).

use serde::{Deserialize, Serialize};

use super::{ClassLabel, Interval, MetricError, input, wilson};

/// The levels that are measured unless others are asked for.
pub const CONFORMAL_LEVELS: [f64; 3] = [0.8, 0.9, 0.95];

/// How far the largest of (n + 1) · level may lie above a whole number by rounding.
const ROUNDING: f64 = 1e-9;

/// The scores of rows that the model did not learn, of which intervals and sets follow for any
/// level.
///
/// The interval or set of a new row at level 1 − α holds every answer whose score is at most the
/// ⌈(n + 1)(1 − α)⌉-th smallest of the n scores. If the new row and those rows are exchangeable, it
/// holds the truth with a probability of at least 1 − α, whatever the model.
///
/// The score of a number is |y − ŷ|, or |y − ŷ| / (s + s̄) where the members of an ensemble have
/// the spread s (s̄ is its mean over the rows), so that intervals are wide where members disagree.
/// The score of a class is 1 − p of the true class (the least ambiguous sets: Sadinle et al.,
/// 2019).
///
/// ```
/// use ff_metrics::Conformal;
/// // Nine rows with errors from 1 to 9: at 80 %, the ⌈10 · 0.8⌉ = 8th smallest.
/// let errors: Vec<f64> = (1..=9).map(f64::from).collect();
/// let conformal = Conformal::of_numbers(&errors, None)?;
/// assert_eq!(conformal.half_width(0.8, None)?, 8.0);
/// assert!(conformal.half_width(0.95, None).is_err(), "19 rows are needed for 95 %");
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    /// The mean spread, by which scores of numbers are normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_spread: Option<f64>,
    /// The scores, ascending.
    pub scores: Vec<f64>,
}

/// How often intervals or sets held the truth, and how large they were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The level asked for.
    pub level: f64,
    /// The rows that were looked at.
    pub rows: usize,
    /// The share of rows whose interval or set holds the truth.
    pub coverage: f64,
    /// The 95 % interval of that share (Wilson).
    pub interval: Option<Interval>,
    /// The mean width of the intervals, or the mean number of classes of a set.
    pub size: f64,
}

impl Coverage {
    /// The coverage of rows, each with whether its interval or set holds the truth and its size.
    ///
    /// # Errors
    /// There are no rows.
    pub fn of(
        level: f64,
        rows: impl IntoIterator<Item = (bool, f64)>,
    ) -> Result<Self, MetricError> {
        let (mut n, mut held, mut size) = (0, 0, 0.0);
        for (holds, of_row) in rows {
            n += 1;
            held += usize::from(holds);
            size += of_row;
        }
        if n == 0 {
            return Err(MetricError::Empty);
        }
        let share = |x: f64| x / n as f64;
        let interval = wilson(held as f64, n as f64);
        Ok(Self { level, rows: n, coverage: share(held as f64), interval, size: share(size) })
    }
}

/// The fewest rows that allow a level: ⌈(n + 1) level⌉ ≤ n.
///
/// ```
/// assert_eq!([0.5, 0.9, 0.95, 0.99].map(ff_metrics::conformal_rows), [1, 9, 19, 99]);
/// ```
pub fn conformal_rows(level: f64) -> usize {
    (level / (1.0 - level) - ROUNDING).ceil().max(1.0) as usize
}

impl Conformal {
    /// From the absolute errors of rows and, for an ensemble, the spread of its members.
    ///
    /// # Errors
    /// There are no rows, the lengths differ, or a value is not finite.
    pub fn of_numbers(errors: &[f64], spread: Option<&[f64]>) -> Result<Self, MetricError> {
        input::check_finite("absolute error", errors)?;
        let spread = spread.unwrap_or_default();
        if !spread.is_empty() && spread.len() != errors.len() {
            return Err(MetricError::Length {
                what: "spread",
                expected: errors.len(),
                why: "one a row".into(),
                found: spread.len(),
            });
        }
        input::check_finite("spread", spread)?;
        let mean = spread.iter().sum::<f64>() / spread.len().max(1) as f64;
        // Members that never disagree tell nothing.
        let mean_spread = Some(mean).filter(|&mean| mean > 0.0);
        let scale = |row: usize| mean_spread.map_or(1.0, |mean| spread[row] + mean);
        Self::of_scores(errors.iter().enumerate().map(|(row, e)| e.abs() / scale(row)), mean_spread)
    }

    /// From the probabilities `[N, classes]` of rows and their classes.
    ///
    /// # Errors
    /// There are no rows, the lengths differ, or a value is invalid.
    pub fn of_classes<L: ClassLabel>(
        labels: &[L],
        probabilities: &[f64],
        classes: usize,
    ) -> Result<Self, MetricError> {
        let rows = input::Classified::new(labels, probabilities, classes, None)?;
        let score = |row: usize| 1.0 - rows.p(row, rows.labels[row] as usize);
        Self::of_scores((0..rows.rows()).map(score), None)
    }

    fn of_scores(
        scores: impl Iterator<Item = f64>,
        mean_spread: Option<f64>,
    ) -> Result<Self, MetricError> {
        let mut scores: Vec<f64> = scores.collect();
        if scores.is_empty() {
            return Err(MetricError::Empty);
        }
        scores.sort_unstable_by(f64::total_cmp);
        Ok(Self { mean_spread, scores })
    }

    /// The largest score of an answer that belongs to the interval or set of a level.
    ///
    /// # Errors
    /// The level is not between 0 and 1, or wants more rows than there are.
    pub fn quantile(&self, level: f64) -> Result<f64, MetricError> {
        let error = |problem: String| Err(MetricError::Setting { name: "interval", problem });
        if !(level > 0.0 && level < 1.0) {
            return error(format!("{level} must be greater than 0 and less than 1, such as 0.9"));
        }
        let n = self.scores.len();
        let rank = ((n + 1) as f64 * level - ROUNDING).ceil().max(1.0) as usize;
        match self.scores.get(rank - 1) {
            Some(&score) => Ok(score),
            None => error(format!(
                "a level of {level} needs {} rows that the model did not learn, and {n} were there; ask for \
                 {} or less, or train with more rows in the validation part (data.split.valid)",
                conformal_rows(level),
                (1e4 * n as f64 / (n + 1) as f64).floor() / 1e4,
            )),
        }
    }

    /// Half the width of the interval around a number whose members have this spread.
    ///
    /// # Errors
    /// As [`Conformal::quantile`].
    pub fn half_width(&self, level: f64, spread: Option<f64>) -> Result<f64, MetricError> {
        let q = self.quantile(level)?;
        Ok(q * self.mean_spread.map_or(1.0, |mean| spread.unwrap_or(mean) + mean))
    }

    /// The classes of a set, the likeliest first: those of probability 1 − q or more, and the
    /// likeliest in any case.
    ///
    /// # Errors
    /// As [`Conformal::quantile`].
    pub fn set(&self, level: f64, probabilities: &[f64]) -> Result<Vec<usize>, MetricError> {
        let q = self.quantile(level)?;
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let size = order.iter().take_while(|&&class| 1.0 - probabilities[class] <= q).count();
        order.truncate(size.max(1));
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of numbers in [0, 1).
    struct Uniform(u64);

    impl Uniform {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.next()).sum::<f64>() - 6.0
        }
    }

    #[test]
    fn the_quantile_is_the_finite_sample_one() {
        let conformal = |n: usize| {
            let errors: Vec<f64> = (1..=n).rev().map(|i| i as f64).collect();
            Conformal::of_numbers(&errors, None).unwrap()
        };
        // ⌈(n + 1) level⌉ by hand: ⌈20 · .9⌉ = 18, ⌈101 · .95⌉ = 96, ⌈10 · .9⌉ = 9 of 9, ⌈2 · .5⌉ =
        // 1.
        for (n, level, rank) in [(19, 0.9, 18.0), (100, 0.95, 96.0), (9, 0.9, 9.0), (1, 0.5, 1.0)] {
            assert_eq!(conformal(n).quantile(level), Ok(rank), "{n} at {level}");
        }
        let few = conformal(8).quantile(0.9).unwrap_err().to_string();
        assert!(few.contains("needs 9 rows") && few.contains("8 were there"), "{few}");
        for level in [0.0, 1.0, -0.1, 1.5, f64::NAN] {
            assert!(conformal(50).quantile(level).is_err(), "{level}");
        }
        for level in (1..200).map(|i| f64::from(i) / 200.0) {
            let n = conformal_rows(level);
            assert!(conformal(n).quantile(level).is_ok(), "{n} at {level}");
            assert!(n == 1 || conformal(n - 1).quantile(level).is_err(), "{n} at {level}");
        }
    }

    #[test]
    fn scores_by_hand() {
        // Spread 1 and 3, mean 2: scores 6/3, 5/5.
        let conformal = Conformal::of_numbers(&[6.0, 5.0], Some(&[1.0, 3.0])).unwrap();
        assert_eq!((conformal.mean_spread, &conformal.scores[..]), (Some(2.0), &[1.0, 2.0][..]));
        assert_eq!(conformal.half_width(0.6, Some(4.0)), Ok(12.0));
        assert_eq!(Conformal::of_numbers(&[3.0], Some(&[0.0])).unwrap().mean_spread, None);

        let p = [0.5, 0.25, 0.25, 0.125, 0.75, 0.125];
        let conformal = Conformal::of_classes(&[1, 1], &p, 3).unwrap();
        assert_eq!(conformal.scores, [0.25, 0.75]);
        let set = |p: &[f64]| conformal.set(0.6, p).unwrap();
        assert_eq!(set(&[0.25, 0.5, 0.25]), [1, 0, 2]);
        assert_eq!(set(&[0.1, 0.2, 0.7]), [2]);
        // Of no class with a probability of 1 − q or more, the likeliest.
        assert_eq!(conformal.set(0.3, &[0.5, 0.3, 0.2]).unwrap(), [0]);
        assert!(Conformal::of_numbers(&[], None).is_err());
        assert!(Conformal::of_numbers(&[1.0], Some(&[1.0, 2.0])).is_err());
        assert!(Conformal::of_numbers(&[f64::NAN], None).is_err());
    }

    #[test]
    fn coverage_by_hand() {
        let rows = [(true, 1.0), (false, 2.0), (true, 3.0), (true, 2.0)];
        let found = Coverage::of(0.9, rows).unwrap();
        assert_eq!((found.rows, found.coverage, found.size), (4, 0.75, 2.0));
        assert!(found.interval.is_some_and(|i| i.low < 0.75 && 0.75 < i.high));
        assert!(Coverage::of(0.9, []).is_err());
    }

    #[test]
    fn exchangeable_numbers_are_covered_as_often_as_asked_for() {
        // 4,000 draws of 39 rows and a new one. With distinct scores the coverage is exactly
        // ⌈40 · level⌉ / 40; four binomial deviations are allowed.
        for (level, exact) in [(0.8, 0.8), (0.9, 0.9), (0.93, 0.95)] {
            let mut random = Uniform(3);
            let mut held = [0; 2];
            for _ in 0..4000 {
                let mut row = || {
                    let spread = 0.2 + random.next();
                    (spread * random.normal(), spread)
                };
                let (errors, spread): (Vec<f64>, Vec<f64>) = (0..39).map(|_| row()).unzip();
                let (new, its_spread) = row();
                for (held, spread) in held.iter_mut().zip([None, Some(&spread[..])]) {
                    let conformal = Conformal::of_numbers(&errors, spread).unwrap();
                    let half = conformal.half_width(level, spread.map(|_| its_spread)).unwrap();
                    *held += i32::from(new.abs() <= half);
                }
            }
            let deviation = (exact * (1.0 - exact) / 4000.0_f64).sqrt();
            // The mean spread depends on the rows, which costs exactness but not much.
            for (held, slack) in held.into_iter().zip([0.0, 0.01]) {
                let found = f64::from(held) / 4000.0;
                assert!((found - exact).abs() < 4.0 * deviation + slack, "{level}: {found}");
            }
        }
    }

    #[test]
    fn sets_of_exchangeable_rows_hold_the_class() {
        let mut random = Uniform(5);
        let (mut held, mut size) = (0, 0);
        for _ in 0..3000 {
            let mut row = || {
                let weights = [random.next(), random.next(), random.next()];
                let sum: f64 = weights.iter().sum();
                let p = weights.map(|w| w / sum);
                let u = random.next();
                // The class is drawn by other probabilities than those that the model tells.
                let class = if u < 0.5 * p[0] { 0 } else { 1 + usize::from(u > 0.6) };
                (p, class as i32)
            };
            let (p, labels): (Vec<[f64; 3]>, Vec<i32>) = (0..49).map(|_| row()).unzip();
            let conformal = Conformal::of_classes(&labels, &p.concat(), 3).unwrap();
            let (p, class) = row();
            let set = conformal.set(0.9, &p).unwrap();
            held += i32::from(set.contains(&(class as usize)));
            size += set.len();
        }
        let (found, deviation) = (f64::from(held) / 3000.0, (0.09 / 3000.0_f64).sqrt());
        assert!((found - 0.9).abs() < 4.0 * deviation && size > 3000, "{found} {size}");
    }
}
