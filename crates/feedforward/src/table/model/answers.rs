//! What the networks and members of a model answer together and apart: means, spreads, intervals.

use super::{Predictions, TableModel, bags};
use crate::error::{Error, Result};
use ff_metrics::{Conformal, MetricError};
use ff_nn::models::Predictor;
use ff_table::{Encoded, Table, Target};

/// What a level of confidence says about rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Intervals {
    /// The lower and the upper end of each number.
    Numbers(Vec<[f64; 2]>),
    /// The classes of each row, by their indices, the likeliest first.
    Sets(Vec<Vec<usize>>),
}

impl TableModel {
    /// The number of networks whose predictions are averaged.
    pub fn networks(&self) -> usize {
        1 + self.others.len()
    }

    /// Each network whose predictions are averaged, this one first.
    #[cfg(feature = "onnx")]
    pub(crate) fn each_network(&self) -> impl Iterator<Item = &TableModel> {
        std::iter::once(self).chain(&self.others)
    }

    /// The scores behind intervals and sets, where the model has any.
    pub fn conformal(&self) -> Option<&Conformal> {
        self.conformal.as_ref()
    }

    /// Takes the scores behind intervals and sets.
    pub fn set_conformal(&mut self, conformal: Option<Conformal>) {
        self.conformal = conformal;
    }

    /// Gives the other networks the temperature and the threshold of the first.
    pub(crate) fn share_calibration(&mut self) {
        let super::ModelFile { temperature, threshold, chosen, .. } = self.file;
        for other in &mut self.others {
            let file = &mut other.file;
            (file.temperature, file.threshold, file.chosen) = (temperature, threshold, chosen);
        }
    }

    /// The mean of what the networks predict: of their probabilities, or of their numbers.
    pub(super) fn mean(&self, mut all: Vec<Predictions>) -> Predictions {
        let (Some(mut first), n) = (all.pop(), all.len() as f64 + 1.0) else {
            return Predictions::Values(Vec::new());
        };
        if all.is_empty() {
            return first;
        }
        // The order of a sum is that of the networks.
        let mut sum = vec![0.0; first.values().len()];
        for predictions in all.iter().chain([&first]) {
            sum.iter_mut().zip(predictions.values()).for_each(|(sum, x)| *sum += x);
        }
        let sum: Vec<f64> = sum.into_iter().map(|x| x / n).collect();
        match &mut first {
            Predictions::Values(values) => *values = sum,
            Predictions::Classes { predicted, probabilities } => {
                *probabilities = sum;
                let rows = probabilities.chunks_exact(self.file.classes.len());
                *predicted = rows.map(|row| self.file.decide(row)).collect();
            }
        }
        first
    }

    /// How far the members of an ensemble, and its networks, disagree about each row: the standard
    /// deviation over them of the probability of the predicted class, or of the number on the
    /// target's own scale.
    ///
    /// # Errors
    /// The model is no ensemble, or memory is short.
    pub fn spread(&mut self, table: &Table) -> Result<Vec<f64>> {
        if self.network.members().is_none() && self.others.is_empty() {
            return Err(Error::usage(
                "the spread is that of an ensemble's members, and this model is one network; train \
                 with model.members or train.bags",
            ));
        }
        let predictions = self.predict(table)?;
        let each = self.answers_of_networks(table, &predictions)?;
        let rows = 0..table.rows();
        Ok(rows
            .map(|row| {
                let of_row = each.iter().flat_map(|(k, answers)| &answers[row * k..(row + 1) * k]);
                deviation(&of_row.copied().collect::<Vec<_>>())
            })
            .collect())
    }

