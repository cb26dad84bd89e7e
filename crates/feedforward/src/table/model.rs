//! A trained model as a folder: `config.json`, `model.safetensors`, `transforms.json`.

use super::objective;
use crate::error::{Error, Result};
use crate::files::{read_text, write_text};
use ff_formats::{TensorFile, TensorWriter};
use ff_graph::{Graph, ParamId, Params};
use ff_metrics::{ChosenThreshold, Temperature};
use ff_nn::models::{Bags, Mlp, MlpConfig, Predictor};
use ff_nn::{Builder, Precision};
use ff_table::{DataError, Encoded, Table, Task, Transforms, Unfamiliar};
use ff_tensor::{DType, Device, ThreadPool};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Incremented whenever the meaning of `config.json` changes.
const FORMAT: u32 = 1;
/// The format of a model with a temperature, which versions before would overlook.
const CALIBRATED: u32 = 2;

/// The remedy for an inconsistent file of a model.
const COPY_AGAIN: &str = "copy the model's folder again from its source, or train again";

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
    /// The index of the positive class of two.
    pub positive: Option<usize>,
    /// The least probability for which the positive class is predicted; the likelier class by
    /// default.
    pub threshold: Option<f64>,
    /// How the threshold was chosen.
    pub chosen: Option<ChosenThreshold>,
    /// The temperature of the logits, where one was fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
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
        if self.temperature() == 1.0 { FORMAT } else { CALIBRATED }
    }

    /// The index of the predicted class from a row's probabilities.
    pub fn decide(&self, probabilities: &[f64]) -> usize {
        if let (Some(threshold), [_, _]) = (self.threshold, probabilities) {
            let positive = self.positive.unwrap_or(1);
            return if probabilities[positive] >= threshold { positive } else { 1 - positive };
        }
        (1..probabilities.len())
            .fold(0, |b, i| if probabilities[i] > probabilities[b] { i } else { b })
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
        Self { file, transforms, network, graph, predictor: None, members: None }
    }

    /// Reads a model's folder.
    ///
    /// # Errors
    /// A file is missing, damaged or of another format; a tensor is missing, or of another shape or
    /// type.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let text = read_text(&folder.join("config.json"))?;
        let file = parse_config(&folder.join("config.json"), &text)?;
        let transforms = read_transforms(&folder.join("transforms.json"))?;
        let grams: Vec<usize> = transforms.texts().map(|(_, encoder)| encoder.size()).collect();
        if grams != file.network.texts {
            let message = "knows other n-grams than config.json; the two files are of different models: copy \
                           both from the same run";
            return Err(Error::run(&folder.join("transforms.json"), message.to_owned()));
        }
        let make = |device: &Device| {
            let mut builder = Builder::new();
            let network = Mlp::new(&mut builder, &file.network);
            Ok::<_, Error>((network, builder.build(device, DType::F32, 0, false)?))
        };
        let path = folder.join("model.safetensors");
        let tensors = TensorFile::open(&path)?;
        // Once the shapes of a plan fit the file, the arena cannot be larger than the file is.
        check_names(&make(&Device::planning())?.1, &tensors, &path)?;
        let (network, mut params) = make(device)?;
        for i in 0..params.infos().len() {
            let spec = params.infos()[i].spec.clone();
            let values = tensors.f32(&spec.name, spec.shape.dims())?;
            params.values_mut::<f32>(ParamId::new(i))?.copy_from_slice(&values);
        }
        let predictor = match file.network.network.precision {
            Precision::F32 => Some(Predictor::new(&file.network, &params, device)?),
            Precision::Bf16 => None,
        };
        let graph = Graph::new(device, params);
        Ok(Self { file, transforms, network, graph, predictor, members: None })
    }

    /// Writes a model's folder; each file is written atomically.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .map_err(ff_formats::Error::io(folder, "making the folder"))?;
        let params = self.graph.params();
        let mut writer = TensorWriter::new();
        writer.metadata("format", "pt");
        for (id, info) in params.iter() {
            writer.add_f32(&info.spec.name, info.spec.shape.dims(), params.values::<f32>(id)?);
        }
        writer.write(&folder.join("model.safetensors"))?;
        write_text(&folder.join("transforms.json"), &self.transforms.to_json())?;
        let file = ModelFile { format: self.file.format(), ..self.file.clone() };
        let config = serde_json::to_string_pretty(&file)
            .map_err(|e| Error::run(folder, format!("config.json: {e}")))?;
        write_text(&folder.join("config.json"), &config)
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
        let predictions = self.predict_at(&encoded, |row| table.place(row))?;
        Ok((predictions, unfamiliar))
    }

    /// Predicts encoded rows.
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

    /// How far the members of an ensemble disagree about each row: the standard deviation over them
    /// of the probability of the predicted class, or of the number on the target's own scale.
    ///
    /// # Errors
    /// The model is no ensemble, or memory is short.
    pub fn spread(&mut self, table: &Table) -> Result<Vec<f64>> {
        let Some(k) = self.network.members() else {
            return Err(Error::usage(
                "the spread is that of an ensemble's members, and this model is one network; train \
                 with model.members",
            ));
        };
        let encoded = self.transforms.encode(table, self.threads())?;
        let predictions = self.predict_encoded(&encoded)?;
        if self.members.is_none() {
            let (params, device) = (self.graph.params(), self.graph.device());
            self.members = Some(Predictor::of_members(&self.file.network, params, device)?);
        }
        let width = k * self.network.outputs();
        let mut outputs = vec![0.0; encoded.rows * width];
        if let Some(members) = &mut self.members {
            let (x, ids) = (&encoded.numeric, &encoded.categorical);
            members.predict_with_texts(x, ids, &bags(&encoded), &mut outputs)?;
        }
        let rows = outputs.chunks_exact(width).enumerate();
        Ok(rows
            .map(|(row, outputs)| match (self.interpret(outputs), &predictions) {
                (Predictions::Values(values), _) => deviation(&values),
                (
                    Predictions::Classes { probabilities, .. },
                    Predictions::Classes { predicted, .. },
                ) => {
                    let classes = self.file.classes.len();
                    let of = probabilities.iter().skip(predicted[row]).step_by(classes);
                    deviation(&of.copied().collect::<Vec<_>>())
                }
                (Predictions::Classes { .. }, Predictions::Values(_)) => f64::NAN,
            })
            .collect())
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
            let inverse = |&y: &f32| self.transforms.target.inverse(y);
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

/// The standard deviation of some values, as of a sample; 0 of a single one.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (squares / (n - 1.0).max(1.0)).sqrt()
}

