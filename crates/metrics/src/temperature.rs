//! The temperature of a classifier's logits (Guo et al., "On calibration of modern neural
//! networks", 2017).

use serde::{Deserialize, Serialize};

use super::{ClassLabel, MetricError, Real, input};

/// The standard deviation of 1/T around 1 before any row is seen.
const PRIOR: f64 = 0.5;
/// The range of 1/T.
const RANGE: [f64; 2] = [0.05, 20.0];
/// Newton steps, of which a handful are enough.
const STEPS: usize = 50;

/// A temperature that was fitted, with the log loss on the rows of the fit.
///
/// ```
/// // Right in three rows of four, and sure of all: 1/T solves σ(β · 4) = 3/4 but for the prior.
/// let (logits, labels) = ([4.0_f32; 400], [[1, 1, 1, 0]; 100].concat());
/// let fitted = ff_metrics::fit_temperature(&logits, 1, &labels, None)?;
/// assert!((1.0 / fitted.value - 3.0_f64.ln() / 4.0).abs() < 1e-2);
/// assert!(fitted.after < fitted.before);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// T: probabilities are softmax(z / T), or σ(z / T).
    pub value: f64,
    /// The rows of the fit.
    pub rows: usize,
    /// Their log loss at T = 1.
    pub before: f64,
    /// Their log loss at T.
    pub after: f64,
}

/// Fits the temperature that minimises the log loss of some rows.
///
/// With β = 1/T, w the weights of the rows (of mean 1) and ℓ the log loss of a row, minimises
///
/// > Σ w ℓ(β z, y) + ½ ((β − 1) / ½)²
///
/// which is strictly convex, so that the minimum is unique and finite however few the rows and
/// however right the predictions. The temperature stays 1 unless the fit lowers the summed log loss
/// by more than 1, the cost of a parameter in Akaike's criterion: smaller gains are noise.
///
/// # Shapes
/// `logits` is `[N, width]`, of one logit for two classes or of one for each class; `labels` and
/// `weights` have N values.
///
/// # Errors
/// There are no rows, a length does not fit, or a logit, label or weight is invalid.
pub fn fit_temperature<P: Real, L: ClassLabel>(
    logits: &[P],
    width: usize,
    labels: &[L],
    weights: Option<&[f32]>,
) -> Result<Temperature, MetricError> {
    let rows = labels.len();
    if rows == 0 {
        return Err(MetricError::Empty);
    }
    if width == 0 || Some(logits.len()) != rows.checked_mul(width) {
        return Err(MetricError::Length {
            what: "logits",
            expected: rows.saturating_mul(width),
            why: format!("{rows} rows × {width}"),
            found: logits.len(),
        });
    }
    input::check_finite("logit", logits)?;
    input::check_weights(weights, rows)?;
    let labels = input::class_indices(labels, width.max(2))?;
    let total = weights.map_or(rows as f64, |w| w.iter().map(|&w| f64::from(w)).sum());
    let weight = |row: usize| weights.map_or(1.0, |w| f64::from(w[row]) * rows as f64 / total);

    // The summed loss at β with its first two derivatives.
    let loss = |beta: f64| {
        let mut sums = [0.0; 3];
        for (row, z) in logits.chunks_exact(width).enumerate() {
            let of_row = row_loss(z, labels[row] as usize, beta);
            sums.iter_mut().zip(of_row).for_each(|(sum, x)| *sum += weight(row) * x);
        }
        sums
    };
    let [before, ..] = loss(1.0);
    let ([mut low, mut high], mut beta) = (RANGE, 1.0);
    for _ in 0..STEPS {
        let [_, d, dd] = loss(beta);
        let (d, dd) = (d + (beta - 1.0) / PRIOR.powi(2), dd + 1.0 / PRIOR.powi(2));
        if d > 0.0 {
            high = beta;
        } else {
            low = beta;
        }
        let next = beta - d / dd;
        // Newton's step, unless it leaves what is left of the range.
        let next = if next > low && next < high { next } else { (low * high).sqrt() };
        let done = (next - beta).abs() <= 1e-12 * beta;
        beta = next;
        if done {
            break;
        }
    }
    let [after, ..] = loss(beta);
    let n = rows as f64;
    let kept = before - after > 1.0;
    let (value, after) = if kept { (1.0 / beta, after) } else { (1.0, before) };
    Ok(Temperature { value, rows, before: before / n, after: after / n })
}

