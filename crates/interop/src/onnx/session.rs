//! Evaluating a graph: checked once, then run on inputs.

use super::data::DType;
use super::model::{Model, Port, qualified};
use super::ops::{self, Operator};
use super::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, kind};
use super::tensor::Tensor;
use super::{Error, Result};
use ff_tensor::{CpuDevice, Device};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The versions of operators that are evaluated.
const OPSETS: std::ops::RangeInclusive<i64> = 6..=28;

/// The bytes of all values that are held at one time.
const MEMORY: usize = 8 << 30;

/// A model ready to run: operators, attributes, types and the order of nodes are checked.
///
/// ```
/// use ff_interop::onnx::{Model, Session};
/// // No graph, no session.
/// assert!(Model::from_bytes(&[]).and_then(Session::new).is_err());
/// ```
#[derive(Debug)]
pub struct Session {
    model: Model,
    plan: Plan,
    device: Device,
    memory: usize,
}

/// A graph whose values have numbers.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    names: Vec<String>,
    nodes: Vec<Node>,
    constants: Vec<(usize, Arc<Tensor>)>,
    pub(crate) inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Values of the graph around this one: their number there and here.
    captured: Vec<(usize, usize)>,
}

/// A node with its operator.
#[derive(Debug)]
pub(crate) struct Node {
    label: String,
    operator: &'static Operator,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
    pub(crate) attributes: HashMap<String, Attribute>,
    opset: i64,
    /// Values that no later node reads.
    done: Vec<usize>,
}

/// The value of an attribute.
#[derive(Debug)]
pub(crate) enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Arc<Tensor>),
    Graph(Box<Plan>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

/// A node at work: its inputs, its attributes, and what is around it.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Node,
    inputs: &'a [Option<Arc<Tensor>>],
    outer: &'a [Option<Arc<Tensor>>],
    run: &'a Run<'a>,
}

/// What all nodes share.
struct Run<'a> {
    device: &'a Device,
    memory: usize,
}

/// Begins the message of an operator that meets what this version does not evaluate.
pub(crate) const UNSUPPORTED: &str = "unsupported: ";

/// The attributes that name a type of elements.
const TYPES: [&str; 3] = ["dtype", "output_dtype", "to"];

/// The output of a node, or what is wrong.
pub(crate) type Outcome = Result<Vec<Tensor>, String>;

impl Session {
    /// Checks a model.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an operator, an attribute or a type that is not evaluated;
    /// [`Error::Malformed`] for a graph that is none.
    pub fn new(model: Model) -> Result<Self> {
        Self::on(model, &Device::default())
    }

    /// The same on a device.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn on(model: Model, device: &Device) -> Result<Self> {
        let proto = model.proto();
        let mut compiler = Compiler {
            opsets: proto
                .opset_import
                .iter()
                .map(|set| (plain(&set.domain), set.version))
                .collect(),
            functions: proto
                .functions
                .iter()
                .map(|f| ((plain(&f.domain), f.name.as_str()), f))
                .collect(),
            folder: model.folder(),
            bytes: 0,
            depth: 0,
        };
        let plan = compiler.graph(model.graph()?, None)?;
        Ok(Self { plan, device: device.clone(), memory: MEMORY, model })
    }

    /// The same with another bound of the bytes of values held at one time; 8 GiB by default.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Evaluates the graph on inputs by name; gives the outputs in the model's order.
    ///
    /// # Errors
    /// [`Error::Input`] for an input that is missing, unknown, or of another type or shape;
    /// [`Error::Node`] for a node whose inputs do not go together.
    pub fn run(&self, inputs: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
        let ports: Vec<Port> = self.model.inputs();
        let mut given: HashMap<String, Tensor> = inputs.into_iter().collect();
        let mut first = Vec::with_capacity(ports.len());
        for port in &ports {
            let tensor = given.remove(&port.name).ok_or_else(|| {
                Error::Input(format!("input `{}` ({}) is missing", port.name, port.kind()))
            })?;
            check_input(port, &tensor)?;
            first.push((port.name.as_str(), Arc::new(tensor)));
        }
        let mut values: Vec<Option<Arc<Tensor>>> = vec![None; self.plan.names.len()];
        for (&slot, name) in self.plan.inputs.iter().zip(self.model.graph()?.input.iter()) {
            if let Some((_, tensor)) = first.iter().find(|(port, _)| *port == name.name) {
                values[slot] = Some(tensor.clone());
            } else if let Some(tensor) = given.remove(&name.name) {
                values[slot] = Some(Arc::new(tensor));
            }
        }
        if let Some(name) = given.keys().next() {
            let names: Vec<_> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
            return Err(Error::Input(format!(
                "the model has no input `{name}`; its inputs are {}",
                names.join(", ")
            )));
        }
        let run = Run { device: &self.device, memory: self.memory };
        let outputs = self.plan.evaluate(values, &run)?;
        let names = self.plan.outputs.iter().map(|&slot| self.plan.names[slot].clone());
        let own = |tensor: Arc<Tensor>| Arc::unwrap_or_clone(tensor);
        Ok(names.zip(outputs.into_iter().map(own)).collect())
    }
}

fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn check_input(port: &Port, tensor: &Tensor) -> Result<()> {
    let fits = port.dtype.is_none_or(|dtype| dtype == tensor.dtype())
        && port.dims.as_ref().is_none_or(|dims| {
            dims.len() == tensor.dims().len()
                && dims.iter().zip(tensor.dims()).all(|(d, &found)| d.is_none_or(|d| d == found))
        });
    if fits {
        return Ok(());
    }
    Err(Error::Input(format!(
        "input `{}` should be {}, found {} {:?}",
        port.name,
        port.kind(),
        tensor.dtype().name(),
        tensor.dims()
    )))
}

impl Plan {
    fn evaluate(
        &self,
        mut values: Vec<Option<Arc<Tensor>>>,
        run: &Run<'_>,
    ) -> Result<Vec<Arc<Tensor>>> {
        for (slot, tensor) in &self.constants {
            if values[*slot].is_none() {
                values[*slot] = Some(tensor.clone());
            }
        }
        let mut held = 0usize;
        for node in &self.nodes {
            let fail = |message: String| match message.strip_prefix(UNSUPPORTED) {
                Some(what) => Error::Unsupported(format!("node {}: {what}", node.label)),
                None => Error::Node { node: node.label.clone(), message },
            };
            let inputs: Vec<Option<Arc<Tensor>>> =
                node.inputs.iter().map(|slot| slot.and_then(|slot| values[slot].clone())).collect();
            let call = Call { node, inputs: &inputs, outer: &values, run };
            let outputs = (node.operator.run)(&call).map_err(fail)?;
            if outputs.len() < node.outputs.iter().rposition(Option::is_some).map_or(0, |at| at + 1)
            {
                let n = outputs.len();
                return Err(Error::Unsupported(format!(
                    "node {}: this version computes {n} of its {} outputs",
                    node.label,
                    node.outputs.len()
                )));
            }
            for (slot, tensor) in node.outputs.iter().zip(outputs) {
                if let Some(slot) = *slot {
                    held = held.saturating_add(tensor.data().bytes());
                    values[slot] = Some(Arc::new(tensor));
                }
            }
            if held > run.memory {
                return Err(fail(format!(
                    "the values of the graph take more than {} bytes; run fewer rows at a time",
                    run.memory
                )));
            }
            for &slot in &node.done {
                if let Some(tensor) = values[slot].take() {
                    held = held.saturating_sub(tensor.data().bytes());
                }
            }
        }
        let output = |&slot: &usize| {
            values[slot].clone().ok_or_else(|| {
                Error::Malformed(format!("nothing computes the output `{}`", self.names[slot]))
            })
        };
        self.outputs.iter().map(output).collect()
    }
}

/// Turns graphs into plans.
struct Compiler<'a> {
    opsets: HashMap<&'a str, i64>,
    functions: HashMap<(&'a str, &'a str), &'a FunctionProto>,
    folder: Option<&'a Path>,
    /// Of stored tensors so far.
    bytes: usize,
    depth: usize,
}

/// Names around a graph: the plan that is being made there.
struct Scope<'a> {
    slots: HashMap<String, usize>,
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn has(&self, name: &str) -> bool {
        self.slots.contains_key(name) || self.outer.is_some_and(|outer| outer.has(name))
    }
}

