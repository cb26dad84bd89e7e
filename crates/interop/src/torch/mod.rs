//! PyTorch: a stack of layers saved by `torch.save` becomes an ONNX graph; nothing of it is
//! executed.

mod layers;

use crate::Foreign;
use crate::onnx::proto::AttributeProto;
use crate::onnx::{self, DType, Error, GraphBuilder, Result, Tensor};
use ff_formats::{StoredDType, StoredTensor, TensorFile, TorchModule, TorchSetting};
use std::path::Path;

/// A module as a graph, or the tensors of a state dict.
pub(crate) fn open(path: &Path) -> Result<Foreign> {
    let (module, tensors) = TorchModule::open(path)?;
    match module {
        Some(module) => Ok(Foreign::Graph(Box::new(to_onnx(&module, &tensors)?))),
        None => Ok(Foreign::Weights(weights(&tensors)?)),
    }
}

/// The tensors of a file, of every type.
fn weights(tensors: &TensorFile) -> Result<Vec<(String, Tensor)>> {
    let one = |entry: StoredTensor| {
        let dtype = DType::of_safetensors(&entry.dtype);
        let stored = tensors.raw(&entry.name);
        let data = dtype.zip(stored).and_then(|(dtype, stored)| onnx::raw(dtype, &stored.bytes));
        let data = data.ok_or_else(|| {
            Error::Unsupported(format!("tensor `{}`: {} is not read", entry.name, entry.dtype))
        })?;
        Ok((entry.name, Tensor::new(&entry.dims, data)?))
    };
    tensors.entries().map(one).collect()
}

/// The graph of a `torch.nn.Sequential` (or of one layer) over rows of numbers, as it computes
/// after `model.eval()`: an input `input` `[N, in]`, an output `output` `[N, out]`.
///
/// # Errors
/// [`Error::Unsupported`] for a layer or an option without a counterpart, by name;
/// [`Error::Malformed`] for layers that do not fit each other or their tensors.
pub fn to_onnx(module: &TorchModule, tensors: &TensorFile) -> Result<onnx::Model> {
    let stored = tensors.entries().map(|entry| tensors.dtype(&entry.name));
    let double = stored.flatten().any(|dtype| dtype == StoredDType::F64);
    let dtype = if double { DType::F64 } else { DType::F32 };
    let mut graph = GraphBuilder::new("model");
    let width = layers::in_features(module);
    let x = graph.input("input", dtype, &[None, width], "a row of numbers");
    let mut net = Net { graph, tensors, dtype, x, width };
    net.add(module, "")?;
    let Net { mut graph, x, width, .. } = net;
    let output = graph.node("Identity", "output", &[&x]);
    graph.output(&output, dtype, &[None, width]);
    Ok(graph.build())
}

const SEQUENTIAL: &str = "Sequential";

fn inside(name: &str, part: &str) -> String {
    if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") }
}

/// A graph under construction: its last value, and the numbers of a row there.
struct Net<'a> {
    graph: GraphBuilder,
    tensors: &'a TensorFile,
    dtype: DType,
    x: String,
    width: Option<usize>,
}

impl Net<'_> {
    fn add(&mut self, module: &TorchModule, name: &str) -> Result<()> {
        if module.class_name() == SEQUENTIAL {
            return module
                .parts
                .iter()
                .try_for_each(|(part, inner)| self.add(inner, &inside(name, part)));
        }
        let does = layers::row(module).ok_or_else(|| {
            let message = format!(
                "layer `{name}` ({}): only a torch.nn.Sequential of these layers is read: {}; export \
                 the model to ONNX with torch.onnx.export instead",
                module.class_name(),
                layers::names().join(", ")
            );
            Error::Unsupported(message)
        })?;
        does.run(&mut Layer { net: self, module, name })
    }
}

/// A layer at work.
struct Layer<'a, 'n> {
    net: &'a mut Net<'n>,
    module: &'a TorchModule,
    name: &'a str,
}

impl Layer<'_, '_> {
    /// Its name in the graph; a model of one layer has none for it.
    fn called(&self) -> &str {
        if self.name.is_empty() { "layer" } else { self.name }
    }

    fn label(&self) -> String {
        format!("layer `{}` ({})", self.called(), self.module.class_name())
    }

    fn unsupported(&self, message: &str) -> Error {
        Error::Unsupported(format!("{}: {message}", self.label()))
    }

    fn bad(&self, message: impl std::fmt::Display) -> Error {
        Error::Malformed(format!("{}: {message}", self.label()))
    }

    /// A setting that is a number.
    fn number(&self, key: &str) -> Result<f64> {
        match self.module.settings.get(key) {
            Some(TorchSetting::Number(x)) => Ok(*x),
            _ => Err(self.bad(format!("its `{key}` is no number"))),
        }
    }

    fn text(&self, key: &str) -> &str {
        match self.module.settings.get(key) {
            Some(TorchSetting::Text(text)) => text,
            _ => "",
        }
    }

    /// Checks the numbers of a row at its input.
    fn expect(&self, width: usize) -> Result<()> {
        match self.net.width {
            Some(found) if found != width => {
                Err(self.bad(format!("it takes {width} numbers a row, and gets {found}")))
            }
            _ => Ok(()),
        }
    }

    /// One of its tensors, which has this shape; `None` where it has none of the name.
    fn tensor(&mut self, name: &str, dims: &[usize]) -> Result<Option<String>> {
        let path = inside(self.name, name);
        let found = self.net.tensors;
        let Some(stored) = found.dims(&path) else { return Ok(None) };
        if stored != dims {
            return Err(self.bad(format!("its {name} has the shape {stored:?}, not {dims:?}")));
        }
        let tensor = match (found.dtype(&path), self.net.dtype) {
            (Some(StoredDType::F32), DType::F32) => Tensor::new(dims, found.f32(&path, dims)?)?,
            (Some(StoredDType::F64), DType::F64) => Tensor::new(dims, found.f64(&path)?)?,
            _ => {
                let message = format!(
                    "its {name} has another type than float32, or than the other layers; save \
                     model.float()"
                );
                return Err(self.unsupported(&message));
            }
        };
        Ok(Some(self.net.graph.constant(&path, &tensor)))
    }

    /// The same where the layer cannot do without.
    fn needed(&mut self, name: &str, dims: &[usize]) -> Result<String> {
        let tensor = self.tensor(name, dims)?;
        tensor.ok_or_else(|| self.bad(format!("it has no {name}")))
    }

    /// A stored number.
    fn scalar(&mut self, x: f64) -> Result<String> {
        let data = self.net.dtype.numbers(vec![x]);
        let data = data.ok_or_else(|| self.bad("its numbers are no floats"))?;
        Ok(self.net.graph.constant("number", &Tensor::new(&[], data)?))
    }

    /// A node on the last value and others, whose output is the new last value.
    fn node(&mut self, operator: &str, others: &[&str], attributes: &[AttributeProto]) {
        let x = self.net.x.clone();
        let inputs: Vec<&str> = std::iter::once(x.as_str()).chain(others.iter().copied()).collect();
        self.net.x = self.add(operator, &inputs, attributes);
    }

    /// A node on any values; gives its output.
    fn add(&mut self, operator: &str, inputs: &[&str], attributes: &[AttributeProto]) -> String {
        let name = self.called().to_owned();
        self.net.graph.node_with(operator, &name, inputs, attributes)
    }

    /// A node on the last value and a number.
    fn with(&mut self, operator: &str, x: f64) -> Result<()> {
        let x = self.scalar(x)?;
        self.node(operator, &[&x], &[]);
        Ok(())
    }
}
