//! Labels, probabilities and weights, checked once before metrics use them.

use super::MetricError;

/// The tolerance of the sum of a row's probabilities, which must be 1.
///
/// An f32 softmax over ten thousand classes is far within; logits and independent sigmoids are not.
const SUM_TOLERANCE: f64 = 1e-2;

/// The maximum excess of a probability over 1 from the rounding of an f32 softmax.
const ABOVE_ONE: f64 = 1e-6;

mod sealed {
    /// Seals the traits below for the types listed here.
    pub trait Sealed {}
}

/// A floating-point type of metrics: `f32` or `f64`; all sums are in `f64`.
///
/// ```
/// use ff_metrics::Real;
/// assert_eq!(0.5_f32.to_f64(), 0.5);
/// ```
pub trait Real: Copy + Sync + sealed::Sealed {
    /// The distance from 1 to the next number, the minimum probability in the log loss.
    const EPSILON: f64;

    /// The same number as `f64`.
    fn to_f64(self) -> f64;
}

/// An integer type of class labels: `u8`, `u16`, `u32`, `usize`, `i32` or `i64`.
///
/// ```
/// use ff_metrics::ClassLabel;
/// assert_eq!(2_i32.class(), Some(2));
/// assert_eq!((-1_i32).class(), None);
/// ```
pub trait ClassLabel: Copy + std::fmt::Display + sealed::Sealed {
    /// The class index; `None` for a negative number or one beyond 2³² - 1.
    fn class(self) -> Option<u32>;
}

macro_rules! reals {
    ($($t:ty),+) => {$(
        impl sealed::Sealed for $t {}
        impl Real for $t {
            const EPSILON: f64 = <$t>::EPSILON as f64;
            fn to_f64(self) -> f64 { self as f64 }
        }
    )+};
}
reals!(f32, f64);

macro_rules! labels {
    ($($t:ty),+) => {$(
        impl sealed::Sealed for $t {}
        impl ClassLabel for $t {
            fn class(self) -> Option<u32> { self.try_into().ok() }
        }
    )+};
}
labels!(u8, u16, u32, usize, i32, i64);

/// Checked rows of a classification.
pub(super) struct Classified<'a, P> {
    pub(super) labels: Vec<u32>,
    probabilities: &'a [P],
    pub(super) classes: usize,
    pub(super) weights: Option<&'a [f32]>,
}

impl<'a, P: Real> Classified<'a, P> {
    /// Checks lengths, labels, probabilities and weights.
    pub(super) fn new<L: ClassLabel>(
        labels: &[L],
        probabilities: &'a [P],
        classes: usize,
        weights: Option<&'a [f32]>,
    ) -> Result<Self, MetricError> {
        if classes < 2 {
            let problem = format!("a classification needs at least 2 classes, found {classes}");
            return Err(MetricError::Setting { name: "classes", problem });
        }
        if labels.is_empty() {
            return Err(MetricError::Empty);
        }
        let rows = labels.len();
        if Some(probabilities.len()) != rows.checked_mul(classes) {
            return Err(MetricError::Length {
                what: "probabilities",
                expected: rows.saturating_mul(classes),
                why: format!("{rows} rows × {classes} classes"),
                found: probabilities.len(),
            });
        }
        check_weights(weights, rows)?;
        let labels = class_indices(labels, classes)?;
        for (row, p) in probabilities.chunks_exact(classes).enumerate() {
            check_distribution(row, p)?;
        }
        Ok(Self { labels, probabilities, classes, weights })
    }

    pub(super) fn rows(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn row(&self, row: usize) -> &'a [P] {
        &self.probabilities[row * self.classes..(row + 1) * self.classes]
    }

    /// The probability of a class, with the rounding of an f32 softmax above 1 removed.
    pub(super) fn p(&self, row: usize, class: usize) -> f64 {
        self.probabilities[row * self.classes + class].to_f64().min(1.0)
    }

    pub(super) fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |w| f64::from(w[row]))
    }
}

/// The most probable class of a row; ties go to the first, as in NumPy's `argmax`.
pub(super) fn argmax<P: Real>(p: &[P]) -> usize {
    let mut best = 0;
    for (class, value) in p.iter().enumerate().skip(1) {
        if value.to_f64() > p[best].to_f64() {
            best = class;
        }
    }
    best
}