impl Plan {
    fn slot(&mut self, scope: &mut Scope<'_>, name: &str) -> usize {
        *scope.slots.entry(name.to_owned()).or_insert_with(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

impl<'a> Compiler<'a> {
    fn graph(
        &mut self,
        graph: &'a GraphProto,
        outer: Option<&mut (Plan, Scope<'_>)>,
    ) -> Result<Plan> {
        if !graph.sparse_initializer.is_empty() {
            return Err(Error::Unsupported(
                "the graph has sparse tensors, which this version does not read".into(),
            ));
        }
        let (mut around, outer_scope) = outer.map(|(plan, scope)| (plan, scope)).unzip();
        let mut plan = Plan::default();
        let mut scope = Scope { slots: HashMap::new(), outer: outer_scope.as_deref() };
        let define = |plan: &mut Plan, scope: &mut Scope<'_>, name: &str| {
            if scope.slots.contains_key(name) {
                return Err(Error::Malformed(format!("the value `{name}` is defined twice")));
            }
            Ok(plan.slot(scope, name))
        };
        for info in &graph.input {
            if info.r#type.as_ref().is_some_and(|kind| kind.tensor_type.is_none()) {
                let message = format!(
                    "the input `{}` is no tensor, and others are not evaluated by this version",
                    info.name
                );
                return Err(Error::Unsupported(message));
            }
            let slot = define(&mut plan, &mut scope, &info.name)?;
            plan.inputs.push(slot);
        }
        for proto in &graph.initializer {
            let tensor = Tensor::from_proto(proto, self.folder)?;
            self.bytes = self.bytes.saturating_add(tensor.data().bytes());
            if self.bytes > MEMORY {
                return Err(Error::Malformed(format!(
                    "the stored tensors take more than {MEMORY} bytes"
                )));
            }
            // An input with the same name has this value by default.
            let slot = plan.slot(&mut scope, &proto.name);
            plan.constants.push((slot, Arc::new(tensor)));
        }
        let mut captured: Vec<(String, usize)> = Vec::new();
        for proto in &graph.node {
            let node = self.node(proto, &mut plan, &mut scope, &mut captured)?;
            plan.nodes.push(node);
        }
        for info in &graph.output {
            let slot = match scope.slots.get(&info.name) {
                Some(&slot) => slot,
                None if scope.outer.is_some_and(|outer| outer.has(&info.name)) => {
                    let slot = plan.slot(&mut scope, &info.name);
                    captured.push((info.name.clone(), slot));
                    slot
                }
                None => {
                    return Err(Error::Malformed(format!(
                        "nothing computes the output `{}`",
                        info.name
                    )));
                }
            };
            plan.outputs.push(slot);
        }
        // Names of the graph around, which takes them from its own surroundings where it lacks them.
        drop(scope);
        if let (Some(around), Some(scope)) = (around.as_mut(), outer_scope) {
            for (name, here) in captured {
                let there = match scope.slots.get(&name) {
                    Some(&slot) => slot,
                    None => around.slot(scope, &name),
                };
                plan.captured.push((there, here));
            }
        }
        plan.release();
        Ok(plan)
    }

    fn node(
        &mut self,
        proto: &'a NodeProto,
        plan: &mut Plan,
        scope: &mut Scope<'_>,
        captured: &mut Vec<(String, usize)>,
    ) -> Result<Node> {
        let label = label(proto);
        let domain = plain(&proto.domain);
        if self.functions.contains_key(&(domain, proto.op_type.as_str())) {
            return Err(Error::Unsupported(format!(
                "node {label}: functions of a model's own are not evaluated"
            )));
        }
        let Some(&opset) = self.opsets.get(domain) else {
            return Err(Error::Malformed(format!(
                "node {label}: the model names no version of the operators `{domain}`"
            )));
        };
        if domain.is_empty() && !OPSETS.contains(&opset) {
            return Err(Error::Unsupported(format!(
                "the model uses version {opset} of the operators; this version evaluates {} to {}",
                OPSETS.start(),
                OPSETS.end()
            )));
        }
        let operator = ops::find(domain, &proto.op_type).ok_or_else(|| {
            let name = qualified(domain, &proto.op_type);
            Error::Unsupported(format!(
                "node {label}: the operator {name} is not evaluated by this version"
            ))
        })?;
        let mut inputs = Vec::with_capacity(proto.input.len());
        for name in &proto.input {
            if name.is_empty() {
                inputs.push(None);
                continue;
            }
            inputs.push(Some(match scope.slots.get(name) {
                Some(&slot) => slot,
                None if scope.outer.is_some_and(|outer| outer.has(name)) => {
                    let slot = plan.slot(scope, name);
                    captured.push((name.clone(), slot));
                    slot
                }
                None => {
                    return Err(Error::Malformed(format!(
                        "node {label}: nothing before it computes its input `{name}`: the graph has a cycle, is not sorted or is incomplete"
                    )));
                }
            }));
        }
        let mut attributes = HashMap::new();
        for attribute in &proto.attribute {
            if !operator.attributes.contains(&attribute.name.as_str()) {
                return Err(Error::Unsupported(format!(
                    "node {label}: the attribute `{}` of {} is not evaluated by this version",
                    attribute.name, proto.op_type
                )));
            }
            let value = self.attribute(&label, attribute, plan, scope, captured)?;
            attributes.insert(attribute.name.clone(), value);
        }
        let mut outputs = Vec::with_capacity(proto.output.len());
        for name in &proto.output {
            if name.is_empty() {
                outputs.push(None);
            } else if scope.slots.contains_key(name) {
                return Err(Error::Malformed(format!(
                    "node {label}: its output `{name}` is defined before"
                )));
            } else {
                outputs.push(Some(plan.slot(scope, name)));
            }
        }
        Ok(Node { label, operator, inputs, outputs, attributes, opset, done: Vec::new() })
    }

    fn attribute(
        &mut self,
        label: &str,
        proto: &'a AttributeProto,
        plan: &mut Plan,
        scope: &mut Scope<'_>,
        captured: &mut Vec<(String, usize)>,
    ) -> Result<Attribute> {
        let name = &proto.name;
        let bad =
            |what: &str| Error::Malformed(format!("node {label}: its attribute `{name}` {what}"));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| bad("is no UTF-8"));
        Ok(match proto.r#type {
            kind::FLOAT => Attribute::Float(proto.f.unwrap_or(0.0)),
            kind::INT => {
                let value = proto.i.unwrap_or(0);
                let known =
                    || i32::try_from(value).is_ok_and(|code| DType::from_code(code).is_some());
                if TYPES.contains(&name.as_str()) && value != 0 && !known() {
                    return Err(Error::Unsupported(format!(
                        "node {label}: elements of type {value} are not evaluated by this version"
                    )));
                }
                Attribute::Int(value)
            }
            kind::STRING => Attribute::Text(text(proto.s.as_deref().unwrap_or_default())?),
            kind::FLOATS => Attribute::Floats(proto.floats.clone()),
            kind::INTS => Attribute::Ints(proto.ints.clone()),
            kind::STRINGS => {
                Attribute::Texts(proto.strings.iter().map(|s| text(s)).collect::<Result<_>>()?)
            }
            kind::TENSOR => {
                let tensor = proto.t.as_ref().ok_or_else(|| bad("has no tensor"))?;
                Attribute::Tensor(Arc::new(Tensor::from_proto(tensor, self.folder)?))
            }
            kind::GRAPH => {
                let graph = proto.g.as_ref().ok_or_else(|| bad("has no graph"))?;
                self.depth += 1;
                if self.depth > 16 {
                    return Err(bad("nests too deep"));
                }
                // What the inner graph needs from outside must be known here first.
                let mut around = (
                    std::mem::take(plan),
                    Scope { slots: std::mem::take(&mut scope.slots), outer: scope.outer },
                );
                let before = around.0.names.len();
                let inner = self.graph(graph, Some(&mut around));
                *plan = around.0;
                scope.slots = around.1.slots;
                for slot in before..plan.names.len() {
                    captured.push((plan.names[slot].clone(), slot));
                }
                self.depth -= 1;
                Attribute::Graph(Box::new(inner?))
            }
            other => {
                return Err(Error::Unsupported(format!(
                    "node {label}: its attribute `{name}` is of type {other}, which this version does not read"
                )));
            }
        })
    }
}

