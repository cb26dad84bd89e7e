//! Writing a graph as a functional model of Keras 3: weights become layers that go on training,
//! everything else operations of `keras.ops`.

mod nodes;
mod order;

use super::{Training, Weighted, hdf5};
use crate::onnx::proto::NodeProto;
use crate::onnx::{self, DType, Error, Result, Tensor};
use serde_json::{Value as Json, json};
use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Write};

/// The version whose format is written.
const VERSION: &str = "3.15.1";

/// A value of the model: the layer that gives it, its type and its shape.
#[derive(Debug, Clone)]
struct Value {
    layer: String,
    dtype: DType,
    dims: Vec<Option<usize>>,
    /// Whether the graph has its first two axes the other way round.
    swapped: bool,
}

/// What a node takes.
#[derive(Debug, Clone)]
enum Operand {
    Value(Value),
    Constant(Tensor),
}

/// A model under construction.
struct Writer<'a> {
    layers: Vec<Json>,
    weights: HashMap<String, Vec<Tensor>>,
    names: HashSet<String>,
    operands: HashMap<&'a str, Operand>,
    /// The nodes that use a value.
    users: HashMap<&'a str, Vec<&'a NodeProto>>,
    /// Nodes whose work a layer before them does.
    done: HashSet<&'a str>,
}

/// A graph as layers.
struct Layers {
    /// In the order in which Keras lists them.
    all: Vec<Json>,
    inputs: Vec<Json>,
    ends: Vec<Json>,
    /// Those with weights, each with its place in a file.
    weighted: Vec<(String, Weighted)>,
}

/// The bytes of a `.keras` file that computes some outputs of a graph, and notes for its
/// `metadata.json`; `training` is what Keras goes on with.
///
/// # Errors
/// A node has no counterpart in Keras, by name; there is no such output.
pub fn export(
    model: &onnx::Model,
    outputs: &[&str],
    notes: &Json,
    training: Option<&Training>,
) -> Result<Vec<u8>> {
    let Layers { all, inputs, mut ends, weighted } = layers(model, outputs)?;
    let mut arrays = Vec::new();
    for (place, layer) in weighted {
        let variables = layer.arrays.into_iter().enumerate();
        arrays.extend(variables.map(|(i, tensor)| (format!("{place}/vars/{i}"), tensor)));
    }
    let mut config = json!({
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "feedforward",
            "trainable": true,
            "layers": all,
            "input_layers": inputs,
            "output_layers": if ends.len() == 1 { ends.remove(0) } else { Json::Array(ends) },
        },
        "registered_name": "Functional",
        "build_config": { "input_shape": null },
    });
    if let Some(training) = training {
        config["compile_config"] = training.compile_config();
        let variables = training.variables.iter().enumerate();
        arrays.extend(variables.map(|(i, tensor)| (format!("optimizer/vars/{i}"), tensor.clone())));
    }
    let mut metadata = json!({ "keras_version": VERSION });
    metadata["feedforward"] = notes.clone();
    let weights = hdf5::write(&arrays).map_err(Error::Malformed)?;
    archive(&[
        ("metadata.json", metadata.to_string().as_bytes()),
        ("config.json", config.to_string().as_bytes()),
        ("model.weights.h5", &weights),
    ])
    .map_err(|e| Error::Malformed(format!("the archive cannot be written: {e}")))
}

/// The layers with weights that [`export`] writes, in the order in which an optimiser knows them.
///
/// # Errors
/// As [`export`].
pub fn weighted(model: &onnx::Model, outputs: &[&str]) -> Result<Vec<Weighted>> {
    Ok(layers(model, outputs)?.weighted.into_iter().map(|(_, layer)| layer).collect())
}

