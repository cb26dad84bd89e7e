//! The tape: operations run forward, are remembered, and are walked backward once.

#[path = "backward.rs"]
mod backward;
#[path = "recompute.rs"]
mod checkpoint;

use checkpoint::Again;
pub use checkpoint::{Checkpoint, CheckpointAll};

use crate::op::{MAX_INPUTS, OUTPUTS, Scratch};
use crate::{Contract, Cx, Error, Op, ParamId, Params, Result, Segment, Spec};
use ff_tensor::{DType, Device, Element, Key, Pool, Slice, Tensor, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::sync::Arc;

const GRAPH: &str = "graph";
/// The id of a value that needs a gradient, but not in a place of the tape.
const NO_PLACE: u32 = u32::MAX;

/// What an operation gives.
pub type Values = SmallVec<[Value; OUTPUTS]>;

/// What the graph runs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forward and backward: dropout drops, batch norm uses the batch and records its statistics.
    Train,
    /// Forward only, nothing is kept.
    Eval,
}

/// A value on the tape: a tensor or a parameter. Dropping it frees its memory unless the backward pass needs it.
///
/// ```
/// use ff_graph::{Graph, Params};
/// use ff_tensor::{DType, Device, Tensor};
/// let device = Device::default();
/// let params = Params::allocate(&device, DType::F32, vec![], true)?;
/// let mut graph = Graph::new(&device, params);
/// let x = graph.input(Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2]).unwrap());
/// assert_eq!(x.shape().dims(), [1, 2]);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Value {
    tape: u32,
    /// Where its gradient lies; only values that need one have a place.
    id: Option<u32>,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    Tensor(Tensor),
    Param(ParamId, Spec),
}

impl Value {
    /// The sizes of its dimensions.
    pub fn shape(&self) -> &ff_tensor::Shape {
        match &self.data {
            Data::Tensor(tensor) => tensor.shape(),
            Data::Param(_, spec) => &spec.shape,
        }
    }

    /// Its shape and type.
    pub fn spec(&self) -> Spec {
        match &self.data {
            Data::Tensor(tensor) => Spec { shape: *tensor.shape(), dtype: tensor.dtype() },
            Data::Param(_, spec) => *spec,
        }
    }

    /// Whether a gradient will flow to it.
    pub fn needs_grad(&self) -> bool {
        self.id.is_some()
    }

    /// Its tensor; `None` for a parameter.
    pub fn tensor(&self) -> Option<&Tensor> {
        match &self.data {
            Data::Tensor(tensor) => Some(tensor),
            Data::Param(..) => None,
        }
    }

    /// The only number of a value that has just one, as f64.
    ///
    /// # Errors
    /// It holds more or fewer than one, or belongs to a plan.
    pub fn item(&self) -> Result<f64> {
        let tensor = self.tensor().filter(|t| t.shape().len() == 1);
        let tensor = tensor.ok_or(Error::NotScalar(*self.shape()))?;
        let planned = Error::Tensor { op: GRAPH, source: ff_tensor::Error::Planned };
        if tensor.is_planned() {
            return Err(planned);
        }
        match tensor.view().data() {
            Slice::F32([v]) => Ok(f64::from(*v)),
            Slice::F64([v]) => Ok(*v),
            Slice::I32([v]) => Ok(f64::from(*v)),
            _ => Err(Error::NotScalar(*self.shape())),
        }
    }

    /// The values.
    ///
    /// # Errors
    /// It is a parameter, of another type, or belongs to a plan.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        let tensor =
            self.tensor().ok_or_else(|| Error::shape(GRAPH, "a parameter has no tensor"))?;
        tensor.slice().map_err(Error::of(GRAPH))
    }
}

/// What has been computed since the last [`Graph::reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Floating-point operations of the forward passes.
    pub flops: u64,
    /// Floating-point operations of the backward passes.
    pub dflops: u64,
    /// Bytes that forward kept for backward, shared ones counted once for each holder.
    pub kept: u64,
    /// Operations run.
    pub ops: usize,
}

/// What forward left for backward, operation by operation: what belongs to the last one lies at the end of each list, so
/// that remembering an operation moves nothing twice and asks for no memory.
#[derive(Debug, Default)]
struct Steps {
    nodes: Vec<Node>,
    inputs: Vec<NodeInput>,
    outputs: Vec<NodeOutput>,
    saved: Vec<Tensor>,
}

#[derive(Debug)]
struct Node {
    work: NodeWork,
    /// Where its part of each list starts.
    inputs: usize,
    outputs: usize,
    saved: usize,
}

/// What a node does on the way back.
#[derive(Debug)]
enum NodeWork {
    Op { op: Arc<dyn Op>, dflops: u64, dscratch: Scratch },
    Checkpoint(Again),
}

