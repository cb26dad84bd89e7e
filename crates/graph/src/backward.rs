//! The way back: each node's gradients land where they belong.

use super::{GRAPH, Graph, Mode, NO_PLACE, NodeInput, NodeOutput, NodeWork, Steps, Value};
use crate::op::{MAX_INPUTS, OUTPUTS, Scratch};
use crate::{Cx, Error, Kept, Op, ParamId, Result, Slot, Spec, for_stored};
use ff_kernels::{Float, Stored, for_pieces};
use ff_tensor::{Tensor, TensorMut};
use smallvec::SmallVec;

#[derive(Debug)]
enum Target {
    None,
    /// In the arena; whether something is there already.
    Param(ParamId, bool),
    /// In a tensor; whether something is there already.
    Value(Tensor, bool),
    /// Beside the gradient of the earlier input of this number, to be added to it.
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
    /// Walks the tape backward from a single number, writing or adding every gradient where it belongs, and frees what
    /// was kept on the way.
    ///
    /// # Errors
    /// It is not a single number, depends on no parameter, or an operation left a gradient unwritten.
    pub fn backward(&mut self, loss: Value) -> Result<()> {
        if loss.shape().len() != 1 {
            return Err(Error::NotScalar(*loss.shape()));
        }
        self.backward_from(loss, None)
    }

    /// Walks the tape backward from a value with the gradient that reached it; ones where `dy` is `None`.
    ///
    /// # Errors
    /// As [`Graph::backward`], or `dy` has another shape.
    pub fn backward_from(&mut self, value: Value, dy: Option<Tensor>) -> Result<()> {
        if value.tape != self.tape {
            return Err(Error::Stale);
        }
        let id = value.id.filter(|&id| id != NO_PLACE).ok_or(Error::NoGradient)?;
        let spec = value.spec();
        let seed = match dy {
            Some(dy) if *dy.shape() == spec.shape && dy.dtype() == spec.dtype => dy,
            Some(dy) => {
                let message = format!("dy has shape {}, the value {}", dy.shape(), spec.shape);
                return Err(Error::shape(GRAPH, message));
            }
            None => self.ones(&spec)?,
        };
        drop(value);
        self.grads[id as usize] = Some(seed);
        // Taken out, so that they can be read while gradients are written; after an error they are gone.
        let mut steps = std::mem::take(&mut self.steps);
        self.walk(&mut steps)?;
        self.steps = steps;
        Ok(())
    }

