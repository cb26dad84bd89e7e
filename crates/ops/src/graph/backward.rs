//! The way back: each node's gradients land where they belong.

use super::{GRAPH, Graph, Mode, Node, NodeInput, Value};
use crate::op::{INPUTS, OUTPUTS};
use crate::{Cx, Error, Kept, ParamId, Result, Slot, Spec};
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

impl Graph {
    /// Walks the tape backward from a single number, writing or adding every gradient where it belongs, and frees what
    /// was kept on the way.
    ///
    /// # Errors
    /// It is not a single number, depends on no parameter, or an operation left a gradient unwritten.
    pub fn backward(&mut self, loss: Value) -> Result<()> {
        if loss.spec.shape.len() != 1 {
            return Err(Error::NotScalar(loss.spec.shape));
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
        let id = value.id.filter(|&id| id != u32::MAX).ok_or(Error::NoGradient)?;
        let seed = match dy {
            Some(dy) if *dy.shape() == value.spec.shape && dy.dtype() == value.spec.dtype => dy,
            Some(dy) => {
                let message =
                    format!("dy has shape {}, the value {}", dy.shape(), value.spec.shape);
                return Err(Error::shape(GRAPH, message));
            }
            None => self.ones(&value.spec)?,
        };
        drop(value);
        self.grads[id as usize] = Some(seed);
        while let Some(node) = self.nodes.pop() {
            self.step_back(&node)?;
        }
        Ok(())
    }

    fn ones(&self, spec: &Spec) -> Result<Tensor> {
        let mut ones =
            Tensor::uninit(&self.device, spec.shape, spec.dtype).map_err(Error::of(GRAPH))?;
        if !ones.is_planned() {
            crate::for_float!(GRAPH, spec.dtype, T => {
                ones.slice_mut::<T>().map_err(Error::of(GRAPH))?.fill(T::from(1u8));
                Ok(())
            })?;
        }
        Ok(ones)
    }

    fn step_back(&mut self, node: &Node) -> Result<()> {
        let name = node.op.name();
        let mut dy: SmallVec<[Option<Tensor>; OUTPUTS]> = node
            .outputs
            .iter()
            .map(|y| y.id.and_then(|id| self.grads[id as usize].take()))
            .collect();
        if dy.iter().all(Option::is_none) {
            return Ok(());
        }
        self.tally.dflops += node.dflops;
        let mut targets = self.targets(name, node)?;
        if !self.device.pool().is_planning() {
            self.run_backward(node, &mut dy, &mut targets)?;
        }
        drop(dy);
        self.deliver(name, node, targets)
    }

    /// Where each input's gradient goes. The first of several uses of one value in a node gets the value's own place,
    /// the others scratch that is added afterwards.
    fn targets(&mut self, name: &'static str, node: &Node) -> Result<SmallVec<[Target; INPUTS]>> {
        let mut targets: SmallVec<[Target; INPUTS]> = SmallVec::new();
        for (i, input) in node.inputs.iter().enumerate() {
            let earlier = |j: &usize| {
                let other: &NodeInput = &node.inputs[*j];
                input.param.map_or(other.param.is_none() && other.id == input.id, |p| {
                    other.param == Some(p)
                })
            };
            let repeated = input.id.and_then(|_| (0..i).find(earlier));
            targets.push(match (input.id, input.param) {
                (None, _) => Target::None,
                (Some(_), _) if repeated.is_some() => {
                    Target::Scratch(self.uninit(name, &input.spec)?, repeated.unwrap_or_default())
                }
                (Some(_), Some(param)) => Target::Param(param, self.params.touch(param)),
                (Some(id), None) => match self.grads[id as usize].take() {
                    Some(there) => Target::Value(there, true),
                    None => Target::Value(self.uninit(name, &input.spec)?, false),
                },
            });
        }
        Ok(targets)
    }

    fn uninit(&self, op: &'static str, spec: &Spec) -> Result<Tensor> {
        Tensor::uninit(&self.device, spec.shape, spec.dtype).map_err(Error::of(op))
    }

    fn run_backward(
        &mut self,
        node: &Node,
        dy: &mut [Option<Tensor>],
        targets: &mut [Target],
    ) -> Result<()> {
        let name = node.op.name();
        let mut order: SmallVec<[(usize, ParamId, bool); INPUTS]> = targets
            .iter()
            .enumerate()
            .filter_map(|(i, t)| match t {
                Target::Param(id, add) => Some((i, *id, *add)),
                _ => None,
            })
            .collect();
        // A parameter of no values lies where the next one starts, so offsets alone do not order them.
        order.sort_unstable_by_key(|&(_, id, _)| (self.params.info(id).offset, id));
        let ids: SmallVec<[ParamId; INPUTS]> = order.iter().map(|&(_, id, _)| id).collect();
        let mut slots: SmallVec<[Slot<'_>; INPUTS]> = targets.iter().map(|_| Slot::Skip).collect();
        for (slot, target) in slots.iter_mut().zip(targets.iter_mut()) {
            *slot = match target {
                Target::None | Target::Param(..) => Slot::Skip,
                Target::Value(tensor, true) => {
                    Slot::Add(tensor.view_mut().map_err(Error::of(name))?)
                }
                Target::Value(tensor, false) | Target::Scratch(tensor, _) => {
                    Slot::Write(tensor.view_mut().map_err(Error::of(name))?)
                }
            };
        }
        let values = self.params.split(&ids, |i, view| {
            let (slot, _, add) = order[i];
            slots[slot] = if add { Slot::Add(view) } else { Slot::Write(view) };
        })?;
        let needed: SmallVec<[bool; INPUTS]> = slots.iter().map(Slot::is_needed).collect();
        let kept = Kept {
            op: name,
            specs: node.inputs.iter().map(|x| x.spec).collect(),
            inputs: node
                .inputs
                .iter()
                .map(|x| x.param.map(|id| values.view(id)).or(x.kept.as_ref().map(Tensor::view)))
                .collect(),
            outputs: node.outputs.iter().map(|y| y.kept.as_ref().map(Tensor::view)).collect(),
            saved: node.saved.iter().map(Tensor::view).collect(),
        };
        let mut dy_views: SmallVec<[Option<TensorMut<'_>>; OUTPUTS]> = SmallVec::new();
        for dy in dy.iter_mut() {
            dy_views.push(match dy {
                Some(tensor) => Some(tensor.view_mut().map_err(Error::of(name))?),
                None => None,
            });
        }
        let cx = Cx { device: &self.device, training: self.mode == Mode::Train, key: self.key };
        node.op.backward(&cx, &kept, &mut dy_views, &mut slots)?;
        if let Some(i) = (0..slots.len()).find(|&i| needed[i] && slots[i].is_needed()) {
            let input = match node.inputs[i].param {
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
        node: &Node,
        targets: SmallVec<[Target; INPUTS]>,
    ) -> Result<()> {
        let mut scratch: SmallVec<[(usize, Tensor); 2]> = SmallVec::new();
        for (i, target) in targets.into_iter().enumerate() {
            match target {
                Target::Value(tensor, _) => {
                    if let Some(id) = node.inputs[i].id {
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
            crate::for_float!(name, from.dtype(), T => {
                let from = from.slice::<T>().map_err(Error::of(name))?;
                let to: &mut [T] = match (node.inputs[first].param, node.inputs[first].id) {
                    (Some(param), _) => self.params.gradient_mut::<T>(param)?,
                    (None, id) => self
                        .grads
                        .get_mut(id.unwrap_or(u32::MAX) as usize)
                        .and_then(Option::as_mut)
                        .ok_or(Error::NoGradient)?
                        .slice_mut()
                        .map_err(Error::of(name))?,
                };
                to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
                Ok(())
            })?;
        }
        Ok(())
    }
}
