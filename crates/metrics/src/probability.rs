//! Metrics of probabilities: log loss, Brier score, calibration, top-k.

use serde::{Deserialize, Serialize};

use super::{
    Real,
    input::{Classified, argmax},
};

/// A bin of the reliability diagram: predicted and observed frequency.
///
/// ```
/// use ff_metrics::{calibration_bins, expected_calibration_error};
/// let bins = calibration_bins([(0.9, true), (0.8, false)], None, 2);
/// assert_eq!((bins[0].low, bins[0].high, bins[0].count), (0.5, 1.0, 2));
/// assert!((bins[0].predicted - 0.85).abs() < 1e-15 && bins[0].observed == 0.5);
/// assert!((expected_calibration_error(&bins).unwrap() - 0.35).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lower edge; the first bin contains it, the others do not.
    pub low: f64,
    /// Upper edge, which the bin contains.
    pub high: f64,
    /// Number of rows.
    pub count: u64,
    /// Weight of the rows.
    pub weight: f64,
    /// The mean predicted probability.
    pub predicted: f64,
    /// The observed frequency.
    pub observed: f64,
}

/// Groups rows by predicted probability into `bins` bins of equal width; empty bins are omitted.
///
/// A row is the probability of an event and its outcome. A probability on an edge belongs to the
/// bin below, as in scikit-learn's `calibration_curve`.
pub fn calibration_bins(
    rows: impl IntoIterator<Item = (f64, bool)>,
    weights: Option<&[f32]>,
    bins: usize,
) -> Vec<CalibrationBin> {
    let bins = bins.max(1);
    let width = 1.0 / bins as f64;
    let edge = |i: usize| if i == bins { 1.0 } else { i as f64 * width };
    let empty = |i| CalibrationBin {
        low: edge(i),
        high: edge(i + 1),
        count: 0,
        weight: 0.0,
        predicted: 0.0,
        observed: 0.0,
    };
    let mut all: Vec<CalibrationBin> = (0..bins).map(empty).collect();
    for (row, (p, hit)) in rows.into_iter().enumerate() {
        // The product may round across an edge, so the comparison with the edge itself decides.
        let mut bin = ((p * bins as f64) as usize).min(bins - 1);
        if bin > 0 && p <= edge(bin) {
            bin -= 1;
        } else if bin + 1 < bins && p > edge(bin + 1) {
            bin += 1;
        }
        let weight = weights.map_or(1.0, |w| f64::from(w[row]));
        let bin = &mut all[bin];
        bin.count += 1;
        bin.weight += weight;
        bin.predicted += weight * p;
        bin.observed += if hit { weight } else { 0.0 };
    }
    all.retain(|bin| bin.weight > 0.0);
    for bin in &mut all {
        bin.predicted /= bin.weight;
        bin.observed /= bin.weight;
    }
    all
}

/// Expected calibration error: the mean over rows of |observed − predicted| in their bin, Σ (n_b /
/// N) |o_b − p_b| (Naeini et al. 2015; Guo et al. 2017); `None` without rows.
pub fn expected_calibration_error(bins: &[CalibrationBin]) -> Option<f64> {
    let total: f64 = bins.iter().map(|bin| bin.weight).sum();
    let gaps = bins.iter().map(|bin| bin.weight * (bin.observed - bin.predicted).abs());
    (total > 0.0).then(|| gaps.sum::<f64>() / total)
}

/// The reliability bins of a model: of the probability of the positive class for two classes, else
/// of the most probable class, with its correctness.
pub(super) fn reliability<P: Real>(
    rows: &Classified<'_, P>,
    positive: usize,
    bins: usize,
) -> Vec<CalibrationBin> {
    let event = |row: usize| {
        let event = if rows.classes == 2 { positive } else { argmax(rows.row(row)) };
        (rows.p(row, event), rows.labels[row] as usize == event)
    };
    calibration_bins((0..rows.rows()).map(event), rows.weights, bins)
}

/// The log loss of one row, −ln p of the true class, with p at least the epsilon of its type, so
/// that a confident mistake has a finite cost (as in scikit-learn).
pub(super) fn negative_log_likelihood<P: Real>(rows: &Classified<'_, P>, row: usize) -> f64 {
    -rows.p(row, rows.labels[row] as usize).max(P::EPSILON).ln()
}

/// The squared error of one row's probabilities: (p − y)² of the positive class for two classes,
/// else Σ_c (p_c − y_c)² (scikit-learn's `brier_score_loss`, which halves the sum for two classes).
pub(super) fn brier<P: Real>(rows: &Classified<'_, P>, row: usize, positive: usize) -> f64 {
    let label = rows.labels[row] as usize;
    let square = |class: usize| {
        let error = rows.p(row, class) - if class == label { 1.0 } else { 0.0 };
        error * error
    };
    if rows.classes == 2 { square(positive) } else { (0..rows.classes).map(square).sum() }
}

/// Whether the true class is among the k most probable; ties go to the lower class index, so that k
/// = 1 is the accuracy.
pub(super) fn in_top_k<P: Real>(rows: &Classified<'_, P>, row: usize, k: usize) -> bool {
    let label = rows.labels[row] as usize;
    let p = rows.row(row);
    let own = p[label].to_f64();
    let ahead = |(class, value): (usize, &P)| {
        let value = value.to_f64();
        value > own || (value == own && class < label)
    };
    p.iter().enumerate().filter(|&entry| ahead(entry)).count() < k
}

/// The weighted mean of a value per row.
pub(super) fn mean<P: Real>(rows: &Classified<'_, P>, value: impl Fn(usize) -> f64) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for row in 0..rows.rows() {
        let weight = rows.weight(row);
        sum += weight * value(row);
        total += weight;
    }
    sum / total
}
