//! Scores of rows that have any number of labels.

use crate::{MetricError, Ranking};
use serde::{Deserialize, Serialize};

/// The scores of one label, or a mean over labels.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LabelScore {
    /// TP / (TP + FP); 0 where nothing is predicted.
    pub precision: f64,
    /// TP / (TP + FN); 0 without a positive row.
    pub recall: f64,
    /// Their harmonic mean, 2 TP / (2 TP + FP + FN).
    pub f1: f64,
    /// The average precision of the probabilities; `None` without a positive row.
    pub average_precision: Option<f64>,
    /// Rows that have the label.
    pub support: usize,
}

/// The scores of labels that are each true or false; equal to scikit-learn's with
/// `zero_division=0`.
///
/// ```
/// use ff_metrics::LabelReport;
/// // Two rows of two labels.
/// let (truth, probabilities) = ([true, false, true, true], [0.9, 0.2, 0.8, 0.4]);
/// let report = LabelReport::compute(&truth, &probabilities, &[0.5; 2])?;
/// assert_eq!((report.subset_accuracy, report.micro.recall), (0.5, 2.0 / 3.0));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LabelReport {
    /// The share of rows all of whose labels are right.
    pub subset_accuracy: f64,
    /// The share of wrong decisions among all.
    pub hamming_loss: f64,
    /// Over all decisions together; its average precision, too.
    pub micro: LabelScore,
    /// The mean over labels; its average precision over those that have a positive row.
    #[serde(rename = "macro")]
    pub macro_mean: LabelScore,
    /// Of each label.
    pub labels: Vec<LabelScore>,
}

impl LabelReport {
    /// The scores of probabilities beside the truth; a label is predicted from its threshold on.
    ///
    /// # Shapes
    /// truth and probabilities `[N, labels]`, thresholds `[labels]`
    ///
    /// # Errors
    /// If there are no rows, lengths differ, or a probability is not finite.
    pub fn compute(
        truth: &[bool],
        probabilities: &[f64],
        thresholds: &[f64],
    ) -> Result<Self, MetricError> {
        let labels = thresholds.len();
        if truth.is_empty() || labels == 0 {
            return Err(MetricError::Empty);
        }
        if probabilities.len() != truth.len() || !truth.len().is_multiple_of(labels) {
            let (expected, found) = (truth.len(), probabilities.len());
            let why = format!("one for each of {labels} labels of a row");
            return Err(MetricError::Length { what: "probabilities", expected, why, found });
        }
        let rows = truth.len() / labels;
        let at = |values: &[f64], label: usize| -> Vec<f64> {
            values.iter().skip(label).step_by(labels).copied().collect()
        };
        let predicted: Vec<bool> =
            probabilities.iter().zip(thresholds.iter().cycle()).map(|(p, t)| p >= t).collect();
        let mut total = [0; 3];
        let mut each = Vec::with_capacity(labels);
        for label in 0..labels {
            let of = |values: &[bool]| -> Vec<bool> {
                values.iter().skip(label).step_by(labels).copied().collect()
            };
            let (truth, predicted) = (of(truth), of(&predicted));
            let both = truth.iter().zip(&predicted).filter(|(t, p)| **t && **p).count();
            let count = |values: &[bool]| values.iter().filter(|value| **value).count();
            let counts = [count(&truth), count(&predicted), both];
            (0..3).for_each(|i| total[i] += counts[i]);
            let ranking = Ranking::new(&at(probabilities, label), &truth, None)?;
            each.push(score(counts, ranking.average_precision()));
        }
        let wrong = truth.iter().zip(&predicted).filter(|(t, p)| t != p).count();
        let right = truth.chunks_exact(labels).zip(predicted.chunks_exact(labels));
        let right = right.filter(|(truth, predicted)| truth == predicted).count();
        let mean = |of: fn(&LabelScore) -> f64| each.iter().map(of).sum::<f64>() / labels as f64;
        let known: Vec<f64> = each.iter().filter_map(|score| score.average_precision).collect();
        let macro_mean = LabelScore {
            precision: mean(|score| score.precision),
            recall: mean(|score| score.recall),
            f1: mean(|score| score.f1),
            average_precision: (!known.is_empty())
                .then(|| known.iter().sum::<f64>() / known.len() as f64),
            support: total[0],
        };
        let ranking = Ranking::new(probabilities, truth, None)?;
        Ok(Self {
            subset_accuracy: right as f64 / rows as f64,
            hamming_loss: wrong as f64 / truth.len() as f64,
            micro: score(total, ranking.average_precision()),
            macro_mean,
            labels: each,
        })
    }
}

/// The score of counts of true, predicted and right decisions.
fn score([truth, found, right]: [usize; 3], average_precision: Option<f64>) -> LabelScore {
    let share = |part: usize, of: usize| if of > 0 { part as f64 / of as f64 } else { 0.0 };
    LabelScore {
        precision: share(right, found),
        recall: share(right, truth),
        f1: share(2 * right, truth + found),
        average_precision,
        support: truth,
    }
}
