//! The evaluation of a regression on one part of the data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Baseline, BaselineRule, Bootstrap, Comparison, Interval, Metric, MetricError, Real, Scores,
    Undefined,
    baseline::{self, REGRESSION, Resampled, Values},
    bootstrap::MIN_ROWS,
    input,
};

/// Options of a [`RegressionReport`].
#[derive(Debug, Clone, Copy)]
pub struct RegressionOptions<'a> {
    /// The weight of each row; by default 1.
    pub weights: Option<&'a [f32]>,
    /// The mean target of the training part, for the baseline; by default, the mean of the
    /// evaluated rows, which slightly favours the baseline.
    pub mean: Option<f64>,
    /// The metric of the verdict; by default R².
    pub primary: Option<Metric>,
    /// The maximum number of rows in the scatter plot; 0 for no plot.
    pub plot_points: usize,
    /// The number of bars in the histogram of residuals; 0 for no histogram.
    pub bins: usize,
    /// The bootstrap of intervals; `None` for no intervals and no verdict.
    pub bootstrap: Option<Bootstrap<'a>>,
}

impl Default for RegressionOptions<'_> {
    fn default() -> Self {
        Self {
            weights: None,
            mean: None,
            primary: None,
            plot_points: 1000,
            bins: 30,
            bootstrap: Some(Bootstrap::default()),
        }
    }
}

impl RegressionOptions<'_> {
    /// Scores only, without plots, intervals and verdict: for the validation part after each epoch.
    pub fn scores_only() -> Self {
        Self { plot_points: 0, bins: 0, bootstrap: None, ..Self::default() }
    }
}

/// A row in the plot of predicted against true values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScatterPoint {
    /// The row, counted from 0.
    pub row: usize,
    /// The target.
    pub target: f64,
    /// The prediction.
    pub predicted: f64,
}

/// Bars of equal width over the residuals, predicted − target.
///
/// ```
/// use ff_metrics::{RegressionOptions, RegressionReport};
/// let options = RegressionOptions { bins: 2, ..RegressionOptions::default() };
/// let report = RegressionReport::compute(&[0.0, 0.0, 0.0], &[0.0, 0.1, 1.0], &options)?;
/// let residuals = report.residuals.unwrap();
/// assert_eq!((residuals.low, residuals.high, residuals.counts), (0.0, 1.0, vec![2, 1]));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResidualHistogram {
    /// The least residual.
    pub low: f64,
    /// The greatest residual.
    pub high: f64,
    /// The number of rows in each bar, from low to high.
    pub counts: Vec<u64>,
}

/// Scores, intervals, plots, baseline and verdict of a regression.
///
/// ```
/// use ff_metrics::{Metric, RegressionOptions, RegressionReport};
/// let report = RegressionReport::compute(
///     &[3.0, -0.5, 2.0, 7.0],
///     &[2.5_f32, 0.0, 2.0, 8.0],
///     &RegressionOptions::default(),
/// )?;
/// assert_eq!(report.scores.get(Metric::Mse), Some(0.375));
/// assert_eq!(report.scores.get(Metric::Mae), Some(0.5));
/// assert!((report.scores.get(Metric::R2).unwrap() - 0.9486).abs() < 1e-4);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressionReport {
    /// The number of rows.
    pub rows: usize,
    /// The scores.
    pub scores: Scores,
    /// Undefined metrics, with reasons.
    pub undefined: Vec<Undefined>,
    /// 95 % intervals, if there are enough rows.
    pub intervals: BTreeMap<Metric, Interval>,
    /// The number of resamples of the intervals; 0 without.
    pub resamples: usize,
    /// The mean of predicted − target; above 0, the model predicts too high.
    pub bias: f64,
    /// The greatest absolute error.
    pub max_error: f64,
    /// Rows for the plot of predicted against true values, evenly spaced in the order of the data.
    pub scatter: Vec<ScatterPoint>,
    /// The residuals; `None` if omitted.
    pub residuals: Option<ResidualHistogram>,
    /// The mean rule with its scores.
    pub baseline: Baseline,
    /// Model and baseline, per metric.
    pub comparisons: Vec<Comparison>,
    /// The comparison by the primary metric; `None` without intervals, or if that metric is
    /// undefined.
    pub verdict: Option<Comparison>,
}

