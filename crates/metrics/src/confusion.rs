//! Metrics of decision counts: accuracy, precision, recall, F1, the confusion matrix.

use serde::{Deserialize, Serialize};

use super::{ClassLabel, MetricError, input};

/// Per class, the weights of its labels, of its predictions, and of correct predictions.
///
/// Three numbers per class suffice for accuracy, precision, recall and F1, even with ten thousand
/// classes.
///
/// ```
/// use ff_metrics::{Average, ClassCounts};
/// let counts = ClassCounts::of(&[0_u32, 0, 1, 1], &[0_u32, 1, 1, 1], 2, None)?;
/// assert_eq!(counts.accuracy(), 0.75);
/// assert_eq!(counts.precision(0), Some(1.0));
/// assert_eq!(counts.recall(0), Some(0.5));
/// assert_eq!(counts.average(Average::Macro).recall, 0.75);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClassCounts {
    pub(super) hits: Vec<f64>,
    pub(super) actual: Vec<f64>,
    pub(super) predicted: Vec<f64>,
}

/// The averaging of precision, recall and F1 over classes: scikit-learn's `average`.
///
/// ```
/// use ff_metrics::{Average, ClassCounts};
/// let counts = ClassCounts::of(&[0_u32, 1, 1], &[0_u32, 1, 0], 2, None)?;
/// assert_eq!(counts.average(Average::Micro).f1, counts.accuracy());
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// The plain mean over classes that occur among labels or predictions.
    Macro,
    /// All decisions together; with one label per row, all three equal the accuracy.
    Micro,
    /// The mean weighted by the share of each class among the labels.
    Weighted,
}

/// Precision, recall and F1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Averaged {
    /// TP / (TP + FP).
    pub precision: f64,
    /// TP / (TP + FN).
    pub recall: f64,
    /// 2 TP / (2 TP + FP + FN).
    pub f1: f64,
}

impl ClassCounts {
    /// Counts labels against predictions.
    ///
    /// # Shapes
    /// `labels`, `predicted` and `weights` have N values.
    ///
    /// # Errors
    /// If there are no rows, lengths differ, or a label or weight is invalid.
    pub fn of<L: ClassLabel, M: ClassLabel>(
        labels: &[L],
        predicted: &[M],
        classes: usize,
        weights: Option<&[f32]>,
    ) -> Result<Self, MetricError> {
        let (labels, predicted) = pairs(labels, predicted, classes, weights)?;
        let mut counts = Self::zeros(classes);
        for (row, (label, guess)) in labels.iter().zip(&predicted).enumerate() {
            counts.add(*label, *guess, weights.map_or(1.0, |w| f64::from(w[row])));
        }
        Ok(counts)
    }

    pub(super) fn zeros(classes: usize) -> Self {
        Self { hits: vec![0.0; classes], actual: vec![0.0; classes], predicted: vec![0.0; classes] }
    }

    pub(super) fn add(&mut self, label: u32, guess: u32, weight: f64) {
        self.actual[label as usize] += weight;
        self.predicted[guess as usize] += weight;
        if label == guess {
            self.hits[label as usize] += weight;
        }
    }

    /// The total weight of the labels of a class, or their number without weights.
    pub fn support(&self, class: usize) -> f64 {
        self.actual[class]
    }

    /// The share of correct predictions, by weight.
    pub fn accuracy(&self) -> f64 {
        self.hits.iter().sum::<f64>() / self.actual.iter().sum::<f64>()
    }

    /// The mean recall over the classes among the labels (scikit-learn's
    /// `balanced_accuracy_score`).
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls = (0..self.actual.len()).filter_map(|class| self.recall(class));
        let (sum, present) = recalls.fold((0.0, 0.0), |(sum, n), recall| (sum + recall, n + 1.0));
        sum / present
    }

    /// TP / (TP + FP) of a class; `None` if it is never predicted.
    pub fn precision(&self, class: usize) -> Option<f64> {
        ratio(self.hits[class], self.predicted[class])
    }

    /// TP / (TP + FN) of a class; `None` if no label has it.
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.hits[class], self.actual[class])
    }

    /// FP / (FP + TN) of a class; `None` if every label has it.
    pub fn false_positive_rate(&self, class: usize) -> Option<f64> {
        let others = self.actual.iter().sum::<f64>() - self.actual[class];
        ratio(self.predicted[class] - self.hits[class], others)
    }

    /// 2 TP / (2 TP + FP + FN) of a class; `None` if neither label nor prediction has it.
    pub fn f1(&self, class: usize) -> Option<f64> {
        ratio(2.0 * self.hits[class], self.actual[class] + self.predicted[class])
    }

    /// Averaged precision, recall and F1.
    ///
    /// As in scikit-learn, classes among neither labels nor predictions are excluded, and a
    /// precision or recall without a denominator counts as 0 (`zero_division=0`).
    pub fn average(&self, average: Average) -> Averaged {
        if average == Average::Micro {
            let accuracy = self.accuracy();
            return Averaged { precision: accuracy, recall: accuracy, f1: accuracy };
        }
        let mut sum = Averaged { precision: 0.0, recall: 0.0, f1: 0.0 };
        let mut total = 0.0;
        for class in 0..self.actual.len() {
            if self.actual[class] == 0.0 && self.predicted[class] == 0.0 {
                continue;
            }
            let weight = if average == Average::Macro { 1.0 } else { self.actual[class] };
            total += weight;
            sum.precision += weight * self.precision(class).unwrap_or(0.0);
            sum.recall += weight * self.recall(class).unwrap_or(0.0);
            sum.f1 += weight * self.f1(class).unwrap_or(0.0);
        }
        Averaged {
            precision: sum.precision / total,
            recall: sum.recall / total,
            f1: sum.f1 / total,
        }
    }
}

