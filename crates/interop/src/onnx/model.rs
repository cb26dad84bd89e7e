//! A model as a file, and what is in it.

use super::data::DType;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfo};
use super::tensor::Tensor;
use super::{Error, Result};
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// The most messages in a model: operators, attributes, tensors and their like.
const MOST_PARTS: usize = 4_000_000;

/// The largest file, the bound of protobuf itself.
const MOST_BYTES: u64 = 1 << 31;

/// A model as it was read or built.
///
/// ```
/// assert!(ff_interop::onnx::Model::open("no/such/file.onnx".as_ref()).is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    proto: ModelProto,
    folder: Option<PathBuf>,
}

/// An input or an output of a model.
///
/// ```
/// let port = ff_interop::onnx::Port::default();
/// assert_eq!((port.name.as_str(), port.dtype), ("", None));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its elements; `None` for what is no tensor of a type that this version reads.
    pub dtype: Option<DType>,
    /// Its shape, `None` for a dimension that varies; `None` where none is stated.
    pub dims: Option<Vec<Option<usize>>>,
    /// What the model says of it.
    pub about: String,
}

impl Port {
    fn of(info: &ValueInfo) -> Self {
        let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let dims = tensor.and_then(|t| t.shape.as_ref()).map(|shape| {
            let size = |value: Option<i64>| value.and_then(|d| usize::try_from(d).ok());
            shape.dim.iter().map(|dim| size(dim.value)).collect()
        });
        let dtype = tensor.and_then(|t| DType::from_code(t.elem_type));
        Self { name: info.name.clone(), dtype, dims, about: info.doc_string.clone() }
    }

    /// Type and shape in words: `double [?, 1]`.
    pub fn kind(&self) -> String {
        let name = self.dtype.map_or("another type", DType::name);
        let Some(dims) = &self.dims else { return name.into() };
        let size = |d: &Option<usize>| d.map_or("?".into(), |d| d.to_string());
        format!("{name} [{}]", dims.iter().map(size).collect::<Vec<_>>().join(", "))
    }
}

/// What is in a model.
///
/// ```
/// let summary = ff_interop::onnx::Summary::default();
/// assert!(summary.operators.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// The version of the file's format.
    pub ir_version: i64,
    /// The version of each set of operators.
    pub opsets: Vec<(String, i64)>,
    /// The program that wrote it, and its version.
    pub producer: String,
    /// The inputs, without those that have a value in the file.
    pub inputs: Vec<Port>,
    /// The outputs.
    pub outputs: Vec<Port>,
    /// How often each operator is used, those of subgraphs included.
    pub operators: BTreeMap<String, usize>,
    /// The stored tensors: name, type, shape.
    pub tensors: Vec<(String, String, Vec<usize>)>,
    /// What the model says of itself.
    pub metadata: Vec<(String, String)>,
}

impl Model {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no ONNX model.
    pub fn open(path: &Path) -> Result<Self> {
        let io = ff_formats::Error::io(path, "reading");
        let size = std::fs::metadata(path).map_err(&io)?.len();
        if size > MOST_BYTES {
            let message = format!(
                "it has {size} bytes; a model beyond 2 GiB keeps its tensors in other files"
            );
            return Err(Error::Malformed(message));
        }
        let mut model = Self::from_bytes(&std::fs::read(path).map_err(&io)?)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        model.folder = Some(folder.unwrap_or(Path::new(".")).to_owned());
        Ok(model)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// They are no ONNX model.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = |message: String| Error::Malformed(format!("this is no ONNX model: {message}"));
        check_parts(bytes).map_err(bad)?;
        let proto =
            ModelProto::decode(bytes).map_err(|e| bad(format!("its protobuf is damaged ({e})")))?;
        if proto.graph.is_none() {
            return Err(bad("it has no graph, or is another kind of protobuf file".into()));
        }
        Ok(Self { proto, folder: None })
    }

    /// The same model with the tensors of other files in it.
    ///
    /// # Errors
    /// Such a file cannot be read, lies outside of the model's folder, or holds something else.
    pub fn with_its_data(mut self) -> Result<Self> {
        let folder = self.folder.clone();
        if let Some(graph) = &mut self.proto.graph {
            take_data(graph, folder.as_deref())?;
        }
        Ok(self)
    }

    pub(crate) fn from_proto(proto: ModelProto) -> Self {
        Self { proto, folder: None }
    }