impl RegressionReport {
    /// Computes everything requested by the options.
    ///
    /// # Shapes
    /// `targets` and `predictions` are `[N]`.
    ///
    /// # Errors
    /// If there are no rows, lengths differ, a target or prediction is not finite, or weights or
    /// options are invalid. Undefined metrics on valid rows (R² of a constant target, MAPE with a
    /// target of 0) are not errors: see [`undefined`](Self::undefined).
    pub fn compute<T: Real, P: Real>(
        targets: &[T],
        predictions: &[P],
        options: &RegressionOptions<'_>,
    ) -> Result<Self, MetricError> {
        let primary = check(targets, predictions, options)?;
        let rows = targets.len();
        let weight = |row: usize| options.weights.map_or(1.0, |w| f64::from(w[row]));
        let (mut total, mut sum, mut bias) = (0.0, 0.0, 0.0);
        for (row, (target, predicted)) in targets.iter().zip(predictions).enumerate() {
            total += weight(row);
            sum += weight(row) * target.to_f64();
            bias += weight(row) * (predicted.to_f64() - target.to_f64());
        }
        let centre = sum / total;
        let mean = options.mean.unwrap_or(centre);
        let constant = targets.iter().all(|t| t.to_f64() == targets[0].to_f64());
        let zeros = targets.iter().filter(|t| t.to_f64() == 0.0).count();

        let deviation: Vec<f64> = targets.iter().map(|t| t.to_f64() - centre).collect();
        let model_errors = Errors::of(targets, |row| predictions[row].to_f64());
        let base_errors = Errors::of(targets, |_| mean);
        // Rounding of the mean must not count as variance.
        let deviation = (!constant).then_some(deviation.as_slice());
        let model = model_errors.values(deviation, weight);
        let base = base_errors.values(deviation, weight);

        let mut resamples = 0;
        let mut intervals = [(None, None); REGRESSION.len()];
        if let Some(bootstrap) = options.bootstrap.filter(|_| rows >= MIN_ROWS) {
            // Two sets of errors, each read once in order and once by size, which is random access.
            resamples = bootstrap.affordable(rows, 16);
            let mut samples = Resampled::new(REGRESSION);
            let judged = bootstrap.resample(rows, resamples, |counts| {
                std::array::from_fn(|lane| {
                    let count = |row: usize| f64::from(counts[row][lane]) * weight(row);
                    let model = model_errors.values(deviation, count);
                    (model, base_errors.values(deviation, count))
                })
            });
            for (model, base) in &judged {
                samples.push(model, base);
            }
            intervals = samples.intervals();
        }

        let mut scores = Scores::default();
        for metric in Metric::ALL {
            if let Some(at) = REGRESSION.iter().position(|m| m == metric) {
                scores.set(*metric, model[at]);
            }
        }
        let comparisons: Vec<Comparison> = REGRESSION
            .iter()
            .zip(model.iter().zip(base).zip(&intervals))
            .filter_map(|(metric, ((model, base), (interval, gain)))| {
                Some(Comparison::new(*metric, (*model)?, *interval, base?, *gain))
            })
            .collect();
        let verdict = comparisons
            .iter()
            .find(|c| c.metric == primary && options.bootstrap.is_some())
            .copied();
        Ok(Self {
            rows,
            undefined: reasons(&scores, rows, constant, zeros),
            scores,
            intervals: REGRESSION
                .into_iter()
                .zip(model.iter().zip(intervals))
                .filter_map(|(metric, (value, (interval, _)))| Some((metric, value.and(interval)?)))
                .collect(),
            resamples,
            bias: bias / total,
            max_error: model_errors.absolute.iter().copied().fold(0.0, f64::max),
            scatter: scatter(targets, predictions, options.plot_points),
            residuals: (options.bins > 0).then(|| histogram(targets, predictions, options.bins)),
            baseline: Baseline {
                rule: BaselineRule::Mean { value: mean },
                scores: baseline::scores(&REGRESSION, &base, |_| true),
            },
            comparisons,
            verdict,
        })
    }
}

/// Checks the input, and returns the metric of the verdict.
fn check<T: Real, P: Real>(
    targets: &[T],
    predictions: &[P],
    options: &RegressionOptions<'_>,
) -> Result<Metric, MetricError> {
    if targets.is_empty() {
        return Err(MetricError::Empty);
    }
    if predictions.len() != targets.len() {
        return Err(MetricError::Length {
            what: "predictions",
            expected: targets.len(),
            why: "one a target".into(),
            found: predictions.len(),
        });
    }
    input::check_weights(options.weights, targets.len())?;
    input::check_finite("target", targets)?;
    input::check_finite("prediction", predictions)?;
    if let Some(mean) = options.mean.filter(|mean| !mean.is_finite()) {
        let problem = format!("the training mean {mean} is not a finite number");
        return Err(MetricError::Setting { name: "mean", problem });
    }
    if let Some(bootstrap) = options.bootstrap {
        bootstrap.validate()?;
    }
    let primary = options.primary.unwrap_or(Metric::R2);
    if REGRESSION.contains(&primary) {
        return Ok(primary);
    }
    let known: Vec<&str> = REGRESSION.iter().map(|metric| metric.name()).collect();
    let problem =
        format!("{primary} is not a metric of regressions; choose one of {}", known.join(", "));
    Err(MetricError::Setting { name: "primary", problem })
}

