//! Evaluation of a model on its held-out parts.

use super::model::{Intervals, ModelFile, Predictions, TableModel};
use super::recipe::Recipe;
use crate::error::{Error, Result};
use crate::run::summary::headline;
use ff_metrics::{
    Bootstrap, CONFORMAL_LEVELS, ChosenThreshold, ClassificationOptions, ClassificationReport,
    Comparison, Coverage, RegressionOptions, RegressionReport, Scores, class_shares,
};
use ff_table::{Encoded, Prepared, Target, TargetTransform};
use ff_tensor::ThreadPool;
use serde::{Deserialize, Serialize};

pub use crate::run::summary::Verdict;

/// A report on one part.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant)]
pub enum Report {
    /// For classes.
    Classification(ClassificationReport),
    /// For numbers.
    Regression(RegressionReport),
}

impl Report {
    /// All scores.
    pub fn scores(&self) -> &Scores {
        match self {
            Report::Classification(report) => &report.scores,
            Report::Regression(report) => &report.scores,
        }
    }

    /// The headline score against the baseline.
    pub fn verdict(&self) -> Option<&Comparison> {
        match self {
            Report::Classification(report) => report.verdict.as_ref(),
            Report::Regression(report) => report.verdict.as_ref(),
        }
    }

    /// Every score against the baseline.
    pub fn comparisons(&self) -> &[Comparison] {
        match self {
            Report::Classification(report) => &report.comparisons,
            Report::Regression(report) => &report.comparisons,
        }
    }
}

/// Scores by part; `None` for a part without rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartScores {
    /// The validation part, which chose the epoch.
    pub valid: Option<Scores>,
    /// The test part, which chose nothing.
    pub test: Option<Scores>,
}

/// The reports on both parts, with the raw outputs behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct PartReports {
    /// The validation part.
    pub valid: Option<Report>,
    /// The test part.
    pub test: Option<Report>,
    /// Predictions for the test part (or, without one, the validation part).
    pub predictions: Option<Predictions>,
    /// Predictions for the validation part, where that is another one.
    pub(crate) valid_predictions: Option<Predictions>,
    /// The validation part of several networks: all rows outside the test part, each predicted by
    /// the network that did not learn it; with their indices in the table.
    pub(crate) out_of_fold: Option<(Encoded, Vec<usize>)>,
    /// How often intervals or sets hold the truth of the test part.
    pub coverage: Vec<Coverage>,
    /// How the decision threshold was chosen.
    pub threshold: Option<ChosenThreshold>,
    baseline: String,
}

/// The reports as `scores.json` holds them.
#[derive(Debug, Serialize)]
pub(crate) struct Reports<'a> {
    valid: Option<&'a Report>,
    test: Option<&'a Report>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    coverage: &'a [Coverage],
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<&'a ChosenThreshold>,
}

impl PartReports {
    /// `test` where there are test rows, else `valid`; and its report.
    pub fn headline(&self) -> Option<(&'static str, &Report)> {
        headline(self.valid.as_ref(), self.test.as_ref())
    }

    /// Predictions for the validation part.
    pub(crate) fn valid_predictions(&self) -> Option<&Predictions> {
        let only = self.predictions.as_ref().filter(|_| self.test.is_none());
        self.valid_predictions.as_ref().or(only)
    }

    /// The baseline, in words.
    pub fn baseline(&self) -> &str {
        &self.baseline
    }

    pub(crate) fn scores(&self) -> PartScores {
        PartScores {
            valid: self.valid.as_ref().map(|r| r.scores().clone()),
            test: self.test.as_ref().map(|r| r.scores().clone()),
        }
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let (part, report) = self.headline()?;
        let rows = match report {
            Report::Classification(report) => report.rows,
            Report::Regression(report) => report.rows,
        };
        let comparisons = report.comparisons().to_vec();
        Some(Verdict { part, rows, baseline: self.baseline.clone(), comparisons })
    }

    pub(crate) fn saved(&self) -> Reports<'_> {
        let (coverage, threshold) = (&self.coverage, self.threshold.as_ref());
        Reports { valid: self.valid.as_ref(), test: self.test.as_ref(), coverage, threshold }
    }
}

/// The baseline's prediction, from the training part alone.
pub(crate) enum Prior {
    Shares(Vec<f64>),
    Mean(f64),
}