    /// The bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// The messages.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    pub(crate) fn graph(&self) -> Result<&GraphProto> {
        self.proto.graph.as_ref().ok_or_else(|| Error::Malformed("the model has no graph".into()))
    }

    /// The folder of external data.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The inputs that have no value in the file.
    pub fn inputs(&self) -> Vec<Port> {
        let Some(graph) = &self.proto.graph else { return Vec::new() };
        let stored: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        graph
            .input
            .iter()
            .filter(|info| !stored.contains(info.name.as_str()))
            .map(Port::of)
            .collect()
    }

    /// The outputs.
    pub fn outputs(&self) -> Vec<Port> {
        self.proto.graph.iter().flat_map(|graph| &graph.output).map(Port::of).collect()
    }

    /// The value of a key of the metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let entry = self.proto.metadata_props.iter().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    /// What is in it.
    pub fn summary(&self) -> Summary {
        let proto = &self.proto;
        let mut operators = BTreeMap::new();
        let mut tensors = Vec::new();
        if let Some(graph) = &proto.graph {
            tally(&graph.node, &mut operators);
            tensors = graph
                .initializer
                .iter()
                .map(|t| {
                    let name = DType::from_code(t.data_type)
                        .map_or_else(|| format!("type {}", t.data_type), |d| d.name().into());
                    (
                        t.name.clone(),
                        name,
                        t.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect(),
                    )
                })
                .collect();
        }
        for function in &proto.functions {
            tally(&function.node, &mut operators);
        }
        Summary {
            ir_version: proto.ir_version,
            opsets: proto
                .opset_import
                .iter()
                .map(|set| (set.domain.clone(), set.version))
                .collect(),
            producer: format!("{} {}", proto.producer_name, proto.producer_version).trim().into(),
            inputs: self.inputs(),
            outputs: self.outputs(),
            operators,
            tensors,
            metadata: proto
                .metadata_props
                .iter()
                .map(|e| (e.key.clone(), e.value.clone()))
                .collect(),
        }
    }
}

/// Reads what lies in other files into a graph and the graphs within it.
fn take_data(graph: &mut GraphProto, folder: Option<&Path>) -> Result<()> {
    let own = graph.initializer.iter_mut();
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let mut inner = Vec::new();
    let mut values = Vec::new();
    for attribute in attributes {
        values.extend(&mut attribute.t);
        inner.extend(&mut attribute.g);
    }
    for tensor in own.chain(values).filter(|tensor| tensor.data_location == 1) {
        *tensor = Tensor::from_proto(tensor, folder)?.to_proto(&tensor.name.clone());
    }
    inner.into_iter().try_for_each(|graph| take_data(graph, folder))
}

fn tally(nodes: &[NodeProto], operators: &mut BTreeMap<String, usize>) {
    for node in nodes {
        *operators.entry(qualified(&node.domain, &node.op_type)).or_insert(0) += 1;
        for graph in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
            tally(&graph.node, operators);
        }
    }
}

/// An operator's name, with its domain where that is not the standard's.
pub(super) fn qualified(domain: &str, name: &str) -> String {
    if domain.is_empty() || domain == "ai.onnx" { name.into() } else { format!("{domain}.{name}") }
}

impl Tensor {
    /// Reads the bytes of a `TensorProto`.
    ///
    /// # Errors
    /// They are none, or of a type that this version does not read.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let proto = super::proto::TensorProto::decode(bytes)
            .map_err(|e| Error::Malformed(format!("this is no tensor: {e}")))?;
        Self::from_proto(&proto, None)
    }
}

/// Counts the parts of a message without decoding it: a few bytes of it may become a few hundred in
/// memory.
///
/// # Errors
/// There are more than [`MOST_PARTS`], or a length exceeds the file.
fn check_parts(bytes: &[u8]) -> Result<(), String> {
    // Every field counts, whatever it is: two bytes at least.
    let mut parts = 0;
    let mut open = vec![bytes];
    while let Some(mut rest) = open.pop() {
        while !rest.is_empty() {
            let Some(((key, kind), value, behind)) = field(rest) else { break };
            rest = behind;
            parts += 1;
            if parts > MOST_PARTS {
                return Err(format!("it has more than {MOST_PARTS} parts"));
            }
            // Messages are fields with a length; large ones are arrays or texts of tensors, which
            // have no parts.
            if kind == 2
                && key != 9
                && value.len() > 1
                && open.len() < 64
                && looks_like_message(value)
            {
                open.push(value);
            }
        }
    }
    Ok(())
}

/// Whether bytes begin like a message: a field with a number of `onnx.proto` and a sound length.
fn looks_like_message(bytes: &[u8]) -> bool {
    field(bytes).is_some_and(|((key, kind), _, _)| key <= 26 && matches!(kind, 0 | 1 | 2 | 5))
}

/// The first field: number and wire type, the bytes of its value, and those behind it.
#[allow(clippy::type_complexity)]
fn field(bytes: &[u8]) -> Option<((u64, u64), &[u8], &[u8])> {
    let (key, rest) = varint(bytes)?;
    let (kind, key) = (key & 7, key >> 3);
    if key == 0 {
        return None;
    }
    let length = match kind {
        0 => rest.len() - varint(rest)?.1.len(),
        1 => 8,
        5 => 4,
        2 => {
            let (length, rest) = varint(rest)?;
            let (value, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            return Some(((key, kind), value, behind));
        }
        _ => return None,
    };
    let (value, behind) = rest.split_at_checked(length)?;
    Some(((key, kind), value, behind))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i).min(63);
        if byte < 0x80 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}