/// The absolute and relative errors of rows, and the rows by size of error.
struct Errors {
    absolute: Vec<f64>,
    /// |error / target|; not finite for a target of 0.
    relative: Vec<f64>,
    by_size: Vec<u32>,
}

impl Errors {
    fn of<T: Real>(targets: &[T], predicted: impl Fn(usize) -> f64) -> Self {
        let absolute: Vec<f64> = targets
            .iter()
            .enumerate()
            .map(|(row, target)| (predicted(row) - target.to_f64()).abs())
            .collect();
        let relative = absolute
            .iter()
            .zip(targets)
            .map(|(error, target)| error / target.to_f64().abs())
            .collect();
        let mut by_size: Vec<u32> = (0..absolute.len() as u32).collect();
        by_size.sort_unstable_by(|&a, &b| {
            absolute[a as usize].total_cmp(&absolute[b as usize]).then(a.cmp(&b))
        });
        Self { absolute, relative, by_size }
    }

    /// The metrics of [`REGRESSION`] with the weight `weight(row)` per row; `deviation` is that of
    /// targets from a centre, `None` if they are all the same.
    fn values(
        &self,
        deviation: Option<&[f64]>,
        weight: impl Fn(usize) -> f64,
    ) -> Values<{ REGRESSION.len() }> {
        let (mut total, mut squares, mut absolute, mut relative) = (0.0, 0.0, 0.0, 0.0);
        let (mut first, mut second) = (0.0, 0.0);
        for row in 0..self.absolute.len() {
            let w = weight(row);
            if w == 0.0 {
                continue;
            }
            let error = self.absolute[row];
            total += w;
            squares += w * error * error;
            absolute += w * error;
            relative += w * self.relative[row];
            if let Some(deviation) = deviation {
                first += w * deviation[row];
                second += w * deviation[row] * deviation[row];
            }
        }
        if total == 0.0 {
            return Values::default();
        }
        let variance = second - first * first / total;
        let finite = |value: f64| Some(value).filter(|v| v.is_finite());
        [
            if variance > 0.0 { finite(1.0 - squares / variance) } else { None },
            finite(squares / total),
            finite((squares / total).sqrt()),
            finite(absolute / total),
            self.median(total, weight),
            finite(relative / total),
        ]
    }

    /// The weighted median of the absolute errors; if half the weight ends exactly between two of
    /// them, their mean, so that equal weights give the plain median.
    fn median(&self, total: f64, weight: impl Fn(usize) -> f64) -> Option<f64> {
        let half = total / 2.0;
        // Sums of weights equal to one half may differ by rounding.
        let slack = total * 1e-12;
        let mut below = 0.0;
        let mut lower = None;
        for &row in &self.by_size {
            let w = weight(row as usize);
            if w == 0.0 {
                continue;
            }
            let error = self.absolute[row as usize];
            if let Some(lower) = lower {
                return Some(f64::midpoint(lower, error));
            }
            below += w;
            if below > half + slack {
                return Some(error);
            }
            if below >= half - slack {
                lower = Some(error);
            }
        }
        lower
    }
}

/// The reason for each undefined metric.
fn reasons(scores: &Scores, rows: usize, constant: bool, zeros: usize) -> Vec<Undefined> {
    let reason = |metric: Metric| match metric {
        Metric::R2 if rows == 1 => "one row has no variance".into(),
        Metric::R2 if constant => "the target is the same on every row here".into(),
        Metric::Mape if zeros > 0 => {
            format!("the target is 0 in {zeros} of {rows} rows, and errors cannot be relative to 0")
        }
        _ => "it has no finite value on these rows".into(),
    };
    scores
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(metric, _)| Undefined { metric, reason: reason(metric) })
        .collect()
}

fn scatter<T: Real, P: Real>(targets: &[T], predictions: &[P], points: usize) -> Vec<ScatterPoint> {
    let rows = targets.len();
    let shown = rows.min(points);
    let point = |i: usize| {
        let row = i * rows / shown;
        ScatterPoint { row, target: targets[row].to_f64(), predicted: predictions[row].to_f64() }
    };
    (0..shown).map(point).collect()
}

fn histogram<T: Real, P: Real>(targets: &[T], predictions: &[P], bins: usize) -> ResidualHistogram {
    let residuals = || targets.iter().zip(predictions).map(|(t, p)| p.to_f64() - t.to_f64());
    let low = residuals().fold(f64::INFINITY, f64::min);
    let high = residuals().fold(f64::NEG_INFINITY, f64::max);
    let mut counts = vec![0; bins];
    let width = (high - low) / bins as f64;
    for residual in residuals() {
        // Equal residuals all belong to the first bar.
        let bin = if width > 0.0 { ((residual - low) / width) as usize } else { 0 };
        counts[bin.min(bins - 1)] += 1;
    }
    ResidualHistogram { low, high, counts }
}
