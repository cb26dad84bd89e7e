//! Parts of the forward pass that keep their inputs alone and run again on the way back.

use super::{
    Data, GRAPH, Graph, NO_PLACE, Node, NodeInput, NodeOutput, NodeWork, Value, Values, kept_bytes,
};
use crate::op::{MAX_INPUTS, OUTPUTS};
use crate::{Error, Result, Spec};
use ff_tensor::{Key, Tensor};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// A part of the forward pass with one result.
pub type Checkpoint = Arc<dyn Fn(&mut Graph, &[Value]) -> Result<Value> + Send + Sync>;
/// A part of the forward pass with several results.
pub type CheckpointAll = Arc<dyn Fn(&mut Graph, &[Value]) -> Result<Values> + Send + Sync>;

/// What has to run again, with the random numbers that it drew.
pub(super) struct Again {
    function: Function,
    key: Key,
}

enum Function {
    One(Checkpoint),
    All(CheckpointAll),
}

impl Function {
    fn call(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Values> {
        match self {
            Self::One(f) => f(graph, inputs).map(|value| Values::from_iter([value])),
            Self::All(f) => f(graph, inputs),
        }
    }
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Again").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Graph {
    /// Runs `f` and keeps nothing of it but `inputs`; backward runs it again, with the same random numbers, so that every
    /// bit is that of running it without: activation recomputation (Chen et al., "Training deep nets with sublinear memory
    /// cost", 2016).
    ///
    /// Gradients reach the inputs and every parameter that `f` uses. `f` must do the same both times, and use no value of
    /// the tape that is not among its inputs. Make it once and clone it for every step:
    /// an `Arc` is memory.
    ///
    /// # Errors
    /// Those of `f`; those of its second time come from backward.
    pub fn checkpoint(&mut self, f: Checkpoint, inputs: &[&Value]) -> Result<Value> {
        let mut outputs = self.run_checkpoint(Function::One(f), inputs)?;
        outputs.pop().ok_or_else(|| Error::shape(GRAPH, "a checkpoint without a result"))
    }

    /// [`Graph::checkpoint`] of a part with several results.
    ///
    /// # Errors
    /// As there.
    pub fn checkpoint_all(&mut self, f: CheckpointAll, inputs: &[&Value]) -> Result<Values> {
        self.run_checkpoint(Function::All(f), inputs)
    }

    fn run_checkpoint(&mut self, function: Function, inputs: &[&Value]) -> Result<Values> {
        if inputs.iter().any(|value| value.tape != self.tape) {
            return Err(Error::Stale);
        }
        let given: SmallVec<[Value; MAX_INPUTS]> =
            inputs.iter().map(|&value| value.clone()).collect();
        // Inside of another one, nothing is remembered anyway.
        let outermost = std::mem::replace(&mut self.recording, false);
        let result = function.call(self, &given);
        self.recording = outermost;
        let mut outputs = result?;
        let made = |value: &Value| value.id == Some(NO_PLACE) && value.tensor().is_some();
        if !outermost || !outputs.iter().any(made) {
            return Ok(outputs);
        }
        let steps = (self.steps.inputs.len(), self.steps.outputs.len(), self.steps.saved.len());
        for output in &mut outputs {
            // What was given, or needs no gradient, passes through.
            if made(output) {
                output.id = Some(self.new_id());
                self.steps.outputs.push(NodeOutput { id: output.id, kept: None });
            } else {
                self.steps.outputs.push(NodeOutput { id: None, kept: None });
            }
        }
        let mut bytes = 0;
        for value in given {
            let kept = value.tensor().cloned();
            bytes += kept.as_ref().map_or(0, kept_bytes);
            let param = match value.data {
                Data::Param(id, _) => Some(id),
                Data::Tensor(_) => None,
            };
            self.steps.inputs.push(NodeInput { spec: value.spec(), id: value.id, param, kept });
        }
        if self.again == 0 {
            self.tally.kept += bytes;
        }
        let work = NodeWork::Checkpoint(Again { function, key: self.key });
        self.steps.nodes.push(Node { work, inputs: steps.0, outputs: steps.1, saved: steps.2 });
        Ok(outputs)
    }

    /// An input as it was the first time.
    fn input_again(&self, input: &NodeInput) -> Result<Value> {
        let data = match (input.param, &input.kept) {
            (Some(param), _) => Data::Param(param, input.spec),
            (None, Some(tensor)) => Data::Tensor(tensor.clone()),
            (None, None) => return Err(Error::Stale),
        };
        Ok(Value { tape: self.tape, id: input.id, data })
    }

    /// Runs a part again and walks it backward from the gradients of its results. Inputs have the places of the first time,
    /// so that gradients land where they belong.
    pub(super) fn run_again(
        &mut self,
        again: &Again,
        inputs: &[NodeInput],
        dy: SmallVec<[Option<Tensor>; OUTPUTS]>,
    ) -> Result<()> {
        let mut given: SmallVec<[Value; MAX_INPUTS]> = SmallVec::new();
        for input in inputs {
            given.push(self.input_again(input)?);
        }
        let places = self.grads.len();
        let steps = self.spare.pop().unwrap_or_default();
        let outer = std::mem::replace(&mut self.steps, steps);
        // Its operations draw the same numbers again, forward and backward.
        let key = std::mem::replace(&mut self.key, again.key);
        let result = self.record_again(&again.function, given, dy).and_then(|()| {
            let mut steps = std::mem::take(&mut self.steps);
            self.walk(&mut steps)?;
            self.spare.push(steps);
            Ok(())
        });
        self.key = key;
        self.steps = outer;
        self.grads.truncate(places);
        result
    }

    /// Runs a part again, remembers it, and gives its results the gradients that reached them the first time.
    fn record_again(
        &mut self,
        function: &Function,
        given: SmallVec<[Value; MAX_INPUTS]>,
        dy: SmallVec<[Option<Tensor>; OUTPUTS]>,
    ) -> Result<()> {
        self.again += 1;
        let outputs = function.call(self, &given);
        self.again -= 1;
        drop(given);
        let outputs = outputs?;
        if outputs.len() != dy.len() {
            let (found, expected) = (outputs.len(), dy.len());
            let message = format!("a checkpoint gave {found} results again, {expected} before");
            return Err(Error::shape(GRAPH, message));
        }
        for (output, dy) in outputs.into_iter().zip(dy) {
            let Some(dy) = dy else { continue };
            match output.id {
                Some(id) if id != NO_PLACE && output.spec() == spec(&dy) => self.seed(id, dy)?,
                id => {
                    let needs = if id.is_some() { "one" } else { "none" };
                    let message = format!(
                        "a checkpoint's result was {}, which needs a gradient, and when it ran again {}, which needs {needs}",
                        dy.shape(),
                        output.shape()
                    );
                    return Err(Error::shape(GRAPH, message));
                }
            }
        }
        Ok(())
    }
}

fn spec(tensor: &Tensor) -> Spec {
    Spec { shape: *tensor.shape(), dtype: tensor.dtype() }
}
