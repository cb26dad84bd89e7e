//! The forward pass: an operation is checked, given memory, run and recorded.

use crate::contract::{MAX_INPUTS, OUTPUTS, Scratch};
use crate::graph::{Node, NodeWork, kept_bytes};
use crate::kept::{NodeInput, NodeOutput};
use crate::value::{Data, Value, Values};
use crate::{Contract, Error, Graph, Op, OpResult, Result, Spec};
use ff_tensor::{DType, Slice, Tensor, TensorMut, TensorRef};
use smallvec::SmallVec;
use std::sync::Arc;

/// The outputs or the saved values of an operation.
type Tensors = SmallVec<[Tensor; OUTPUTS]>;

impl Graph {
    /// Runs an operation with one output.
    ///
    /// # Errors
    /// If the shapes do not match, a value is outside its domain, or memory is exhausted.
    pub fn apply(&mut self, op: &Arc<dyn Op>, inputs: &[&Value]) -> Result<Value> {
        let mut outputs = self.apply_all(op, inputs)?;
        outputs.truncate(1);
        outputs.pop().ok_or_else(|| Error::shape(op.name(), "has no output"))
    }

    /// Runs an operation and returns all its outputs.
    ///
    /// # Errors
    /// If the shapes do not match, a value is outside its domain, or memory is exhausted.
    pub fn apply_all(&mut self, op: &Arc<dyn Op>, inputs: &[&Value]) -> Result<Values> {
        if inputs.iter().any(|value| value.tape != self.tape) {
            return Err(Error::Stale);
        }
        let specs: SmallVec<[Spec; MAX_INPUTS]> = inputs.iter().map(|x| x.spec()).collect();
        let mut need: SmallVec<[bool; MAX_INPUTS]> =
            inputs.iter().map(|x| x.needs_grad()).collect();
        let needed = need.contains(&true);
        let recorded = needed && self.recording;
        if !recorded {
            need.fill(false);
        }
        let named = Error::of(op.name());
        let contract = op.contract(&specs, &need).map_err(&named)?;
        let mut outputs = self.allocate(&contract.outputs).map_err(&named)?;
        let saved: &[Spec] = if recorded { &contract.saved } else { &[] };
        let mut saved = self.allocate(saved).map_err(&named)?;
        if self.device.pool().is_planning() {
            self.plan_scratch(contract.scratch).map_err(&named)?;
        } else {
            self.run_forward(&**op, inputs, &mut outputs, &mut saved)?;
        }
        if self.rerunning > 0 {
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

    pub(crate) fn uninit(&self, spec: &Spec) -> OpResult<Tensor> {
        Ok(Tensor::uninit(&self.device, spec.shape, spec.dtype)?)
    }

    fn allocate(&self, specs: &[Spec]) -> OpResult<Tensors> {
        specs.iter().map(|spec| self.uninit(spec)).collect()
    }

    /// Takes the scratch memory of an operation from the pool and returns it.
    pub(crate) fn plan_scratch(&self, scratch: Scratch) -> OpResult {
        let bytes = |bytes: usize| Spec::new([bytes], DType::U8);
        let taken = scratch.map(|b| b.map(|b| self.uninit(&bytes(b))).transpose());
        taken.into_iter().try_for_each(|tensor| tensor.map(drop))
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
            // Every output is checked below, so a bad input can only come from outside the graph.
            for (value, view) in inputs.iter().zip(&x) {
                let Some((index, kind)) = first_non_finite(view) else { continue };
                if value.tensor().is_some() {
                    let row = index / value.shape().last().max(1);
                    return Err(Error::NonFiniteInput { op: name, kind, row });
                }
            }
        }
        let cx = self.cx();
        let mut run = || op.forward(&cx, &x, &mut views(outputs)?, &mut views(saved)?);
        run().map_err(Error::of(name))?;
        if self.check_finite {
            for output in outputs.iter() {
                if let Some((index, kind)) = first_non_finite(&output.view()) {
                    let near = self.near(inputs);
                    return Err(Error::NonFinite { op: name, kind, index, near });
                }
            }
        }
        Ok(())
    }

    /// The parameters among these inputs, for a message.
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
        saved: Tensors,
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
            let kept = value.tensor().filter(|_| contract.keep_inputs & 1 << i != 0);
            let (id, param, kept) = (value.id, value.param(), kept.map(&mut keep));
            steps.inputs.push(NodeInput { spec, id, param, kept });
        }
        for (i, value) in values.iter().enumerate() {
            let kept = value.tensor().filter(|_| contract.keep_outputs & 1 << i != 0);
            steps.outputs.push(NodeOutput { id: value.id, kept: kept.map(&mut keep) });
        }
        for tensor in saved {
            bytes += kept_bytes(&tensor);
            steps.saved.push(tensor);
        }
        if self.rerunning == 0 {
            self.tally.kept += bytes;
        }
    }
}

/// Mutable views of the tensors.
fn views(tensors: &mut [Tensor]) -> OpResult<SmallVec<[TensorMut<'_>; OUTPUTS]>> {
    tensors.iter_mut().map(|tensor| Ok(tensor.view_mut()?)).collect()
}

fn first_non_finite(view: &TensorRef<'_>) -> Option<(usize, &'static str)> {
    let kind = |nan: bool| if nan { "NaN" } else { "infinite" };
    match view.data() {
        Slice::F32(x) => x.iter().position(|v| !v.is_finite()).map(|i| (i, kind(x[i].is_nan()))),
        Slice::F64(x) => x.iter().position(|v| !v.is_finite()).map(|i| (i, kind(x[i].is_nan()))),
        _ => None,
    }
}