    /// The members of each network and their answers about each row, `[rows, members]`: the
    /// probability of the predicted class, or the number.
    fn answers_of_networks(
        &mut self,
        table: &Table,
        predictions: &Predictions,
    ) -> Result<Vec<(usize, Vec<f64>)>> {
        let encoded = self.transforms.encode(table, self.threads())?;
        let mut all = vec![self.answers(&encoded, predictions)?];
        drop(encoded);
        for other in &mut self.others {
            let encoded = other.transforms.encode(table, other.threads())?;
            all.push(other.answers(&encoded, predictions)?);
        }
        Ok(all)
    }

    /// The same of this network.
    fn answers(
        &mut self,
        encoded: &Encoded,
        predictions: &Predictions,
    ) -> Result<(usize, Vec<f64>)> {
        let k = self.network.members().unwrap_or(1);
        let outputs = if k == 1 { self.outputs(encoded)? } else { self.member_outputs(encoded)? };
        let answers = match (self.interpret(&outputs), predictions) {
            (Predictions::Values(values), _) => values,
            (
                Predictions::Classes { probabilities, .. },
                Predictions::Classes { predicted, .. },
            ) => {
                let classes = self.file.classes.len();
                let rows = probabilities.chunks_exact(k * classes).zip(predicted);
                rows.flat_map(|(p, &class)| p.iter().skip(class).step_by(classes).copied())
                    .collect()
            }
            (Predictions::Classes { .. }, Predictions::Values(_)) => Vec::new(),
        };
        Ok((k, answers))
    }

    /// The raw outputs of each member, `[rows, members · outputs]`.
    fn member_outputs(&mut self, encoded: &Encoded) -> Result<Vec<f32>> {
        if self.members.is_none() {
            let (params, device) = (self.graph.params(), self.graph.device());
            self.members = Some(Predictor::of_members(&self.file.network, params, device)?);
        }
        let Some(members) = &mut self.members else { return Ok(Vec::new()) };
        let mut outputs = vec![0.0; encoded.rows * members.outputs()];
        let (x, ids) = (&encoded.numeric, &encoded.categorical);
        members.predict_with_texts(x, ids, &bags(encoded), &mut outputs)?;
        Ok(outputs)
    }

    /// A number on the scale on which it is learned, but for mean and deviation.
    fn learned(&self, y: f64) -> f64 {
        if self.transforms.target.log { y.ln_1p() } else { y }
    }

    fn unlearned(&self, y: f64) -> f64 {
        if self.transforms.target.log { y.exp_m1() } else { y }
    }

    /// How far the members of this network disagree about a number, on the scale on which it is
    /// learned; nothing for a network without members, or of classes.
    pub(crate) fn own_spread(&mut self, encoded: &Encoded) -> Result<Option<Vec<f64>>> {
        if self.network.members().is_none() || !self.file.classes.is_empty() {
            return Ok(None);
        }
        let (k, answers) = self.answers(encoded, &Predictions::Values(Vec::new()))?;
        Ok(Some(self.deviations(k, &answers)))
    }

    fn deviations(&self, k: usize, answers: &[f64]) -> Vec<f64> {
        let learned: Vec<f64> = answers.iter().map(|&y| self.learned(y)).collect();
        learned.chunks_exact(k).map(deviation).collect()
    }

    /// The conformal scores of rows that the model did not learn, whose predictions these are.
    ///
    /// Errors are those on the scale on which a number is learned: an interval around a logarithm
    /// is wide where the number is large.
    pub(crate) fn conformal_of(
        &self,
        data: &Encoded,
        predictions: &Predictions,
        spread: Option<&[f64]>,
    ) -> Result<Option<Conformal>, MetricError> {
        Ok(match (predictions, &data.target) {
            (Predictions::Classes { probabilities, .. }, Some(Target::Class(labels))) => {
                Some(Conformal::of_classes(labels, probabilities, self.file.classes.len())?)
            }
            (Predictions::Values(values), Some(Target::Value(truth))) => {
                let target = &self.transforms.target;
                let pairs = values.iter().zip(truth);
                let error = |(p, &y): (&f64, &f32)| {
                    (self.learned(*p) - self.learned(target.inverse(y))).abs()
                };
                Some(Conformal::of_numbers(&pairs.map(error).collect::<Vec<_>>(), spread)?)
            }
            _ => None,
        })
    }

