//! The metrics' names, directions and values.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

/// A metric's direction of improvement.
///
/// ```
/// use ff_metrics::{Direction, Metric};
/// assert_eq!(Metric::LogLoss.direction(), Direction::LowerIsBetter);
/// assert_eq!(Direction::HigherIsBetter.arrow(), "↑");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher is better, as for accuracy.
    HigherIsBetter,
    /// Lower is better, as for a loss.
    LowerIsBetter,
}

impl Direction {
    /// The arrow to print beside the name of the metric.
    pub fn arrow(self) -> &'static str {
        match self {
            Self::HigherIsBetter => "↑",
            Self::LowerIsBetter => "↓",
        }
    }

    /// Whether `value` is strictly better than `other`; false if either is NaN.
    pub fn better(self, value: f64, other: f64) -> bool {
        self.gain(value, other) > 0.0
    }

    /// The gain of `value` over `other`: positive if better, whatever the direction.
    pub fn gain(self, value: f64, other: f64) -> f64 {
        match self {
            Self::HigherIsBetter => value - other,
            Self::LowerIsBetter => other - value,
        }
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $label:literal, $direction:ident;)+) => {
        /// A metric, with its name in recipes, in `metrics.jsonl` and in `--json` output.
        ///
        /// ```
        /// use ff_metrics::Metric;
        /// let metric: Metric = "f1_macro".parse()?;
        /// assert_eq!(metric, Metric::F1Macro);
        /// assert_eq!(metric.to_string(), "f1_macro");
        /// assert_eq!((metric.label(), metric.direction().arrow()), ("F1 (macro)", "↑"));
        /// # Ok::<(), ff_metrics::MetricError>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Metric {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Metric {
            /// Every metric, in the order of tables.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable name, used in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The display name.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// The direction of improvement.
            pub fn direction(self) -> Direction {
                match self { $(Self::$variant => Direction::$direction,)+ }
            }
        }
    };
}

metrics! {
    /// Share of rows with a correct predicted class.
    Accuracy = "accuracy", "accuracy", HigherIsBetter;
    /// Mean recall over the classes present.
    BalancedAccuracy = "balanced_accuracy", "balanced accuracy", HigherIsBetter;
    /// Two classes: TP / (TP + FP) of the positive class.
    Precision = "precision", "precision", HigherIsBetter;
    /// Two classes: TP / (TP + FN) of the positive class.
    Recall = "recall", "recall", HigherIsBetter;
    /// Two classes: 2 TP / (2 TP + FP + FN) of the positive class.
    F1 = "f1", "F1", HigherIsBetter;
    /// Mean precision over the classes.
    PrecisionMacro = "precision_macro", "precision (macro)", HigherIsBetter;
    /// Mean recall over the classes.
    RecallMacro = "recall_macro", "recall (macro)", HigherIsBetter;
    /// Mean F1 over the classes.
    F1Macro = "f1_macro", "F1 (macro)", HigherIsBetter;
    /// Precision of all decisions together; with one label per row, equal to the accuracy.
    PrecisionMicro = "precision_micro", "precision (micro)", HigherIsBetter;
    /// Recall of all decisions together; with one label per row, equal to the accuracy.
    RecallMicro = "recall_micro", "recall (micro)", HigherIsBetter;
    /// F1 of all decisions together; with one label per row, equal to the accuracy.
    F1Micro = "f1_micro", "F1 (micro)", HigherIsBetter;
    /// Mean precision over the classes, weighted by their share of the labels.
    PrecisionWeighted = "precision_weighted", "precision (weighted)", HigherIsBetter;
    /// Mean recall over the classes, weighted by their share of the labels.
    RecallWeighted = "recall_weighted", "recall (weighted)", HigherIsBetter;
    /// Mean F1 over the classes, weighted by their share of the labels.
    F1Weighted = "f1_weighted", "F1 (weighted)", HigherIsBetter;
    /// Area under the receiver operating characteristic; more than two classes: mean over each
    /// against the rest.
    RocAuc = "roc_auc", "ROC AUC", HigherIsBetter;
    /// Average precision; more than two classes: mean over each against the rest.
    PrAuc = "pr_auc", "PR AUC", HigherIsBetter;
    /// Mean negative log-likelihood of the true class, in nats.
    LogLoss = "log_loss", "log loss", LowerIsBetter;
    /// Mean squared error of the probabilities.
    Brier = "brier", "Brier score", LowerIsBetter;
    /// Expected calibration error.
    Ece = "ece", "calibration error", LowerIsBetter;
    /// Share of rows with their class among the k most probable.
    TopKAccuracy = "top_k_accuracy", "top-k accuracy", HigherIsBetter;
    /// Mean squared error.
    Mse = "mse", "MSE", LowerIsBetter;
    /// Root of the mean squared error.
    Rmse = "rmse", "RMSE", LowerIsBetter;
    /// Mean absolute error.
    Mae = "mae", "MAE", LowerIsBetter;
    /// Median absolute error.
    MedianAbsoluteError = "median_absolute_error", "median absolute error", LowerIsBetter;
    /// Explained share of the target's variance, 1 - SSE / SST.
    R2 = "r2", "R²", HigherIsBetter;
    /// Mean absolute error relative to the target (0.1 is ten per cent).
    Mape = "mape", "MAPE", LowerIsBetter;
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = super::MetricError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|m| m.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|m| m.name()).collect();
            super::MetricError::Setting {
                name: "metric",
                problem: format!("`{name}` is not a metric; expected one of {}", known.join(", ")),
            }
        })
    }
}

/// The reason for an undefined metric.
///
/// ```
/// use ff_metrics::{ClassificationOptions, ClassificationReport, Metric};
/// let one_class =
///     ClassificationReport::compute(&[1_u32], &[0.2, 0.8], 2, &ClassificationOptions::default())?;
/// assert_eq!(one_class.undefined[0].metric, Metric::RocAuc);
/// assert!(one_class.undefined[0].reason.contains("class 0"));
/// # Ok::<(), ff_metrics::MetricError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undefined {
    /// The metric.
    pub metric: Metric,
    /// The reason, as a sentence.
    pub reason: String,
}

/// Metrics and their values in a fixed order; in JSON an object,
/// `{"accuracy": 0.9, "roc_auc": null}`.
///
/// ```
/// use ff_metrics::{Metric, Scores};
/// let mut scores = Scores::default();
/// scores.set(Metric::Accuracy, Some(0.5));
/// assert_eq!(scores.get(Metric::Accuracy), Some(0.5));
/// assert_eq!(scores.get(Metric::R2), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    entries: Vec<(Metric, Option<f64>)>,
}

impl Scores {
    /// The value of a metric; `None` if it is undefined on these rows or was not requested.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.entries.iter().find(|(m, _)| *m == metric).and_then(|(_, value)| *value)
    }

    /// Sets the value of a metric; non-finite values become `None`.
    pub fn set(&mut self, metric: Metric, value: Option<f64>) {
        let value = value.filter(|v| v.is_finite());
        match self.entries.iter_mut().find(|(m, _)| *m == metric) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((metric, value)),
        }
    }

    /// All metrics with their values, in order, including undefined ones.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, Option<f64>)> + '_ {
        self.entries.iter().copied()
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (metric, value) in &self.entries {
            map.serialize_entry(metric, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Scores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> de::Visitor<'de> for Map {
            type Value = Scores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of metrics")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Scores, A::Error> {
                let mut scores = Scores::default();
                while let Some((metric, value)) = map.next_entry()? {
                    scores.set(metric, value);
                }
                Ok(scores)
            }
        }
        deserializer.deserialize_map(Map)
    }
}
