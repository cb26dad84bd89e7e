//! The tape: operations run forward, are recorded, and are traversed backward once.

use crate::contract::Scratch;
use crate::kept::{NodeInput, NodeOutput};
use crate::value::{Data, GRAPH, UNPLACED};
use crate::{Cx, Error, Op, ParamId, Params, Result, Segment, Value, Values};
use ff_kernels::Float;
use ff_tensor::{DType, Device, Key, Pool, Tensor};
use std::fmt;
use std::sync::Arc;

/// The purpose of a run of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forward and backward: dropout drops values, batch norm uses the batch and records its
    /// statistics.
    Train,
    /// Forward only; nothing is kept for backward.
    Eval,
}

/// The work done since the last [`Graph::reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Floating-point operations of the forward passes.
    pub flops: u64,
    /// Floating-point operations of the backward passes.
    pub dflops: u64,
    /// Bytes kept for backward, shared tensors counted once for each holder.
    pub kept: u64,
    /// The number of operations run.
    pub ops: usize,
}

/// The recorded operations. The entries of the last one are at the end of each list, so that
/// recording an operation moves nothing and allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<NodeInput>,
    pub(crate) outputs: Vec<NodeOutput>,
    pub(crate) saved: Vec<Tensor>,
}

impl Steps {
    /// Frees everything from these positions on.
    pub(crate) fn truncate(&mut self, inputs: usize, outputs: usize, saved: usize) {
        self.inputs.truncate(inputs);
        self.outputs.truncate(outputs);
        self.saved.truncate(saved);
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) work: NodeWork,
    /// The start of the operation's part of each list.
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) saved: usize,
}

/// What a node does in the backward pass.
#[derive(Debug)]
pub(crate) enum NodeWork {
    Op { op: Arc<dyn Op>, dflops: u64, dscratch: Scratch },
    Rerun(Rerun),
}

/// A part of the forward pass with one result, for [`Graph::recompute`].
pub type Recompute = Arc<dyn Fn(&mut Graph, &[Value]) -> Result<Value> + Send + Sync>;
/// A part of the forward pass with several results, for [`Graph::recompute_all`].
pub type RecomputeAll = Arc<dyn Fn(&mut Graph, &[Value]) -> Result<Values> + Send + Sync>;

/// A part that runs again, with the key of its random numbers.
pub(crate) struct Rerun {
    pub(crate) function: RerunFunction,
    pub(crate) key: Key,
}

pub(crate) enum RerunFunction {
    One(Recompute),
    All(RecomputeAll),
}

impl RerunFunction {
    pub(crate) fn call(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Values> {
        match self {
            Self::One(f) => f(graph, inputs).map(|value| Values::from_iter([value])),
            Self::All(f) => f(graph, inputs),
        }
    }
}

impl fmt::Debug for Rerun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rerun").field("key", &self.key).finish_non_exhaustive()
    }
}

/// An update of a statistic, deferred until the step is known to be finite.
#[derive(Debug)]
struct StateUpdate {
    id: ParamId,
    values: Tensor,
    momentum: f64,
}