#[derive(Debug)]
pub(crate) struct NodeInput {
    pub(crate) spec: Spec,
    id: Option<u32>,
    pub(crate) param: Option<ParamId>,
    pub(crate) kept: Option<Tensor>,
}

#[derive(Debug)]
pub(crate) struct NodeOutput {
    id: Option<u32>,
    pub(crate) kept: Option<Tensor>,
}

/// A change of a statistic that waits until the step is known to be finite.
#[derive(Debug)]
struct StateUpdate {
    id: ParamId,
    values: Tensor,
    momentum: f64,
}

/// Runs operations forward and remembers them, then walks them backward once.
///
/// It owns the [`Params`], whose gradients backward writes or adds to. On a planning device it does everything but the
/// arithmetic, which is how memory is known before training starts.
#[derive(Debug)]
pub struct Graph {
    device: Device,
    params: Params,
    mode: Mode,
    seed: Key,
    key: Key,
    tape: u32,
    steps: Steps,
    /// Empty lists that have room, for what is run again.
    spare: Vec<Steps>,
    /// Whether operations are remembered; not inside of a checkpoint.
    recording: bool,
    /// How many checkpoints are being run again, one inside another.
    again: usize,
    grads: Vec<Option<Tensor>>,
    updates: Vec<StateUpdate>,
    tally: Tally,
    check_finite: bool,
}

impl Graph {
    /// An empty tape in training mode over these parameters.
    pub fn new(device: &Device, params: Params) -> Self {
        Self {
            device: device.clone(),
            params,
            mode: Mode::Train,
            seed: Key::new(0),
            key: Key::new(0),
            tape: 0,
            steps: Steps::default(),
            spare: Vec::new(),
            recording: true,
            again: 0,
            grads: Vec::new(),
            updates: Vec::new(),
            tally: Tally::default(),
            check_finite: false,
        }
    }

    /// The device that everything runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parameters, to be written.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Gives the parameters back.
    pub fn into_params(self) -> Params {
        self.params
    }

    /// What it runs for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether this is training.
    pub fn training(&self) -> bool {
        self.mode == Mode::Train
    }

