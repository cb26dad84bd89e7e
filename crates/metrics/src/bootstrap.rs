//! Confidence intervals of scores.

use ff_tensor::ThreadPool;
use serde::{Deserialize, Serialize};

use super::MetricError;

/// The number of resamples side by side: one pass over the rows serves all of them, each in a lane
/// of the vector registers, with sums in the order of the rows.
pub(super) const LANES: usize = 8;

/// The number of draws of each row in each of several resamples.
pub(super) type Counts = [[u8; LANES]];

/// The level of every interval.
pub const LEVEL: f64 = 0.95;

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The minimum number of rows for a bootstrap.
pub(super) const MIN_ROWS: usize = 10;

/// The maximum number of row visits of a bootstrap, about a second of work on one core.
const BUDGET: f64 = 1e9;

/// The minimum number of resamples for accurate ends of an interval.
const MIN_RESAMPLES: usize = 200;

/// The maximum share of resamples with an undefined metric; beyond it, there is no interval.
const MAX_UNDEFINED: f64 = 0.1;

/// The method behind an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Wilson's score interval of a proportion.
    Wilson,
    /// Percentiles over rows drawn with replacement.
    Bootstrap,
}

/// A 95 % confidence interval.
///
/// ```
/// let interval = ff_metrics::wilson(8.0, 10.0).unwrap();
/// assert!(interval.contains(0.8) && !interval.contains(0.4));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The method.
    pub method: IntervalMethod,
}

impl Interval {
    /// Whether a value lies in the interval, including its ends.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Wilson's score interval of `hits` in `rows` (Wilson 1927); unlike p ± 2σ, it stays within [0, 1]
/// and is not empty if all rows are correct; `None` without rows.
///
/// ```
/// let all_right = ff_metrics::wilson(20.0, 20.0).unwrap();
/// assert!(all_right.low > 0.83 && all_right.low < 0.84 && all_right.high == 1.0);
/// ```
pub fn wilson(hits: f64, rows: f64) -> Option<Interval> {
    if rows.is_nan() || rows <= 0.0 {
        return None;
    }
    let share = hits / rows;
    let scale = 1.0 + Z * Z / rows;
    let centre = (share + Z * Z / (2.0 * rows)) / scale;
    let half = Z / scale * (share * (1.0 - share) / rows + Z * Z / (4.0 * rows * rows)).sqrt();
    // At either end, the exact bound is the end itself, which rounding may miss.
    let low = if hits <= 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if hits >= rows { 1.0 } else { (centre + half).min(1.0) };
    Some(Interval { low, high, method: IntervalMethod::Wilson })
}

/// Settings of the bootstrap: the number of resamples and the seed.
///
/// Draws use a counter-based generator, so they depend only on the seed, the number of the resample
/// and the number of rows. Many rows get fewer resamples (at least 200), so that 100,000 rows take
/// about a second.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap<'a> {
    /// The number of resamples, at least 2.
    pub resamples: usize,
    /// The seed.
    pub seed: u64,
    /// The threads for evaluating resamples; the calling one by default. Results do not depend on
    /// this choice.
    pub threads: Option<&'a ThreadPool>,
}

impl Default for Bootstrap<'_> {
    fn default() -> Self {
        Self { resamples: 1000, seed: 0, threads: None }
    }
}