fn layers(model: &onnx::Model, outputs: &[&str]) -> Result<Layers> {
    let graph = model.graph()?;
    let needed = needed(&graph.node, outputs);
    let mut writer = Writer {
        layers: Vec::new(),
        weights: HashMap::new(),
        names: HashSet::new(),
        operands: HashMap::new(),
        users: HashMap::new(),
        done: HashSet::new(),
    };
    for tensor in &graph.initializer {
        let operand = Operand::Constant(Tensor::from_proto(tensor, model.folder())?);
        writer.operands.insert(&tensor.name, operand);
    }
    for node in needed.iter().copied() {
        for input in &node.input {
            writer.users.entry(input).or_default().push(node);
        }
    }
    let mut inputs = Vec::new();
    for port in &graph.input {
        let found = model.inputs().into_iter().find(|known| known.name == port.name);
        let Some(found) = found else { continue };
        let value = writer.input(&found)?;
        inputs.push(json!([value.layer, 0, 0]));
        writer.operands.insert(&port.name, Operand::Value(value));
    }
    for node in needed {
        if writer.done.contains(node.output[0].as_str()) {
            continue;
        }
        let operand = nodes::write(&mut writer, node)?;
        writer.operands.insert(&node.output[0], operand);
    }
    let mut ends = Vec::new();
    for &output in outputs {
        match writer.operands.get(output) {
            Some(Operand::Value(value)) if !value.swapped => {
                let value = value.clone();
                let end = writer.identity(&value, output)?;
                ends.push(end.layer);
            }
            _ => return Err(Error::Malformed(format!("the graph does not compute `{output}`"))),
        }
    }
    let layers = order::as_keras_does(writer.layers, &ends);
    let mut places = super::graph::Places::default();
    let mut weighted = Vec::new();
    for layer in layers.iter().filter(|layer| layer["module"] == "keras.layers") {
        let class = layer["class_name"].as_str().unwrap_or_default();
        let place = format!("layers/{}", places.next(class));
        let name = layer["name"].as_str().unwrap_or_default();
        let arrays = writer.weights.remove(name).unwrap_or_default();
        if !arrays.is_empty() {
            let trainable = layer["config"]["trainable"].as_bool().unwrap_or(true);
            let (name, class) = (name.to_owned(), class.to_owned());
            weighted.push((place, Weighted { name, class, trainable, arrays }));
        }
    }
    let ends = ends.iter().map(|end| json!([end, 0, 0])).collect();
    Ok(Layers { all: layers, inputs, ends, weighted })
}

fn archive(files: &[(&str, &[u8])]) -> zip::result::ZipResult<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // As Keras does: not deflated.
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .large_file(files.iter().any(|(_, bytes)| bytes.len() >= u32::MAX as usize));
    for (name, bytes) in files {
        zip.start_file(*name, options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// The nodes on which outputs depend, in the order of the graph.
fn needed<'a>(nodes: &'a [NodeProto], outputs: &[&str]) -> Vec<&'a NodeProto> {
    let mut open: HashSet<&str> = outputs.iter().copied().collect();
    let mut needed = Vec::new();
    for node in nodes.iter().rev() {
        if node.output.iter().any(|output| open.contains(output.as_str())) {
            open.extend(node.input.iter().map(String::as_str));
            needed.push(node);
        }
    }
    needed.reverse();
    needed
}

/// A reference to a value, as arguments of calls have it.
fn tensor(value: &Value) -> Json {
    json!({
        "class_name": "__keras_tensor__",
        "config": {
            "shape": value.dims,
            "dtype": keras_name(value.dtype),
            "keras_history": [value.layer, 0, 0],
        },
    })
}

/// A constant as an array of NumPy; what JSON has no number for becomes the largest there is.
fn array(constant: &Tensor) -> Result<Json> {
    let floats = constant.data().floats();
    let floats = floats.ok_or_else(|| Error::Unsupported("a list of texts has no form".into()))?;
    let integers = constant.data().integers().filter(|_| !constant.dtype().is_float());
    let bool = constant.dtype() == DType::Bool;
    let number = |i: usize| match &integers {
        _ if bool => json!(floats[i] != 0.0),
        Some(integers) => json!(integers[i] as i64),
        None => json!(floats[i].clamp(f64::MIN, f64::MAX)),
    };
    // TensorFlow takes an array without dimensions for a number of single precision.
    let dims = if constant.dims().is_empty() { &[1] } else { constant.dims() };
    let value = nested(dims, &mut (0..floats.len()), &number);
    Ok(json!({
        "class_name": "__numpy__",
        "config": { "value": value, "dtype": keras_name(constant.dtype()) },
    }))
}

