//! Building models for export.

use super::Result;
use super::beside::Beside;
use super::data::DType;
use super::model::Model;
use super::proto::{
    AttributeProto, Dimension, Entry, GraphProto, ModelProto, NodeProto, OperatorSetId,
    TensorShape, TensorType, TypeProto, ValueInfo, kind,
};
use super::tensor::Tensor;
use std::collections::HashSet;
use std::path::Path;

/// The version of the file's format, which runtimes of 2024 and later read.
const IR_VERSION: i64 = 10;
/// The version of the operators.
const OPSET: i64 = 20;
/// The version of the operators of classical machine learning.
const ML_OPSET: i64 = 4;
/// Their domain.
pub(crate) const ML: &str = "ai.onnx.ml";
/// The domain of ONNX Runtime's own operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";

/// A graph under construction. Nodes are added in the order of their evaluation.
///
/// ```
/// use ff_interop::onnx::{DType, GraphBuilder};
/// let mut graph = GraphBuilder::new("negated");
/// let x = graph.input("x", DType::F32, &[None], "numbers");
/// let y = graph.node("Neg", "y", &[&x]);
/// graph.output(&y, DType::F32, &[None]);
/// assert_eq!(graph.build().summary().operators["Neg"], 1);
/// ```
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
    names: HashSet<String>,
    metadata: Vec<Entry>,
    /// The other domains of its nodes, with their versions.
    domains: Vec<OperatorSetId>,
    beside: Option<Beside>,
}

/// A dimension of an input or an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim<'a> {
    /// A size.
    Fixed(usize),
    /// One that varies, the same wherever it has this name.
    Open(&'a str),
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.into(), ..Default::default() }, ..Self::default() }
    }

    /// The same, whose stored tensors go to a new file once they take more than `limit` bytes, as
    /// they are made. The model's file belongs into the folder of that file.
    #[must_use]
    pub fn with_data_beside(self, data: &Path, limit: u64) -> Self {
        Self { beside: Some(Beside::new(data, limit)), ..self }
    }

    /// A name that is not taken.
    fn fresh(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut i = 1;
        while !self.names.insert(free.clone()) {
            free = format!("{name}_{i}");
            i += 1;
        }
        free
    }

    /// An input; a dimension without a size is `N`, behind the first `N1` and so on.
    pub fn input(
        &mut self,
        name: &str,
        dtype: DType,
        dims: &[Option<usize>],
        about: &str,
    ) -> String {
        let name = self.fresh(name);
        self.graph.input.push(port(&name, dtype, dims, about));
        name
    }

    /// An input whose open dimensions have names.
    pub fn input_of(&mut self, name: &str, dtype: DType, dims: &[Dim<'_>], about: &str) -> String {
        let name = self.fresh(name);
        self.graph.input.push(port_of(&name, dtype, dims, about));
        name
    }

    /// A stored tensor.
    pub fn constant(&mut self, name: &str, tensor: &Tensor) -> String {
        let name = self.fresh(name);
        match &mut self.beside {
            Some(beside) => beside.add(&name, tensor, &mut self.graph.initializer),
            None => self.graph.initializer.push(tensor.to_proto(&name)),
        }
        name
    }

    /// A node without attributes; gives the name of its output.
    pub fn node(&mut self, operator: &str, name: &str, inputs: &[&str]) -> String {
        self.node_with(operator, name, inputs, &[])
    }

    /// A node with attributes.
    pub fn node_with(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
    ) -> String {
        let output = self.fresh(name);
        self.push("", operator, inputs, &output, attributes);
        output
    }

    /// A node of several outputs; gives their names.
    pub fn nodes(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
        outputs: usize,
    ) -> Vec<String> {
        let names: Vec<String> = (0..outputs).map(|_| self.fresh(name)).collect();
        if let Some(first) = names.first() {
            self.push("", operator, inputs, first, attributes);
        }
        if let Some(node) = self.graph.node.last_mut().filter(|_| outputs > 0) {
            node.output.clone_from(&names);
        }
        names
    }

    /// A node of `ai.onnx.ml`.
    pub fn ml_node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
    ) -> String {
        self.node_of((ML, ML_OPSET), operator, name, inputs, attributes)
    }

    /// A node of ONNX Runtime's own operators, `com.microsoft`, with the type and the number of
    /// dimensions of its output: the standard's checker does not know them.
    pub fn runtime_node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
        (dtype, rank): (DType, usize),
    ) -> String {
        let output = self.node_of((MICROSOFT, 1), operator, name, inputs, attributes);
        let shape = Some(TensorShape { dim: vec![Dimension::default(); rank] });
        let tensor_type = Some(TensorType { elem_type: dtype.code(), shape });
        self.graph.value_info.push(ValueInfo {
            name: output.clone(),
            r#type: Some(TypeProto { tensor_type }),
            doc_string: String::new(),
        });
        output
    }

    fn node_of(
        &mut self,
        (domain, version): (&str, i64),
        operator: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
    ) -> String {
        if !self.domains.iter().any(|set| set.domain == domain) {
            self.domains.push(OperatorSetId { domain: domain.into(), version });
        }
        let output = self.fresh(name);
        self.push(domain, operator, inputs, &output, attributes);
        output
    }

    fn push(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[AttributeProto],
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("{operator}/{output}"),
            op_type: operator.into(),
            domain: domain.into(),
            attribute: attributes.to_vec(),
        });
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, dtype: DType, dims: &[Option<usize>]) {
        self.graph.output.push(port(name, dtype, dims, ""));
    }

    /// An output whose open dimensions have names.
    pub fn output_of(&mut self, name: &str, dtype: DType, dims: &[Dim<'_>]) {
        self.graph.output.push(port_of(name, dtype, dims, ""));
    }

    /// An entry of the metadata.
    pub fn metadata(&mut self, key: &str, value: impl Into<String>) {
        self.metadata.push(Entry { key: key.into(), value: value.into() });
    }

    /// The model, and whether tensors of it are in the file beside it.
    ///
    /// # Errors
    /// That file could not be written.
    pub fn finish(mut self) -> Result<(Model, bool)> {
        let beside = self.beside.take().map_or(Ok(false), Beside::finish)?;
        Ok((self.build(), beside))
    }

    /// The model, where all of it is in memory.
    pub fn build(self) -> Model {
        let mut opset_import = vec![OperatorSetId { domain: String::new(), version: OPSET }];
        opset_import.extend(self.domains);
        Model::from_proto(ModelProto {
            ir_version: IR_VERSION,
            producer_name: "feedforward".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import,
            metadata_props: self.metadata,
            ..ModelProto::default()
        })
    }
}

