//! The target as class indices or standardised values, and back.

use serde::{Deserialize, Serialize};

use crate::config::{DataConfig, RowPolicy, Task};
use crate::error::{DataError, Result};
use crate::statistics::moments;
use crate::table::Table;
use crate::target::{LabelReader, Target, TargetSchema, lines, value};
use crate::totals::Dropped;
use ff_settings::similar;

/// How the target is encoded: an index into the classes, or `(log?(y) - mean) / std`.
///
/// ```
/// use ff_table::{TargetTransform, Task};
///
/// let json = r#"{"column":"y","task":"regression","classes":[],"numeric":true,"log":false,
///     "mean":10.0,"std":4.0}"#;
/// let target: TargetTransform = serde_json::from_str(json).unwrap();
/// assert_eq!(target.task, Task::Regression);
/// assert_eq!(target.inverse(0.5), 12.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetTransform {
    /// The column.
    pub column: String,
    /// The task.
    pub task: Task,
    /// The classes in the order of their indices.
    pub classes: Vec<String>,
    /// Whether labels are numbers, so that `1` and `1.0` are the same class.
    pub numeric: bool,
    /// The index of the positive class of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<usize>,
    /// Whether log(1 + y) is learned.
    pub log: bool,
    /// The mean of what is learned, over the training part.
    pub mean: f64,
    /// Its standard deviation; 1 where that is 0.
    pub std: f64,
    /// The smallest and the largest training value, between which predictions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Whether rows without a target were left out of training.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_missing: bool,
    /// Classes that were left out of training, because they had a single row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl TargetTransform {
    /// Fits to the training rows.
    pub(crate) fn fit(
        schema: &TargetSchema,
        reader: &LabelReader,
        table: &Table,
        rows: &[usize],
        config: &DataConfig,
    ) -> Self {
        let log = config.target_log;
        let mut transform = Self {
            column: schema.column.clone(),
            task: schema.task,
            classes: schema.classes.clone(),
            numeric: reader.numeric,
            positive: schema.positive,
            log: log && schema.task == Task::Regression,
            mean: 0.0,
            std: 1.0,
            range: None,
            drop_missing: config.missing_target == RowPolicy::Drop,
            left_out: schema.left_out.clone(),
        };
        if schema.task == Task::Regression
            && let Some(column) = table.column(&schema.column)
        {
            let learned: Vec<f64> = rows
                .iter()
                .filter_map(|&row| value(&column.values, row).ok().flatten())
                .map(|y| if transform.log { y.ln_1p() } else { y })
                .collect();
            let (mean, std) = moments(learned.iter().copied());
            if config.target_scaling {
                transform.mean = mean;
                transform.std = if std > 0.0 { std } else { 1.0 };
            }
            if config.target_clamp && !learned.is_empty() {
                let low = learned.iter().copied().fold(f64::INFINITY, f64::min);
                let high = learned.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                transform.range =
                    Some([low, high].map(|y| if transform.log { y.exp_m1() } else { y }));
            }
        }
        transform
    }

    /// The value in the target's own unit of what the network gives.
    pub fn inverse(&self, y: f32) -> f64 {
        let learned = f64::from(y) * self.std + self.mean;
        if self.log { learned.exp_m1() } else { learned }
    }

    /// The prediction in the target's own unit: the same, within the training range where that is
    /// kept.
    pub fn predicted(&self, y: f32) -> f64 {
        let y = self.inverse(y);
        match self.range {
            // NaN stays NaN.
            Some([low, _]) if y < low => low,
            Some([_, high]) if y > high => high,
            _ => y,
        }
    }

    /// The rows whose target can be judged, and those that are left out as they were at training:
    /// rows without a target, and rows of classes that had a single row.
    pub fn judged(&self, table: &Table) -> (Vec<usize>, Vec<Dropped>) {
        let mut rows: Vec<usize> = (0..table.rows()).collect();
        let mut dropped = Vec::new();
        let Some(column) = table.column(&self.column) else { return (rows, dropped) };
        let mut leave = |reason: &str, out: &dyn Fn(usize) -> bool| {
            let before = rows.len();
            rows.retain(|&row| !out(row));
            if rows.len() < before {
                dropped.push(Dropped { reason: reason.into(), rows: before - rows.len() });
            }
        };
        if self.drop_missing {
            leave("target missing", &|row| column.values.is_missing(row));
        }
        if !self.left_out.is_empty() {
            let reader = LabelReader::of_classes(&self.classes, self.numeric);
            let label = |row| reader.label(&column.values, row);
            leave("a class that training left out", &|row| {
                label(row).is_some_and(|label| self.left_out.iter().any(|out| *out == label))
            });
        }
        (rows, dropped)
    }

    /// Encodes the target of some rows.
    ///
    /// # Errors
    /// [`DataError::NoColumn`], or [`DataError::Target`] with the lines of values that are missing,
    /// of a class that was not learned, or no numbers.
    pub fn encode(&self, table: &Table, rows: &[usize]) -> Result<Target> {
        let Some(column) = table.column(&self.column) else {
            return Err(DataError::NoColumn {
                place: table.source_name(),
                column: self.column.clone(),
                role: "the target".into(),
                available: table.names(),
                note: String::new(),
            });
        };
        let error = |message: String, hint: &str| {
            Err(DataError::Target { column: self.column.clone(), message, hint: hint.into() })
        };
        let mut bad = Vec::new();
        let mut sample = String::new();
        if self.task == Task::Regression {
            let read = |&row: &usize| match value(&column.values, row) {
                Ok(Some(y)) if y.is_finite() && !(self.log && y <= -1.0) => {
                    let learned = if self.log { y.ln_1p() } else { y };
                    ((learned - self.mean) / self.std) as f32
                }
                _ => {
                    bad.push(row);
                    f32::NAN
                }
            };
            let values: Vec<f32> = rows.iter().map(read).collect();
            if !bad.is_empty() {
                let text = column.values.text(bad[0]).into_owned();
                return error(
                    format!("a finite number is expected, found `{text}`: {}", lines(table, &bad)),
                    "Correct or remove these rows.",
                );
            }
            return Ok(Target::Value(values));
        }
        let reader = LabelReader::of_classes(&self.classes, self.numeric);
        let index: std::collections::HashMap<&str, i32> =
            self.classes.iter().enumerate().map(|(i, class)| (class.as_str(), i as i32)).collect();
        let mut classes = Vec::with_capacity(rows.len());
        let class = |label: Option<&str>| index.get(label?).copied();
        reader.for_labels(&column.values, rows.iter().copied(), class, |row, class| match class {
            Some(class) => classes.push(class),
            None => bad.push(row),
        });
        if let Some(&row) = bad.first() {
            sample = reader.label(&column.values, row).unwrap_or_default().into_owned();
        }
        if bad.is_empty() {
            return Ok(Target::Class(classes));
        }
        let near = similar(&sample, self.classes.iter().map(String::as_str));
        let near =
            near.first().map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
        let what = if sample.is_empty() {
            "the label is missing".into()
        } else {
            format!("class `{sample}` was not learned{near}")
        };
        error(
            format!("{what}: {}", lines(table, &bad)),
            "The model knows the classes it was trained on: correct these rows, or train again with them.",
        )
    }
}