impl Prior {
    pub(crate) fn of(train: &Encoded, classes: usize, target: &TargetTransform) -> Result<Self> {
        Ok(match &train.target {
            Some(Target::Class(rows)) => {
                Prior::Shares(class_shares(rows, classes, train.weights.as_deref())?)
            }
            Some(Target::Value(values)) => {
                let sum: f64 = values.iter().map(|&v| target.inverse(v)).sum();
                Prior::Mean(sum / values.len().max(1) as f64)
            }
            None => Prior::Mean(0.0),
        })
    }

    fn describe(&self, classes: &[String]) -> String {
        match self {
            Prior::Shares(shares) => {
                let best =
                    (1..shares.len()).fold(0, |b, i| if shares[i] > shares[b] { i } else { b });
                format!("always {}", classes.get(best).map_or("?", String::as_str))
            }
            Prior::Mean(_) => "the mean".into(),
        }
    }
}

/// What predictions are judged with, whatever model made them.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    /// The classes and the threshold.
    pub(crate) file: &'a ModelFile,
    pub(crate) target: &'a TargetTransform,
    pub(crate) top_k: Option<usize>,
    pub(crate) threads: &'a ThreadPool,
}

impl<'a> Judge<'a> {
    pub(super) fn of(model: &'a TableModel, recipe: &Recipe) -> Self {
        Self {
            file: model.file(),
            target: &model.transforms().target,
            top_k: recipe.evaluate.top_k,
            threads: model.threads(),
        }
    }
}

/// Evaluates the predictions of both held-out parts, the validation part first.
#[cfg_attr(not(feature = "language"), expect(dead_code, reason = "tables predict by themselves"))]
pub(crate) fn evaluate_predictions(
    judge: Judge<'_>,
    prepared: &Prepared,
    [valid, test]: [Option<Predictions>; 2],
) -> Result<PartReports> {
    let classes = &judge.file.classes;
    let prior = Prior::of(&prepared.train, classes.len(), judge.target)?;
    let report = |data: &Encoded, predictions: &Option<Predictions>| {
        let found = predictions.as_ref();
        found.map(|found| evaluate_part(judge, data, found, Some(&prior), true)).transpose()
    };
    let (on_valid, on_test) = (report(&prepared.valid, &valid)?, report(&prepared.test, &test)?);
    let (predictions, valid_predictions) = match test {
        Some(test) => (Some(test), valid),
        None => (valid, None),
    };
    Ok(PartReports {
        valid: on_valid,
        test: on_test,
        predictions,
        valid_predictions,
        out_of_fold: None,
        coverage: Vec::new(),
        threshold: judge.file.chosen,
        baseline: prior.describe(classes),
    })
}

/// Evaluates a model on both held-out parts.
pub(crate) fn evaluate_parts(
    model: &mut TableModel,
    recipe: &Recipe,
    prepared: &Prepared,
) -> Result<PartReports> {
    let classes = model.file().classes.clone();
    let prior = Prior::of(&prepared.train, classes.len(), &prepared.transforms.target)?;
    let mut part = |data: &Encoded| -> Result<Option<(Report, Predictions)>> {
        if data.rows == 0 {
            return Ok(None);
        }
        let predictions = model.predict_encoded(data)?;
        let judge = Judge::of(model, recipe);
        let report = evaluate_part(judge, data, &predictions, Some(&prior), true)?;
        Ok(Some((report, predictions)))
    };
    let (valid, valid_predictions) = part(&prepared.valid)?.unzip();
    let (test, test_predictions) = part(&prepared.test)?.unzip();
    let coverage = coverage(model, prepared, test_predictions.as_ref())?;
    let (predictions, valid_predictions) = match test_predictions {
        Some(test) => (Some(test), valid_predictions),
        None => (valid_predictions, None),
    };
    Ok(PartReports {
        valid,
        test,
        predictions,
        valid_predictions,
        out_of_fold: None,
        coverage,
        threshold: model.file().chosen,
        baseline: prior.describe(&classes),
    })
}