fn port(name: &str, dtype: DType, dims: &[Option<usize>], about: &str) -> ValueInfo {
    let open = |at: usize| if at == 0 { "N".into() } else { format!("N{at}") };
    let names: Vec<String> = (0..dims.len()).map(open).collect();
    let dims: Vec<Dim<'_>> =
        dims.iter().zip(&names).map(|(d, name)| d.map_or(Dim::Open(name), Dim::Fixed)).collect();
    port_of(name, dtype, &dims, about)
}

fn port_of(name: &str, dtype: DType, dims: &[Dim<'_>], about: &str) -> ValueInfo {
    let dim = |dim: &Dim<'_>| match *dim {
        Dim::Fixed(d) => Dimension { value: Some(d as i64), param: None },
        Dim::Open(name) => Dimension { value: None, param: Some(name.into()) },
    };
    let dim = dims.iter().map(dim).collect();
    let tensor_type =
        Some(TensorType { elem_type: dtype.code(), shape: Some(TensorShape { dim }) });
    ValueInfo {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type }),
        doc_string: about.into(),
    }
}

impl AttributeProto {
    fn named(name: &str, r#type: i32) -> Self {
        Self { name: name.into(), r#type, ..Self::default() }
    }

    /// An integer.
    pub fn int(name: &str, i: i64) -> Self {
        Self { i: Some(i), ..Self::named(name, kind::INT) }
    }

    /// A number.
    pub fn float(name: &str, f: f32) -> Self {
        Self { f: Some(f), ..Self::named(name, kind::FLOAT) }
    }

    /// A text.
    pub fn text(name: &str, s: &str) -> Self {
        Self { s: Some(s.into()), ..Self::named(name, kind::STRING) }
    }

    /// Integers.
    pub fn list(name: &str, ints: &[i64]) -> Self {
        Self { ints: ints.to_vec(), ..Self::named(name, kind::INTS) }
    }

    /// Texts.
    pub fn texts(name: &str, strings: Vec<String>) -> Self {
        let strings = strings.into_iter().map(String::into_bytes).collect();
        Self { strings, ..Self::named(name, kind::STRINGS) }
    }

    /// A tensor.
    pub fn tensor(name: &str, tensor: &Tensor) -> Self {
        Self { t: Some(tensor.to_proto("")), ..Self::named(name, kind::TENSOR) }
    }
}
