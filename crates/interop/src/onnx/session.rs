//! Evaluating a graph: checked once, then run on inputs.

mod call;
mod compile;
mod fold;
mod fuse;
mod patterns;
pub(super) mod pool;

pub(super) use call::{axis, ints};
pub(super) use pool::Pool;

use super::data::Data;
use super::model::{Model, Port};
use super::tensor::Tensor;
use super::{Error, Result};
use compile::Compiler;
use ff_kernels::PackedMatrix;
use ff_tensor::Device;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

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
    ports: Vec<Port>,
    plan: Plan,
    device: Device,
    memory: usize,
    keeps_packed: bool,
    pool: Pool,
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

impl Plan {
    /// How often each value is read: by nodes, by the graphs within them, and as an output.
    fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.names.len()];
        for node in &self.nodes {
            node.inputs.iter().flatten().for_each(|&slot| readers[slot] += 1);
            for attribute in node.attributes.values() {
                if let Attribute::Graph(inner) = attribute {
                    inner.captured.iter().for_each(|&(there, _)| readers[there] += 1);
                }
            }
        }
        self.outputs.iter().for_each(|&slot| readers[slot] += 1);
        readers
    }

    /// The constants by number. One with the name of an input is a default, which may be replaced.
    fn fixed(&self) -> HashMap<usize, Arc<Tensor>> {
        let stored = self.constants.iter().filter(|(slot, _)| !self.inputs.contains(slot));
        stored.map(|(slot, tensor)| (*slot, tensor.clone())).collect()
    }
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
    /// Which inputs never change, and what they are packed into for products.
    fixed: Vec<(bool, OnceLock<Option<PackedMatrix<f32>>>)>,
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
    /// Whether matrices that never change stay packed for products.
    keeps_packed: bool,
    pool: &'a Pool,
}

/// Begins the message of an operator that meets what this version does not evaluate.
pub(crate) const UNSUPPORTED: &str = "unsupported: ";

/// An operator that is evaluated.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) domain: &'static str,
    pub(crate) name: &'static str,
    /// The attributes that its function knows; any other is refused by name.
    pub(crate) attributes: &'static [&'static str],
    pub(crate) run: fn(&Call<'_>) -> Outcome,
}

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
        Self::of_size(model, device, MEMORY)
    }

    /// The same for a model whose stored tensors take up to `stored` bytes; 8 GiB elsewhere.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn of_size(model: Model, device: &Device, stored: usize) -> Result<Self> {
        let plan = Compiler::new(&model, device, stored).graph(model.graph()?, None)?;
        let ports = model.inputs();
        Ok(Self {
            plan,
            ports,
            device: device.clone(),
            memory: MEMORY,
            keeps_packed: true,
            model,
            pool: Pool::default(),
        })
    }

    /// The same with another bound of the bytes of values held at one time; 8 GiB by default.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// The same without a second copy of its matrices, packed for products: for a few runs of a
    /// large model.
    #[must_use]
    pub fn without_copies(mut self) -> Self {
        self.keeps_packed = false;
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
        let ports = &self.ports;
        let mut given: HashMap<String, Tensor> = inputs.into_iter().collect();
        let mut first = Vec::with_capacity(ports.len());
        for port in ports {
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
        let run = Run {
            device: &self.device,
            memory: self.memory,
            keeps_packed: self.keeps_packed,
            pool: &self.pool,
        };
        let outputs = self.plan.evaluate(values, &run)?;
        let names = self.plan.outputs.iter().map(|&slot| self.plan.names[slot].clone());
        let own = |tensor: Arc<Tensor>| Arc::unwrap_or_clone(tensor);
        Ok(names.zip(outputs.into_iter().map(own)).collect())
    }
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
            drop(inputs);
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
                    run.pool.release(tensor, run.memory);
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

impl Pool {
    /// Keeps the buffer of a value that nobody holds any more.
    fn release(&self, tensor: Arc<Tensor>, most: usize) {
        let data = Arc::try_unwrap(tensor).ok().and_then(Tensor::sole_data);
        if let Some(Data::F32(v)) = data {
            self.give(v, most);
        }
    }
}
