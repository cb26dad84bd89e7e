//! Layers and operations of Keras as nodes: a file per family, with a row for each.

mod activation;
mod attention;
mod convolve;
mod core;
mod merge;
mod normalise;
mod operation;
mod preprocess;
mod shape;

use super::config::Config;
use super::store::Store;
use super::{Error, Result};
use crate::onnx::proto::AttributeProto;
use crate::onnx::{self, DType, Data, GraphBuilder, Tensor};
use serde_json::Value as Json;

/// A value of the graph: its name there, its type, and its shape, the batch first.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) dims: Vec<Option<usize>>,
}

/// What a layer is called with.
#[derive(Debug, Clone)]
pub(super) enum Argument {
    Tensor(Value),
    List(Vec<Self>),
    /// A constant, and whether its type is that of the values that it meets; `None` for null.
    Constant(Option<(Tensor, bool)>),
}

impl Argument {
    /// Collects the tensors.
    pub(super) fn tensors(self, all: &mut Vec<Value>) {
        match self {
            Self::Tensor(value) => all.push(value),
            Self::List(list) => list.into_iter().for_each(|argument| argument.tensors(all)),
            Self::Constant(_) => {}
        }
    }
}

/// A layer's name and what it does.
pub(super) type Row = (&'static str, fn(&mut Call<'_>) -> Result<Value>);

/// The layers, and operations among them.
static LAYERS: &[&[Row]] = &[
    activation::LAYERS,
    attention::LAYERS,
    convolve::LAYERS,
    core::LAYERS,
    merge::LAYERS,
    normalise::LAYERS,
    preprocess::LAYERS,
    shape::LAYERS,
];

/// Whether a layer is an operation of `keras.ops` in a functional model.
pub(super) fn is_operation(layer: &Json) -> bool {
    let module = layer["module"].as_str().unwrap_or_default();
    ["keras.src.ops", "keras.ops", "keras.src.activations"].iter().any(|m| module.starts_with(m))
}

/// The row of a layer.
///
/// # Errors
/// It is none of Keras' own that is evaluated.
pub(super) fn row(layer: &Json) -> Result<&'static Row> {
    let class = layer["class_name"].as_str().unwrap_or("?");
    let name = layer["config"]["name"].as_str().unwrap_or("?");
    let refuse = |why: &str| Err(Error::Unsupported(format!("layer `{name}` ({class}): {why}")));
    let module = layer["module"].as_str().unwrap_or("keras.layers");
    let registered = layer["registered_name"].as_str().unwrap_or_default();
    if class == "Lambda" {
        return refuse("a Lambda is Python code, which is never executed");
    }
    if !(module == "keras" || module.starts_with("keras.") || module == "builtins")
        || registered.contains('>')
    {
        return refuse(&format!("it is Python code of `{module}`, which is never executed"));
    }
    let found = if is_operation(layer) {
        operation::ROWS.iter().find(|(name, _)| *name == class)
    } else {
        LAYERS.iter().flat_map(|rows| rows.iter()).find(|(name, _)| *name == class)
    };
    match found {
        Some(row) => Ok(row),
        None => refuse("this version does not evaluate it"),
    }
}

/// The graph under construction.
#[derive(Debug)]
pub(super) struct Net {
    graph: GraphBuilder,
}

impl Net {
    pub(super) fn new(name: &str) -> Self {
        Self { graph: GraphBuilder::new(name) }
    }

    pub(super) fn build(mut self, version: &str) -> onnx::Model {
        self.graph.metadata("keras_version", version);
        self.graph.build()
    }

    /// An input of the graph: a row of numbers, shaped as the model takes it.
    pub(super) fn input(&mut self, name: &str, dtype: DType, shape: &Json) -> Result<Value> {
        let bad = || Error::Malformed(format!("input `{name}`: {shape} is no shape"));
        let dims = shape.as_array().filter(|dims| !dims.is_empty()).ok_or_else(bad)?;
        let dim = |d: &Json| match d {
            Json::Null => Some(None),
            d => d.as_u64().map(|d| Some(d as usize)),
        };
        let mut dims: Vec<Option<usize>> =
            dims.iter().map(dim).collect::<Option<_>>().ok_or_else(bad)?;
        // Rows come in any number, whatever batches the model was trained on.
        dims[0] = None;
        if dims.len() <= 2 {
            let name = self.graph.input(name, dtype, &dims, "");
            return Ok(Value { name, dtype, dims });
        }
        let inner: Vec<i64> = dims[1..]
            .iter()
            .map(|d| d.map(|d| d as i64))
            .collect::<Option<_>>()
            .ok_or_else(|| {
                Error::Unsupported(format!(
                    "input `{name}`: a shape of {shape} with several dimensions that vary is not evaluated"
                ))
            })?;
        let known: Vec<usize> = dims[1..].iter().filter_map(|d| *d).collect();
        let width = onnx::count(&known).map_err(|_| bad())?;
        let about = format!("a row of {inner:?}");
        let flat = self.graph.input(name, dtype, &[None, Some(width)], &about);
        let target: Vec<i64> = std::iter::once(-1).chain(inner).collect();
        let target = self.graph.constant("shape", &Tensor::vector(target));
        let name = self.graph.node("Reshape", &format!("{name}/shaped"), &[&flat, &target]);
        Ok(Value { name, dtype, dims })
    }

