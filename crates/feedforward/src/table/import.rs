//! Models of other programs as files that this one takes: a graph to predict with, and, where it is
//! a feedforward network, a recipe that trains on from its weights.

#[cfg(feature = "keras")]
pub(super) mod optimizer;

use super::start::COLUMNS;
use crate::error::{Error, Result};
use crate::files::write_text;
use ff_formats::{RawTensor, TensorWriter, write_atomic, write_raw};
use ff_graph::ParamId;
use ff_interop::Foreign;
use ff_interop::onnx::{DType, Head, Model, Network, Session, Tensor};
use ff_nn::models::{Mlp, MlpConfig, Predictor};
use ff_nn::{Builder, ModelConfig, NormKind};
use ff_tensor::{DType as Stored, Device, Key};
use ff_train::optim::OptimizerScalars;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Made-up rows on which a recognised network is compared with its graph.
const ROWS: usize = 64;
/// The largest difference, of a probability or relative to the largest number, that counts as
/// rounding.
const TOLERANCE: f64 = 1e-5;

/// The file of the optimiser's state.
const STATE: &str = "optimizer.safetensors";

/// The outcome of an import.
///
/// ```
/// assert!(feedforward::Imported::default().model.is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Imported {
    /// The folder.
    pub out: PathBuf,
    /// The graph, which `predict` and `inspect` take; none for weights alone.
    pub model: Option<PathBuf>,
    /// The inputs: name and type.
    pub inputs: Vec<(String, String)>,
    /// The outputs: name and type.
    pub outputs: Vec<(String, String)>,
    /// The weights of a file without layers.
    pub weights: Option<PathBuf>,
    /// The number of stored values.
    pub values: usize,
    /// The recipe that trains on from the network's weights.
    pub recipe: Option<PathBuf>,
    /// The layers of the network, in one line.
    pub layers: Option<String>,
    /// The largest difference between the network and the graph on made-up rows.
    pub difference: Option<f64>,
    /// Why the model cannot be trained on.
    pub refused: Option<String>,
    /// The optimiser that training goes on with, in one line.
    pub optimizer: Option<String>,
    /// What of the model's training is not taken over, and why.
    pub left: Vec<String>,
}

/// What training goes on with beside the weights.
#[derive(Default)]
struct Continued {
    /// The optimiser in one line.
    line: String,
    /// The tables of the recipe.
    recipe: String,
    /// The state, where it has one.
    state: Option<(OptimizerScalars, Vec<Named>)>,
}

/// A tensor by name, with its shape.
type Named = (String, Vec<usize>, Vec<f32>);

/// Reads a model of another program and writes a folder: `model.onnx`, or `weights.safetensors`
/// where the file has no layers; of a feedforward network also `start.safetensors` and
/// `recipe.toml`, which trains on from there, and of one of Keras `optimizer.safetensors`, the
/// state of its optimiser, with which training goes on. A model of Keras takes other `weights`
/// where they are named. Nothing in the files is executed.
///
/// # Errors
/// The format or a part of the model is not read, by name; the folder exists; it cannot be written.
pub fn import(
    file: &Path,
    weights: Option<&Path>,
    out: &Path,
    device: &Device,
) -> Result<Imported> {
    if out.exists() {
        return Err(Error::usage(format!(
            "{} is there already; choose another folder with --out, or remove it",
            out.display()
        )));
    }
    let mut found = Imported { out: out.to_owned(), ..Imported::default() };
    let create = || std::fs::create_dir_all(out).map_err(ff_formats::Error::io(out, "creating"));
    let foreign = match weights {
        Some(weights) => Foreign::open_with_weights(file, weights)?,
        None => Foreign::open(file)?,
    };
    let model = match foreign {
        Foreign::Weights(tensors) => {
            create()?;
            let path = out.join("weights.safetensors");
            found.values = tensors.iter().map(|(_, tensor)| tensor.data().len()).sum();
            write_raw(&path, &raw(&tensors)?)?;
            found.weights = Some(path);
            return Ok(found);
        }
        Foreign::Graph(model) => *model,
    };
    let summary = model.summary();
    let ports = |ports: &[ff_interop::onnx::Port]| -> Vec<(String, String)> {
        ports.iter().map(|port| (port.name.clone(), port.kind())).collect()
    };
    (found.inputs, found.outputs) = (ports(&summary.inputs), ports(&summary.outputs));
    found.values = summary.tensors.iter().map(|t| t.2.iter().product::<usize>()).sum();
    let bytes = model.to_bytes();
    if bytes.len() >= 1 << 31 {
        let message = "the model takes more than 2 GB, which one ONNX file cannot hold";
        return Err(Error::usage(message));
    }
    let session = Session::on(model, device)?;
    let network = Network::of(session.model()).map_err(Error::from);
    let network = network.and_then(|network| {
        let start = Start::new(network)?;
        let difference = start.compare(&session, device)?;
        if difference.is_nan() || difference > TOLERANCE {
            return Err(Error::usage(format!(
                "its layers give other outputs than the graph (by {difference:.1e})"
            )));
        }
        Ok((start, difference))
    });
    create()?;
    let path = out.join("model.onnx");
    write_atomic(&path, |to| std::io::Write::write_all(to, &bytes))?;
    found.model = Some(path);
    match network {
        Ok((start, difference)) => {
            found.layers = Some(start.layers());
            found.difference = Some(difference);
            let continued = match continued(file, weights, &start, &mut found.left) {
                Ok(continued) => continued,
                Err(error) => {
                    found.left.push(format!("the optimiser: {error}"));
                    None
                }
            };
            found.optimizer = continued.as_ref().map(|continued| continued.line.clone());
            found.recipe = Some(start.write(file, out, &continued.unwrap_or_default())?);
        }
        Err(error) => found.refused = Some(error.to_string()),
    }
    Ok(found)
}