impl Bootstrap<'_> {
    /// The interval of a mean over parts, each a sum and a count; `None` for fewer than ten parts.
    ///
    /// ```
    /// let parts: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i % 10), 2.0)).collect();
    /// let interval = ff_metrics::Bootstrap::default().mean(&parts).unwrap();
    /// assert!(interval.contains(2.25) && interval.low > 1.9 && interval.high < 2.6);
    /// ```
    pub fn mean(self, parts: &[(f64, f64)]) -> Option<Interval> {
        if parts.len() < MIN_ROWS {
            return None;
        }
        let mut samples = Samples::default();
        let means = self.resample(parts.len(), self.affordable(parts.len(), 1), |counts| {
            let mut totals = [(0.0, 0.0); LANES];
            for (&(sum, count), drawn) in parts.iter().zip(counts) {
                for (total, &times) in totals.iter_mut().zip(drawn) {
                    total.0 += f64::from(times) * sum;
                    total.1 += f64::from(times) * count;
                }
            }
            totals.map(|(sum, count)| (count > 0.0).then(|| sum / count))
        });
        for mean in means {
            samples.push(mean);
        }
        samples.interval()
    }

    /// The intervals of scores that are functions of sums over rows: `parts` holds `width` addends
    /// of each row, and `score` makes scores of their sums, NaN where one is undefined. `None` for
    /// fewer than ten rows.
    ///
    /// ```
    /// // Hits and rows: an accuracy.
    /// let parts: Vec<f64> = (0..100).flat_map(|i| [f64::from(i % 2), 1.0]).collect();
    /// let accuracy = |sums: &[f64]| vec![sums[0] / sums[1]];
    /// let found = ff_metrics::Bootstrap::default().of_sums(&parts, 2, accuracy);
    /// assert!(found[0].unwrap().contains(0.5));
    /// ```
    pub fn of_sums(
        self,
        parts: &[f64],
        width: usize,
        score: impl Fn(&[f64]) -> Vec<f64> + Sync,
    ) -> Vec<Option<Interval>> {
        let rows = parts.len() / width.max(1);
        let scores = score(&vec![0.0; width]).len();
        if rows < MIN_ROWS {
            return vec![None; scores];
        }
        let found = self.resample(rows, self.affordable(rows, width), |counts| {
            let mut totals = vec![[0.0; LANES]; width];
            for (parts, drawn) in parts.chunks_exact(width).zip(counts) {
                let times = drawn.map(f64::from);
                for (total, part) in totals.iter_mut().zip(parts) {
                    total.iter_mut().zip(times).for_each(|(total, times)| *total += times * part);
                }
            }
            std::array::from_fn(|lane| {
                let sums: Vec<f64> = totals.iter().map(|total| total[lane]).collect();
                score(&sums)
            })
        });
        let mut samples: Vec<Samples> = (0..scores).map(|_| Samples::default()).collect();
        for values in found {
            samples.iter_mut().zip(values).for_each(|(all, value)| all.push(Some(value)));
        }
        samples.into_iter().map(Samples::interval).collect()
    }

    pub(super) fn validate(self) -> Result<(), MetricError> {
        if self.resamples >= 2 {
            return Ok(());
        }
        let problem = format!("resamples = {} must be at least 2", self.resamples);
        Err(MetricError::Setting { name: "bootstrap", problem })
    }

    /// The number of resamples within budget for metrics that visit each row `visits` times.
    pub(super) fn affordable(self, rows: usize, visits: usize) -> usize {
        let affordable = (BUDGET / (rows as f64 * visits as f64)) as usize;
        self.resamples.min(affordable.max(MIN_RESAMPLES))
    }
}

/// The values of a metric over the resamples.
#[derive(Default)]
pub(super) struct Samples {
    values: Vec<f64>,
    undefined: usize,
}

impl Samples {
    pub(super) fn push(&mut self, value: Option<f64>) {
        match value.filter(|v| v.is_finite()) {
            Some(value) => self.values.push(value),
            None => self.undefined += 1,
        }
    }

    /// The percentile interval; `None` if the metric is undefined in more than a tenth of the
    /// resamples.
    pub(super) fn interval(mut self) -> Option<Interval> {
        let n = self.values.len();
        if n < 2 || self.undefined as f64 > MAX_UNDEFINED * (n + self.undefined) as f64 {
            return None;
        }
        self.values.sort_unstable_by(f64::total_cmp);
        let quantile = |q: f64| {
            let at = q * (n - 1) as f64;
            let below = at as usize;
            let above = (below + 1).min(n - 1);
            let (a, b) = (self.values[below], self.values[above]);
            a + (b - a) * (at - below as f64)
        };
        let tail = (1.0 - LEVEL) / 2.0;
        let (low, high) = (quantile(tail), quantile(1.0 - tail));
        Some(Interval { low, high, method: IntervalMethod::Bootstrap })
    }
}