/// Runs and records operations forward, then traverses them backward once.
///
/// The graph owns the [`Params`], whose gradients backward writes or adds to. On a planning device
/// it does everything but the arithmetic, so that memory use is known before training starts.
#[derive(Debug)]
pub struct Graph {
    pub(crate) device: Device,
    pub(crate) params: Params,
    mode: Mode,
    seed: Key,
    pub(crate) key: Key,
    pub(crate) progress: f64,
    pub(crate) tape: u32,
    pub(crate) steps: Steps,
    /// Empty lists with capacity, for recomputed parts.
    pub(crate) spare: Vec<Steps>,
    /// Whether operations are recorded: not within a recomputed part.
    pub(crate) recording: bool,
    /// The nesting depth of the parts being recomputed.
    pub(crate) rerunning: usize,
    pub(crate) grads: Vec<Option<Tensor>>,
    updates: Vec<StateUpdate>,
    pub(crate) tally: Tally,
    pub(crate) check_finite: bool,
    row_mask: Option<Value>,
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
            progress: 0.0,
            tape: 0,
            steps: Steps::default(),
            spare: Vec::new(),
            recording: true,
            rerunning: 0,
            grads: Vec::new(),
            updates: Vec::new(),
            tally: Tally::default(),
            check_finite: false,
            row_mask: None,
        }
    }

    /// The device of all operations.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parameters, mutable.
    pub fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// The purpose of the run.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the graph is in training mode.
    pub fn training(&self) -> bool {
        self.mode == Mode::Train
    }

    /// Sets the purpose of the run.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Sets the seed of random operations.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = Key::new(seed);
        self.key = self.seed;
    }

    /// Sets step and micro-batch, part of the key of random numbers.
    pub fn set_step(&mut self, step: u64, micro_batch: u64) {
        self.key = self.seed.with(step).with(micro_batch);
    }

    /// Sets the part of training that is over, from 0 to 1.
    pub fn set_progress(&mut self, progress: f64) {
        self.progress = progress;
    }

    /// The rows, such as tokens, that adapters act on, until the next reset: integers of which 0
    /// leaves a row alone.
    pub fn row_mask(&self) -> Option<&Value> {
        self.row_mask.as_ref()
    }

    /// Sets the rows that adapters act on.
    pub fn set_row_mask(&mut self, mask: Option<Value>) {
        self.row_mask = mask;
    }

    /// What operations know beside their inputs.
    pub(crate) fn cx(&self) -> Cx<'_> {
        Cx {
            device: &self.device,
            training: self.training(),
            key: self.key,
            progress: self.progress,
        }
    }

    /// Checks every output and fails at the first value that is not finite, naming the operation:
    /// slow, for finding the cause of a NaN loss.
    pub fn set_check_finite(&mut self, check: bool) {
        self.check_finite = check;
    }

    /// The work done since the last reset.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Clears the tape but keeps its memory; parameters, gradients and recorded statistics stay.
    pub fn reset(&mut self) {
        self.tape = self.tape.wrapping_add(1);
        self.steps.truncate(0, 0, 0);
        self.steps.nodes.clear();
        self.grads.clear();
        self.recording = true;
        self.rerunning = 0;
        self.tally = Tally::default();
        self.row_mask = None;
    }

    /// A value without a gradient: data.
    pub fn input(&self, tensor: Tensor) -> Value {
        Value { tape: self.tape, id: None, data: Data::Tensor(tensor) }
    }

    /// A value whose gradient [`Graph::grad`] returns after backward.
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
        // The gradient lies in the arena; the id only marks that it is needed.
        let id_on_tape = needs.then_some(UNPLACED);
        let data = Data::Param(id, self.params.spec(id));
        Value { tape: self.tape, id: id_on_tape, data }
    }

    /// A new gradient id; within a recomputed part only a mark that one will be needed.
    pub(crate) fn new_id(&mut self) -> u32 {
        if !self.recording {
            return UNPLACED;
        }
        self.grads.push(None);
        self.grads.len() as u32 - 1
    }

    /// The gradient of a [`Graph::variable`] after backward.
    pub fn grad(&self, value: &Value) -> Option<&Tensor> {
        self.grads.get(value.id? as usize)?.as_ref()
    }

    /// Schedules the update of a statistic to (1 − momentum) · old + momentum · `new`, for when the
    /// step is known to be finite.
    ///
    /// # Errors
    /// If `new` is a parameter or has another size.
    pub fn update_state(&mut self, id: ParamId, new: &Value, momentum: f64) -> Result<()> {
        if self.rerunning > 0 {
            return Ok(()); // Recorded in the first run.
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

    /// Discards the statistics recorded since the last commit.
    pub fn discard_state(&mut self) {
        self.updates.clear();
    }

    /// Applies the statistics recorded since the last commit, in order.
    ///
    /// # Errors
    /// If a statistic is of another type than the parameters.
    pub fn commit_state(&mut self) -> Result<()> {
        for update in self.updates.drain(..) {
            if update.values.is_planned() {
                continue;
            }
            match self.params.dtype() {
                DType::F64 => update_state::<f64>(&mut self.params, &update)?,
                _ => update_state::<f32>(&mut self.params, &update)?,
            }
        }
        Ok(())
    }
}

fn update_state<T: Float>(params: &mut Params, update: &StateUpdate) -> Result<()> {
    let old = params.values_mut::<T>(update.id)?;
    let new = update.values.slice::<T>().map_err(Error::of(GRAPH))?;
    let momentum = T::of(update.momentum);
    old.iter_mut().zip(new).for_each(|(old, &new)| *old += momentum * (new - *old));
    Ok(())
}

/// The pool's bytes for a kept tensor.
pub(crate) fn kept_bytes(tensor: &Tensor) -> u64 {
    Pool::rounded(tensor.shape().len() * tensor.dtype().bytes()) as u64
}