/// What a model of Keras was trained with, where the file has that.
#[cfg(feature = "keras")]
fn continued(
    file: &Path,
    weights: Option<&Path>,
    start: &Start,
    left: &mut Vec<String>,
) -> Result<Option<Continued>> {
    let Some(training) = Foreign::training(file, weights)? else { return Ok(None) };
    optimizer::continued(&training, &start.weights, start.network.head, left).map(Some)
}

#[cfg(not(feature = "keras"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
fn continued(
    _: &Path,
    _: Option<&Path>,
    _: &Start,
    _: &mut Vec<String>,
) -> Result<Option<Continued>> {
    Ok(None)
}

/// Tensors as safetensors holds them.
fn raw(tensors: &[(String, Tensor)]) -> Result<Vec<RawTensor<'_>>> {
    let one = |(name, tensor): &(String, Tensor)| {
        let dtype = tensor.dtype().safetensors().ok_or_else(|| {
            Error::usage(format!("the array `{name}` holds texts, which safetensors cannot"))
        })?;
        let bytes = tensor.bytes().unwrap_or_default().into();
        Ok(RawTensor { name: name.clone(), dtype: dtype.into(), dims: tensor.dims().into(), bytes })
    };
    tensors.iter().map(one).collect()
}

/// A recognised network as a recipe's.
struct Start {
    network: Network,
    config: MlpConfig,
    /// The parameters by the names that a recipe's network has.
    weights: Vec<Named>,
}

impl Start {
    fn new(network: Network) -> Result<Self> {
        let Some((output, hidden)) = network.layers.split_last() else {
            return Err(Error::usage("the network has no layers"));
        };
        let mut model = ModelConfig {
            hidden: hidden.iter().map(|layer| layer.bias.len()).collect(),
            ..ModelConfig::default()
        };
        if let Some((name, value)) = network.activation {
            let name = serde_json::Value::from(name);
            model.activation =
                serde_json::from_value(name).map_err(|e| Error::usage(e.to_string()))?;
            let value = value.map(f64::from);
            match network.activation {
                Some(("leaky_relu", _)) => model.slope = value,
                _ => model.alpha = value,
            }
        }
        if hidden.first().is_some_and(|layer| layer.norm.is_some()) {
            model.norm = NormKind::Layer;
        }
        model.validate()?;
        let mut weights = Vec::new();
        for (i, layer) in network.layers.iter().enumerate() {
            let name = if i < hidden.len() { format!("layers.{i}") } else { "output".into() };
            let single = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
            let n = layer.bias.len();
            weights.push((format!("{name}.weight"), vec![n, layer.inputs], single(&layer.weight)));
            weights.push((format!("{name}.bias"), vec![n], single(&layer.bias)));
            for (part, values) in ["weight", "bias"].into_iter().zip(layer.norm.iter().flatten()) {
                weights.push((format!("{name}.norm.{part}"), vec![n], single(values)));
            }
        }
        let config = MlpConfig {
            numeric: network.layers[0].inputs,
            outputs: output.bias.len(),
            network: model,
            ..MlpConfig::default()
        };
        if network.head == Head::None && config.outputs == 0 {
            return Err(Error::usage("the network has no outputs"));
        }
        Ok(Self { network, config, weights })
    }

