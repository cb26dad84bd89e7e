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
pub struct Kept<'a>(Source<'a>);

#[derive(Debug)]
enum Source<'a> {
    Tape {
        inputs: &'a [NodeInput],
        outputs: &'a [NodeOutput],
        saved: &'a [Tensor],
        values: ParamValues<'a>,
    },
    Views {
        specs: &'a [Spec],
        inputs: &'a [TensorRef<'a>],
        outputs: &'a [TensorRef<'a>],
        saved: &'a [TensorRef<'a>],
    },
}

impl<'a> Kept<'a> {
    pub(crate) fn of_tape(
        inputs: &'a [NodeInput],
        outputs: &'a [NodeOutput],
        saved: &'a [Tensor],
        values: ParamValues<'a>,
    ) -> Self {
        Self(Source::Tape { inputs, outputs, saved, values })
    }

    /// The values of an operation that a caller ran itself, without a tape: all inputs and outputs
    /// of [`Op::forward`](crate::Op::forward), kept or not, and what it saved.
    pub fn of_views(
        specs: &'a [Spec],
        inputs: &'a [TensorRef<'a>],
        outputs: &'a [TensorRef<'a>],
        saved: &'a [TensorRef<'a>],
    ) -> Self {
        Self(Source::Views { specs, inputs, outputs, saved })
    }

    /// Shape and type of input `i`, kept or not.
    pub fn spec(&self, i: usize) -> &Spec {
        match self.0 {
            Source::Tape { inputs, .. } => &inputs[i].spec,
            Source::Views { specs, .. } => &specs[i],
        }
    }

    /// Input `i`.
    ///
    /// # Errors
    /// If the contract does not keep it.
    pub fn input(&self, i: usize) -> OpResult<TensorRef<'a>> {
        let view = match self.0 {
            Source::Tape { inputs, values, .. } => {
                inputs.get(i).and_then(|input| match input.param {
                    Some(id) => Some(values.view(id)),
                    None => input.kept.as_ref().map(Tensor::view),
                })
            }
            Source::Views { inputs, .. } => inputs.get(i).copied(),
        };
        found(view, "input", i)
    }

    /// Output `i`.
    ///
    /// # Errors
    /// If the contract does not keep it.
    pub fn output(&self, i: usize) -> OpResult<TensorRef<'a>> {
        let view = match self.0 {
            Source::Tape { outputs, .. } => {
                outputs.get(i).and_then(|output| output.kept.as_ref()).map(Tensor::view)
            }
            Source::Views { outputs, .. } => outputs.get(i).copied(),
        };
        found(view, "output", i)
    }

    /// Saved value `i`.
    ///
    /// # Errors
    /// If the contract saves fewer.
    pub fn saved(&self, i: usize) -> OpResult<TensorRef<'a>> {
        let view = match self.0 {
            Source::Tape { saved, .. } => saved.get(i).map(Tensor::view),
            Source::Views { saved, .. } => saved.get(i).copied(),
        };
        found(view, "saved value", i)
    }
}

fn found<'a>(
    view: Option<TensorRef<'a>>,
    what: &'static str,
    index: usize,
) -> OpResult<TensorRef<'a>> {
    view.ok_or(OpError::NotKept { what, index })
}