/// The predicted class of each row: the most probable one (ties go to the first) or, with a
/// threshold, the positive class if its probability reaches the threshold and the most probable of
/// the others if not.
///
/// # Shapes
/// `probabilities` is `[N, classes]`, row-major; the result has N class indices.
///
/// # Errors
/// If the length is not a multiple of `classes`, a probability is invalid, or the threshold is NaN.
///
/// ```
/// use ff_metrics::predict_classes;
/// let p = [0.7_f32, 0.3, 0.4, 0.6];
/// assert_eq!(predict_classes(&p, 2, 1, None)?, [0, 1]);
/// assert_eq!(predict_classes(&p, 2, 1, Some(0.25))?, [1, 1]);
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
pub fn predict_classes<P: Real>(
    probabilities: &[P],
    classes: usize,
    positive: usize,
    threshold: Option<f64>,
) -> Result<Vec<u32>, MetricError> {
    if classes < 2 || !probabilities.len().is_multiple_of(classes) {
        return Err(MetricError::Length {
            what: "probabilities",
            expected: probabilities.len() / classes.max(1) * classes,
            why: format!("a multiple of {classes} classes, at least 2"),
            found: probabilities.len(),
        });
    }
    check_threshold(classes, Some(positive), threshold)?;
    let rows = probabilities.chunks_exact(classes).enumerate();
    rows.map(|(row, p)| {
        check_distribution(row, p)?;
        Ok(decide(p, positive, threshold) as u32)
    })
    .collect()
}

/// The decision for one row; see [`predict_classes`].
///
/// # Panics
/// If there is a threshold and no positive class among the probabilities.
///
/// ```
/// use ff_metrics::decide;
/// assert_eq!(decide(&[0.5, 0.2, 0.3], 2, Some(0.3)), 2);
/// assert_eq!(decide(&[0.2, 0.3, 0.5], 2, Some(0.6)), 1);
/// ```
pub fn decide<P: Real>(p: &[P], positive: usize, threshold: Option<f64>) -> usize {
    match threshold {
        Some(t) if p[positive].to_f64().min(1.0) >= t => positive,
        Some(_) => {
            let others = (0..p.len()).filter(|&class| class != positive);
            let likelier =
                |best: usize, c: usize| if p[c].to_f64() > p[best].to_f64() { c } else { best };
            others.reduce(likelier).unwrap_or(positive)
        }
        None => argmax(p),
    }
}

/// Checks a positive class and a threshold against the number of classes.
pub(super) fn check_threshold(
    classes: usize,
    positive: Option<usize>,
    threshold: Option<f64>,
) -> Result<(), MetricError> {
    let setting = |name, problem| Err(MetricError::Setting { name, problem });
    if let Some(t) = threshold {
        if classes != 2 && positive.is_none() {
            let problem = format!("of {classes} classes it needs a positive one");
            return setting("threshold", problem);
        }
        if t.is_nan() {
            return setting("threshold", "NaN is not a threshold".into());
        }
    }
    match positive {
        Some(p) if p >= classes => {
            setting("positive", format!("class {p} is not one of the {classes} classes"))
        }
        _ => Ok(()),
    }
}

/// Checks one row of probabilities: each between 0 and 1, summing to 1.
fn check_distribution<P: Real>(row: usize, p: &[P]) -> Result<(), MetricError> {
    let mut sum = 0.0;
    for (class, value) in p.iter().enumerate() {
        let value = value.to_f64();
        // NaN is in no range.
        if !(0.0..=1.0 + ABOVE_ONE).contains(&value) {
            return Err(MetricError::Probability { row, class, value });
        }
        sum += value;
    }
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(MetricError::RowSum { row, sum });
    }
    Ok(())
}

/// Checks that the number of rows is in range, and that there is one finite weight of at least 0
/// per row, not all zero.
pub(super) fn check_weights(weights: Option<&[f32]>, rows: usize) -> Result<(), MetricError> {
    if u32::try_from(rows).is_err() {
        let problem = format!("{rows} exceed the {} that can be ranked", u32::MAX);
        return Err(MetricError::Setting { name: "rows", problem });
    }
    let Some(weights) = weights else { return Ok(()) };
    if weights.len() != rows {
        return Err(MetricError::Length {
            what: "weights",
            expected: rows,
            why: "one a row".into(),
            found: weights.len(),
        });
    }
    if let Some(row) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
        return Err(MetricError::Weight { row, value: f64::from(weights[row]) });
    }
    if rows > 0 && weights.iter().all(|w| *w == 0.0) {
        return Err(MetricError::NoWeight);
    }
    Ok(())
}

/// Checks that every value is finite.
pub(super) fn check_finite<T: Real>(what: &'static str, values: &[T]) -> Result<(), MetricError> {
    match values.iter().position(|v| !v.to_f64().is_finite()) {
        Some(row) => Err(MetricError::NotFinite { what, row, value: values[row].to_f64() }),
        None => Ok(()),
    }
}

/// Labels as class indices below `classes`.
pub(super) fn class_indices<L: ClassLabel>(
    labels: &[L],
    classes: usize,
) -> Result<Vec<u32>, MetricError> {
    let index = |(row, label): (usize, &L)| match label.class() {
        Some(class) if (class as usize) < classes => Ok(class),
        _ => Err(MetricError::Label { row, label: label.to_string(), classes }),
    };
    labels.iter().enumerate().map(index).collect()
}
