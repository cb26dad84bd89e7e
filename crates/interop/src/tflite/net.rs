//! The graph under construction: tensors by their number, and what nodes are made of.

use super::dtype;
use crate::onnx::proto::AttributeProto;
use crate::onnx::{self, DType, Data, Error, GraphBuilder, Result};

/// The most bytes of all stored tensors: several may have the same bytes.
const MOST_WEIGHTS: usize = if cfg!(feature = "fuzzing") { 16 << 20 } else { 4 << 30 };

/// A tensor of the file.
#[derive(Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) code: u8,
    pub(super) dims: Vec<Option<usize>>,
    pub(super) bytes: &'a [u8],
    pub(super) variable: bool,
    pub(super) quantised: Option<Quantised>,
}

/// Integers that stand for numbers: scale (x − zero), for all or along an axis.
#[derive(Debug)]
pub(super) struct Quantised {
    pub(super) scales: Vec<f32>,
    pub(super) zeros: Vec<i64>,
    pub(super) axis: usize,
}

/// A value of the graph.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) dims: Vec<Option<usize>>,
}

pub(super) struct Net<'a> {
    graph: GraphBuilder,
    pub(super) tensors: Vec<Tensor<'a>>,
    values: Vec<Option<Value>>,
    read: usize,
}

impl<'a> Net<'a> {
    pub(super) fn new(name: &str, tensors: Vec<Tensor<'a>>) -> Self {
        let values = tensors.iter().map(|_| None).collect();
        let name = if name.is_empty() { "main" } else { name };
        Self { graph: GraphBuilder::new(name), tensors, values, read: 0 }
    }

    fn dtype(&self, i: usize) -> Result<DType> {
        let tensor = &self.tensors[i];
        dtype(tensor.code).ok_or_else(|| {
            Error::Unsupported(format!(
                "tensor `{}` has elements of type {}, which are not read",
                tensor.name, tensor.code
            ))
        })
    }

    pub(super) fn input(&mut self, i: usize, name: Option<&str>) -> Result<()> {
        let dtype = self.dtype(i)?;
        if self.tensors[i].quantised.is_some() {
            return Err(Error::Unsupported(format!(
                "the input `{}` takes quantised integers; convert the model with inputs of float32",
                self.tensors[i].name
            )));
        }
        let dims = self.tensors[i].dims.clone();
        let name = self.graph.input(name.unwrap_or(self.tensors[i].name), dtype, &dims, "");
        self.values[i] = Some(Value { name, dtype, dims });
        Ok(())
    }

    pub(super) fn output(&mut self, i: usize, name: Option<&str>) -> Result<()> {
        let value = self.value(i)?;
        let value = match name {
            Some(name) if name != value.name => {
                let renamed = self.graph.node("Identity", name, &[&value.name]);
                Value { name: renamed, ..value }
            }
            _ => value,
        };
        self.graph.output(&value.name, value.dtype, &value.dims);
        Ok(())
    }

    pub(super) fn build(self) -> onnx::Model {
        self.graph.build()
    }

    /// Whether a tensor is stored in the file.
    pub(super) fn stored(&self, i: usize) -> bool {
        let tensor = &self.tensors[i];
        let empty = tensor.dims.contains(&Some(0));
        self.values[i].is_none() && (!tensor.bytes.is_empty() || empty) && !tensor.variable
    }