    /// Takes every node off these lists, the last one first, and passes its gradients on.
    pub(super) fn walk(&mut self, steps: &mut Steps) -> Result<()> {
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
                    NodeWork::Checkpoint(again) => self.run_again(again, inputs, dy)?,
                }
            }
            steps.truncate(node.inputs, node.outputs, node.saved);
        }
        Ok(())
    }

    fn ones(&self, spec: &Spec) -> Result<Tensor> {
        let mut ones =
            Tensor::uninit(&self.device, spec.shape, spec.dtype).map_err(Error::of(GRAPH))?;
        if !ones.is_planned() {
            for_stored!(GRAPH, spec.dtype, S => {
                let one = S::from_compute(<S as Stored>::Compute::ONE);
                let ones = ones.slice_mut::<S>().map_err(Error::of(GRAPH))?;
                // By all threads: each then has its part at hand.
                for_pieces(self.device.cpu(), ones, |_, part| part.fill(one));
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
        let name = recorded.op.name();
        self.tally.dflops += recorded.dflops;
        let mut targets = SmallVec::new();
        self.targets(name, recorded.inputs, &mut targets)?;
        if self.device.pool().is_planning() {
            self.plan_scratch(name, recorded.dscratch)?;
        } else {
            self.run_backward(recorded, &mut dy, &mut targets)?;
        }
        drop(dy);
        self.deliver(name, recorded.inputs, targets)
    }

    /// Where each input's gradient goes. The first of several uses of one value in a node gets the value's own place,
    /// the others scratch that is added afterwards.
    fn targets(
        &mut self,
        name: &'static str,
        inputs: &[NodeInput],
        targets: &mut SmallVec<[Target; MAX_INPUTS]>,
    ) -> Result<()> {
        for (i, input) in inputs.iter().enumerate() {
            let earlier = |other: &NodeInput| {
                input.param.map_or(other.param.is_none() && other.id == input.id, |p| {
                    other.param == Some(p)
                })
            };
            let repeated = input.id.and_then(|_| inputs[..i].iter().position(earlier));
            targets.push(match (input.id, input.param, repeated) {
                (None, ..) => Target::None,
                (Some(_), _, Some(first)) => {
                    Target::Scratch(self.uninit(name, &input.spec)?, first)
                }
                (Some(_), Some(param), None) => Target::Param(param, self.params.touch(param)),
                (Some(id), None, None) => match self.grads[id as usize].take() {
                    Some(there) => Target::Value(there, true),
                    None => Target::Value(self.uninit(name, &input.spec)?, false),
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
        let name = op.name();
        // Which slot each parameter's gradient goes to, in the order of the arena.
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
                Target::Value(tensor, true) => {
                    Slot::Add(tensor.view_mut().map_err(Error::of(name))?)
                }
                Target::Value(tensor, false) | Target::Scratch(tensor, _) => {
                    Slot::Write(tensor.view_mut().map_err(Error::of(name))?)
                }
            });
        }
        // A parameter of no values lies where the next one starts, so offsets alone do not order them.
        order.sort_unstable_by_key(|&(id, _)| (self.params.info(id).offset, id));
        let cx = Cx { device: &self.device, training: self.mode == Mode::Train, key: self.key };
        let values = self.params.split(&order, |slot, view| {
            slots[slot] = if add[slot] { Slot::Add(view) } else { Slot::Write(view) };
        })?;
        let kept =
            Kept { op: name, inputs, outputs: recorded.outputs, saved: recorded.saved, values };
        let mut dy_views: SmallVec<[Option<TensorMut<'_>>; OUTPUTS]> = SmallVec::new();
        for dy in dy.iter_mut() {
            dy_views.push(match dy {
                Some(tensor) => Some(tensor.view_mut().map_err(Error::of(name))?),
                None => None,
            });
        }
        op.backward(&cx, &kept, &mut dy_views, &mut slots)?;
        if let Some(i) = (0..slots.len()).find(|&i| needed[i] && slots[i].is_needed()) {
            let input = match inputs[i].param {
                Some(id) => format!("parameter `{}`", values.name(id)),
                None => format!("input {i}"),
            };
            return Err(Error::MissingGradient { op: name, input });
        }
        Ok(())
    }

    /// Puts the gradients of values back in their places and adds the scratch ones.
    fn deliver(
        &mut self,
        name: &'static str,
        inputs: &[NodeInput],
        targets: SmallVec<[Target; MAX_INPUTS]>,
    ) -> Result<()> {
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
            for_stored!(name, from.dtype(), T => {
                let from = from.slice::<T>().map_err(Error::of(name))?;
                let to: &mut [T] = match (inputs[first].param, inputs[first].id) {
                    (Some(param), _) => self.params.gradient_mut::<T>(param)?,
                    (None, id) => self
                        .grads
                        .get_mut(id.unwrap_or(u32::MAX) as usize)
                        .and_then(Option::as_mut)
                        .ok_or(Error::NoGradient)?
                        .slice_mut()
                        .map_err(Error::of(name))?,
                };
                add(to, from);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Gives a value a gradient, added to the one that it has.
    pub(super) fn seed(&mut self, id: u32, dy: Tensor) -> Result<()> {
        match &mut self.grads[id as usize] {
            Some(there) if !there.is_planned() => for_stored!(GRAPH, dy.dtype(), T => {
                let from = dy.slice::<T>().map_err(Error::of(GRAPH))?;
                add(there.slice_mut::<T>().map_err(Error::of(GRAPH))?, from);
                Ok(())
            }),
            Some(_) => Ok(()),
            empty => {
                *empty = Some(dy);
                Ok(())
            }
        }
    }
}

fn add<S: Stored>(to: &mut [S], from: &[S]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = S::from_compute(to.compute() + from.compute());
    }
}
