//! The headline: the scores of the model and of a baseline.

use serde::{Deserialize, Serialize};

use super::exact;

/// The scores on one named split, against one named baseline; the first score is the headline.
///
/// ```
/// use ff_report::{Score, Verdict};
///
/// let verdict = Verdict {
///     split: "test".into(),
///     rows: 134,
///     baseline: "always 0".into(),
///     scores: vec![Score::new("accuracy", 0.828, true).interval(0.76, 0.88).baseline(0.612)],
///     ..Verdict::default()
/// };
/// assert_eq!(verdict.scores[0].beats_baseline(), Some(true));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The split of the scores: `test`, `valid`, `5-fold cross-validation`.
    pub split: String,
    /// The number of rows (or tokens) in the split.
    pub rows: u64,
    /// The name of the rows, in the plural; empty for `rows`.
    pub unit: String,
    /// The rule of the baseline, such as `always 0` or `mean of train`; empty if there is none.
    pub baseline: String,
    /// The source of the intervals, such as `95 %, bootstrap of 1,000 samples`.
    pub interval: String,
    /// The scores, the headline first.
    pub scores: Vec<Score>,
    /// The verdict in words; if empty, the page derives it from the headline score.
    pub sentence: String,
    /// Caveats of the score, such as a small test part.
    pub caveats: Vec<String>,
}

/// A score: its value, its interval, the baseline's value and the direction of improvement.
///
/// ```
/// let loss = ff_report::Score::new("log loss", 0.44, false).baseline(0.67);
/// assert!(!loss.higher_is_better);
/// assert_eq!(loss.beats_baseline(), None, "without an interval nothing can be told");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Score {
    /// The name of the score: `accuracy`, `log loss`, `R²`.
    pub name: String,
    /// The value of the model.
    #[serde(with = "exact")]
    pub value: f64,
    /// The lower end of the interval.
    #[serde(with = "exact")]
    pub low: Option<f64>,
    /// The upper end of the interval.
    #[serde(with = "exact")]
    pub high: Option<f64>,
    /// The baseline's value on the same rows.
    #[serde(with = "exact")]
    pub baseline: Option<f64>,
    /// Whether higher is better.
    pub higher_is_better: bool,
}

impl Score {
    /// A score without an interval or baseline.
    pub fn new(name: impl Into<String>, value: f64, higher_is_better: bool) -> Self {
        Self { name: name.into(), value, higher_is_better, ..Self::default() }
    }

    /// Adds the interval.
    #[must_use]
    pub fn interval(mut self, low: f64, high: f64) -> Self {
        (self.low, self.high) = (Some(low), Some(high));
        self
    }

    /// Adds the value of the baseline.
    #[must_use]
    pub fn baseline(mut self, value: f64) -> Self {
        self.baseline = Some(value);
        self
    }

    /// Whether the whole interval lies on the better side of the baseline.
    ///
    /// `None` if undecidable: there is no interval or baseline, or the baseline lies inside the
    /// interval.
    pub fn beats_baseline(&self) -> Option<bool> {
        let (low, high, base) = (self.low?, self.high?, self.baseline?);
        let (above, below) = (low > base, high < base);
        match (above, below) {
            (true, _) => Some(self.higher_is_better),
            (_, true) => Some(!self.higher_is_better),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_decides_in_both_directions() {
        let score = |low, high, up| Score::new("s", 0.5, up).interval(low, high).baseline(0.4);
        assert_eq!(score(0.45, 0.55, true).beats_baseline(), Some(true));
        assert_eq!(score(0.45, 0.55, false).beats_baseline(), Some(false));
        assert_eq!(score(0.30, 0.35, true).beats_baseline(), Some(false));
        assert_eq!(score(0.30, 0.35, false).beats_baseline(), Some(true));
        assert_eq!(score(0.35, 0.45, true).beats_baseline(), None);
        assert_eq!(score(f64::NAN, f64::NAN, true).beats_baseline(), None);
    }
}
