//! The layers of transformers as nodes, by the names of their parameters.

use super::OnnxFile;
use crate::error::{Error, Result};
use crate::table::element_wise_node;
use ff_graph::Params;
use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, Data, GraphBuilder, Tensor};
use ff_ops::Activation;
use std::ops::Range;

/// A graph under construction, over the parameters of a model.
#[derive(Debug)]
pub(crate) struct Net<'a> {
    pub(crate) graph: GraphBuilder,
    params: &'a Params,
}

/// A normalisation of the last dimension.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Norm {
    /// Layer normalisation with this ε.
    Layer(f64),
    /// Root-mean-square normalisation with this ε, and what is added to its weights.
    Rms(f64, f64),
}

impl<'a> Net<'a> {
    pub(crate) fn new(graph: GraphBuilder, params: &'a Params) -> Self {
        Self { graph, params }
    }

    /// The layers of a file's graph, of which the parameters are the tensors.
    ///
    /// # Errors
    /// As [`OnnxFile::builder`].
    pub(crate) fn of(file: &OnnxFile, name: &str, params: &'a Params) -> Result<Self> {
        let bytes = params.infos().iter().map(|info| 4 * info.spec.shape.len() as u64).sum();
        Ok(Self::new(file.builder(name, bytes)?, params))
    }

    pub(crate) fn node(&mut self, operator: &str, name: &str, inputs: &[&str]) -> String {
        self.graph.node(operator, name, inputs)
    }

    pub(crate) fn with(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attribute: AttributeProto,
    ) -> String {
        self.graph.node_with(operator, name, inputs, &[attribute])
    }

    pub(crate) fn put(&mut self, name: &str, dims: &[usize], v: impl Into<Data>) -> Result<String> {
        Ok(self.graph.constant(name, &Tensor::new(dims, v)?))
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, value: f64) -> Result<String> {
        self.put(name, &[], vec![value as f32])
    }

    /// Integers, as shapes and axes are.
    pub(crate) fn whole(&mut self, name: &str, values: &[i64]) -> Result<String> {
        self.put(name, &[values.len()], values.to_vec())
    }

    pub(crate) fn cast(&mut self, x: &str, name: &str, to: DType) -> String {
        let to = AttributeProto::int("to", i64::from(to.code()));
        self.with("Cast", name, &[x], to)
    }

    /// The parts of the last dimension, of these widths.
    pub(crate) fn split(&mut self, x: &str, name: &str, widths: &[usize]) -> Result<Vec<String>> {
        let sizes: Vec<i64> = widths.iter().map(|&width| width as i64).collect();
        let sizes = self.whole(&format!("{name}/sizes"), &sizes)?;
        let last = [AttributeProto::int("axis", -1)];
        Ok(self.graph.nodes("Split", name, &[x, &sizes], &last, widths.len()))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.params.id(name).is_some()
    }

    /// A parameter's shape and values.
    pub(crate) fn values(&self, name: &str) -> Result<(&'a [usize], &'a [f32])> {
        let missing = || Error::usage(format!("the model has no tensor `{name}`"));
        let id = self.params.id(name).ok_or_else(missing)?;
        Ok((self.params.info(id).spec.shape.dims(), self.params.values::<f32>(id)?))
    }

    pub(crate) fn weight(&mut self, name: &str) -> Result<String> {
        let (dims, values) = self.values(name)?;
        self.put(name, dims, values.to_vec())
    }

    /// A table, and the row of it for each id.
    pub(crate) fn rows(&mut self, table: &str, ids: &str) -> Result<[String; 2]> {
        let rows = self.weight(&format!("{table}.weight"))?;
        let found = self.node("Gather", table, &[&rows, ids]);
        Ok([rows, found])
    }

    /// x Wᵀ of a weight `[out, in]` by its name.
    pub(crate) fn product(&mut self, x: &str, weight: &str) -> Result<String> {
        let (dims, w) = self.values(weight)?;
        let &[outputs, inputs] = dims else {
            return Err(Error::usage(format!("`{weight}` is no matrix")));
        };
        self.product_of(x, weight, w, [outputs, inputs])
    }

    /// x Wᵀ of a table of embeddings `[tokens, features]` that is in the graph, for the x of ids
    /// `[B, T]`: the table itself and not its transpose, so that a file holds it once.
    pub(crate) fn product_with_table(
        &mut self,
        x: &str,
        table: &str,
        ids: &str,
        [tokens, features]: [usize; 2],
    ) -> Result<String> {
        let rows = self.whole("logits/rows", &[-1, features as i64])?;
        let flat = self.node("Reshape", "logits/tokens", &[x, &rows]);
        let turned = AttributeProto::int("transB", 1);
        let y = self.with("Gemm", "logits/product", &[&flat, table], turned);
        let shape = self.node("Shape", "logits/batch", &[ids]);
        let tokens = self.whole("logits/vocabulary", &[tokens as i64])?;
        let first = AttributeProto::int("axis", 0);
        let shape = self.with("Concat", "logits/shape", &[&shape, &tokens], first);
        Ok(self.node("Reshape", "logits/by_token", &[&y, &shape]))
    }

    /// x Wᵀ of the values of a weight.
    pub(crate) fn product_of(
        &mut self,
        x: &str,
        name: &str,
        w: &[f32],
        [outputs, inputs]: [usize; 2],
    ) -> Result<String> {
        let turned = transposed(w, outputs, inputs);
        let w = self.put(&format!("{name}_transposed"), &[inputs, outputs], turned)?;
        Ok(self.node("MatMul", &format!("{name}/product"), &[x, &w]))
    }

