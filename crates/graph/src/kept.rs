use crate::params::ParamValues;
use crate::{OpError, OpResult, ParamId, Spec};
use ff_tensor::{Tensor, TensorRef};

/// An input of a recorded operation.
#[derive(Debug)]
pub(crate) struct NodeInput {
    pub(crate) spec: Spec,
    pub(crate) id: Option<u32>,
    pub(crate) param: Option<ParamId>,
    pub(crate) kept: Option<Tensor>,
}

/// An output of a recorded operation.
#[derive(Debug)]
pub(crate) struct NodeOutput {
    pub(crate) id: Option<u32>,
    pub(crate) kept: Option<Tensor>,
}

/// The values available to backward: kept inputs and outputs, saved values, and the shape of every
/// input.
#[derive(Debug)]
pub struct Kept<'a> {
    pub(crate) inputs: &'a [NodeInput],
    pub(crate) outputs: &'a [NodeOutput],
    pub(crate) saved: &'a [Tensor],
    pub(crate) values: ParamValues<'a>,
}

impl<'a> Kept<'a> {
    /// Shape and type of input `i`, kept or not.
    pub fn spec(&self, i: usize) -> &Spec {
        &self.inputs[i].spec
    }

    /// Input `i`.
    ///
    /// # Errors
    /// If the contract does not keep it.
    pub fn input(&self, i: usize) -> OpResult<TensorRef<'a>> {
        let view = self.inputs.get(i).and_then(|input| match input.param {
            Some(id) => Some(self.values.view(id)),
            None => input.kept.as_ref().map(Tensor::view),
        });
        found(view, "input", i)
    }

    /// Output `i`.
    ///
    /// # Errors
    /// If the contract does not keep it.
    pub fn output(&self, i: usize) -> OpResult<TensorRef<'a>> {
        let view = self.outputs.get(i).and_then(|output| output.kept.as_ref()).map(Tensor::view);
        found(view, "output", i)
    }

    /// Saved value `i`.
    ///
    /// # Errors
    /// If the contract saves fewer.
    pub fn saved(&self, i: usize) -> OpResult<TensorRef<'a>> {
        found(self.saved.get(i).map(Tensor::view), "saved value", i)
    }
}

fn found<'a>(
    view: Option<TensorRef<'a>>,
    what: &'static str,
    index: usize,
) -> OpResult<TensorRef<'a>> {
    view.ok_or(OpError::NotKept { what, index })
}