/// −ln p of the true class for the logits β z, and its first two derivatives in β:
/// Σ p z − z_y and Var_p z.
fn row_loss<P: Real>(z: &[P], label: usize, beta: f64) -> [f64; 3] {
    if let [z] = z {
        let z = z.to_f64();
        // ln(1 + e^−u), u the logit of the true class.
        let u = if label == 1 { z } else { -z };
        let other = 1.0 / (1.0 + (beta * u).exp());
        let loss = (-beta * u).max(0.0) + (-(beta * u).abs()).exp().ln_1p();
        return [loss, -u * other, z * z * other * (1.0 - other)];
    }
    let largest = z.iter().fold(f64::NEG_INFINITY, |m, z| m.max(z.to_f64()));
    let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
    for z in z {
        let z = z.to_f64() - largest;
        let p = (beta * z).exp();
        sum += p;
        first += p * z;
        second += p * z * z;
    }
    let (mean, own) = (first / sum, z[label].to_f64() - largest);
    [sum.ln() - beta * own, mean - own, second / sum - mean * mean]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The summed log loss and penalty at β, written out.
    fn objective(z: &[f64], width: usize, labels: &[i32], beta: f64) -> f64 {
        let rows = z.chunks_exact(width).zip(labels);
        let losses = rows.map(|(z, &y)| {
            let exp: Vec<f64> = z.iter().map(|z| (beta * z).exp()).collect();
            -(exp[y as usize] / exp.iter().sum::<f64>()).ln()
        });
        losses.sum::<f64>() + 2.0 * (beta - 1.0).powi(2)
    }

    #[test]
    fn the_fit_is_the_minimum_of_the_loss() {
        let mut state = 7_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let z: Vec<f64> = (0..3 * 200).map(|_| 6.0 * uniform() - 3.0).collect();
        // Every second label is that of the largest logit.
        let labels: Vec<i32> = (0..200)
            .map(|row| {
                let z = &z[3 * row..3 * row + 3];
                let best = (1..3).fold(0, |best, i| if z[i] > z[best] { i } else { best });
                if row % 2 == 0 { best as i32 } else { (3.0 * uniform()) as i32 }
            })
            .collect();
        let fitted = fit_temperature(&z, 3, &labels, None).unwrap();
        let at = |beta: f64| objective(&z, 3, &labels, beta);
        let beta = 1.0 / fitted.value;
        assert!((1.5..10.0).contains(&fitted.value), "{fitted:?}");
        for other in [0.98, 1.02] {
            assert!(at(beta) < at(beta * other), "{fitted:?}");
        }
        let exact = (at(beta) - 2.0 * (beta - 1.0).powi(2)) / 200.0;
        assert!((fitted.after - exact).abs() < 1e-12 && fitted.rows == 200);
    }

    #[test]
    fn one_logit_is_two_with_the_first_at_zero() {
        let z = [3.0, -2.0, 1.0, 4.0, -5.0, 0.5, 2.0, -1.0];
        let labels = [1, 1, 0, 0, 0, 1, 0, 1];
        let pairs: Vec<f64> = z.iter().flat_map(|&z| [0.0, z]).collect();
        let one = fit_temperature(&z, 1, &labels, None).unwrap();
        let two = fit_temperature(&pairs, 2, &labels, None).unwrap();
        assert!(one.value > 1.5, "{one:?}");
        assert!((one.value - two.value).abs() < 1e-9 && (one.after - two.after).abs() < 1e-12);
    }

    #[test]
    fn a_row_of_weight_two_is_two_rows() {
        let (z, labels) = ([4.0, 4.0, -3.0, 2.0_f64].repeat(8), [1, 0, 1, 0].repeat(8));
        let twice = (0..z.len()).flat_map(|i| if i % 4 == 1 { vec![i; 2] } else { vec![i] });
        let twice: Vec<usize> = twice.collect();
        let (z2, y2): (Vec<f64>, Vec<i32>) = twice.iter().map(|&i| (z[i], labels[i])).unzip();
        let weights: Vec<f32> = (0..z.len()).map(|i| if i % 4 == 1 { 2.0 } else { 1.0 }).collect();
        let by_weight = fit_temperature(&z, 1, &labels, Some(&weights)).unwrap();
        let by_rows = fit_temperature(&z2, 1, &y2, None).unwrap();
        // Weights have mean 1, so that the penalty counts a little more.
        assert!((by_weight.value - by_rows.value).abs() < 0.02 * by_rows.value);
        assert!((by_weight.before - by_rows.before).abs() < 1e-12);
    }

    #[test]
    fn few_rows_and_right_ones_leave_the_temperature_near_1() {
        // Without the penalty T would be 0.
        let sure = fit_temperature(&[2.0_f32; 30], 1, &[1; 30], None).unwrap();
        assert!((0.3..0.9).contains(&sure.value), "{sure:?}");
        // A gain of less than 1 in all is no reason to change anything.
        let few = fit_temperature(&[2.0_f32; 3], 1, &[1; 3], None).unwrap();
        assert!(few.value == 1.0 && few.before == few.after, "{few:?}");
    }

    #[test]
    fn bad_input_is_named() {
        let fit = |z: &[f32], width, y: &[i32]| fit_temperature(z, width, y, None).unwrap_err();
        assert_eq!(fit(&[], 1, &[]), MetricError::Empty);
        assert!(matches!(fit(&[1.0], 2, &[0]), MetricError::Length { .. }));
        assert!(matches!(fit(&[1.0], 1, &[2]), MetricError::Label { row: 0, .. }));
        assert!(matches!(fit(&[f32::NAN], 1, &[0]), MetricError::NotFinite { row: 0, .. }));
    }
}
