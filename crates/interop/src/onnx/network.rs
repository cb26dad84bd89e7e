//! Graphs that are feedforward networks, recognised from their nodes, so that they can be trained
//! on.

use super::data::DType;
use super::model::{Model, qualified};
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::tensor::Tensor;
use super::{Error, Result};
use std::collections::{HashMap, HashSet};

/// The most nodes between an input and an output.
const MOST_STEPS: usize = 10_000;
/// The most numbers of a row whose inputs have names.
const MOST_COLUMNS: usize = 1 << 16;
/// The ε of layer norm in recipes.
const NORM_EPS: f32 = 1e-5;

/// A feedforward network: hidden layers `f(norm(x Wᵀ + b))`, then an output layer.
///
/// ```
/// use ff_interop::onnx::{DType, GraphBuilder, Network, Tensor};
/// # fn main() -> Result<(), ff_interop::onnx::Error> {
/// let mut graph = GraphBuilder::new("line");
/// let x = graph.input("x", DType::F32, &[None, Some(2)], "a row");
/// let w = graph.constant("w", &Tensor::new(&[2, 1], vec![3.0f32, 4.0])?);
/// let y = graph.node("MatMul", "y", &[&x, &w]);
/// graph.output(&y, DType::F32, &[None, Some(1)]);
/// let network = Network::of(&graph.build())?;
/// assert_eq!(network.layers[0].weight, [3.0, 4.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The names of a row's numbers, where the graph has an input for each; otherwise empty.
    pub columns: Vec<String>,
    /// The layers, the output layer last.
    pub layers: Vec<NetworkLayer>,
    /// The activation of the hidden layers by its name in recipes, with its slope or α.
    pub activation: Option<(&'static str, Option<f32>)>,
    /// What the graph makes of the output layer.
    pub head: Head,
    /// The output that the network computes.
    pub output: String,
}

/// What becomes of the output layer.
///
/// ```
/// assert_ne!(ff_interop::onnx::Head::None, ff_interop::onnx::Head::Softmax);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Its numbers are the output.
    None,
    /// Probabilities of classes.
    Softmax,
    /// The probability of the second of two classes.
    Sigmoid,
}

/// A linear layer, with the weights of the layer norm behind it.
///
/// ```
/// assert!(ff_interop::onnx::NetworkLayer::default().norm.is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkLayer {
    /// The width of its input.
    pub inputs: usize,
    /// Its weight `[outputs, inputs]`.
    pub weight: Vec<f64>,
    /// Its bias `[outputs]`.
    pub bias: Vec<f64>,
    /// The factors and summands of a layer norm.
    pub norm: Option<[Vec<f64>; 2]>,
}

/// A step from the input to an output.
enum Step {
    Linear {
        inputs: usize,
        weight: Vec<f64>,
        bias: Vec<f64>,
    },
    /// x s + t, with one number for all or one for each.
    Affine(Vec<f64>, Vec<f64>),
    LayerNorm([Vec<f64>; 2]),
    Activation(&'static str, Option<f32>),
    Softmax,
}

impl Network {
    /// Recognises the network of a graph: linear layers, one kind of activation, layer norm, and
    /// what is linear beside them in inference (scaling, batch norm), which becomes part of the
    /// layers. Nodes that only change a value's shape are passed over, so that a caller compares
    /// the outputs of both.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the node that has no place in such a network.
    pub fn of(model: &Model) -> Result<Self> {
        let walk = Walk::new(model)?;
        let mut refused = Error::Unsupported("the graph has no outputs".into());
        for output in &walk.outputs {
            match walk.steps(output).and_then(|(columns, steps)| {
                let network = assemble(steps)?;
                Ok(Self { columns, output: (*output).to_owned(), ..network })
            }) {
                Ok(network) => return Ok(network),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// The values of a graph by name.
struct Walk<'a> {
    nodes: HashMap<&'a str, &'a NodeProto>,
    stored: HashMap<&'a str, &'a TensorProto>,
    inputs: HashMap<&'a str, Option<usize>>,
    outputs: Vec<&'a str>,
    model: &'a Model,
}

fn unsupported(node: &NodeProto, message: impl std::fmt::Display) -> Error {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    Error::Unsupported(format!(
        "node {} `{}`: {message}",
        qualified(&node.domain, &node.op_type),
        name.map_or("", String::as_str)
    ))
}

/// The values of an attribute.
fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn integer(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).and_then(|a| a.i).unwrap_or(default)
}

fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).and_then(|a| a.f).unwrap_or(default)
}

impl<'a> Walk<'a> {
    fn new(model: &'a Model) -> Result<Self> {
        let graph = model.graph()?;
        let mut walk = Self {
            nodes: HashMap::new(),
            stored: HashMap::new(),
            inputs: HashMap::new(),
            outputs: graph.output.iter().map(|port| port.name.as_str()).collect(),
            model,
        };
        for node in &graph.node {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                walk.nodes.insert(output, node);
            }
            let value = attribute(node, "value").and_then(|a| a.t.as_ref());
            if let ("Constant", Some(value), Some(name)) =
                (node.op_type.as_str(), value, node.output.first())
            {
                walk.stored.insert(name, value);
            }
        }
        walk.stored.extend(graph.initializer.iter().map(|t| (t.name.as_str(), t)));
        for (port, info) in model
            .inputs()
            .into_iter()
            .zip(graph.input.iter().filter(|info| !walk.stored.contains_key(info.name.as_str())))
        {
            let width = port.dims.as_deref().and_then(|dims| match dims {
                [_] => Some(1),
                [_, width] => *width,
                _ => None,
            });
            walk.inputs.insert(&info.name, width);
        }
        Ok(walk)
    }

