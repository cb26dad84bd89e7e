//! The backward pass: computes the gradients of each node and delivers them.

use crate::contract::{MAX_INPUTS, OUTPUTS, Scratch};
use crate::graph::{NodeWork, Rerun, RerunFunction, Steps};
use crate::kept::{NodeInput, NodeOutput};
use crate::params::add;
use crate::value::{Data, GRAPH, UNPLACED};
use crate::{Cx, Error, Graph, Kept, Op, OpResult, ParamId, Result, Slot, Spec, Value, for_stored};
use ff_kernels::{Float, Stored, for_pieces};
use ff_tensor::{Tensor, TensorMut};
use smallvec::SmallVec;

#[derive(Debug)]
enum Target {
    None,
    /// In the arena; whether it already holds a gradient.
    Param(ParamId, bool),
    /// In a tensor; whether it already holds a gradient.
    Value(Tensor, bool),
    /// In scratch memory, to be added to the gradient of the earlier input of this index.
    Scratch(Tensor, usize),
}

/// An operation with its parts of the lists.
struct Recorded<'a> {
    op: &'a dyn Op,
    dflops: u64,
    dscratch: Scratch,
    inputs: &'a [NodeInput],
    outputs: &'a [NodeOutput],
    saved: &'a [Tensor],
}

impl Graph {
    /// Traverses the tape backward from a single number, writes or adds every gradient, and frees
    /// kept values on the way.
    ///
    /// # Errors
    /// If the value is not a single number, depends on no parameter, or an operation left a
    /// gradient unwritten.
    pub fn backward(&mut self, loss: Value) -> Result<()> {
        if loss.shape().len() != 1 {
            return Err(Error::NotScalar(*loss.shape()));
        }
        self.backward_from(loss, None)
    }

    /// Traverses the tape backward from a value and its gradient; ones if `dy` is `None`.
    ///
    /// # Errors
    /// As [`Graph::backward`], or if `dy` has another shape.
    pub fn backward_from(&mut self, value: Value, dy: Option<Tensor>) -> Result<()> {
        if value.tape != self.tape {
            return Err(Error::Stale);
        }
        let id = value.id.filter(|&id| id != UNPLACED).ok_or(Error::NoGradient)?;
        let spec = value.spec();
        let seed = match dy {
            Some(dy) if *dy.shape() == spec.shape && dy.dtype() == spec.dtype => dy,
            Some(dy) => {
                let message = format!("dy has shape {}, the value {}", dy.shape(), spec.shape);
                return Err(Error::shape(GRAPH, message));
            }
            None => self.ones(&spec).map_err(Error::of(GRAPH))?,
        };
        drop(value);
        self.grads[id as usize] = Some(seed);
        // Taken out, to be read while gradients are written. After an error they are gone.
        let mut steps = std::mem::take(&mut self.steps);
        self.walk(&mut steps)?;
        self.steps = steps;
        Ok(())
    }

    /// Pops every node off these lists, last first, and propagates its gradients.
    fn walk(&mut self, steps: &mut Steps) -> Result<()> {
        while let Some(node) = steps.nodes.pop() {
            let (inputs, outputs) = (&steps.inputs[node.inputs..], &steps.outputs[node.outputs..]);
            let mut dy: SmallVec<[Option<Tensor>; OUTPUTS]> = SmallVec::new();
            for output in outputs {
                dy.push(output.id.and_then(|id| self.grads[id as usize].take()));
            }
            if dy.iter().any(Option::is_some) {
                match &node.work {
                    NodeWork::Op { op, dflops, dscratch } => {
                        let saved = &steps.saved[node.saved..];
                        let (op, dflops, dscratch) = (&**op, *dflops, *dscratch);
                        let recorded = Recorded { op, dflops, dscratch, inputs, outputs, saved };
                        self.step_back(&recorded, dy)?;
                    }
                    NodeWork::Rerun(rerun) => self.rerun(rerun, inputs, dy)?,
                }
            }
            steps.truncate(node.inputs, node.outputs, node.saved);
        }
        Ok(())
    }

    fn ones(&self, spec: &Spec) -> OpResult<Tensor> {
        let mut ones = self.uninit(spec)?;
        if !ones.is_planned() {
            for_stored!(spec.dtype, S => {
                let one = S::from_compute(<S as Stored>::Compute::ONE);
                // On all threads, so that each has its part in its cache.
                for_pieces(self.device.cpu(), ones.slice_mut::<S>()?, |_, part| part.fill(one));
                Ok(())
            })?;
        }
        Ok(ones)
    }