fn nested(
    dims: &[usize],
    next: &mut dyn Iterator<Item = usize>,
    of: &dyn Fn(usize) -> Json,
) -> Json {
    match dims {
        [] => next.next().map(of).unwrap_or_default(),
        [n, rest @ ..] => (0..*n).map(|_| nested(rest, next, of)).collect(),
    }
}

/// The name that Keras has for a type.
fn keras_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        other => other.name(),
    }
}

impl Writer<'_> {
    /// A name that Keras takes and that is free.
    fn name(&mut self, wanted: &str) -> String {
        let base: String = wanted.replace('/', "_");
        let mut name = base.clone();
        let mut i = 1;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{i}");
            i += 1;
        }
        name
    }

    fn input(&mut self, port: &onnx::Port) -> Result<Value> {
        let (Some(dtype), Some(dims)) = (port.dtype, port.dims.clone()) else {
            return Err(Error::Unsupported(format!("input `{}` has no shape", port.name)));
        };
        let layer = self.name(&port.name);
        self.layers.push(json!({
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {
                "batch_shape": dims,
                "dtype": keras_name(dtype),
                "sparse": false,
                "ragged": false,
                "name": layer,
                "optional": false,
            },
            "registered_name": null,
            "name": layer,
            "inbound_nodes": [],
        }));
        Ok(Value { layer, dtype, dims, swapped: false })
    }

    /// An operation of `keras.ops`.
    fn operation(
        &mut self,
        (module, class): (&str, &str),
        name: &str,
        mut config: Json,
        arguments: Vec<Json>,
        (dtype, dims): (DType, Vec<Option<usize>>),
    ) -> Value {
        // Values of a TensorFlow graph have names without spaces.
        let layer = self.name(&plain(name));
        config["name"] = json!(layer);
        let mut call = json!({ "kwargs": {} });
        call["args"] = Json::Array(arguments);
        self.layers.push(json!({
            "module": format!("keras.src.ops.{module}"),
            "class_name": class,
            "config": config,
            "registered_name": class,
            "name": layer,
            "inbound_nodes": [call],
        }));
        Value { layer, dtype, dims, swapped: false }
    }

    /// A layer of one input, with its weights.
    fn layer(
        &mut self,
        class: &str,
        name: &str,
        mut config: Json,
        input: &Value,
        weights: Vec<Tensor>,
        (dtype, dims): (DType, Vec<Option<usize>>),
    ) -> Value {
        let layer = self.name(&plain(name));
        config["name"] = json!(layer);
        if config.get("trainable").is_none() {
            config["trainable"] = json!(true);
        }
        if config.get("dtype").is_none() {
            config["dtype"] = json!("float32");
        }
        self.layers.push(json!({
            "module": "keras.layers",
            "class_name": class,
            "config": config,
            "registered_name": null,
            "build_config": { "input_shape": input.dims },
            "name": layer,
            "inbound_nodes": [{ "args": [tensor(input)], "kwargs": {} }],
        }));
        self.weights.insert(layer.clone(), weights);
        Value { layer, dtype, dims, swapped: false }
    }

    /// An output under its name.
    fn identity(&mut self, x: &Value, name: &str) -> Result<Value> {
        let to = (x.dtype, x.dims.clone());
        if !x.dtype.is_float() {
            return Err(Error::Unsupported(format!("the output `{name}` is no number")));
        }
        let config = json!({ "dtype": keras_name(x.dtype) });
        Ok(self.layer("Identity", name, config, x, Vec::new(), to))
    }
}

/// A name of letters, digits and underlines, which begins with a letter: PyTorch has no points in
/// the names of parameters.
fn plain(name: &str) -> String {
    let known = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(known).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("n{name}") }
}
