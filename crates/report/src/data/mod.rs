//! The content of a report as plain data: strings, numbers and vectors.
//!
//! Independent of trainers, metrics and tables, so that any program can fill it, and a stored
//! report can be rendered again. Every part is optional; absent parts leave no trace on the page.

mod curves;
mod evaluation;
mod exact;
mod explain;
mod model;
mod table;
mod tuning;
mod verdict;
mod words;

use serde::{Deserialize, Serialize};

pub use curves::{Curves, Mark, Panel, Scale, Series};
pub use evaluation::{
    Calibration, CalibrationBin, ClassScores, Classification, Coverage, CoverageLevel, RateCurve,
    Regression, Segment, ThresholdCurve,
};
pub use explain::{Dependence, Grid, Importance, ImportanceItem, Mistake, Mistakes};
pub use model::{Command, Layer, Model, Resource, Sample, TextData, Timing, Token, Unit};
pub use table::{
    Alert, Column, Data, Decision, DecisionKind, Distribution, Level, Split, SplitPart, Tally,
};
pub use tuning::{TunedSetting, TunedTrial, Tuning};
pub use verdict::{Score, Verdict};
pub use words::{TextColumn, TextLengths, TextPair, WordGroup};

/// The content of a report; absent parts are omitted from the page.
///
/// ```
/// use ff_report::{ReportData, render};
///
/// let data = ReportData { title: "titanic · survived".into(), ..ReportData::default() };
/// assert!(render(&data).contains("titanic · survived"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportData {
    /// The title, such as the name of the data and the target.
    pub title: String,
    /// One line under the title: the task, the model in a few words.
    pub subtitle: String,
    /// The start of the run or the time of writing, in readable form.
    pub created: String,
    /// The status of the run, if any.
    pub status: Option<Status>,
    /// The progress of a running run, whose page reloads itself.
    pub live: Option<Live>,
    /// The headline scores against a baseline.
    pub verdict: Option<Verdict>,
    /// The trials of a search for settings.
    pub tuning: Option<Tuning>,
    /// The decisions: what was inferred, chosen or dropped, why, and how to undo it.
    pub decisions: Vec<Decision>,
    /// The rows and columns of the data.
    pub data: Option<Data>,
    /// The split of the rows.
    pub split: Option<Split>,
    /// The tokens and documents, for language models.
    pub text: Option<TextData>,
    /// Curves over time: losses, metrics, rates, norms.
    pub curves: Option<Curves>,
    /// Texts generated from fixed prompts during training, for language models.
    pub samples: Vec<Sample>,
    /// The evaluation of a classifier.
    pub classification: Option<Classification>,
    /// The evaluation of a regression.
    pub regression: Option<Regression>,
    /// The coverage of intervals or sets.
    pub coverage: Option<Coverage>,
    /// The importance of columns.
    pub importance: Option<Importance>,
    /// The dependence of predictions on single columns.
    pub dependence: Vec<Dependence>,
    /// The columns of texts: their words, lengths and repetitions.
    pub texts: Vec<TextColumn>,
    /// The rows with the highest loss.
    pub mistakes: Option<Mistakes>,
    /// The layers of the network.
    pub model: Option<Model>,
    /// Compute and memory, planned and measured.
    pub resources: Vec<Resource>,
    /// The time of each phase.
    pub timings: Vec<Timing>,
    /// Commands to reproduce and use the run.
    pub commands: Vec<Command>,
    /// The environment: versions, seed, hash of the data.
    pub environment: Vec<Fact>,
}

/// The status of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The state in one word.
    pub kind: StatusKind,
    /// The reason in one sentence, such as the epoch kept.
    pub message: String,
}

/// The states of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusKind {
    /// Still running.
    Running,
    /// Completed all epochs or steps.
    #[default]
    Finished,
    /// Ended early on purpose: by early stopping or by the user.
    Stopped,
    /// Ended by an error; the page shows the results until then.
    Failed,
}

/// The progress of a running run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// Seconds until the page reloads itself; 0 for 5.
    pub reload_seconds: u32,
    /// The current phase, such as `training` or `evaluating`.
    pub phase: String,
    /// Completed units.
    pub done: u64,
    /// All units; 0 if unknown.
    pub total: u64,
    /// The unit of `done` and `total`, in the plural: `epochs`, `steps`.
    pub unit: String,
    /// Remaining seconds, if known.
    #[serde(with = "exact")]
    pub seconds_left: Option<f64>,
}

/// A label and its value, both text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fact {
    /// The label.
    pub label: String,
    /// The value.
    pub value: String,
}

impl Fact {
    /// A fact from its label and value.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self { label: label.into(), value: value.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json_with_numbers_that_json_lacks() {
        let data = ReportData {
            title: "t".into(),
            live: Some(Live { seconds_left: Some(f64::INFINITY), ..Live::default() }),
            curves: Some(Curves {
                panels: vec![Panel::new("Loss", "epoch", "").with(Series::new(
                    "train",
                    vec![1.0, 2.0, 3.0],
                    vec![f64::NAN, f64::NEG_INFINITY, 0.1],
                ))],
                ..Curves::default()
            }),
            ..ReportData::default()
        };
        let text = serde_json::to_string(&data).unwrap();
        let back: ReportData = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{data:?}"), format!("{back:?}"));
    }

    #[test]
    fn an_empty_object_is_an_empty_report() {
        let back: ReportData = serde_json::from_str("{}").unwrap();
        assert_eq!(back, ReportData::default());
    }
}
