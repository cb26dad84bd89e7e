//! A trained model as a folder: `config.json`, `model.safetensors`, `transforms.json`.

use super::objective;
use crate::error::Result;
use ff_graph::{Graph, ParamId, Params};
use ff_metrics::{ChosenThreshold, Conformal, Temperature};
use ff_nn::models::{Bags, Mlp, MlpConfig, Predictor};
use ff_table::{DataError, Encoded, Table, Task, Transforms, Unfamiliar};
use ff_tensor::ThreadPool;
use serde::{Deserialize, Serialize};

mod answers;
mod folder;

pub use answers::Intervals;
pub(super) use folder::find_model;
pub(crate) use folder::network_folder;

/// Incremented whenever the meaning of `config.json` changes.
const FORMAT: u32 = 1;
/// The format of a model with a temperature or several networks, which versions before would
/// overlook.
const CALIBRATED: u32 = 2;

/// `config.json`: the network and the meaning of its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// The file's format number.
    pub format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// The task.
    pub task: Task,
    /// The target column.
    pub target: String,
    /// The classes in the order of the outputs; empty for numbers.
    pub classes: Vec<String>,
    /// The index of the positive class of two, or of the one of several that has a threshold.
    pub positive: Option<usize>,
    /// The least probability for which the positive class is predicted; the likelier class by
    /// default.
    pub threshold: Option<f64>,
    /// How the threshold was chosen.
    pub chosen: Option<ChosenThreshold>,
    /// The temperature of the logits, where one was fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// The networks, where their predictions are averaged: this one and those in `network-2` and so
    /// on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<usize>,
    /// The network.
    pub network: MlpConfig,
    /// XXH3-128 of the training data.
    pub data_hash: String,
}

impl Default for ModelFile {
    fn default() -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            task: Task::Regression,
            target: String::new(),
            classes: Vec::new(),
            positive: None,
            threshold: None,
            chosen: None,
            temperature: None,
            networks: None,
            network: MlpConfig::default(),
            data_hash: String::new(),
        }
    }
}

impl ModelFile {
    /// What logits are divided by.
    pub fn temperature(&self) -> f64 {
        self.temperature.map_or(1.0, |fitted| fitted.value)
    }

    /// The format that says all of it.
    fn format(&self) -> u32 {
        let plain = self.temperature() == 1.0 && self.networks.is_none();
        if plain { FORMAT } else { CALIBRATED }
    }

    /// The index of the predicted class from a row's probabilities.
    pub fn decide(&self, probabilities: &[f64]) -> usize {
        ff_metrics::decide(probabilities, self.positive.unwrap_or(1), self.threshold)
    }

    /// Predicts the positive class from the chosen threshold on.
    pub(crate) fn set_threshold(&mut self, chosen: Option<ChosenThreshold>) {
        (self.threshold, self.chosen) = (chosen.map(|chosen| chosen.threshold), chosen);
    }
}

/// A model ready to predict.
///
/// ```no_run
/// use feedforward::TableModel;
/// let mut model = TableModel::open("runs/digits/model".as_ref(), &Default::default())?;
/// println!("{} classes", model.file().classes.len());
/// # Ok::<(), feedforward::Error>(())
/// ```
#[derive(Debug)]
pub struct TableModel {
    file: ModelFile,
    transforms: Transforms,
    network: Mlp,
    graph: Graph,
    /// For a model read from its folder, with fixed weights, that computes in f32.
    predictor: Option<Predictor>,
    /// The same for each member of an ensemble, once it was asked for.
    members: Option<Predictor>,
    /// The networks whose predictions are averaged with those of this one.
    others: Vec<TableModel>,
    /// The scores of rows that were not learned, for intervals and sets.
    conformal: Option<Conformal>,
}

/// Predictions for some rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Predictions {
    /// The predicted class of each row; probabilities `[rows, classes]`.
    Classes {
        /// The index of each row's class.
        predicted: Vec<usize>,
        /// The probability of each class.
        probabilities: Vec<f64>,
    },
    /// A number for each row, in the target's unit.
    Values(Vec<f64>),
}

impl TableModel {
    /// A model from its parts.
    pub fn new(file: ModelFile, transforms: Transforms, network: Mlp, graph: Graph) -> Self {
        Self {
            file,
            transforms,
            network,
            graph,
            predictor: None,
            members: None,
            others: Vec::new(),
            conformal: None,
        }
    }

    /// The network and the meaning of its outputs.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The network and the meaning of its outputs, mutable.
    pub fn file_mut(&mut self) -> &mut ModelFile {
        &mut self.file
    }

    /// The transforms from rows to numbers.
    pub fn transforms(&self) -> &Transforms {
        &self.transforms
    }

    /// The network and the graph that holds its parameters.
    pub fn parts(&mut self) -> (&Mlp, &mut Graph) {
        // The weights may change now.
        (self.predictor, self.members) = (None, None);
        (&self.network, &mut self.graph)
    }

    /// The values of a parameter.
    pub(crate) fn weight(&self, name: &str) -> Option<&[f32]> {
        let params = self.graph.params();
        params.values(params.id(name)?).ok()
    }

    /// Puts the model's weights into the same network's parameters.
    pub(crate) fn copy_weights(&self, to: &mut Params) -> Result<()> {
        let own = self.graph.params();
        for i in 0..own.infos().len() {
            let id = ParamId::new(i);
            to.values_mut::<f32>(id)?.copy_from_slice(own.values(id)?);
        }
        Ok(())
    }