    /// A stored tensor, in its stored type or, where it is quantised, as numbers.
    pub(super) fn constant(&mut self, i: usize) -> Result<onnx::Tensor> {
        let stored = self.dtype(i)?;
        let tensor = &self.tensors[i];
        let of = |message: String| Error::Malformed(format!("tensor `{}`: {message}", tensor.name));
        let dims: Option<Vec<usize>> = tensor.dims.iter().copied().collect();
        let dims = dims.ok_or_else(|| of("it is stored, and its shape varies".into()))?;
        self.read = self.read.saturating_add(tensor.bytes.len().saturating_mul(2));
        if self.read > MOST_WEIGHTS {
            return Err(of(format!(
                "its operators read more than {MOST_WEIGHTS} bytes of weights"
            )));
        }
        let n = onnx::count(&dims).map_err(of)?;
        let data = if stored == DType::Text { None } else { onnx::raw(stored, tensor.bytes) };
        let data = data.filter(|data| data.len() == n).ok_or_else(|| {
            let (bytes, name) = (tensor.bytes.len(), stored.name());
            of(format!("its {bytes} bytes are no {n} elements of type {name}"))
        })?;
        let data = match &tensor.quantised {
            // Biases and weights of quantised models.
            Some(q) if !stored.is_float() => {
                let wide = data.floats().unwrap_or_default();
                let axis = if q.scales.len() == 1 { None } else { Some(q.axis) };
                let (inner, size) = match axis {
                    None => (1, 1),
                    Some(axis) if dims.get(axis) == Some(&q.scales.len()) => {
                        (dims[axis + 1..].iter().product::<usize>().max(1), dims[axis])
                    }
                    Some(_) => return Err(of("its scales do not fit its shape".into())),
                };
                let number = |(at, x): (usize, f64)| {
                    let k = at / inner % size;
                    let zero = q.zeros.get(k).or(q.zeros.first()).copied().unwrap_or(0);
                    ((x - zero as f64) * f64::from(q.scales[k])) as f32
                };
                Data::F32(wide.into_iter().enumerate().map(number).collect())
            }
            _ => data,
        };
        onnx::Tensor::new(&dims, data)
    }

    /// A tensor of the file as a value.
    pub(super) fn value(&mut self, i: usize) -> Result<Value> {
        if let Some(value) = &self.values[i] {
            return Ok(value.clone());
        }
        let name = self.tensors[i].name;
        if !self.stored(i) {
            return Err(Error::Malformed(format!("nothing computes the tensor `{name}`")));
        }
        let tensor = self.constant(i)?;
        let value = self.put(name, &tensor);
        self.values[i] = Some(value.clone());
        Ok(value)
    }

    /// Says what computes a tensor.
    pub(super) fn set(&mut self, i: usize, value: Value) -> Result<()> {
        if self.values[i].is_some() || self.stored(i) {
            let name = self.tensors[i].name;
            return Err(Error::Malformed(format!("the tensor `{name}` is computed twice")));
        }
        self.values[i] = Some(Value { dims: self.tensors[i].dims.clone(), ..value });
        Ok(())
    }

    fn put(&mut self, name: &str, tensor: &onnx::Tensor) -> Value {
        let dims = tensor.dims().iter().map(|&d| Some(d)).collect();
        Value { name: self.graph.constant(name, tensor), dtype: tensor.dtype(), dims }
    }

    /// A stored value.
    pub(super) fn put_data(
        &mut self,
        name: &str,
        dims: &[usize],
        data: impl Into<Data>,
    ) -> Result<Value> {
        let tensor = onnx::Tensor::new(dims, data)?;
        Ok(self.put(name, &tensor))
    }

    /// A number of a value's type.
    pub(super) fn number(&mut self, dtype: DType, number: f64) -> Result<Value> {
        let data = dtype.numbers(vec![number]);
        let data = data.ok_or_else(|| Error::Unsupported("a text stands for a number".into()))?;
        self.put_data("number", &[], data)
    }

    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[AttributeProto],
    ) -> Value {
        let names: Vec<&str> = inputs.iter().map(|value| value.name.as_str()).collect();
        let name = self.graph.node_with(operator, &operator.to_lowercase(), &names, attributes);
        let first = inputs.first();
        Value {
            name,
            dtype: first.map_or(DType::F32, |value| value.dtype),
            dims: first.map_or_else(Vec::new, |value| value.dims.clone()),
        }
    }

    /// A node of several outputs.
    pub(super) fn nodes(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: &[AttributeProto],
        outputs: usize,
    ) -> Vec<Value> {
        let names: Vec<&str> = inputs.iter().map(|value| value.name.as_str()).collect();
        let own = self.graph.nodes(operator, &operator.to_lowercase(), &names, attributes, outputs);
        let dtype = inputs.first().map_or(DType::F32, |value| value.dtype);
        own.into_iter().map(|name| Value { name, dtype, dims: Vec::new() }).collect()
    }

    pub(super) fn cast(&mut self, x: &Value, to: DType) -> Value {
        if x.dtype == to {
            return x.clone();
        }
        let attribute = AttributeProto::int("to", i64::from(to.code()));
        Value { dtype: to, ..self.node("Cast", &[x], &[attribute]) }
    }
}