/// Checks that every tensor is there with its shape, and no other, before anything is allocated.
fn check_names(params: &Params, tensors: &TensorFile, path: &Path) -> Result<()> {
    for info in params.infos() {
        let spec = &info.spec;
        match tensors.dims(&spec.name) {
            Some(dims) if dims == spec.shape.dims() => {}
            // The reader's own message names the shape or the lack.
            _ => drop(tensors.f32(&spec.name, spec.shape.dims())?),
        }
    }
    let known = |name: &str| params.id(name).is_some();
    if let Some(extra) = tensors.entries().find(|entry| !known(&entry.name)) {
        return Err(Error::run(
            path,
            format!(
                "tensor `{}` belongs to no layer of config.json; the two files are of different models: copy both from the \
                 same run",
                extra.name
            ),
        ));
    }
    Ok(())
}

/// Reads `transforms.json`; errors name its path.
fn read_transforms(path: &Path) -> Result<Transforms> {
    Transforms::from_json(&read_text(path)?).map_err(|error| match error {
        DataError::Format { line, message, hint, .. } => {
            DataError::Format { path: path.to_owned(), line, message, hint }.into()
        }
        DataError::Version { found, expected } => Error::run(
            path,
            format!("has format {found}, this version reads {expected}; train again or use the version that wrote it"),
        ),
        error => error.into(),
    })
}

fn parse_config(path: &Path, text: &str) -> Result<ModelFile> {
    let json: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| Error::run(path, format!("is not valid JSON: {e}; {COPY_AGAIN}")))?;
    let format = json.get("format").and_then(serde_json::Value::as_u64);
    if format.is_none_or(|f| !(u64::from(FORMAT)..=u64::from(CALIBRATED)).contains(&f)) {
        let found = format.map_or("none".into(), |f| f.to_string());
        return Err(Error::run(
            path,
            format!(
                "has model format {found}, this version reads {FORMAT} and {CALIBRATED}; train again or use the version that wrote it"
            ),
        ));
    }
    let file: ModelFile = serde_json::from_value(json)
        .map_err(|e| Error::run(path, format!("does not describe a model: {e}; {COPY_AGAIN}")))?;
    file.network.network.validate()?;
    let classes = file.classes.len();
    let outputs = file.network.outputs;
    let fits = if classes == 0 {
        outputs == 1
    } else {
        outputs == classes || classes == 2 && outputs == 1
    };
    let temperature = file.temperature();
    if !(temperature > 0.0 && temperature.is_finite()) {
        let message = format!("{temperature} is no temperature of logits; {COPY_AGAIN}");
        return Err(Error::run(path, message));
    }
    if !fits || file.positive.is_some_and(|p| p >= classes) {
        return Err(Error::run(
            path,
            format!("{outputs} outputs do not go with {classes} classes; {COPY_AGAIN}"),
        ));
    }
    Ok(file)
}