    /// A stored tensor's shape and numbers.
    fn constant(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<f64>)>> {
        let mut name = name;
        for _ in 0..16 {
            if let Some(proto) = self.stored.get(name) {
                let tensor = Tensor::from_proto(proto, self.model.folder())?;
                let numbers = tensor.data().floats();
                return Ok(numbers.map(|numbers| (tensor.dims().to_vec(), numbers)));
            }
            // Some programs store a weight behind nodes that change nothing.
            match self.nodes.get(name) {
                Some(node) if matches!(node.op_type.as_str(), "Identity" | "Cast") => {
                    name = node.input.first().map_or("", String::as_str);
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The steps from the inputs to a value, and the names of the inputs where there are several.
    fn steps(&self, output: &str) -> Result<(Vec<String>, Vec<Step>)> {
        let mut steps = Vec::new();
        let mut value = output;
        for _ in 0..MOST_STEPS {
            if self.inputs.contains_key(value) {
                let columns =
                    if self.inputs.len() > 1 { vec![value.to_owned()] } else { Vec::new() };
                steps.reverse();
                return Ok((columns, steps));
            }
            let Some(node) = self.nodes.get(value) else {
                return Err(Error::Malformed(format!("nothing computes `{value}`")));
            };
            if node.op_type == "Concat" {
                steps.reverse();
                return Ok((self.columns(node)?, steps));
            }
            let (step, next) = self.step(node)?;
            steps.extend(step);
            value = next;
        }
        Err(Error::Unsupported(format!("more than {MOST_STEPS} nodes follow each other")))
    }

    /// The names of inputs that are joined to a row.
    fn columns(&self, node: &NodeProto) -> Result<Vec<String>> {
        let mut columns = Vec::new();
        let mut seen = HashSet::new();
        for name in &node.input {
            let mut value = name.as_str();
            for _ in 0..16 {
                match self.nodes.get(value) {
                    Some(node) if passes(node) => {
                        value = node.input.first().map_or("", String::as_str);
                    }
                    _ => break,
                }
            }
            let width = self.inputs.get(value).copied().flatten();
            let room = MOST_COLUMNS - columns.len();
            let width = width.filter(|&n| n <= room && seen.insert(value));
            let Some(width) = width else {
                let message = format!(
                    "it joins `{name}`, which is not an input of numbers of its own; such a network is not read"
                );
                return Err(unsupported(node, message));
            };
            match width {
                1 => columns.push(value.to_owned()),
                _ => columns.extend((0..width).map(|k| format!("{value}_{k}"))),
            }
        }
        Ok(columns)
    }

    /// What a node does, and the value it does it to.
    fn step(&self, node: &'a NodeProto) -> Result<(Option<Step>, &'a str)> {
        let x = node.input.first().map_or("", String::as_str);
        if passes(node) {
            return Ok((None, x));
        }
        if let Some((name, value)) = activation(node) {
            return Ok((Some(Step::Activation(name, value)), x));
        }
        let step = match node.op_type.as_str() {
            _ if !matches!(node.domain.as_str(), "" | "ai.onnx") => None,
            "Gemm" => Some(self.gemm(node)?),
            "MatMul" => {
                let (dims, w) = self.weight(node, 1)?;
                let &[inputs, outputs] = &dims[..] else {
                    return Err(unsupported(node, format!("its weight has the shape {dims:?}")));
                };
                let weight = transposed(&w, inputs, outputs);
                Some(Step::Linear { inputs, weight, bias: vec![0.0; outputs] })
            }
            "BatchNormalization" => {
                let mut parts = Vec::new();
                for i in 1..5 {
                    parts.push(self.weight(node, i)?.1);
                }
                let epsilon = f64::from(float(node, "epsilon", 1e-5));
                let [gamma, beta, mean, variance] = &parts[..] else { return Ok((None, x)) };
                if parts.iter().any(|part| part.len() != gamma.len()) {
                    return Err(unsupported(node, "its weights have different sizes"));
                }
                let s: Vec<f64> =
                    gamma.iter().zip(variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
                let t = (0..s.len()).map(|i| beta[i] - mean[i] * s[i]).collect();
                Some(Step::Affine(s, t))
            }
            "LayerNormalization" => {
                let epsilon = float(node, "epsilon", 1e-5);
                if epsilon != NORM_EPS {
                    let message =
                        format!("its epsilon is {epsilon:e}; layer norm has {NORM_EPS:e} here");
                    return Err(unsupported(node, message));
                }
                let gamma = self.weight(node, 1)?.1;
                let beta = match node.input.get(2) {
                    Some(name) if !name.is_empty() => self.weight(node, 2)?.1,
                    _ => vec![0.0; gamma.len()],
                };
                Some(Step::LayerNorm([gamma, beta]))
            }
            "Softmax" => Some(Step::Softmax),
            "Add" | "Sub" | "Mul" | "Div" => return self.arithmetic(node),
            _ => None,
        };
        match step {
            Some(step) => Ok((Some(step), x)),
            None => Err(unsupported(
                node,
                "it has no place in a network of linear layers, activations and norms",
            )),
        }
    }

    fn weight(&self, node: &NodeProto, i: usize) -> Result<(Vec<usize>, Vec<f64>)> {
        let name = node.input.get(i).map_or("", String::as_str);
        self.constant(name)?.ok_or_else(|| {
            unsupported(node, format!("its input `{name}` is computed, not a stored weight"))
        })
    }

    /// α x W + β b
    fn gemm(&self, node: &NodeProto) -> Result<Step> {
        let (dims, w) = self.weight(node, 1)?;
        let &[a, b] = &dims[..] else {
            return Err(unsupported(node, format!("its weight has the shape {dims:?}")));
        };
        if integer(node, "transA", 0) != 0 {
            return Err(unsupported(node, "it transposes its input"));
        }
        let (inputs, outputs, mut weight) = match integer(node, "transB", 0) {
            0 => (a, b, transposed(&w, a, b)),
            _ => (b, a, w),
        };
        let alpha = f64::from(float(node, "alpha", 1.0));
        for w in &mut weight {
            *w *= alpha;
        }
        let bias = match node.input.get(2) {
            Some(name) if !name.is_empty() => {
                let beta = f64::from(float(node, "beta", 1.0));
                let values = self.weight(node, 2)?.1;
                wide(&values, outputs)
                    .ok_or_else(|| unsupported(node, "its bias has another size than its weight"))?
                    .iter()
                    .map(|b| b * beta)
                    .collect()
            }
            _ => vec![0.0; outputs],
        };
        Ok(Step::Linear { inputs, weight, bias })
    }

    /// A sum or a product with stored numbers, or x σ(x).
    fn arithmetic(&self, node: &'a NodeProto) -> Result<(Option<Step>, &'a str)> {
        let [a, b] = &node.input[..] else {
            return Err(unsupported(node, "it has not two inputs"));
        };
        let gates = |x: &str, gate: &str| {
            self.nodes.get(gate).is_some_and(|g| {
                g.op_type == "Sigmoid" && g.input.first().is_some_and(|input| input == x)
            })
        };
        if node.op_type == "Mul" {
            for (x, gate) in [(a, b), (b, a)] {
                if gates(x, gate) {
                    return Ok((Some(Step::Activation("silu", None)), x));
                }
            }
        }
        let (x, (dims, k), behind) = match (self.constant(a)?, self.constant(b)?) {
            (None, Some(k)) => (a, k, true),
            (Some(k), None) => (b, k, false),
            _ => {
                let message = "it joins two computed values, as residual connections do; such a network is not read";
                return Err(unsupported(node, message));
            }
        };
        // One number for a row, or one for each of its numbers.
        if dims.iter().rev().skip(1).any(|&d| d != 1) {
            return Err(unsupported(node, format!("its numbers have the shape {dims:?}")));
        }
        let n = k.len();
        let (s, t) = match (node.op_type.as_str(), behind) {
            ("Add", _) => (vec![1.0; n], k),
            ("Sub", true) => (vec![1.0; n], k.iter().map(|k| -k).collect()),
            ("Sub", false) => (vec![-1.0; n], k),
            ("Mul", _) => (k, vec![0.0; n]),
            ("Div", true) => (k.iter().map(|k| 1.0 / k).collect(), vec![0.0; n]),
            _ => return Err(unsupported(node, "it divides by a computed value")),
        };
        Ok((Some(Step::Affine(s, t)), x))
    }
}

/// Whether a node gives its input, maybe in another shape or type.
fn passes(node: &NodeProto) -> bool {
    match node.op_type.as_str() {
        "Identity" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => true,
        "Cast" => DType::from_code(integer(node, "to", 0) as i32).is_some_and(DType::is_float),
        _ => false,
    }
}

/// An activation's name in recipes, with its slope or α.
fn activation(node: &NodeProto) -> Option<(&'static str, Option<f32>)> {
    let near =
        |name: &str, default: f32, value: f32| (float(node, name, default) - value).abs() < 1e-6;
    Some(match node.op_type.as_str() {
        "Relu" => ("relu", None),
        "Tanh" => ("tanh", None),
        "Sigmoid" => ("sigmoid", None),
        "Mish" => ("mish", None),
        "Softplus" => ("softplus", None),
        "HardSwish" => ("hard_swish", None),
        "Selu" => ("selu", None),
        "HardSigmoid" if near("alpha", 0.2, 1.0 / 6.0) && near("beta", 0.5, 0.5) => {
            ("hard_sigmoid", None)
        }
        "LeakyRelu" => ("leaky_relu", Some(float(node, "alpha", 0.01))),
        "Elu" => ("elu", Some(float(node, "alpha", 1.0))),
        "Swish" if near("alpha", 1.0, 1.0) => ("silu", None),
        "Gelu" => match attribute(node, "approximate").and_then(|a| a.s.as_deref()) {
            Some(b"tanh") => ("gelu_tanh", None),
            _ => ("gelu", None),
        },
        _ => return None,
    })
}

/// `[a, b]` as `[b, a]`.
fn transposed(w: &[f64], a: usize, b: usize) -> Vec<f64> {
    (0..a * b).map(|i| w[i % a * b + i / a]).collect()
}

/// One number for each of n.
fn wide(values: &[f64], n: usize) -> Option<Vec<f64>> {
    match values {
        [one] => Some(vec![*one; n]),
        values => (values.len() == n).then(|| values.to_vec()),
    }
}

/// Layers from steps: what is linear between them becomes part of a layer.
fn assemble(steps: Vec<Step>) -> Result<Network> {
    let refuse = |message: &str| Error::Unsupported(format!("as a feedforward network: {message}"));
    let sizes = || refuse("the sizes of its layers do not fit each other");
    let mut layers: Vec<NetworkLayer> = Vec::new();
    let mut activations: Vec<(&'static str, Option<f32>)> = Vec::new();
    // What is to become part of the next layer.
    let mut before: Vec<(Vec<f64>, Vec<f64>)> = Vec::new();
    let mut softmax = false;
    for step in steps {
        if softmax {
            return Err(refuse("something follows the softmax of its output"));
        }
        let inside = layers.len() > activations.len();
        match (step, layers.last_mut().filter(|_| inside)) {
            (Step::Linear { .. }, Some(_)) => {
                return Err(refuse("two linear layers follow each other without an activation"));
            }
            (Step::Linear { inputs, weight, bias }, None) => {
                if layers.last().is_some_and(|last| last.bias.len() != inputs) {
                    return Err(sizes());
                }
                let mut layer = NetworkLayer { inputs, weight, bias, norm: None };
                for (s, t) in before.drain(..).rev() {
                    layer.take_before(&s, &t).ok_or_else(sizes)?;
                }
                layers.push(layer);
            }
            (Step::Affine(s, t), Some(layer)) if layer.norm.is_none() => {
                layer.take_behind(&s, &t).ok_or_else(sizes)?;
            }
            (Step::Affine(s, t), None) => before.push((s, t)),
            (Step::Affine(..), Some(_)) => {
                return Err(refuse("a scaling follows a layer norm"));
            }
            (Step::LayerNorm(weights), Some(layer)) if layer.norm.is_none() => {
                if weights.iter().any(|part| part.len() != layer.bias.len()) {
                    return Err(sizes());
                }
                layer.norm = Some(weights);
            }
            (Step::LayerNorm(_), _) => {
                return Err(refuse(
                    "a layer norm stands elsewhere than between a layer and its activation",
                ));
            }
            (Step::Activation(name, value), Some(_)) => activations.push((name, value)),
            (Step::Activation(..), None) => {
                return Err(refuse("an activation stands elsewhere than behind a layer"));
            }
            (Step::Softmax, Some(_)) => softmax = true,
            (Step::Softmax, None) => {
                return Err(refuse("a softmax stands elsewhere than behind a layer"));
            }
        }
    }
    let Some(last) = layers.last() else { return Err(refuse("it has no linear layer")) };
    let head = if softmax {
        Head::Softmax
    } else if activations.len() == layers.len() {
        match activations.pop() {
            Some(("sigmoid", _)) if last.bias.len() == 1 => Head::Sigmoid,
            other => {
                let name = other.map_or("", |(name, _)| name);
                return Err(refuse(&format!("its output layer has the activation {name}")));
            }
        }
    } else {
        Head::None
    };
    if !before.is_empty() {
        return Err(refuse("its output is scaled behind an activation"));
    }
    let activation = activations.first().copied();
    if activations.iter().any(|one| Some(*one) != activation) {
        return Err(refuse("its hidden layers have different activations"));
    }
    let (hidden, output) = layers.split_at(layers.len() - 1);
    let normed = hidden.first().is_some_and(|layer| layer.norm.is_some());
    if hidden.iter().any(|layer| layer.norm.is_some() != normed) || output[0].norm.is_some() {
        return Err(refuse("only some of its layers have a layer norm"));
    }
    Ok(Network { columns: Vec::new(), layers, activation, head, output: String::new() })
}

impl NetworkLayer {
    /// The layer of x s + t.
    fn take_before(&mut self, s: &[f64], t: &[f64]) -> Option<()> {
        let (s, t) = (wide(s, self.inputs)?, wide(t, self.inputs)?);
        for (row, b) in self.weight.chunks_exact_mut(self.inputs.max(1)).zip(&mut self.bias) {
            *b += row.iter().zip(&t).map(|(w, t)| w * t).sum::<f64>();
            row.iter_mut().zip(&s).for_each(|(w, s)| *w *= s);
        }
        Some(())
    }

    /// The layer with s y + t of its outputs.
    fn take_behind(&mut self, s: &[f64], t: &[f64]) -> Option<()> {
        let (s, t) = (wide(s, self.bias.len())?, wide(t, self.bias.len())?);
        for (o, row) in self.weight.chunks_exact_mut(self.inputs.max(1)).enumerate() {
            for w in row.iter_mut() {
                *w *= s[o];
            }
            self.bias[o] = self.bias[o] * s[o] + t[o];
        }
        Some(())
    }
}