    /// An output of the graph: a number or a row of numbers.
    pub(super) fn output(&mut self, name: &str, value: &Value) {
        let mut from = value.name.clone();
        let mut dims = value.dims.clone();
        if dims.len() > 2 {
            let width = dims[1..].iter().copied().product::<Option<usize>>();
            let target = self.graph.constant("shape", &Tensor::vector(vec![0i64, -1]));
            from = self.graph.node("Reshape", &format!("{name}/row"), &[&from, &target]);
            dims = vec![dims[0], width];
        }
        let name = self.graph.node("Identity", name, &[&from]);
        self.graph.output(&name, value.dtype, &dims);
    }
}

/// A layer at work.
pub(super) struct Call<'a> {
    pub(super) net: &'a mut Net,
    pub(super) store: &'a Store,
    pub(super) name: String,
    /// Where its weights are.
    pub(super) place: String,
    pub(super) config: Config<'a>,
    pub(super) arguments: Vec<Argument>,
    /// Arguments by name.
    pub(super) options: Config<'a>,
    pub(super) steps: usize,
}

impl Call<'_> {
    /// Runs a row, and refuses what it did not ask for.
    pub(super) fn run(&mut self, (_, run): &Row) -> Result<Value> {
        // Inference is what is computed, whatever a call says of training.
        if self.options.flag("training", false).unwrap_or(true) {
            return Err(self.config.unsupported("it is called with training=True"));
        }
        self.options.what.clone_from(&self.config.what);
        let value = run(self)?;
        self.config.finish()?;
        self.options.finish()?;
        Ok(value)
    }

    /// Its only tensor.
    pub(super) fn input(&self) -> Result<Value> {
        let mut inputs = self.inputs();
        match inputs.len() {
            1 => Ok(inputs.swap_remove(0)),
            n => Err(self.config.unsupported(format!("it is called with {n} tensors"))),
        }
    }

    /// Its tensors.
    pub(super) fn inputs(&self) -> Vec<Value> {
        let mut all = Vec::new();
        self.arguments.iter().cloned().for_each(|argument| argument.tensors(&mut all));
        all
    }

    /// The type in which it computes.
    pub(super) fn float(&self) -> Result<DType> {
        match self.config.dtype()?.unwrap_or(DType::F32) {
            dtype @ (DType::F32 | DType::F64) => Ok(dtype),
            other => {
                let name = other.name();
                Err(self.config.unsupported(format!("computation in {name} is not evaluated")))
            }
        }
    }

    /// Its only tensor in the type of its computation.
    pub(super) fn float_input(&mut self) -> Result<Value> {
        let (x, dtype) = (self.input()?, self.float()?);
        Ok(self.cast(&x, dtype))
    }

    /// Its arrays, which must have these shapes.
    pub(super) fn weights(&self, shapes: &[&[usize]]) -> Result<Vec<Tensor>> {
        let found = self.store.variables(&self.place).map_err(|e| self.config.bad(e))?;
        let dims: Vec<&[usize]> = found.iter().map(Tensor::dims).collect();
        if dims != shapes {
            return Err(self
                .config
                .bad(format!("its weights should have the shapes {shapes:?}, found {dims:?}")));
        }
        Ok(found)
    }

    /// A step's name in the graph.
    fn step(&mut self) -> String {
        self.steps += 1;
        format!("{}/{}", self.name, self.steps)
    }

    /// A node; its output has the type and shape of the first input.
    pub(super) fn node(&mut self, operator: &str, inputs: &[&Value]) -> Value {
        self.node_with(operator, inputs, &[])
    }

    pub(super) fn node_with(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[AttributeProto],
    ) -> Value {
        let step = self.step();
        let names: Vec<&str> = inputs.iter().map(|value| value.name.as_str()).collect();
        let name = self.net.graph.node_with(operator, &step, &names, attributes);
        Value { name, ..inputs[0].clone() }
    }

    /// The same for an operator of classical machine learning.
    pub(super) fn ml_node(
        &mut self,
        operator: &str,
        x: &Value,
        dtype: DType,
        attributes: &[AttributeProto],
    ) -> Value {
        let step = self.step();
        let name = self.net.graph.ml_node(operator, &step, &[&x.name], attributes);
        Value { name, dtype, dims: x.dims.clone() }
    }

    /// A stored tensor.
    pub(super) fn constant(&mut self, tensor: &Tensor) -> Value {
        let step = self.step();
        let name = self.net.graph.constant(&step, tensor);
        let dims = tensor.dims().iter().map(|&d| Some(d)).collect();
        Value { name, dtype: tensor.dtype(), dims }
    }

    /// Numbers of a type.
    pub(super) fn numbers(
        &mut self,
        dtype: DType,
        dims: &[usize],
        values: Vec<f64>,
    ) -> Result<Value> {
        let data = dtype.numbers(values).unwrap_or(Data::F32(Vec::new()));
        Ok(self.constant(&Tensor::new(dims, data)?))
    }

    /// A number that broadcasts.
    pub(super) fn scalar(&mut self, dtype: DType, x: f64) -> Result<Value> {
        self.numbers(dtype, &[], vec![x])
    }

    /// Integers, for operators that take axes and shapes.
    pub(super) fn integers(&mut self, values: &[i64]) -> Value {
        self.constant(&Tensor::vector(values.to_vec()))
    }

    pub(super) fn cast(&mut self, x: &Value, to: DType) -> Value {
        if x.dtype == to {
            return x.clone();
        }
        let attribute = AttributeProto::int("to", i64::from(to.code()));
        Value { dtype: to, ..self.node_with("Cast", &[x], &[attribute]) }
    }

    /// A node of two values that broadcast.
    pub(super) fn binary(&mut self, operator: &str, a: &Value, b: &Value) -> Value {
        let dims = broadcast(&a.dims, &b.dims);
        Value { dims, ..self.node(operator, &[a, b]) }
    }

    /// The same with a number.
    pub(super) fn with(&mut self, operator: &str, a: &Value, b: f64) -> Result<Value> {
        let b = self.scalar(a.dtype, b)?;
        Ok(self.binary(operator, a, &b))
    }

    /// x W, of the last axis.
    pub(super) fn product(&mut self, x: &Value, w: &Value) -> Value {
        let mut y = self.node("MatMul", &[x, w]);
        if let (Some(last), Some(width)) = (y.dims.last_mut(), w.dims.last()) {
            *last = *width;
        }
        y
    }

    /// Reshapes; the batch is kept, and one size may be -1.
    pub(super) fn reshape(&mut self, x: &Value, inner: &[i64]) -> Result<Value> {
        let mut dims: Vec<Option<usize>> = inner.iter().map(|&d| usize::try_from(d).ok()).collect();
        let whole = x.dims[1..].iter().copied().product::<Option<usize>>();
        if let (Some(whole), Some(open)) = (whole, inner.iter().position(|&d| d < 0)) {
            let known: usize = dims.iter().flatten().product();
            dims[open] = Some(whole.checked_div(known).unwrap_or(0));
        }
        let mut target = vec![0i64];
        target.extend(dims.iter().map(|d| d.map_or(-1, |d| d as i64)));
        if target.iter().filter(|&&d| d < 0).count() > 1 {
            return Err(self.config.unsupported("it leaves more than one dimension open"));
        }
        let target = self.integers(&target);
        dims.insert(0, x.dims.first().copied().flatten());
        Ok(Value { dims, ..self.node("Reshape", &[x, &target]) })
    }

    /// Whole axes of a shape of so many dimensions.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let whole = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(whole).ok().filter(|&axis| axis < rank).ok_or_else(|| {
            self.config.bad(format!("there is no axis {axis} in a shape of {rank} dimensions"))
        })
    }

    /// A size that must be known.
    pub(super) fn width(&self, x: &Value, axis: usize) -> Result<usize> {
        x.dims.get(axis).copied().flatten().ok_or_else(|| {
            self.config.unsupported(format!("the size of the axis {axis} of its input is unknown"))
        })
    }

    /// A reduction of some axes.
    pub(super) fn reduce(
        &mut self,
        operator: &str,
        x: &Value,
        axes: &[usize],
        keep: bool,
    ) -> Value {
        let list: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let list = self.integers(&list);
        let attribute = AttributeProto::int("keepdims", i64::from(keep));
        let mut y = self.node_with(operator, &[x, &list], &[attribute]);
        let at = |(i, d): (usize, &Option<usize>)| match (axes.contains(&i), keep) {
            (false, _) => Some(*d),
            (true, true) => Some(Some(1)),
            (true, false) => None,
        };
        y.dims = x.dims.iter().enumerate().filter_map(at).collect();
        y
    }
}

/// The shape of an element-wise result.
pub(in crate::keras) fn broadcast(a: &[Option<usize>], b: &[Option<usize>]) -> Vec<Option<usize>> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut dims = long.to_vec();
    let skip = long.len() - short.len();
    for (d, other) in dims[skip..].iter_mut().zip(short) {
        *d = match (*d, *other) {
            (Some(1), other) => other,
            (None, Some(n)) if n > 1 => Some(n),
            (known, _) => known,
        };
    }
    dims
}

/// The type in which values of two types meet.
pub(super) fn joint(a: DType, b: DType) -> Option<DType> {
    let rank = |dtype: DType| {
        Some(match dtype {
            DType::Bool => 0,
            DType::U8 | DType::I8 => 1,
            DType::U16 | DType::I16 => 2,
            DType::U32 | DType::I32 => 3,
            DType::I64 => 4,
            DType::F32 => 5,
            DType::F64 => 6,
            _ => return None,
        })
    };
    if a == b {
        return Some(a);
    }
    let (low, high) = (rank(a)?.min(rank(b)?), rank(a)?.max(rank(b)?));
    // Integers with and without a sign meet in wider ones; no model needs them.
    if low == high {
        return None;
    }
    Some(if rank(a)? == high { a } else { b })
}