/// A node in a message: operator and name, or its first output.
fn label(proto: &NodeProto) -> String {
    let name = if proto.name.is_empty() { proto.output.first() } else { Some(&proto.name) };
    let name: String = name.map(|name| name.chars().take(80).collect()).unwrap_or_default();
    let operator: String = qualified(&proto.domain, &proto.op_type).chars().take(80).collect();
    format!("`{name}` ({operator})")
}

impl Plan {
    /// Finds the last reader of each value.
    fn release(&mut self) {
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (i, node) in self.nodes.iter().enumerate() {
            let mut read = |slot: usize| {
                last.insert(slot, i);
            };
            node.inputs.iter().flatten().for_each(|&slot| read(slot));
            node.outputs.iter().flatten().for_each(|&slot| read(slot));
            for attribute in node.attributes.values() {
                if let Attribute::Graph(inner) = attribute {
                    inner.captured.iter().for_each(|&(there, _)| read(there));
                }
            }
        }
        for slot in &self.outputs {
            last.remove(slot);
        }
        for (slot, i) in last {
            self.nodes[i].done.push(slot);
        }
    }
}

impl Call<'_> {
    /// The device's CPU.
    pub(crate) fn cpu(&self) -> &CpuDevice {
        self.run.device.cpu()
    }

    pub(crate) fn opset(&self) -> i64 {
        self.node.opset
    }

    /// How many outputs are asked for.
    pub(crate) fn outputs(&self) -> usize {
        self.node.outputs.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.inputs.len()
    }

    pub(crate) fn get(&self, i: usize) -> Option<&Tensor> {
        self.inputs.get(i)?.as_deref()
    }

    pub(crate) fn input(&self, i: usize) -> Result<&Tensor, String> {
        self.get(i).ok_or_else(|| format!("its input {i} is missing"))
    }

    /// Every input.
    pub(crate) fn all(&self) -> Result<Vec<&Tensor>, String> {
        (0..self.len()).map(|i| self.input(i)).collect()
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.node.attributes.get(name)
    }

    pub(crate) fn float(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Float(x)) => Ok(f64::from(*x)),
            Some(_) => Err(format!("its attribute `{name}` is no number")),
        }
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.maybe_int(name)?.unwrap_or(default))
    }

    pub(crate) fn maybe_int(&self, name: &str) -> Result<Option<i64>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Int(x)) => Ok(Some(*x)),
            Some(_) => Err(format!("its attribute `{name}` is no integer")),
        }
    }

    pub(crate) fn text<'s>(&'s self, name: &str, default: &'s str) -> Result<&'s str, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Text(x)) => Ok(x),
            Some(_) => Err(format!("its attribute `{name}` is no text")),
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(x)) => Ok(Some(x.clone())),
            Some(_) => Err(format!("its attribute `{name}` is no list of integers")),
        }
    }

    /// Integers that older versions have as an attribute and newer ones as an input.
    pub(crate) fn ints_or_input(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>, String> {
        if let Some(tensor) = self.get(i) {
            return ints(tensor).map(Some);
        }
        self.ints(name)
    }

    /// The axis of an attribute, from 0 to `rank` − 1.
    pub(crate) fn axis(&self, name: &str, default: i64, rank: usize) -> Result<usize, String> {
        axis(self.int(name, default)?, rank)
    }

    /// The type that an attribute names.
    pub(crate) fn dtype(&self, name: &str) -> Result<Option<DType>, String> {
        let Some(code) = self.maybe_int(name)? else { return Ok(None) };
        let found = i32::try_from(code).ok().and_then(DType::from_code);
        found
            .map(Some)
            .ok_or_else(|| format!("elements of type {code} are not evaluated by this version"))
    }

    /// Evaluates the graph of an attribute on inputs.
    pub(crate) fn graph(
        &self,
        name: &str,
        inputs: Vec<Arc<Tensor>>,
    ) -> Result<Vec<Tensor>, String> {
        let Some(Attribute::Graph(plan)) = self.attribute(name) else {
            return Err(format!("its attribute `{name}` is no graph"));
        };
        if inputs.len() != plan.inputs.len() {
            return Err(format!(
                "its graph `{name}` has {} inputs, not {}",
                plan.inputs.len(),
                inputs.len()
            ));
        }
        let mut values = vec![None; plan.names.len()];
        for (&slot, tensor) in plan.inputs.iter().zip(inputs) {
            values[slot] = Some(tensor);
        }
        for &(there, here) in &plan.captured {
            values[here].clone_from(&self.outer[there]);
        }
        let outputs = plan.evaluate(values, self.run).map_err(|e| e.to_string())?;
        Ok(outputs.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    /// An input, to share with a graph.
    pub(crate) fn shared(&self, i: usize) -> Result<Arc<Tensor>, String> {
        self.inputs.get(i).cloned().flatten().ok_or_else(|| format!("its input {i} is missing"))
    }
}

/// An axis, counted from the end if negative.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} is none of a tensor of {rank} dimensions"))
}

/// The integers of a tensor.
pub(crate) fn ints(tensor: &Tensor) -> Result<Vec<i64>, String> {
    match tensor.data() {
        super::Data::I64(v) => Ok(v.clone()),
        super::Data::I32(v) => Ok(v.iter().map(|&x| i64::from(x)).collect()),
        other => Err(format!("integers are expected, found {}", other.dtype().name())),
    }
}
