//! From graphs to plans: operators found, attributes and types checked, values numbered.

use super::{Attribute, Node, Plan, fold, fuse};
use crate::onnx::data::DType;
use crate::onnx::model::{Model, qualified};
use crate::onnx::ops;
use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto, kind};
use crate::onnx::tensor::Tensor;
use crate::onnx::{Error, Result};
use ff_tensor::Device;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The versions of operators that are evaluated.
const OPSETS: std::ops::RangeInclusive<i64> = 6..=28;

/// The attributes that name a type of elements.
const TYPES: [&str; 3] = ["dtype", "output_dtype", "to"];

/// Turns graphs into plans.
pub(super) struct Compiler<'a> {
    device: &'a Device,
    opsets: HashMap<&'a str, i64>,
    functions: HashMap<(&'a str, &'a str), &'a FunctionProto>,
    folder: Option<&'a Path>,
    /// Of stored tensors so far.
    bytes: usize,
    /// The most of these.
    most: usize,
    depth: usize,
}

/// Names around a graph: the plan that is being made there.
#[derive(Default)]
pub(super) struct Scope<'a> {
    slots: HashMap<String, usize>,
    /// The names of constants.
    fixed: HashMap<String, Arc<Tensor>>,
    outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn has(&self, name: &str) -> bool {
        self.slots.contains_key(name) || self.outer.is_some_and(|outer| outer.has(name))
    }

    /// The constant of this name, here or around.
    fn constant(&self, name: &str) -> Option<&Arc<Tensor>> {
        match (self.slots.contains_key(name), self.outer) {
            (false, Some(outer)) => outer.constant(name),
            _ => self.fixed.get(name),
        }
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
    /// A compiler of a model's graphs.
    pub(super) fn new(model: &'a Model, device: &'a Device, most: usize) -> Self {
        let proto = model.proto();
        let opsets = proto.opset_import.iter().map(|set| (plain(&set.domain), set.version));
        let functions = proto.functions.iter();
        Self {
            device,
            opsets: opsets.collect(),
            functions: functions.map(|f| ((plain(&f.domain), f.name.as_str()), f)).collect(),
            folder: model.folder(),
            bytes: 0,
            most,
            depth: 0,
        }
    }

    pub(super) fn graph(
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
        let mut scope = Scope { outer: outer_scope.as_deref(), ..Scope::default() };
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
            if self.bytes > self.most {
                return Err(Error::Malformed(format!(
                    "the stored tensors take more than {} bytes",
                    self.most
                )));
            }
            // An input with the same name has this value by default.
            let slot = plan.slot(&mut scope, &proto.name);
            let tensor = Arc::new(tensor);
            if !plan.inputs.contains(&slot) {
                scope.fixed.insert(proto.name.clone(), tensor.clone());
            }
            plan.constants.push((slot, tensor));
        }
        let mut captured: Vec<(String, usize)> = Vec::new();
        for proto in &graph.node {
            let node = self.node(proto, &mut plan, &mut scope, &mut captured)?;
            // Known at once, for the graphs within the nodes that follow.
            if let (Some(tensor), [Some(slot)]) = (constant(&node), &node.outputs[..]) {
                scope.fixed.insert(plan.names[*slot].clone(), tensor.clone());
                plan.constants.push((*slot, tensor));
                continue;
            }
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
        // Names of the graph around, which takes them from its own surroundings where it lacks
        // them.
        drop(scope);
        if let (Some(around), Some(scope)) = (around.as_mut(), outer_scope) {
            // What never changes outside is a constant here.
            captured.retain(|(name, here)| {
                let tensor = scope.constant(name);
                plan.constants.extend(tensor.map(|tensor| (*here, Arc::clone(tensor))));
                tensor.is_none()
            });
            for (name, here) in captured {
                let there = match scope.slots.get(&name) {
                    Some(&slot) => slot,
                    None => around.slot(scope, &name),
                };
                plan.captured.push((there, here));
            }
        }
        fold::fold(&mut plan, self.device, &mut self.bytes);
        fuse::fuse(&mut plan);
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
        let (fixed, done) = (Vec::new(), Vec::new());
        Ok(Node { label, operator, inputs, outputs, attributes, opset, fixed, done })
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
                let mut around =
                    (std::mem::take(plan), Scope { outer: scope.outer, ..std::mem::take(scope) });
                let before = around.0.names.len();
                let inner = self.graph(graph, Some(&mut around));
                *plan = around.0;
                *scope = around.1;
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

/// The tensor that a node holds.
fn constant(node: &Node) -> Option<Arc<Tensor>> {
    match node.attributes.get("value") {
        Some(Attribute::Tensor(tensor)) if node.operator.name == "Constant" => Some(tensor.clone()),
        _ => None,
    }
}

/// The standard's domain is the default.
fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
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
