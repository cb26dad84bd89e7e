//! Parts of the forward pass that keep only their inputs and run again in the backward pass.

use crate::graph::{Node, NodeWork, Recompute, RecomputeAll, Rerun, RerunFunction, kept_bytes};
use crate::kept::{NodeInput, NodeOutput};
use crate::value::{GRAPH, UNPLACED, Value, Values};
use crate::{Error, Graph, MAX_INPUTS, Result};
use smallvec::SmallVec;

impl Graph {
    /// Runs `f` and keeps only `inputs`; backward runs it again with the same random numbers, so
    /// that results are bit-identical: activation recomputation (Chen et al., "Training deep nets
    /// with sublinear memory cost", 2016).
    ///
    /// Gradients reach the inputs and every parameter that `f` uses. `f` must do the same both
    /// times, and must use no value of the tape beyond its inputs. Make it once and clone it at
    /// each step, since making an `Arc` allocates.
    ///
    /// # Errors
    /// Those of `f`; backward returns those of the second run.
    pub fn recompute(&mut self, f: Recompute, inputs: &[&Value]) -> Result<Value> {
        let mut outputs = self.run_once(RerunFunction::One(f), inputs)?;
        outputs.pop().ok_or_else(|| Error::shape(GRAPH, "a recomputed part without a result"))
    }

    /// [`Graph::recompute`] of a part with several results.
    ///
    /// # Errors
    /// As [`Graph::recompute`].
    pub fn recompute_all(&mut self, f: RecomputeAll, inputs: &[&Value]) -> Result<Values> {
        self.run_once(RerunFunction::All(f), inputs)
    }

    fn run_once(&mut self, function: RerunFunction, inputs: &[&Value]) -> Result<Values> {
        if inputs.iter().any(|value| value.tape != self.tape) {
            return Err(Error::Stale);
        }
        let given: SmallVec<[Value; MAX_INPUTS]> =
            inputs.iter().map(|&value| value.clone()).collect();
        // An inner recomputed part records nothing.
        let outermost = std::mem::replace(&mut self.recording, false);
        let result = function.call(self, &given);
        self.recording = outermost;
        let mut outputs = result?;
        let computed = |value: &Value| value.id == Some(UNPLACED) && value.tensor().is_some();
        if !outermost || !outputs.iter().any(computed) {
            return Ok(outputs);
        }
        let starts = (self.steps.inputs.len(), self.steps.outputs.len(), self.steps.saved.len());
        for output in &mut outputs {
            // Inputs passed through and results without a gradient get no slot.
            let id = computed(output).then(|| self.new_id());
            output.id = id.or(output.id);
            self.steps.outputs.push(NodeOutput { id, kept: None });
        }
        let mut bytes = 0;
        for value in given {
            let kept = value.tensor().cloned();
            bytes += kept.as_ref().map_or(0, kept_bytes);
            let (spec, id, param) = (value.spec(), value.id, value.param());
            self.steps.inputs.push(NodeInput { spec, id, param, kept });
        }
        if self.rerunning == 0 {
            self.tally.kept += bytes;
        }
        let work = NodeWork::Rerun(Rerun { function, key: self.key });
        self.steps.nodes.push(Node { work, inputs: starts.0, outputs: starts.1, saved: starts.2 });
        Ok(outputs)
    }
}