/// The confusion matrix: rows are true classes, columns predicted ones.
///
/// ```
/// use ff_metrics::ConfusionMatrix;
/// let matrix = ConfusionMatrix::of(&[0_u32, 0, 1], &[0_u32, 1, 1], 2, None)?;
/// assert_eq!(matrix.counts, [[1.0, 1.0], [0.0, 1.0]]);
/// assert_eq!(matrix.worst(5)[0].predicted, 1);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// The weight of the rows, `[true class][predicted class]`.
    pub counts: Vec<Vec<f64>>,
}

/// Rows of one class predicted as another.
///
/// ```
/// use ff_metrics::ConfusionMatrix;
/// let worst = ConfusionMatrix::of(&[0_u32, 0, 1], &[1_u32, 1, 0], 2, None)?.worst(1);
/// assert_eq!((worst[0].actual, worst[0].predicted, worst[0].count), (0, 1, 2.0));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// The true class.
    pub actual: usize,
    /// The predicted class.
    pub predicted: usize,
    /// The weight of those rows.
    pub count: f64,
    /// Their share of the true class.
    pub share: f64,
}

impl ConfusionMatrix {
    /// Counts labels against predictions.
    ///
    /// # Shapes
    /// `labels`, `predicted` and `weights` have N values; the matrix is `[classes][classes]`.
    ///
    /// # Errors
    /// If there are no rows, lengths differ, or a label or weight is invalid.
    pub fn of<L: ClassLabel, M: ClassLabel>(
        labels: &[L],
        predicted: &[M],
        classes: usize,
        weights: Option<&[f32]>,
    ) -> Result<Self, MetricError> {
        let (labels, predicted) = pairs(labels, predicted, classes, weights)?;
        let mut counts = vec![vec![0.0; classes]; classes];
        for (row, (label, guess)) in labels.iter().zip(&predicted).enumerate() {
            let weight = weights.map_or(1.0, |w| f64::from(w[row]));
            counts[*label as usize][*guess as usize] += weight;
        }
        Ok(Self { counts })
    }

    /// The most frequent confusions, at most `limit`, in descending order.
    pub fn worst(&self, limit: usize) -> Vec<Confusion> {
        let mut all = Vec::new();
        for (actual, row) in self.counts.iter().enumerate() {
            let total: f64 = row.iter().sum();
            for (predicted, &count) in row.iter().enumerate() {
                if actual != predicted && count > 0.0 {
                    all.push(Confusion { actual, predicted, count, share: count / total });
                }
            }
        }
        // The sort is stable, so equal counts stay in class order.
        all.sort_by(|a, b| b.count.total_cmp(&a.count));
        all.truncate(limit);
        all
    }
}

fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    (denominator > 0.0).then(|| numerator / denominator)
}

/// Checked labels and predictions, as class indices.
fn pairs<L: ClassLabel, M: ClassLabel>(
    labels: &[L],
    predicted: &[M],
    classes: usize,
    weights: Option<&[f32]>,
) -> Result<(Vec<u32>, Vec<u32>), MetricError> {
    if labels.is_empty() {
        return Err(MetricError::Empty);
    }
    if predicted.len() != labels.len() {
        return Err(MetricError::Length {
            what: "predicted",
            expected: labels.len(),
            why: "one a label".into(),
            found: predicted.len(),
        });
    }
    input::check_weights(weights, labels.len())?;
    Ok((input::class_indices(labels, classes)?, input::class_indices(predicted, classes)?))
}