    fn step_back(
        &mut self,
        recorded: &Recorded<'_>,
        mut dy: SmallVec<[Option<Tensor>; OUTPUTS]>,
    ) -> Result<()> {
        let named = Error::of(recorded.op.name());
        self.tally.dflops += recorded.dflops;
        let mut targets = SmallVec::new();
        self.targets(recorded.inputs, &mut targets).map_err(&named)?;
        if self.device.pool().is_planning() {
            self.plan_scratch(recorded.dscratch).map_err(&named)?;
        } else {
            self.run_backward(recorded, &mut dy, &mut targets)?;
        }
        drop(dy);
        self.deliver(recorded, targets)
    }

    /// The destination of each input's gradient. Of several uses of one value in a node, the first
    /// gets the value's own gradient, the others scratch memory that is added afterwards.
    fn targets(
        &mut self,
        inputs: &[NodeInput],
        targets: &mut SmallVec<[Target; MAX_INPUTS]>,
    ) -> OpResult {
        for (i, input) in inputs.iter().enumerate() {
            let earlier = |other: &NodeInput| {
                input.param.map_or(other.param.is_none() && other.id == input.id, |p| {
                    other.param == Some(p)
                })
            };
            let repeated = input.id.and_then(|_| inputs[..i].iter().position(earlier));
            targets.push(match (input.id, input.param, repeated) {
                (None, ..) => Target::None,
                (Some(_), _, Some(first)) => Target::Scratch(self.uninit(&input.spec)?, first),
                (Some(_), Some(param), None) => Target::Param(param, self.params.touch(param)),
                (Some(id), None, None) => match self.grads[id as usize].take() {
                    Some(there) => Target::Value(there, true),
                    None => Target::Value(self.uninit(&input.spec)?, false),
                },
            });
        }
        Ok(())
    }