    /// Returns the free buffers of the model's device to the system.
    pub(crate) fn trim(&self) {
        self.graph.device().pool().trim();
    }

    /// The threads of the model's device.
    pub(crate) fn threads(&self) -> &ThreadPool {
        self.graph.device().cpu().threads()
    }

    /// Predicts every row of a table; columns are found by name.
    ///
    /// # Errors
    /// A column is missing or of another kind.
    pub fn predict(&mut self, table: &Table) -> Result<Predictions> {
        Ok(self.predict_with_findings(table)?.0)
    }

    /// Predicts every row of a table, and finds columns with cells unlike those of training.
    ///
    /// # Errors
    /// A column is missing or of another kind, or a row's values are too large to compute with.
    pub fn predict_with_findings(
        &mut self,
        table: &Table,
    ) -> Result<(Predictions, Vec<Unfamiliar>)> {
        let mut encoded = self.transforms.encode(table, self.threads())?;
        let unfamiliar = std::mem::take(&mut encoded.unfamiliar);
        let first = self.predict_at(&encoded, |row| table.place(row))?;
        let mut all = vec![first];
        for other in &mut self.others {
            let encoded = other.transforms.encode(table, other.graph.device().cpu().threads())?;
            all.push(other.predict_at(&encoded, |row| table.place(row))?);
        }
        Ok((self.mean(all), unfamiliar))
    }

    /// Predicts some rows of a table by all networks.
    ///
    /// # Errors
    /// As [`TableModel::predict_encoded`].
    pub(crate) fn predict_rows(&mut self, table: &Table, rows: &[usize]) -> Result<Predictions> {
        let mut all = vec![self.predict_own_rows(table, rows)?];
        for other in &mut self.others {
            all.push(other.predict_own_rows(table, rows)?);
        }
        Ok(self.mean(all))
    }

    fn predict_own_rows(&mut self, table: &Table, rows: &[usize]) -> Result<Predictions> {
        let encoded = self.transforms.encode_rows(table, rows, false, self.threads())?;
        self.predict_at(&encoded, |row| table.place(rows[row]))
    }

    /// Predicts rows encoded by the model's own transforms; of several networks, by the first
    /// alone.
    ///
    /// # Errors
    /// Memory is short, or a row's values are too large to compute with.
    pub fn predict_encoded(&mut self, encoded: &Encoded) -> Result<Predictions> {
        self.predict_at(encoded, |row| format!("row {}", row + 1))
    }

    /// The raw outputs for encoded rows, `[rows, outputs]`.
    ///
    /// # Errors
    /// Memory is short.
    pub(crate) fn outputs(&mut self, encoded: &Encoded) -> Result<Vec<f32>> {
        let Some(predictor) = &mut self.predictor else {
            return Ok(objective::outputs(&mut self.graph, &self.network, encoded)?);
        };
        let mut outputs = vec![0.0; encoded.rows * predictor.outputs()];
        let (x, ids) = (&encoded.numeric, &encoded.categorical);
        predictor.predict_with_texts(x, ids, &bags(encoded), &mut outputs)?;
        Ok(outputs)
    }

    fn predict_at(
        &mut self,
        encoded: &Encoded,
        place: impl Fn(usize) -> String,
    ) -> Result<Predictions> {
        let outputs = self.outputs(encoded)?;
        let predictions = self.interpret(&outputs);
        let (values, width) = match &predictions {
            Predictions::Classes { probabilities, .. } => (probabilities, self.file.classes.len()),
            Predictions::Values(values) => (values, 1),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(self.overflow(encoded, at / width, place).into()),
            None => Ok(predictions),
        }
    }

    /// The error for a row with outputs that are not finite, naming its most extreme value.
    fn overflow(
        &self,
        encoded: &Encoded,
        row: usize,
        place: impl Fn(usize) -> String,
    ) -> DataError {
        let numbers = &encoded.numeric[row * encoded.n_numeric..][..encoded.n_numeric];
        let farthest =
            (0..numbers.len()).max_by(|&a, &b| numbers[a].abs().total_cmp(&numbers[b].abs()));
        let ranges = self.transforms.feature_ranges();
        let column = farthest.and_then(|at| ranges.into_iter().find(|r| r.numeric.contains(&at)));
        DataError::Value {
            place: place(row),
            column: column.map_or_else(|| self.file.target.clone(), |range| range.column),
            expected: "a value that the network can compute with".into(),
            found: farthest.map_or_else(String::new, |at| format!("{:e} once scaled", numbers[at])),
            hint: "The prediction is not a finite number: correct the value, or name it in \
                   data.null_values."
                .into(),
        }
    }

    /// Predictions from raw outputs `[rows, outputs]`.
    pub fn interpret(&self, outputs: &[f32]) -> Predictions {
        if self.file.classes.is_empty() {
            let inverse = |&y: &f32| self.transforms.target.predicted(y);
            return Predictions::Values(outputs.iter().map(inverse).collect());
        }
        let probabilities = {
            let (width, temperature) = (self.network.outputs(), self.file.temperature());
            objective::probabilities(outputs, width, temperature)
        };
        let rows = probabilities.chunks_exact(self.file.classes.len());
        let predicted = rows.map(|row| self.file.decide(row)).collect();
        Predictions::Classes { predicted, probabilities }
    }
}

/// The texts of rows as a predictor reads them.
fn bags(encoded: &Encoded) -> Vec<Bags<'_>> {
    let texts = encoded.texts.iter();
    texts.map(|t| Bags { offsets: &t.offsets, indices: &t.indices, values: &t.values }).collect()
}