/// Evaluates several networks: on the rows outside the test part by what each network did not
/// learn, on the test part by their mean.
pub(crate) fn evaluate_networks(
    model: &mut TableModel,
    recipe: &Recipe,
    prepared: &Prepared,
    (data, rows, valid_predictions): (Encoded, Vec<usize>, Predictions),
) -> Result<PartReports> {
    let classes = model.file().classes.clone();
    let prior = Prior::of(&data, classes.len(), &prepared.transforms.target)?;
    let judge = Judge::of(model, recipe);
    let valid = evaluate_part(judge, &data, &valid_predictions, Some(&prior), true)?;
    let mut test = None;
    let mut predictions = None;
    if prepared.test.rows > 0 {
        let found = model.predict_rows(&prepared.table, &prepared.parts.test)?;
        let part = &prepared.test;
        let judge = Judge::of(model, recipe);
        test = Some(evaluate_part(judge, part, &found, Some(&prior), true)?);
        predictions = Some(found);
    }
    let coverage = coverage(model, prepared, predictions.as_ref())?;
    let (predictions, valid_predictions) = match predictions {
        Some(test) => (Some(test), Some(valid_predictions)),
        None => (Some(valid_predictions), None),
    };
    Ok(PartReports {
        valid: Some(valid),
        test,
        predictions,
        valid_predictions,
        out_of_fold: Some((data, rows)),
        coverage,
        threshold: model.file().chosen,
        baseline: prior.describe(&classes),
    })
}

/// How often the intervals or sets of each usual level hold the truth of the test part, for levels
/// that the model has rows enough for.
fn coverage(
    model: &mut TableModel,
    prepared: &Prepared,
    predictions: Option<&Predictions>,
) -> Result<Vec<Coverage>> {
    let (Some(predictions), Some(truth)) = (predictions, &prepared.test.target) else {
        return Ok(Vec::new());
    };
    let rows = &prepared.parts.test;
    let mut all = Vec::new();
    for level in CONFORMAL_LEVELS {
        if model.conformal().is_none_or(|conformal| conformal.quantile(level).is_err()) {
            continue;
        }
        let found = model.intervals_of_rows(&prepared.table, rows, predictions, level)?;
        all.push(match (&found, truth) {
            (Intervals::Sets(sets), Target::Class(labels)) => {
                let row = |(set, &class): (&Vec<usize>, &i32)| {
                    (set.contains(&(class as usize)), set.len() as f64)
                };
                Coverage::of(level, sets.iter().zip(labels).map(row))?
            }
            (Intervals::Numbers(intervals), Target::Value(values)) => {
                let target = &prepared.transforms.target;
                let row = |(&[low, high], &y): (&[f64; 2], &f32)| {
                    ((low..=high).contains(&target.inverse(y)), high - low)
                };
                Coverage::of(level, intervals.iter().zip(values).map(row))?
            }
            _ => continue,
        });
    }
    Ok(all)
}

/// Evaluates the predictions of one part; with intervals and curves only where `whole` is set.
pub(crate) fn evaluate_part(
    judge: Judge<'_>,
    data: &Encoded,
    predictions: &Predictions,
    prior: Option<&Prior>,
    whole: bool,
) -> Result<Report> {
    let Judge { file, target, top_k, threads } = judge;
    let weights = data.weights.as_deref();
    let bootstrap = whole.then(|| Bootstrap { threads: Some(threads), ..Bootstrap::default() });
    Ok(match (predictions, &data.target) {
        (Predictions::Classes { probabilities, .. }, Some(Target::Class(labels))) => {
            let shares = match prior {
                Some(Prior::Shares(shares)) => Some(shares.as_slice()),
                _ => None,
            };
            let usual = if whole {
                ClassificationOptions::default()
            } else {
                ClassificationOptions::scores_only()
            };
            let options = ClassificationOptions {
                positive: file.positive,
                threshold: file.threshold,
                weights,
                shares,
                top_k,
                bootstrap,
                ..usual
            };
            Report::Classification(ClassificationReport::compute(
                labels,
                probabilities,
                file.classes.len(),
                &options,
            )?)
        }
        (Predictions::Values(values), Some(Target::Value(truth))) => {
            let truth: Vec<f64> = truth.iter().map(|&v| target.inverse(v)).collect();
            let mean = match prior {
                Some(Prior::Mean(mean)) => Some(*mean),
                _ => None,
            };
            let usual =
                if whole { RegressionOptions::default() } else { RegressionOptions::scores_only() };
            let options = RegressionOptions { weights, mean, bootstrap, ..usual };
            Report::Regression(RegressionReport::compute(&truth, values, &options)?)
        }
        _ => return Err(Error::usage("the rows have no target to compare with")),
    })
}