    fn run_backward(
        &mut self,
        recorded: &Recorded<'_>,
        dy: &mut [Option<Tensor>],
        targets: &mut [Target],
    ) -> Result<()> {
        let (op, inputs) = (recorded.op, recorded.inputs);
        let named = Error::of(op.name());
        // The slot of each parameter's gradient, in the order of the arena.
        let mut order: SmallVec<[(ParamId, usize); MAX_INPUTS]> = SmallVec::new();
        let mut slots: SmallVec<[Slot<'_>; MAX_INPUTS]> = SmallVec::new();
        let mut needed: SmallVec<[bool; MAX_INPUTS]> = SmallVec::new();
        let mut add: SmallVec<[bool; MAX_INPUTS]> = SmallVec::new();
        for (i, target) in targets.iter_mut().enumerate() {
            needed.push(!matches!(target, Target::None));
            add.push(matches!(target, Target::Param(_, true) | Target::Value(_, true)));
            slots.push(match target {
                Target::None => Slot::Skip,
                Target::Param(id, _) => {
                    order.push((*id, i));
                    Slot::Skip
                }
                Target::Value(tensor, true) => Slot::Add(tensor.view_mut().map_err(&named)?),
                Target::Value(tensor, false) | Target::Scratch(tensor, _) => {
                    Slot::Write(tensor.view_mut().map_err(&named)?)
                }
            });
        }
        // An empty parameter starts where the next one does, so offsets alone do not order them.
        order.sort_unstable_by_key(|&(id, _)| (self.params.info(id).offset, id));
        let cx = Cx {
            device: &self.device,
            training: self.training(),
            key: self.key,
            progress: self.progress,
        };
        let values = self.params.split(&order, |slot, view| {
            slots[slot] = if add[slot] { Slot::Add(view) } else { Slot::Write(view) };
        })?;
        let kept = Kept::of_tape(inputs, recorded.outputs, recorded.saved, values);
        let mut dy_views: SmallVec<[Option<TensorMut<'_>>; OUTPUTS]> = SmallVec::new();
        for dy in dy.iter_mut() {
            dy_views.push(dy.as_mut().map(Tensor::view_mut).transpose().map_err(&named)?);
        }
        op.backward(&cx, &kept, &mut dy_views, &mut slots).map_err(Error::of(op.name()))?;
        if let Some(i) = (0..slots.len()).find(|&i| needed[i] && slots[i].is_needed()) {
            let input = match inputs[i].param {
                Some(id) => format!("parameter `{}`", values.name(id)),
                None => format!("input {i}"),
            };
            return Err(Error::MissingGradient { op: op.name(), input });
        }
        Ok(())
    }

    /// Stores the gradients of values and adds those in scratch memory.
    fn deliver(
        &mut self,
        recorded: &Recorded<'_>,
        targets: SmallVec<[Target; MAX_INPUTS]>,
    ) -> Result<()> {
        let (named, inputs) = (Error::of(recorded.op.name()), recorded.inputs);
        let mut scratch: SmallVec<[(usize, Tensor); 2]> = SmallVec::new();
        for (i, target) in targets.into_iter().enumerate() {
            match target {
                Target::Value(tensor, _) => {
                    if let Some(id) = inputs[i].id {
                        self.grads[id as usize] = Some(tensor);
                    }
                }
                Target::Scratch(tensor, first) => scratch.push((first, tensor)),
                Target::None | Target::Param(..) => {}
            }
        }
        for (first, from) in scratch {
            if from.is_planned() {
                continue;
            }
            match (inputs[first].param, inputs[first].id) {
                (Some(param), _) => self.params.add_to_gradient(param, &from)?,
                (None, id) => {
                    let there = id.and_then(|id| self.grads.get_mut(id as usize)?.as_mut());
                    add_all(there.ok_or(Error::NoGradient)?, &from).map_err(&named)?;
                }
            }
        }
        Ok(())
    }

    /// An input with the place of the first run.
    fn rerun_input(&self, input: &NodeInput) -> Result<Value> {
        let data = match (input.param, &input.kept) {
            (Some(param), _) => Data::Param(param, input.spec),
            (None, Some(tensor)) => Data::Tensor(tensor.clone()),
            (None, None) => return Err(Error::Stale),
        };
        Ok(Value { tape: self.tape, id: input.id, data })
    }

    /// Runs a part again and traverses it backward from the gradients of its results. Inputs keep
    /// the slots of the first run, so that their gradients end up there.
    fn rerun(
        &mut self,
        rerun: &Rerun,
        inputs: &[NodeInput],
        dy: SmallVec<[Option<Tensor>; OUTPUTS]>,
    ) -> Result<()> {
        let mut given: SmallVec<[Value; MAX_INPUTS]> = SmallVec::new();
        for input in inputs {
            given.push(self.rerun_input(input)?);
        }
        let slots = self.grads.len();
        let steps = self.spare.pop().unwrap_or_default();
        let outer = std::mem::replace(&mut self.steps, steps);
        // Its operations draw the same numbers again, forward and backward.
        let key = std::mem::replace(&mut self.key, rerun.key);
        let result = self.record_rerun(&rerun.function, given, dy).and_then(|()| {
            let mut steps = std::mem::take(&mut self.steps);
            self.walk(&mut steps)?;
            self.spare.push(steps);
            Ok(())
        });
        self.key = key;
        self.steps = outer;
        self.grads.truncate(slots);
        result
    }

    /// Runs a part again, records it, and gives its results the gradients of the first run's.
    fn record_rerun(
        &mut self,
        function: &RerunFunction,
        given: SmallVec<[Value; MAX_INPUTS]>,
        dy: SmallVec<[Option<Tensor>; OUTPUTS]>,
    ) -> Result<()> {
        self.rerunning += 1;
        let outputs = function.call(self, &given);
        self.rerunning -= 1;
        drop(given);
        let outputs = outputs?;
        if outputs.len() != dy.len() {
            let (found, expected) = (outputs.len(), dy.len());
            let message = format!("a recomputed part gave {found} results, {expected} before");
            return Err(Error::shape(GRAPH, message));
        }
        for (output, dy) in outputs.into_iter().zip(dy) {
            let Some(dy) = dy else { continue };
            match output.id {
                Some(id) if id != UNPLACED && output.spec() == spec(&dy) => self.seed(id, dy)?,
                id => {
                    let needs = if id.is_some() { "one" } else { "none" };
                    let message = format!(
                        "a recomputed part's result was {}, which needs a gradient, and the second \
                         time {}, which needs {needs}",
                        dy.shape(),
                        output.shape()
                    );
                    return Err(Error::shape(GRAPH, message));
                }
            }
        }
        Ok(())
    }

    /// Sets the gradient of a value, or adds to it.
    fn seed(&mut self, id: u32, dy: Tensor) -> Result<()> {
        match &mut self.grads[id as usize] {
            Some(there) if !there.is_planned() => add_all(there, &dy).map_err(Error::of(GRAPH)),
            Some(_) => Ok(()),
            empty => {
                *empty = Some(dy);
                Ok(())
            }
        }
    }
}

/// Adds a gradient to another.
fn add_all(to: &mut Tensor, from: &Tensor) -> OpResult {
    add(to, 0..from.shape().len(), from)
}

fn spec(tensor: &Tensor) -> Spec {
    Spec { shape: *tensor.shape(), dtype: tensor.dtype() }
}