    /// The interval or set of each row of a table at a level, around these predictions.
    ///
    /// # Errors
    /// The model has no conformal scores, too few for the level, or memory is short.
    pub fn intervals(
        &mut self,
        table: &Table,
        predictions: &Predictions,
        level: f64,
    ) -> Result<Intervals> {
        let spread = match self.scores(level)?.mean_spread {
            Some(_) => {
                let each = self.answers_of_networks(table, predictions)?;
                self.mean_deviations(&each)
            }
            None => Vec::new(),
        };
        self.around(predictions, &spread, level)
    }

    /// The same for some rows of a table.
    pub(crate) fn intervals_of_rows(
        &mut self,
        table: &Table,
        rows: &[usize],
        predictions: &Predictions,
        level: f64,
    ) -> Result<Intervals> {
        let mut spread = Vec::new();
        if self.scores(level)?.mean_spread.is_some() {
            let encoded = self.transforms.encode_rows(table, rows, false, self.threads())?;
            let mut each = vec![self.answers(&encoded, predictions)?];
            for other in &mut self.others {
                let encoded = other.transforms.encode_rows(table, rows, false, other.threads())?;
                each.push(other.answers(&encoded, predictions)?);
            }
            spread = self.mean_deviations(&each);
        }
        self.around(predictions, &spread, level)
    }

    /// The spread of the members within each network, averaged over networks: what the scores of
    /// rows, which one network did not learn, are normalised by.
    fn mean_deviations(&self, each: &[(usize, Vec<f64>)]) -> Vec<f64> {
        let all: Vec<Vec<f64>> = each.iter().map(|(k, a)| self.deviations(*k, a)).collect();
        let rows = all.first().map_or(0, Vec::len);
        let mean = |row: usize| all.iter().map(|s| s[row]).sum::<f64>() / all.len() as f64;
        (0..rows).map(mean).collect()
    }

    /// Refuses a level that the model has no scores for.
    pub(crate) fn check_level(&self, level: f64) -> Result<()> {
        self.scores(level).map(|_| ())
    }

    fn scores(&self, level: f64) -> Result<&Conformal> {
        let Some(conformal) = &self.conformal else {
            return Err(Error::usage(
                "the model has no scores of rows that it did not learn, from which intervals and sets follow: it \
                 was trained without a validation part, or by an earlier version; train again with \
                 data.split.valid above 0",
            ));
        };
        conformal.quantile(level).map_err(|e| Error::usage(e.to_string()))?;
        Ok(conformal)
    }

    fn around(&self, predictions: &Predictions, spread: &[f64], level: f64) -> Result<Intervals> {
        let conformal = self.scores(level)?;
        Ok(match predictions {
            Predictions::Values(values) => {
                let interval = |(row, &y): (usize, &f64)| {
                    let half = conformal.half_width(level, spread.get(row).copied())?;
                    let y = self.learned(y);
                    Ok([self.unlearned(y - half), self.unlearned(y + half)])
                };
                let all = values.iter().enumerate().map(interval);
                Intervals::Numbers(all.collect::<Result<_, MetricError>>()?)
            }
            Predictions::Classes { probabilities, .. } => {
                let rows = probabilities.chunks_exact(self.file.classes.len());
                let sets = rows.map(|row| conformal.set(level, row));
                Intervals::Sets(sets.collect::<Result<_, MetricError>>()?)
            }
        })
    }
}

impl Predictions {
    /// The probabilities, or the numbers.
    pub(crate) fn values(&self) -> &[f64] {
        match self {
            Self::Classes { probabilities, .. } => probabilities,
            Self::Values(values) => values,
        }
    }
}

/// The standard deviation of some values, as of a sample; 0 of a single one.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (n - 1.0).max(1.0)).sqrt()
}
