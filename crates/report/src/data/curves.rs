//! Curves over time.

use serde::{Deserialize, Serialize};

use super::exact;

/// Small charts over a common time axis, with marked events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curves {
    /// The charts; the first is drawn large.
    pub panels: Vec<Panel>,
    /// Events marked in every chart, such as the best epoch.
    pub marks: Vec<Mark>,
    /// A sentence under the charts: the reason for the end of training, the weights kept.
    pub note: String,
}

/// One chart of lines.
///
/// ```
/// let panel = ff_report::Panel::new("Learning rate", "step", "").log();
/// assert_eq!(panel.y_scale, ff_report::Scale::Log);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Panel {
    /// The title of the chart.
    pub title: String,
    /// The label of the horizontal axis with its unit: `epoch`, `step`.
    pub x_label: String,
    /// The label of the vertical axis with its unit.
    pub y_label: String,
    /// The scale of the vertical axis.
    pub y_scale: Scale,
    /// The lines.
    pub series: Vec<Series>,
    /// A sentence under the chart; possibly empty.
    pub note: String,
}

impl Panel {
    /// An empty chart with a linear axis.
    pub fn new(
        title: impl Into<String>,
        x_label: impl Into<String>,
        y_label: impl Into<String>,
    ) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            ..Self::default()
        }
    }

    /// Adds a line.
    #[must_use]
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Makes the vertical axis logarithmic.
    #[must_use]
    pub fn log(mut self) -> Self {
        self.y_scale = Scale::Log;
        self
    }
}

/// The scale of an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences have equal distances.
    #[default]
    Linear,
    /// Equal ratios have equal distances; values of 0 or less become gaps.
    Log,
}

/// One line: points in the order of `x`; a NaN or an infinity in `y` is a gap.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// The name of the line in the legend. `train`, `valid` and `test` keep their colours on every
    /// chart.
    pub name: String,
    /// Positions, ascending.
    #[serde(with = "exact")]
    pub x: Vec<f64>,
    /// Values; points beyond the shorter of the two vectors are ignored.
    #[serde(with = "exact")]
    pub y: Vec<f64>,
}

impl Series {
    /// A line from its name and points.
    pub fn new(name: impl Into<String>, x: Vec<f64>, y: Vec<f64>) -> Self {
        Self { name: name.into(), x, y }
    }
}

/// A marked event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// The position on the horizontal axis.
    #[serde(with = "exact")]
    pub x: f64,
    /// The event, in two or three words.
    pub label: String,
}