    /// x Wᵀ + b
    pub(crate) fn linear(&mut self, x: &str, name: &str) -> Result<String> {
        let y = self.product(x, &format!("{name}.weight"))?;
        if !self.has(&format!("{name}.bias")) {
            return Ok(y);
        }
        let b = self.weight(&format!("{name}.bias"))?;
        Ok(self.node("Add", name, &[&y, &b]))
    }

    /// The same of some of the outputs, called `part`.
    pub(crate) fn linear_part(
        &mut self,
        x: &str,
        name: &str,
        rows: Range<usize>,
        part: &str,
    ) -> Result<String> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let (dims, w) = self.values(&weight)?;
        let inside = match dims {
            &[outputs, inputs] if rows.end <= outputs => {
                Some((&w[rows.start * inputs..rows.end * inputs], inputs))
            }
            _ => None,
        };
        let (w, inputs) = inside.ok_or_else(|| {
            Error::usage(format!("`{weight}` has no rows {} to {}", rows.start, rows.end))
        })?;
        let y = self.product_of(x, &format!("{weight}/{part}"), w, [rows.len(), inputs])?;
        if !self.has(&bias) {
            return Ok(y);
        }
        let (_, b) = self.values(&bias)?;
        let b = self.put(&format!("{bias}/{part}"), &[rows.len()], b[rows].to_vec())?;
        Ok(self.node("Add", &format!("{name}/{part}"), &[&y, &b]))
    }

    pub(crate) fn norm(&mut self, x: &str, name: &str, norm: Norm) -> Result<String> {
        let weight = format!("{name}.weight");
        match norm {
            Norm::Layer(eps) => {
                let mut inputs = vec![x.to_owned(), self.weight(&weight)?];
                if self.has(&format!("{name}.bias")) {
                    inputs.push(self.weight(&format!("{name}.bias"))?);
                }
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let attributes =
                    [AttributeProto::int("axis", -1), AttributeProto::float("epsilon", eps as f32)];
                Ok(self.graph.node_with("LayerNormalization", name, &inputs, &attributes))
            }
            Norm::Rms(eps, offset) => {
                let (dims, values) = self.values(&weight)?;
                let gains: Vec<f32> = values.iter().map(|w| w + offset as f32).collect();
                let gains = self.put(&weight, dims, gains)?;
                // The nodes in which runtimes recognise this norm.
                let of = |part: &str| format!("{name}/{part}");
                let two = self.number(&of("two"), 2.0)?;
                let square = self.node("Pow", &of("square"), &[x, &two]);
                let last = self.whole(&of("last"), &[-1])?;
                let mean = self.node("ReduceMean", &of("mean"), &[&square, &last]);
                let eps = self.number(&of("eps"), eps)?;
                let sum = self.node("Add", &of("above_zero"), &[&mean, &eps]);
                let root = self.node("Sqrt", &of("root"), &[&sum]);
                let y = self.node("Div", &of("unit"), &[x, &root]);
                Ok(self.node("Mul", name, &[&y, &gains]))
            }
        }
    }

    pub(crate) fn activation(&mut self, f: Activation, x: &str, name: &str) -> Result<String> {
        element_wise_node(&mut self.graph, f, x, name)
    }

    /// c tanh(x / c), a soft bound.
    pub(crate) fn soft_cap(&mut self, x: &str, cap: f64, name: &str) -> Result<String> {
        let bound = self.number(&format!("{name}/bound"), cap)?;
        let y = self.node("Div", &format!("{name}/of_bound"), &[x, &bound]);
        let y = self.node("Tanh", &format!("{name}/tanh"), &[&y]);
        Ok(self.node("Mul", name, &[&y, &bound]))
    }

    /// f(x W₁ᵀ + b₁) W₂ᵀ + b₂, or f of the gate times up; gate and up are one matrix of which each
    /// has `hidden` rows where up has no name.
    pub(crate) fn feedforward(
        &mut self,
        x: &str,
        [gate, up, down]: [&str; 3],
        gated: bool,
        hidden: usize,
        f: Activation,
    ) -> Result<String> {
        let of = |part: &str| format!("{down}/{part}");
        let h = if gated {
            let (z, u) = if up.is_empty() {
                let z = self.linear_part(x, gate, 0..hidden, "gate")?;
                (z, self.linear_part(x, gate, hidden..2 * hidden, "up")?)
            } else {
                (self.linear(x, gate)?, self.linear(x, up)?)
            };
            let z = self.activation(f, &z, &of("activation"))?;
            self.node("Mul", &of("gated"), &[&z, &u])
        } else {
            let z = self.linear(x, up)?;
            self.activation(f, &z, &of("activation"))?
        };
        self.linear(&h, down)
    }
}

/// `[cols, rows]` from `[rows, cols]`, by squares that fit the first-level cache.
fn transposed(from: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    const SIDE: usize = 32;
    let mut to = vec![0.0; from.len()];
    for i0 in (0..rows).step_by(SIDE) {
        for j0 in (0..cols).step_by(SIDE) {
            for i in i0..rows.min(i0 + SIDE) {
                for j in j0..cols.min(j0 + SIDE) {
                    to[j * rows + i] = from[i * cols + j];
                }
            }
        }
    }
    to
}

/// The largest difference, relative to the largest number or to 1; infinite for NaN.
pub(crate) fn gap(pairs: impl Iterator<Item = (f32, f32)>) -> f64 {
    let (mut largest, mut gap) = (1.0f64, 0.0f64);
    for (a, b) in pairs {
        let (a, d) = (f64::from(a), (f64::from(a) - f64::from(b)).abs());
        (largest, gap) =
            (largest.max(a.abs()), if d.is_nan() { f64::INFINITY } else { gap.max(d) });
    }
    gap / largest
}