    /// `4 → 16 relu → 3`
    fn layers(&self) -> String {
        let mut line = self.config.numeric.to_string();
        let activation = self.network.activation.map_or("", |(name, _)| name);
        for width in &self.config.network.hidden {
            let _ = write!(line, " → {width} {activation}");
        }
        let _ = write!(line, " → {}", self.config.outputs);
        line
    }

    /// The largest difference between the network and its graph on made-up rows.
    fn compare(&self, session: &Session, device: &Device) -> Result<f64> {
        let width = self.config.numeric;
        let key = Key::new(0).with_name("import");
        // Rows near 0, and rows in the range of many units.
        let x: Vec<f32> = (0..ROWS * width)
            .map(|i| {
                let [at] = key.uniforms(i as u64).map(|u| 2.0 * u - 1.0);
                (at * [1.0, 3.0, 30.0][i / width % 3]) as f32
            })
            .collect();
        let mut builder = Builder::new();
        let _ = Mlp::new(&mut builder, &self.config);
        let mut params = builder.build(device, Stored::F32, 0, false)?;
        for (name, dims, values) in &self.weights {
            let id = params.id(name).filter(|id| params.info(*id).spec.shape.dims() == dims);
            let id: ParamId =
                id.ok_or_else(|| Error::usage(format!("the network has no `{name}`")))?;
            params.values_mut::<f32>(id)?.copy_from_slice(values);
        }
        let mut y = vec![0.0; ROWS * self.config.outputs];
        Predictor::new(&self.config, &params, device)?.predict(&x, &mut y)?;
        let ours = self.headed(&y);
        let inputs = self.inputs(session.model(), &x)?;
        let outputs = session.run(inputs)?;
        let output = outputs.iter().find(|(name, _)| *name == self.network.output);
        let theirs = output.and_then(|(_, tensor)| tensor.data().floats()).unwrap_or_default();
        if theirs.len() != ours.len() {
            return Ok(f64::INFINITY);
        }
        let largest = theirs.iter().fold(1.0f64, |most, y| most.max(y.abs()));
        let pairs = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / largest);
        Ok(pairs.fold(0.0, |most: f64, d| if d.is_nan() { f64::INFINITY } else { most.max(d) }))
    }

    /// What the graph makes of the output layer.
    fn headed(&self, y: &[f32]) -> Vec<f64> {
        let double = y.iter().map(|&y| f64::from(y));
        match self.network.head {
            Head::None => double.collect(),
            Head::Sigmoid => double.map(|y| 1.0 / (1.0 + (-y).exp())).collect(),
            Head::Softmax => {
                let mut all = Vec::with_capacity(y.len());
                for row in y.chunks_exact(self.config.outputs) {
                    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let powers: Vec<f64> = row.iter().map(|&y| f64::from(y - most).exp()).collect();
                    let sum: f64 = powers.iter().sum();
                    all.extend(powers.into_iter().map(|p| p / sum));
                }
                all
            }
        }
    }

    /// Rows as the graph takes them.
    fn inputs(&self, model: &Model, x: &[f32]) -> Result<Vec<(String, Tensor)>> {
        let (width, mut at) = (self.config.numeric, 0);
        let mut inputs = Vec::new();
        let ports = model.inputs();
        let alone = ports.len() == 1;
        let part = |port: &ff_interop::onnx::Port| {
            let dims = port.dims.as_deref().unwrap_or_default();
            dims.get(1..).unwrap_or_default().iter().try_fold(1, |n: usize, d| n.checked_mul((*d)?))
        };
        // A row's numbers come in the order in which the graph joins them.
        let mut order: Vec<&ff_interop::onnx::Port> = ports.iter().collect();
        let position = |name: &str| {
            let own = |column: &String| column == name || column.strip_suffix("_0") == Some(name);
            self.network.columns.iter().position(own).unwrap_or(usize::MAX)
        };
        order.sort_by_key(|port| position(&port.name));
        for port in order {
            let n = if alone { width } else { part(port).unwrap_or(0) };
            let mut dims = vec![ROWS];
            match port.dims.as_deref() {
                Some([_, rest @ ..]) if rest.iter().all(Option::is_some) => {
                    dims.extend(rest.iter().flatten());
                }
                _ => dims.push(n),
            }
            if at + n > width {
                return Err(Error::usage("the graph has inputs that the network does not take"));
            }
            let values = x.chunks_exact(width).flat_map(|row| &row[at..at + n]);
            let values = values.map(|&x| f64::from(x)).collect();
            let data = port.dtype.unwrap_or(DType::F32).numbers(values).ok_or_else(|| {
                Error::usage(format!(
                    "the input `{}` ({}) takes no numbers",
                    port.name,
                    port.kind()
                ))
            })?;
            inputs.push((port.name.clone(), Tensor::new(&dims, data)?));
            at += n;
        }
        Ok(inputs)
    }

    /// Writes the weights and the recipe; the recipe's path.
    fn write(&self, file: &Path, out: &Path, continued: &Continued) -> Result<PathBuf> {
        let mut writer = TensorWriter::new();
        for (name, dims, values) in &self.weights {
            writer.add_f32(name.as_str(), dims, values);
        }
        if !self.network.columns.is_empty() {
            let names = serde_json::to_string(&self.network.columns).unwrap_or_default();
            writer.metadata(COLUMNS, names);
        }
        writer.write(&out.join("start.safetensors"))?;
        let path = out.join("recipe.toml");
        if let Some((scalars, tensors)) = &continued.state {
            ff_train::write_optimizer(&out.join(STATE), scalars, tensors)?;
        }
        write_text(&path, &self.recipe(file, &path, continued))?;
        Ok(path)
    }

    fn recipe(&self, file: &Path, path: &Path, continued: &Continued) -> String {
        let (network, outputs) = (&self.config.network, self.config.outputs);
        let (task, loss, meaning) = match (self.network.head, outputs) {
            (Head::Sigmoid, _) => {
                ("binary", Some("bce"), "the probability of the second class".into())
            }
            (Head::Softmax, 2) => {
                ("binary", Some("cross_entropy"), "probabilities of two classes".into())
            }
            (Head::Softmax, n) => {
                ("multiclass", Some("cross_entropy"), format!("probabilities of {n} classes"))
            }
            (Head::None, 1) => ("regression", None, "a number".into()),
            (Head::None, 2) => {
                ("binary", Some("cross_entropy"), "taken as logits of two classes".into())
            }
            (Head::None, n) => {
                ("multiclass", Some("cross_entropy"), format!("taken as logits of {n} classes"))
            }
        };
        let name =
            file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = |text: &str| toml::Value::String(text.into()).to_string();
        let mut text = format!(
            "# The network of {name}: {} numbers a row, its outputs {meaning}.\n\
             # Training starts from its weights:\n\
             #   feedforward train {} --set data.path=NEW.csv --target COLUMN\n\
             start = \"start.safetensors\"\n",
            self.config.numeric,
            path.display().to_string().replace(char::is_control, " "),
        );
        if continued.state.is_some() {
            let _ = writeln!(text, "start_optimizer = \"{STATE}\"");
        }
        let _ = write!(text, "\n[data]\ntask = \"{task}\"\nmissing_flag = false\n");
        if continued.state.is_some() {
            // The optimiser's state is that of these weights.
            text.push_str("scaling = \"none\"\n");
            if task == "regression" {
                text.push_str("target_scaling = false\n");
            }
        }
        if !self.network.columns.is_empty() {
            text.push_str("\n[data.columns]\n");
            for column in &self.network.columns {
                let _ = writeln!(text, "{} = \"number\"", quoted(column));
            }
        }
        let _ = write!(text, "\n[model]\nhidden = {:?}\n", network.hidden);
        if let Some((name, _)) = self.network.activation {
            let _ = writeln!(text, "activation = \"{name}\"");
        }
        for (key, value) in [("slope", network.slope), ("alpha", network.alpha)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value:?}");
            }
        }
        if network.norm == NormKind::Layer {
            text.push_str("norm = \"layer\"\n");
        }
        if let Some(loss) = loss {
            let _ = write!(text, "\n[loss]\nkind = \"{loss}\"\n");
        }
        text + &continued.recipe
    }
}
