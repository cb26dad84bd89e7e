//! The content of a report as plain data: strings, numbers and vectors.
//!
//! Nothing here depends on a trainer, a metric or a table, so that whoever has figures can fill it,
//! and a stored report can be rendered again. Every part is optional; what is absent leaves no
//! trace on the page.

mod curves;
mod evaluation;
mod exact;
mod explain;
mod model;
mod table;
mod verdict;

use serde::{Deserialize, Serialize};

pub use curves::{Curves, Mark, Panel, Scale, Series};
pub use evaluation::{
    Calibration, CalibrationBin, ClassScores, Classification, RateCurve, Regression, Segment,
    ThresholdCurve,
};
pub use explain::{Dependence, Grid, Importance, ImportanceItem, Mistake, Mistakes};
pub use model::{Command, Layer, Model, Resource, Sample, TextData, Timing, Token, Unit};
pub use table::{
    Alert, Column, Data, Decision, DecisionKind, Distribution, Level, Split, SplitPart, Tally,
};
pub use verdict::{Score, Verdict};

/// Everything one report shows; absent parts are left out of the page.
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
    /// The headline, such as the data's name and its target.
    pub title: String,
    /// One line under the title: the task, the model in a few words.
    pub subtitle: String,
    /// When the run started or the page was written, in a form that people read.
    pub created: String,
    /// How the run stands; `None` says nothing about it.
    pub status: Option<Status>,
    /// Present while the run goes on: the page then reloads itself.
    pub live: Option<Live>,
    /// The headline scores against a baseline.
    pub verdict: Option<Verdict>,
    /// What was inferred, chosen or dropped, why, and how to undo it.
    pub decisions: Vec<Decision>,
    /// The rows and columns that came in.
    pub data: Option<Data>,
    /// How the rows were divided.
    pub split: Option<Split>,
    /// The tokens and documents that came in, for language models.
    pub text: Option<TextData>,
    /// What happened over time: losses, metrics, rates, norms.
    pub curves: Option<Curves>,
    /// Texts generated from fixed prompts along the way, for language models.
    pub samples: Vec<Sample>,
    /// The evaluation of a classifier.
    pub classification: Option<Classification>,
    /// The evaluation of a regression.
    pub regression: Option<Regression>,
    /// How much each column matters.
    pub importance: Option<Importance>,
    /// How the prediction moves with one column.
    pub dependence: Vec<Dependence>,
    /// The rows with the highest loss.
    pub mistakes: Option<Mistakes>,
    /// The layers of the network.
    pub model: Option<Model>,
    /// Compute and memory: what was planned and what was measured.
    pub resources: Vec<Resource>,
    /// Where the time went.
    pub timings: Vec<Timing>,
    /// Commands that reproduce and use the run.
    pub commands: Vec<Command>,
    /// Environment, versions, seed, hash of the data.
    pub environment: Vec<Fact>,
}

/// How a run stands.
///
/// ```
/// use ff_report::{Status, StatusKind};
///
/// let status = Status {
///     kind: StatusKind::Stopped,
///     message: "no gain for 20 epochs; kept epoch 37".into(),
/// };
/// assert_eq!(status.kind, StatusKind::Stopped);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The state in one word.
    pub kind: StatusKind,
    /// The reason in one sentence, such as which epoch was kept.
    pub message: String,
}

/// The states of a run.
///
/// ```
/// assert_eq!(ff_report::StatusKind::default(), ff_report::StatusKind::Finished);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusKind {
    /// Still at work.
    Running,
    /// Went through all its epochs or steps.
    #[default]
    Finished,
    /// Ended early on purpose: early stopping, or the user's wish.
    Stopped,
    /// Ended by an error; the page shows what there was until then.
    Failed,
}

/// The progress of a run that still goes on.
///
/// ```
/// let live = ff_report::Live { reload_seconds: 5, done: 57, total: 200, ..Default::default() };
/// assert!(live.done < live.total);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// Seconds until the page reloads itself; 0 stands for 5.
    pub reload_seconds: u32,
    /// What happens now, such as `training` or `evaluating`.
    pub phase: String,
    /// Units done so far.
    pub done: u64,
    /// Units to do; 0 when that is not known.
    pub total: u64,
    /// The unit of `done` and `total`, in the plural: `epochs`, `steps`.
    pub unit: String,
    /// Seconds left, when they can be told.
    #[serde(with = "exact")]
    pub seconds_left: Option<f64>,
}

/// A label and its value, both text.
///
/// ```
/// let fact = ff_report::Fact::new("seed", "0");
/// assert_eq!(fact.label, "seed");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fact {
    /// What it is.
    pub label: String,
    /// How much or which.
    pub value: String,
}

impl Fact {
    /// A fact from two texts.
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