    /// Sets what it runs for.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Sets the seed that random operations draw from.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = Key::new(seed);
        self.key = self.seed;
    }

    /// Says which step and which of its micro-batches comes next: random numbers depend on both.
    pub fn set_step(&mut self, step: u64, micro_batch: u64) {
        self.key = self.seed.with(step).with(micro_batch);
    }

    /// Looks at every output and stops at the first one that is not finite, naming the operation: slow, for finding the
    /// cause after a loss came out as NaN.
    pub fn set_check_finite(&mut self, check: bool) {
        self.check_finite = check;
    }

    /// What has been computed since the last reset.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Forgets the tape and keeps its memory; parameters, their gradients and recorded statistics stay.
    pub fn reset(&mut self) {
        self.tape = self.tape.wrapping_add(1);
        self.steps.truncate(0, 0, 0);
        self.steps.nodes.clear();
        self.grads.clear();
        self.recording = true;
        self.again = 0;
        self.tally = Tally::default();
    }

    /// A value that no gradient is wanted of: data.
    pub fn input(&self, tensor: Tensor) -> Value {
        Value { tape: self.tape, id: None, data: Data::Tensor(tensor) }
    }

    /// A value whose gradient [`Graph::grad`] gives after backward.
    pub fn variable(&mut self, tensor: Tensor) -> Value {
        let is_float = tensor.dtype().is_float();
        let mut value = self.input(tensor);
        value.id = (self.training() && is_float).then(|| self.new_id());
        value
    }

    /// A parameter.
    pub fn param(&mut self, id: ParamId) -> Value {
        let trainable = self.params.info(id).spec.segment == Segment::Trainable;
        let needs = self.training() && trainable && self.params.has_gradients();
        // A parameter's gradient lies in the arena; the id only marks that it needs one.
        let id_on_tape = needs.then_some(NO_PLACE);
        let data = Data::Param(id, self.params.spec(id));
        Value { tape: self.tape, id: id_on_tape, data }
    }

    /// A place for a gradient; inside of a checkpoint only a mark that one will be needed.
    fn new_id(&mut self) -> u32 {
        if !self.recording {
            return NO_PLACE;
        }
        self.grads.push(None);
        self.grads.len() as u32 - 1
    }

    /// Runs an operation that has one output.
    ///
    /// # Errors
    /// The shapes do not fit, a value is outside of its domain, or memory is short.
    pub fn apply(&mut self, op: &Arc<dyn Op>, inputs: &[&Value]) -> Result<Value> {
        let mut outputs = self.apply_all(op, inputs)?;
        outputs.truncate(1);
        outputs.pop().ok_or_else(|| Error::shape(op.name(), "has no output"))
    }

    /// Runs an operation and gives all its outputs.
    ///
    /// # Errors
    /// The shapes do not fit, a value is outside of its domain, or memory is short.
    pub fn apply_all(&mut self, op: &Arc<dyn Op>, inputs: &[&Value]) -> Result<Values> {
        let name = op.name();
        let mut specs: SmallVec<[Spec; MAX_INPUTS]> = SmallVec::new();
        let mut need: SmallVec<[bool; MAX_INPUTS]> = SmallVec::new();
        for value in inputs {
            if value.tape != self.tape {
                return Err(Error::Stale);
            }
            specs.push(value.spec());
            need.push(value.needs_grad());
        }
        let needed = need.contains(&true);
        let recorded = needed && self.recording;
        if !recorded {
            need.fill(false);
        }
        let contract = op.contract(&specs, &need)?;
        let mut outputs: SmallVec<[Tensor; OUTPUTS]> = SmallVec::new();
        for spec in &contract.outputs {
            outputs.push(self.uninit(name, spec)?);
        }
        let mut saved: SmallVec<[Tensor; OUTPUTS]> = SmallVec::new();
        for spec in contract.saved.iter().filter(|_| recorded) {
            saved.push(self.uninit(name, spec)?);
        }
        if self.device.pool().is_planning() {
            self.plan_scratch(name, contract.scratch)?;
        } else {
            self.run_forward(&**op, inputs, &mut outputs, &mut saved)?;
        }
        if self.again > 0 {
            self.tally.dflops += contract.flops;
        } else {
            self.tally.flops += contract.flops;
            self.tally.ops += 1;
        }
        let mut values = Values::new();
        for (i, tensor) in outputs.into_iter().enumerate() {
            let constant = contract.constant_outputs & 1 << i != 0;
            let id = (needed && !constant).then(|| self.new_id());
            values.push(Value { tape: self.tape, id, data: Data::Tensor(tensor) });
        }
        if recorded {
            self.record(op, inputs, &specs, &values, saved, &contract);
        }
        Ok(values)
    }

    fn uninit(&self, op: &'static str, spec: &Spec) -> Result<Tensor> {
        Tensor::uninit(&self.device, spec.shape, spec.dtype).map_err(Error::of(op))
    }

    /// Takes and gives back what an operation would.
    fn plan_scratch(&self, op: &'static str, scratch: Scratch) -> Result<()> {
        let bytes = |bytes: usize| Spec::new([bytes], DType::U8);
        let taken = scratch.map(|b| b.map(|b| self.uninit(op, &bytes(b))).transpose());
        taken.into_iter().try_for_each(|tensor| tensor.map(drop))
    }

    fn cx(&self) -> Cx<'_> {
        Cx { device: &self.device, training: self.training(), key: self.key }
    }

    fn run_forward(
        &self,
        op: &dyn Op,
        inputs: &[&Value],
        outputs: &mut [Tensor],
        saved: &mut [Tensor],
    ) -> Result<()> {
        let name = op.name();
        let mut x: SmallVec<[TensorRef<'_>; MAX_INPUTS]> = SmallVec::new();
        for value in inputs {
            x.push(match &value.data {
                Data::Tensor(tensor) => tensor.view(),
                Data::Param(id, _) => self.params.view(*id),
            });
        }
        if self.check_finite {
            // Every output is looked at below, so a bad input can only come from outside.
            for (value, view) in inputs.iter().zip(&x) {
                if let (Data::Tensor(_), Some((index, kind))) =
                    (&value.data, first_non_finite(view))
                {
                    let row = index / value.shape().last().max(1);
                    return Err(Error::NonFiniteInput { op: name, kind, row });
                }
            }
        }
        {
            let mut y: SmallVec<[TensorMut<'_>; OUTPUTS]> = SmallVec::new();
            for tensor in outputs.iter_mut() {
                y.push(tensor.view_mut().map_err(Error::of(name))?);
            }
            let mut saved_views: SmallVec<[TensorMut<'_>; OUTPUTS]> = SmallVec::new();
            for tensor in saved {
                saved_views.push(tensor.view_mut().map_err(Error::of(name))?);
            }
            op.forward(&self.cx(), &x, &mut y, &mut saved_views)?;
        }
        if self.check_finite {
            for output in outputs.iter() {
                if let Some((index, kind)) = first_non_finite(&output.view()) {
                    return Err(Error::NonFinite {
                        op: name,
                        kind,
                        index,
                        near: self.near(inputs),
                    });
                }
            }
        }
        Ok(())
    }

    fn near(&self, inputs: &[&Value]) -> String {
        let names: Vec<&str> = inputs
            .iter()
            .filter_map(|v| match v.data {
                Data::Param(id, _) => Some(self.params.info(id).spec.name.as_str()),
                Data::Tensor(_) => None,
            })
            .collect();
        if names.is_empty() { String::new() } else { format!(" (parameters {})", names.join(", ")) }
    }

    fn record(
        &mut self,
        op: &Arc<dyn Op>,
        inputs: &[&Value],
        specs: &[Spec],
        values: &[Value],
        saved: SmallVec<[Tensor; OUTPUTS]>,
        contract: &Contract,
    ) {
        let mut bytes = 0;
        let mut keep = |tensor: &Tensor| {
            bytes += kept_bytes(tensor);
            tensor.clone()
        };
        let steps = &mut self.steps;
        steps.nodes.push(Node {
            work: NodeWork::Op {
                op: Arc::clone(op),
                dflops: contract.dflops,
                dscratch: contract.dscratch,
            },
            inputs: steps.inputs.len(),
            outputs: steps.outputs.len(),
            saved: steps.saved.len(),
        });
        for (i, (value, &spec)) in inputs.iter().zip(specs).enumerate() {
            let (param, tensor) = match &value.data {
                Data::Param(id, _) => (Some(*id), None),
                Data::Tensor(tensor) => (None, Some(tensor)),
            };
            let kept = tensor.filter(|_| contract.keep_inputs & 1 << i != 0).map(&mut keep);
            steps.inputs.push(NodeInput { spec, id: value.id, param, kept });
        }
        for (i, value) in values.iter().enumerate() {
            let kept = value.tensor().filter(|_| contract.keep_outputs & 1 << i != 0);
            steps.outputs.push(NodeOutput { id: value.id, kept: kept.map(&mut keep) });
        }
        for tensor in saved {
            bytes += kept_bytes(&tensor);
            steps.saved.push(tensor);
        }
        if self.again == 0 {
            self.tally.kept += bytes;
        }
    }

    /// The gradient of a [`Graph::variable`] after backward.
    pub fn grad(&self, value: &Value) -> Option<&Tensor> {
        self.grads.get(value.id? as usize)?.as_ref()
    }

    /// Remembers that a statistic becomes (1 − momentum) · old + momentum · `new` once the step is known to be finite.
    ///
    /// # Errors
    /// `new` is a parameter or has another size.
    pub fn update_state(&mut self, id: ParamId, new: &Value, momentum: f64) -> Result<()> {
        if self.again > 0 {
            return Ok(()); // Recorded when it ran for the first time.
        }
        let info = self.params.info(id);
        let values = new.tensor().filter(|t| t.shape().len() == info.spec.shape.len());
        let values = values.ok_or_else(|| Error::Param {
            name: info.spec.name.clone(),
            message: format!("cannot be updated with a value of shape {}", new.shape()),
        })?;
        self.updates.push(StateUpdate { id, values: values.clone(), momentum });
        Ok(())
    }

    /// Forgets the statistics recorded since the last commit.
    pub fn discard_state(&mut self) {
        self.updates.clear();
    }

    /// Applies the statistics recorded since the last commit, in order.
    ///
    /// # Errors
    /// A statistic is of another type than the parameters.
    pub fn commit_state(&mut self) -> Result<()> {
        for update in self.updates.drain(..) {
            if update.values.is_planned() {
                continue;
            }
            let momentum = update.momentum;
            if self.params.dtype() == DType::F64 {
                let old = self.params.values_mut::<f64>(update.id)?;
                let new = update.values.slice::<f64>().map_err(Error::of(GRAPH))?;
                old.iter_mut().zip(new).for_each(|(o, n)| *o += momentum * (n - *o));
            } else {
                let old = self.params.values_mut::<f32>(update.id)?;
                let new = update.values.slice::<f32>().map_err(Error::of(GRAPH))?;
                let momentum = momentum as f32;
                old.iter_mut().zip(new).for_each(|(o, n)| *o += momentum * (n - *o));
            }
        }
        Ok(())
    }
}

impl Steps {
    /// Frees what lies behind these places.
    fn truncate(&mut self, inputs: usize, outputs: usize, saved: usize) {
        self.inputs.truncate(inputs);
        self.outputs.truncate(outputs);
        self.saved.truncate(saved);
    }
}

/// What the pool holds for a tensor that is kept.
fn kept_bytes(tensor: &Tensor) -> u64 {
    Pool::rounded(tensor.shape().len() * tensor.dtype().bytes()) as u64
}

fn first_non_finite(view: &TensorRef<'_>) -> Option<(usize, &'static str)> {
    let kind = |nan: bool| if nan { "NaN" } else { "infinite" };
    match view.data() {
        Slice::F32(x) => x.iter().position(|v| !v.is_finite()).map(|i| (i, kind(x[i].is_nan()))),
        Slice::F64(x) => x.iter().position(|v| !v.is_finite()).map(|i| (i, kind(x[i].is_nan()))),
        _ => None,
    }
}
